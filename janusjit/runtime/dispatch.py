"""The jitted function: an object that behaves like the function, and runs it from compiled code where it can.

Owns `JitFunction`. Invariant: on the settled path a call is a native call, which checks every guard itself, in machine
code (`janusjit.runtime.native_call`) or with a handful of Python instructions around it, which do the same; everything
else is `Lifecycle`'s.
"""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
import logging
import os
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from janusjit.runtime import background, native_call
from janusjit.runtime.binding import Binder
from janusjit.runtime.building import Failure, guarded
from janusjit.runtime.call import Options
from janusjit.runtime.causes import entry_differences
from janusjit.runtime.compiler import Compiler
from janusjit.runtime.events import STREAM, Cause, Stream
from janusjit.runtime.explanation import Explanation, SpecializationExplanation
from janusjit.runtime.function_lifecycle import FunctionLifecycle
from janusjit.runtime.specialization import Specialization
from janusjit.runtime.statistics import Statistics, keep
from janusjit.runtime.switch import DISABLED, MONITORING, monitored, suspension

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Owner = TypeVar("Owner")
Rest = ParamSpec("Rest")

#: what a class statement makes of functions of these names
_KINDS_BY_NAME: dict[str, type[Any]] = {
    "__new__": staticmethod,
    "__init_subclass__": classmethod,
    "__class_getitem__": classmethod,
}

#: every jitted function of this process
FUNCTIONS: weakref.WeakSet[JitFunction[..., Any]] = weakref.WeakSet()

#: whether nothing is left to be done for calls to settle in machine code
NATIVE_CALL: list[bool] = []
_SLOTS = {
    "lifecycle": "_lifecycle",
    "function": "_function",
    "code": "_code",
    "arity": "_arity",
    "sentinel": "_deoptimized",
}

_log = logging.getLogger("janusjit.compile")
_disabled = DISABLED.get
_tracer = sys.gettrace


