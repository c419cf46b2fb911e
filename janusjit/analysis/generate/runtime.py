"""What generated code calls.

Owns the object that generated code reaches through its variable ``.janus``. Invariant: nothing here can be seen by the
user's program; a nested function that generated code makes has the code object the user's own would have.
"""

from __future__ import annotations

import builtins
import itertools
import sys
import time
from collections.abc import Callable
from types import CellType, CodeType, FrameType, FunctionType
from typing import Any

from janusjit.analysis.core import FunctionCore
from janusjit.analysis.frame_values import Raised, Unbound, is_private
from janusjit.analysis.intrinsics import INTRINSICS
from janusjit.analysis.loop_iterators import (
    LoopIterator,
    iter_of_loop,
    may_hold_generator,
    reaches_generator,
    taken,
    turns,
)
from janusjit.analysis.overloads import Overloads
from janusjit.profiler.recorder import Probe

CodeMaker = Callable[[FunctionCore], tuple[CodeType, "Runtime | None"]]


class Entered:
    """A context manager that has been entered before; leaving it calls ``leave``."""

    __slots__ = ("_leave",)

    def __init__(self, leave: Callable[..., Any]) -> None:
        self._leave = leave

    def __enter__(self) -> None:
        return None

    def __exit__(self, *raised: Any) -> Any:
        return self._leave(*raised)


class Runtime:
    """The runtime object of one generated function.

    Parameters
    ----------
    functions : list of FunctionCore
        The nested functions it makes, by number.
    code_of : callable
        Gives the code object to make a nested function from, and its own runtime object if it is generated.
    """

    iter = staticmethod(builtins.iter)
    iter_of_loop = staticmethod(iter_of_loop)
    turns = staticmethod(turns)
    taken = staticmethod(taken)
    slice = staticmethod(builtins.slice)
    set: Any = staticmethod(builtins.set)
    insert = staticmethod(dict.__setitem__)

    @staticmethod
    def resumed(iterator: Any) -> Any:
        """Return an iterator with one turn more in front, for the turn of a loop that has begun."""
        turn = (None,)
        return iterator.after(turn) if type(iterator) is LoopIterator else itertools.chain(turn, turns(iterator))

    @staticmethod
    def local(name: str) -> Any:
        """Return a local variable of the caller's frame, `Unbound` if it is not bound."""
        return sys._getframe(1).f_locals.get(name, Unbound)

    @staticmethod
    def raised(bound: Any) -> Raised:
        """Return the exception that is handled, with the locals that were bound before it."""
        error = sys.exc_info()[1]
        assert error is not None
        return Raised(error, bound)

    @staticmethod
    def own_variable(name: str, read: Callable[[], Any]) -> Any:
        """Read a variable that is the function's own, though Python takes it for one of a function around it."""
        try:
            return read()
        except NameError:
            text = f"cannot access local variable '{name}' where it is not associated with a value"
            raise UnboundLocalError(text) from None

    @staticmethod
    def is_unbound(value: Any) -> bool:
        """Whether a value stands for a variable that is not bound."""
        return value is Unbound

    @staticmethod
    def entered(leave: Any) -> Entered:
        """Return a context manager that has been entered before."""
        return Entered(leave)

    is_sequence = staticmethod(INTRINSICS["is_sequence"])
    is_mapping = staticmethod(INTRINSICS["is_mapping"])
    length = staticmethod(INTRINSICS["length"])
    match_keys = staticmethod(INTRINSICS["match_keys"])
    mapping_rest = staticmethod(INTRINSICS["mapping_rest"])
    match_class = staticmethod(INTRINSICS["match_class"])

    clock = staticmethod(time.perf_counter)
    is_private = staticmethod(is_private)

    def __init__(self, functions: list[FunctionCore], code_of: CodeMaker) -> None:
        self.functions = functions
        self.code_of = code_of

    def attach(self, probe: Probe, overloads: Overloads) -> None:
        """Let the generated code count with ``probe`` and dispatch operators through ``overloads``."""
        self.overloaded = overloads.overloaded
        self.operate = overloads.operate
        self.in_place = overloads.in_place
        self.has_item = overloads.has_item
        self.item = overloads.item
        self.has_property = overloads.has_property
        self.property = overloads.property
        self.enter = probe.enter
        self.branch = probe.branch
        self.trips = probe.trips
        self.callee = probe.callee

    def attach_replacement(self, is_hot: Callable[..., bool], replace: Callable[..., Any]) -> None:
        """Let loops ask ``is_hot(site, trips, began, iterator)``, and ``replace(site, variables, cells)`` take over."""
        self._is_hot = is_hot
        self._replace = replace

    def is_hot(self, site: int, trips: int, began: float, iterator: Any) -> bool:
        """Whether a loop of the caller's is to be taken over: not where an object would be that holds a generator."""
        if not self._is_hot(site, trips, began, iterator):
            return False
        frame = sys._getframe(1)
        others = (v for v in frame.f_locals.values() if type(v) is not LoopIterator and not may_hold_generator(v))
        held = any(reaches_generator(value, False) for value in others)
        _forget_locals(frame)
        return not held

    def attach_recording(self, value: Callable[[int, Any], Any], storing: Callable[[Any], Any]) -> None:
        """Let ``value(site, value)`` replace values, and ``storing(owner)`` know what is about to be written."""
        self.value = value
        self.storing = storing

    def replace(self, site: int, cells: FunctionType) -> Any:
        """Return what runs the rest of the caller's frame; ``cells`` is a function that captures what it shares."""
        frame = sys._getframe(1)
        captured = dict(zip(cells.__code__.co_freevars, cells.__closure__ or (), strict=True))
        variables = dict(frame.f_locals)
        _forget_locals(frame)
        return self._replace(site, variables, captured, frame.f_globals)

    def make_function(
        self,
        number: int,
        cells: FunctionType,
        defaults: tuple[Any, ...],
        keyword_defaults: tuple[Any, ...],
        annotations: tuple[Any, ...],
        keyword_names: tuple[str, ...],
        annotation_names: tuple[str, ...],
    ) -> FunctionType:
        """Make nested function ``number``; ``cells`` is a function that captures what it captures."""
        core = self.functions[number]
        code, runtime = self.code_of(core)
        captured = dict(zip(cells.__code__.co_freevars, cells.__closure__ or (), strict=True))
        closure = closure_for(code, captured, runtime)
        made = FunctionType(code, cells.__globals__, code.co_name, defaults or None, closure)
        if keyword_defaults:
            made.__kwdefaults__ = dict(zip(keyword_names, keyword_defaults, strict=True))
        if annotations:
            made.__annotations__ = dict(zip(annotation_names, annotations, strict=True))
        if runtime is not None:
            made.__doc__ = None if core.code is None else documentation(core.code)
        return made

    @staticmethod
    def frame_reader(function: Any) -> Any:
        """Return a builtin that reads its caller's locals, made to leave out what generated code added."""
        if function is builtins.locals:
            return _locals
        if function is builtins.vars:
            return _vars
        return _dir if function is builtins.dir else function


