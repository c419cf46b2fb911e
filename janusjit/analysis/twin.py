"""The profiled twin of a function.

Owns `make_twin`, and which callees are profiled too. Invariant: a twin returns, raises and changes what the original
does; objects it lets out (closures, generators' functions) are made of the user's own code, never of generated code.
"""

from __future__ import annotations

import copy
import functools
import sysconfig
import types
from abc import ABCMeta
from collections.abc import Callable
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Protocol

from janusjit.analysis.core import FunctionCore
from janusjit.analysis.declared_gradients import Checkpointed, custom_vjp
from janusjit.analysis.differentiated import Differentiated
from janusjit.analysis.generate import Generated, Mode, generate, instantiate
from janusjit.analysis.overloads import Overloads
from janusjit.analysis.source import load
from janusjit.collection import collection_paused
from janusjit.errors import SourceError
from janusjit.profiler.profile import Profile
from janusjit.profiler.recorder import Probe

Cells = dict[str, CellType]

#: an attribute by which the class of a callable says that calling it means calling its ``__wrapped__``
PROFILED_THROUGH = "__janusjit_profiled_through__"

_PACKAGE = Path(__file__).resolve().parent.parent
_FOREIGN = (_PACKAGE, *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")))
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: every class that a class statement makes
_INSTALLED = frozenset({"site-packages", "dist-packages"})
#: ordinary programs that come with the package
_PROGRAMS = (_PACKAGE / "nn", _PACKAGE / "optim")
#: what calls functions of the user's, which are profiled through it
_CALLING = _PACKAGE / "gradients.py"


class Replacement(Protocol):
    """Takes over frames of twins at the back edges of hot loops (on-stack replacement)."""

    def is_hot(self, core: FunctionCore, site: int, trips: int, began: float, iterator: Any) -> bool:
        """Whether to take over now: the loop at ``site`` has made ``trips`` trips since the time ``began``."""

    def replace(
        self, core: FunctionCore, site: int, variables: dict[str, Any], cells: Cells, names: dict[str, Any]
    ) -> Any:
        """Return what the rest of the frame returns; ``names`` are its globals."""


def make_twin(function: Any, profile: Profile) -> Callable[..., Any]:
    """Return a function that does what ``function`` does and records it in ``profile``.

    Parameters
    ----------
    function : function or method
        What to profile.
    profile : Profile
        Where the observations go; those of its user-written callees too.

    Raises
    ------
    SourceError
        If its source cannot be read; see `janusjit.analysis.source.load`.
    """
    return Twins(profile).twin(function)


def _plain(function: Any) -> FunctionType:
    assert isinstance(function, FunctionType)
    return function


#: set by `janusjit.analysis.gradient_calls`: the twins of functions that run while a gradient is recorded
RECORDING: list[Callable[[Profile], Twins]] = []


class Twins:
    """The twins that write to one profile, by code object; None where there can be none.

    Parameters
    ----------
    profile : Profile
        Where the observations go.
    replacement : Replacement, optional
        Takes over at the back edges of hot loops.

    Attributes
    ----------
    later : callable or None
        Says whether to run a function as it is because its twin is made later.
    """

    def __init__(self, profile: Profile, replacement: Replacement | None = None) -> None:
        self.profile = profile
        self.replacement = replacement
        self.mode = Mode(probes=True, original_functions=True, replaces=replacement is not None)
        self.generated: dict[int, Generated | None] = {}
        self.later: Callable[[FunctionType], bool] | None = None
        self._recording: Twins | None = None
        self.overloads = Overloads(self.of, lambda function: is_user_code(function.__code__))

    def twin(self, function: Any) -> Callable[..., Any]:
        """Return the twin of a function or method whose source can be read; see `make_twin`."""
        load(function)
        if isinstance(function, MethodType):
            return MethodType(self.of(_plain(function.__func__)), function.__self__)
        return self.of(_plain(function))

    def of(self, function: FunctionType) -> FunctionType:
        """Return the twin of a function, or the function itself if it has none."""
        code = function.__code__
        if id(code) not in self.generated:
            if self.later is not None and self.later(function):
                return function
            self.generated[id(code)] = self._generate(function, code)
        generated = self.generated[id(code)]
        return function if generated is None else instantiate(generated, function)

    def _generate(self, function: FunctionType, code: CodeType) -> Generated | None:
        try:
            with collection_paused():
                core: FunctionCore = load(function)
                generated = generate(core, self.mode)
        except SourceError:
            return None
        self.attach(generated, core, code)
        return generated

    def attach(self, generated: Generated, core: FunctionCore, code: CodeType) -> None:
        """Connect the probes of generated code with the profile."""
        generated.runtime.attach(Probe(self.profile.recorder.counters(code), self.substitute), self.overloads)
        if self.replacement is not None:
            is_hot = functools.partial(self.replacement.is_hot, core)
            generated.runtime.attach_replacement(is_hot, functools.partial(self.replacement.replace, core))

    def substitute(self, callee: Any) -> Any:
        """Return what to call in place of a callee."""
        kind = type(callee)
        if kind is FunctionType:
            return self.of(callee) if _is_profiled(callee.__code__) else callee
        if kind is MethodType:
            inner = callee.__func__
            if type(inner) is FunctionType and is_user_code(inner.__code__):
                return MethodType(self.of(inner), callee.__self__)
            return callee
        if kind is functools.partial:
            return functools.partial(self.substitute(callee.func), *callee.args, **callee.keywords)
        if kind is Differentiated:
            profiled = copy.copy(callee)
            if self._recording is None:
                self._recording = RECORDING[0](self.profile)
            profiled.function = self._recording.substitute(callee.function)
            return profiled
        if kind is Checkpointed or kind is custom_vjp:
            around = copy.copy(callee)
            for name in kind.CALLS:
                setattr(around, name, self.substitute(getattr(callee, name)))
            return around
        if kind is type or kind is ABCMeta:
            return self._constructor(callee)
        if not kind.__flags__ & _HEAP_TYPE:
            return callee
        if any(PROFILED_THROUGH in vars(base) for base in kind.__mro__):
            return self.substitute(callee.__wrapped__)
        return self._callable_object(callee, kind)

    def _constructor(self, kind: type) -> Any:
        """Return what makes an instance as ``type.__call__`` does, with ``__init__`` profiled."""
        initialize: Any = kind.__init__  # type: ignore[misc]
        allocate: Any = kind.__new__
        if allocate is not object.__new__ or type(initialize) is not FunctionType:
            return kind
        if not is_user_code(initialize.__code__):
            return kind
        twin = self.of(initialize)

        def construct(*args: Any, **kwargs: Any) -> Any:
            made: Any = object.__new__(kind)
            result = twin(made, *args, **kwargs)
            if result is not None:
                raise TypeError(f"__init__() should return None, not '{type(result).__name__}'")
            return made

        return construct

    def _callable_object(self, callee: Any, kind: type) -> Any:
        """Return the twin of the ``__call__`` of a user-written class."""
        call = next((vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base)), None)
        if type(call) is FunctionType and is_user_code(call.__code__):
            return MethodType(self.of(call), callee)
        return callee


@functools.lru_cache(maxsize=4096)
def _is_user_file(name: str) -> bool:
    if name.startswith("<"):
        return not name.startswith(("<frozen", "<__array_function__", "<string"))
    path = Path(name).resolve()
    if any(path.is_relative_to(folder) for folder in _PROGRAMS):
        return True
    return _INSTALLED.isdisjoint(path.parts) and not any(path.is_relative_to(folder) for folder in _FOREIGN)


def _is_profiled(code: CodeType) -> bool:
    """Whether what a function calls is profiled."""
    return is_user_code(code) or _is_calling(code.co_filename)


@functools.lru_cache(maxsize=4096)
def _is_calling(name: str) -> bool:
    return Path(name).resolve() == _CALLING


def is_user_code(code: CodeType) -> bool:
    """Whether a code object was written by the user, or might have been: `janusjit.nn`, `janusjit.optim`.

    Not what is in the standard library or an installed package.
    """
    return _is_user_file(code.co_filename)


def is_wrapper(live: Any) -> bool:
    """Whether calling an object means calling the Python function it wraps (a jitted function)."""
    return hasattr(type(live), PROFILED_THROUGH) and isinstance(getattr(live, "__wrapped__", None), types.FunctionType)