class JitFunction(Generic[Parameters, Result]):
    """What `janusjit.jit` makes of a function.

    Called, it does exactly what the function does. It binds as a method, has the function's name, signature and
    docstring, pickles by qualified name and copies to itself.

    Parameters
    ----------
    function : function
        The plain function; afterwards ``__wrapped__``.
    options : Options
        What the user asked for.
    compiler : Compiler
        Makes graphs and native code.
    stream : Stream, optional
        Receives the events; the process's when not given.
    """

    # slots, because what the settled path reads has to be found fast; the dictionary is for a function's own attributes
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_arity",
        "_binder",
        "_code",
        "_compiler",
        "_deoptimized",
        "_function",
        "_lifecycle",
        "_options",
        "_stream",
        "_suspensions",
    )

    #: tells the profiler that calling this object means calling ``__wrapped__``
    __janusjit_profiled_through__ = True
    _is_finalizing = staticmethod(sys.is_finalizing)

    __wrapped__: Callable[Parameters, Result]
    __name__: str
    __qualname__: str

    def __init__(
        self,
        function: Callable[Parameters, Result],
        options: Options,
        compiler: Compiler,
        stream: Stream = STREAM,
    ) -> None:
        if not isinstance(function, types.FunctionType):
            raise TypeError(f"a Python function is needed, not {type(function).__name__}")
        functools.update_wrapper(self, function)
        if inspect.iscoroutinefunction(function) and sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)
        self._function = function
        self._options = options
        self._compiler = compiler
        self._stream = stream
        self._suspensions: set[str] = set()
        self._deoptimized = compiler.deoptimized
        self._reset()
        FUNCTIONS.add(self)
        native_call.attach(self)

    def _reset(self) -> None:
        self._code = self._function.__code__
        self._binder = Binder(self._function)
        self._arity = self._binder.arity
        self._lifecycle = FunctionLifecycle(self._function, self._options, self._compiler, self._stream)
        if unknown := sorted(self._options.static - set(self._binder.names)):
            raise TypeError(f"{self.__qualname__} has no parameter {unknown[0]!r} to be static")

    # ------------------------------------------------------------------ calling

    def __call__(self, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        lifecycle = self._lifecycle
        entries = lifecycle.entries
        if (
            entries
            and not _disabled()
            and _tracer() is None
            and self._function.__code__ is self._code
            and not (MONITORING and monitored())
        ):
            bound: tuple[Any, ...] = args
            if kwargs or len(args) != self._arity:
                try:
                    bound = self._binder(args, kwargs)
                except TypeError:
                    return self._call_wrongly(args, kwargs)
            result: Result = entries[0](*bound)
            if result is not self._deoptimized:
                return result
            return lifecycle.retry(args, kwargs, bound, entries[0])  # type: ignore[no-any-return]
        if lifecycle.plain:
            tally = lifecycle.tally
            tally.plain_calls = calls = tally.plain_calls + 1
            if calls != lifecycle.review_at:
                return self._function(*args, **kwargs)  # type: ignore[no-any-return]
            return lifecycle.review(args, kwargs)  # type: ignore[no-any-return]
        if lifecycle.skips > 0:
            lifecycle.skips -= 1
            lifecycle.tally.plain_calls += 1
            return self._function(*args, **kwargs)  # type: ignore[no-any-return]
        return self._call_slowly(args, kwargs)

    def _call_again(self, entry: Any, /, *bound: Any) -> Result:
        """Run a call that an entry has refused which machine code has called."""
        return self._lifecycle.retry(bound, {}, bound, entry)  # type: ignore[no-any-return]

    def _call_slowly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Result:
        """Run a call that is not settled, or has to be bound first."""
        if self._is_finalizing():  # nothing can be imported any more, and modules are being taken apart
            return self._function(*args, **kwargs)  # type: ignore[no-any-return]
        if not NATIVE_CALL:
            _install_native_call(self)
        cause = suspension()
        if cause is not None:
            return self._call_suspended(cause, args, kwargs)
        if self._function.__code__ is not self._code:
            text = "the function's __code__ was replaced: everything compiled from the old code is dropped"
            self._lifecycle.publisher.suspended(Cause("environment.code_changed", "environment", text), 0)
            self._reset()
        try:
            bound = self._binder(args, kwargs)
        except TypeError:
            return self._call_wrongly(args, kwargs)
        return self._lifecycle.call(args, kwargs, bound)  # type: ignore[no-any-return]

    def _call_wrongly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Result:
        """Make a call that does not fit the signature, for the exception Python raises."""
        self._lifecycle.tally.plain_calls += 1
        return self._function(*args, **kwargs)  # type: ignore[no-any-return]

    def _call_suspended(self, cause: Cause, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Result:
        lifecycle = self._lifecycle
        if cause.code not in self._suspensions:  # said once a function
            self._suspensions.add(cause.code)
            lifecycle.publisher.suspended(cause, lifecycle.number())
        lifecycle.tally.plain_calls += 1
        return self._function(*args, **kwargs)  # type: ignore[no-any-return]

    # ------------------------------------------------------------------ looking

    @property
    def stats(self) -> Statistics:
        """The counters of this function."""
        return self._lifecycle.statistics()

    @property
    def specializations(self) -> tuple[Specialization, ...]:
        """The specializations alive, the most recently hit first; those of continuations follow the function's."""
        parts = self._lifecycle.resumptions.continuations.values()
        return (*self._lifecycle.cache, *(item for part in list(parts) for item in part.cache))

    @property
    def eager_seconds(self) -> float | None:
        """The typical duration of a call in Python so far, or None."""
        return self._lifecycle.tally.eager_seconds

    def note_eager_seconds(self, seconds: float) -> None:
        """Take note of how long a call takes in plain Python, measured elsewhere; ``stats.saved_seconds`` uses it."""
        keep(self._lifecycle.tally.plain_timings, seconds)

    @property
    def reason(self) -> Cause | None:
        """Why the function runs in plain Python for good; None while it does not."""
        return self._lifecycle.refusal

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what goes on for this function in the background, if anything does, is done; return if it is."""
        return wait_for([self], timeout)

    @property
    def identity(self) -> str:
        """The name under which events speak of the function."""
        return str(self._lifecycle.publisher.identity)

    def explain(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Explanation:
        """Return which entry guards would hold or fail for a call, without running anything.

        Parameters
        ----------
        *args, **kwargs
            The arguments of the call.

        Returns
        -------
        Explanation
            For each specialization every guard that would fail; prints as text.

        Raises
        ------
        TypeError
            If the function does not take these arguments.
        """
        bound = self._binder(args, kwargs)
        items = []
        for specialization in self._lifecycle.cache:
            failed = specialization.failures_for(bound)
            differences = [d for guard, found in failed for d in entry_differences(guard, found, bound)]
            total = len(specialization.captured.guards.entry)
            items.append(SpecializationExplanation(specialization.number, total, tuple(differences)))
        return Explanation(self.identity, tuple(items), self.reason)

    # ------------------------------------------------------------------ being a function

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> JitFunction[Parameters, Result]: ...

    @overload
    def __get__(
        self: JitFunction[Concatenate[Owner, Rest], Result], instance: Owner, owner: type[Any] | None = None
    ) -> Callable[Rest, Result]: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __set_name__(self, owner: type[Any], name: str) -> None:
        """Be what a class statement makes of a plain function of such a name."""
        kind = _KINDS_BY_NAME.get(name)
        if kind is not None:
            type.__setattr__(owner, name, kind(self))

    def __reduce__(self) -> str:
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<jitted {self._function!r}>"

    @property
    def __code__(self) -> types.CodeType:
        return self._function.__code__

    @__code__.setter
    def __code__(self, code: types.CodeType) -> None:
        self._function.__code__ = code

    @property
    def __defaults__(self) -> tuple[Any, ...] | None:
        return self._function.__defaults__

    @__defaults__.setter
    def __defaults__(self, defaults: tuple[Any, ...] | None) -> None:
        self._function.__defaults__ = defaults

    @property
    def __kwdefaults__(self) -> dict[str, Any] | None:
        return self._function.__kwdefaults__

    @__kwdefaults__.setter
    def __kwdefaults__(self, defaults: dict[str, Any] | None) -> None:
        self._function.__kwdefaults__ = defaults

    @property
    def __builtins__(self) -> dict[str, Any]:
        function: Any = self._function  # not all descriptions of the type of functions have this attribute
        builtins: dict[str, Any] = function.__builtins__
        return builtins

    @property
    def __globals__(self) -> dict[str, Any]:
        return self._function.__globals__

    @property
    def __closure__(self) -> tuple[types.CellType, ...] | None:
        return self._function.__closure__


_call_in_python = JitFunction.__call__
native_call.make_room(JitFunction)


def _install_native_call(example: JitFunction[..., Any]) -> None:
    waits = example._options.policy == "raise" or not example._options.background
    if waits and len(example._lifecycle.cache):  # there has been a call of compiled code, the first, without this
        outcome = guarded(native_call.prepare)
        if isinstance(outcome, Failure):
            _log.info("calls are not made in machine code: %s", outcome.reason)
            NATIVE_CALL.append(True)
            return
    again = JitFunction._call_again
    if native_call.install(JitFunction, example, _SLOTS, FunctionLifecycle, _call_in_python, again):
        NATIVE_CALL.append(True)
        for function in list(FUNCTIONS):
            native_call.attach(function)


def wait_for(functions: Iterable[JitFunction[..., Any]], timeout: float | None) -> bool:
    """Wait until the background compilations of functions are done; return whether they are."""
    pending = [future for function in functions for future in function._lifecycle.futures()]
    _, unfinished = concurrent.futures.wait(pending, timeout)
    return not unfinished


def _after_fork() -> None:
    """Free what the parent's other threads held: they do not exist in the child."""
    background.forget()
    for function in FUNCTIONS:
        function._lifecycle.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