def _forget_locals(frame: FrameType) -> None:
    """Empty the copy of its variables that a frame keeps once it is asked for, also of what they let go of."""
    if sys.version_info < (3, 13) and sys.gettrace() is None:
        frame.f_locals.clear()


def closure_for(code: CodeType, captured: dict[str, CellType], runtime: Runtime | None) -> tuple[CellType, ...]:
    """Return the closure of a function in the order its code wants it."""
    return tuple(captured[name] if name in captured else CellType(runtime) for name in code.co_freevars)


def documentation(code: CodeType) -> str | None:
    """Return the docstring a code object carries."""
    first = code.co_consts[0] if code.co_consts else None
    has_flag = sys.version_info < (3, 14) or code.co_flags & 0x4000000
    return first if isinstance(first, str) and has_flag and not code.co_name.startswith("<") else None


def _own(depth: int) -> dict[str, Any]:
    frame = sys._getframe(depth + 1)
    code = frame.f_code
    kept = ".0" if code.co_argcount and code.co_varnames[0] == ".0" else ""  # the parameter of a comprehension
    return {name: value for name, value in frame.f_locals.items() if not name.startswith(".") or name == kept}


def _locals() -> dict[str, Any]:
    return _own(1)


def _vars(*arguments: Any) -> Any:
    return vars(*arguments) if arguments else _own(1)


def _dir(*arguments: Any) -> list[str]:
    return dir(*arguments) if arguments else sorted(_own(1))
