"""Calls.

Owns the capture rule of `Call`, argument binding, and what each kind of callable does. Invariant: a user function's
frame is pushed on the machine's own stack, so branches inside it can be followed past its return; functions that
capture models itself are found by identity in `MODELS`, wherever the program got them from.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import ufuncs
from janusjit.analysis.capture.arrays import is_number
from janusjit.analysis.capture.binding import Keywords, bind, only_binds, unpacked_keywords
from janusjit.analysis.capture.containers import from_python
from janusjit.analysis.capture.iteration import draw_all, maker_of
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.methods import call_method
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.protocols import INVOKE, rejected
from janusjit.analysis.capture.python_builtins import PURE, WRITTEN
from janusjit.analysis.capture.python_equivalents import EQUIVALENTS
from janusjit.analysis.capture.python_types import python_type, special_method
from janusjit.analysis.capture.state import GeneratorObject
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    BuiltinMethod,
    FunctionValue,
    HostValue,
    Known,
    MethodValue,
    ModelledCallable,
    Reference,
    concrete,
    known,
)
from janusjit.analysis.core import Call, FunctionCore
from janusjit.analysis.differentiated import Differentiated
from janusjit.analysis.source import SourceError, load
from janusjit.analysis.twin import is_wrapper

#: set by `janusjit.analysis.capture.gradients`: call a gradient function
DIFFERENTIATE: list[Callable[[Machine, Differentiated, list[AbstractValue], Keywords], AbstractValue]] = []

#: set by `janusjit.analysis.capture.autograd_programs`: what a function of the package autograd is taken for
FOREIGN: list[Callable[[Machine, Any], AbstractValue | None]] = []

#: set by `janusjit.analysis.capture.variables`: call a function of NumPy, if an argument is a variable
OVERRIDE: list[Callable[..., AbstractValue | None]] = []

Model = Callable[[Machine, Sequence[AbstractValue], dict[str, AbstractValue]], AbstractValue]

#: what capture knows of functions and classes it models, by identity
MODELS: dict[Any, Model] = {}


def models(*functions: Any, keywords: Collection[str] | None = ()) -> Callable[[Model], Model]:
    """Register the model of functions that live outside (``len``, ``np.sum``, ``math.exp``).

    Parameters
    ----------
    *functions : callable
        The functions.
    keywords : collection of str, optional
        The keywords the model knows; with any other a call is left to Python. None: it looks at all of them itself.
    """

    def register(model: Model) -> Model:
        def checked(
            machine: Machine, arguments: Sequence[AbstractValue], named: dict[str, AbstractValue]
        ) -> AbstractValue:
            unknown = [name for name in named if name not in (keywords or ())]
            if unknown:
                raise machine.unsupported("python.argument", f"{unknown[0]}=", "the argument has no rule")
            return model(machine, arguments, named)

        for function in functions:
            MODELS[function] = model if keywords is None else checked
        return model

    return register


@executes(Call)
def execute_call(machine: Machine, instruction: Call) -> None:
    """``target = function(*positional, **keywords)``."""
    positional: list[AbstractValue] = []
    for atom, starred in zip(instruction.positional, instruction.starred, strict=True):
        positional.extend(draw_all(machine, machine.get(atom)) if starred else [machine.hand_on(atom)])
    keywords: list[tuple[str, AbstractValue]] = []
    for name, atom in instruction.keywords:
        if name is None:
            keywords.extend(unpacked_keywords(machine, machine.get(atom)))
        else:
            keywords.append((name, machine.hand_on(atom)))
    result = call(machine, machine.get(instruction.function), positional, keywords, instruction.target)
    if result is not None:
        machine.set(instruction.target, result)


def invoke(
    machine: Machine,
    function: AbstractValue,
    arguments: Sequence[AbstractValue],
    keywords: Keywords,
    of_any_kind: bool = False,
) -> AbstractValue:
    """Call and run to the return, now; ``of_any_kind``: what it returns may be a number of one of several kinds."""
    stop = machine.state.depth
    result = call(machine, function, arguments, keywords, None)
    if result is not None:
        return result
    frame = machine.frame
    constructing = frame.result == "instance"
    frame.result = "invoked"
    machine.run_nested(stop)
    returned = take_returned(machine)
    if constructing:
        returned = machine.constructed(frame, returned)
    return machine.settle(returned) if of_any_kind else machine.resolve(returned)


def take_returned(machine: Machine) -> AbstractValue:
    """Return what a call or a generator has given to the rule that ran it; joins need not keep it any more."""
    value, machine.state.returned = machine.state.returned, NONE
    return value


INVOKE.append(invoke)


def call(
    machine: Machine,
    function: AbstractValue,
    arguments: Sequence[AbstractValue],
    keywords: Keywords,
    target: str | None,
) -> AbstractValue | None:
    """Call an abstract callable: return its result, or None after pushing a frame that will set ``target``."""
    function = machine.resolve(function)
    look = machine.settle if only_binds(function) else machine.resolve
    arguments = [look(argument) for argument in arguments]
    keywords = [(name, look(value)) for name, value in keywords]
    if isinstance(function, FunctionValue):
        return _call_made(machine, function, arguments, keywords, target)
    if isinstance(function, MethodValue):
        return call(machine, function.function, [function.owner, *arguments], keywords, target)
    overridden = OVERRIDE[0](machine, function, arguments, keywords)
    if overridden is not None:
        return overridden
    if isinstance(function, BuiltinMethod):
        return call_method(machine, function, arguments, dict(keywords))
    if isinstance(function, ModelledCallable):
        return function.call(machine, arguments, dict(keywords))
    if isinstance(function, Known):
        return call_known(machine, function.value, arguments, keywords, target)
    method = special_method(machine, function, "__call__")
    if method is not None:
        return call(machine, method, arguments, keywords, target)
    if isinstance(function, HostValue):
        raise _host_callee(machine, function)
    raise rejected(machine, "()", "object is not callable", (function, "__call__"))


def _host_callee(machine: Machine, function: HostValue) -> Exception:
    source = getattr(function.value, "__self__", None)
    if isinstance(source, np.random.RandomState | np.random.Generator):
        return machine.unsupported(
            "numpy.random",
            f"{function.place}()",
            "random numbers come from a state that calls outside the graph change too",
            hint="draw them outside the jitted function and pass them in",
        )
    return unknown_callee(machine, str(function.place))


def unknown_callee(machine: Machine, name: str) -> Exception:
    """Return the failure of a call of what capture knows nothing of."""
    return machine.unsupported(
        "python.callee",
        f"{name}()",
        f"{name} is not Python code that capture can read, nor a function it models",
        hint="call it outside the jitted function, or pass its result in",
    )


def call_known(
    machine: Machine, value: Any, arguments: list[AbstractValue], keywords: Keywords, target: str | None
) -> AbstractValue | None:
    """Call a function or class known at capture."""
    model: Model | None = _find(MODELS, value)
    if model is not None:
        if value in WRITTEN and len(arguments) > 1 and not keywords and _number_types(machine, arguments) > 1:
            return _call_function(machine, WRITTEN[value], arguments, keywords, target)
        return model(machine, arguments, dict(keywords))
    equivalent: types.FunctionType | type | None = _find(EQUIVALENTS, value)
    if isinstance(equivalent, type):
        return INSTANTIATE[0](machine, equivalent, arguments, keywords, target)
    if equivalent is not None:
        return _call_function(machine, equivalent, arguments, keywords, target)
    if str(getattr(value, "__module__", "")).startswith("autograd."):
        taken = FOREIGN[0](machine, value)
        if taken is not None:
            return call(machine, taken, arguments, keywords, target)
    if isinstance(value, np.ufunc):
        return ufuncs.call(machine, value, arguments, dict(keywords))
    if isinstance(value, Differentiated):
        return DIFFERENTIATE[0](machine, value, arguments, keywords)
    if isinstance(value, functools.partial):
        return _call_partial(machine, value, arguments, keywords, target)
    if isinstance(value, types.MethodType):
        owner = constant_object(machine, value.__self__, f"{value.__qualname__}.__self__")
        return call(machine, Known(value.__func__), [owner, *arguments], keywords, target)
    if is_wrapper(value):
        return _call_function(machine, value.__wrapped__, arguments, keywords, target)
    if isinstance(value, types.FunctionType):
        return _call_function(machine, value, arguments, keywords, target)
    written = _numpy_implementation(machine, value, arguments, keywords)
    if written is not None:
        return _call_function(machine, written, arguments, keywords, target)
    if isinstance(value, type):
        return INSTANTIATE[0](machine, value, arguments, keywords, target)
    return _call_builtin(machine, value, arguments, dict(keywords))


def _number_types(machine: Machine, values: Sequence[AbstractValue]) -> int:
    """Return how many types there are among numbers, if some are known at run time only; 1 for anything else."""
    if not all(map(is_number, values)) or all(map(known, values)):
        return 1
    return len({python_type(machine, value) for value in values})


def _numpy_implementation(
    machine: Machine, value: Any, arguments: list[AbstractValue], keywords: Keywords
) -> types.FunctionType | None:
    """Return the Python function behind a NumPy function, which NumPy calls unless an argument overrides it."""
    implementation = getattr(value, "_implementation", None) if type(value) is type(np.sum) else None
    if not isinstance(implementation, types.FunctionType):
        return None
    for argument in (*arguments, *(argument for _, argument in keywords)):
        if special_method(machine, argument, "__array_function__") is not None:
            return None
    return implementation


def _find(table: Mapping[Any, Any], value: Any) -> Any:
    try:
        return table.get(value)
    except TypeError:  # unhashable
        return None


def _call_builtin(
    machine: Machine, value: Any, arguments: list[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    """Call a C function: a bound method of a modelled type, or a pure function of constants."""
    owner = getattr(value, "__objclass__", None)
    if owner is not None and arguments and isinstance(value, types.MethodDescriptorType | types.WrapperDescriptorType):
        return call_method(machine, BuiltinMethod(arguments[0], value.__name__), arguments[1:], keywords)
    if value in PURE and all(map(known, arguments)) and all(map(known, keywords.values())):
        plain = [concrete(argument) for argument in arguments]
        named = {name: concrete(v) for name, v in keywords.items()}
        return from_python(machine, fold(machine, lambda: value(*plain, **named)))
    module = getattr(value, "__module__", None) or type(value).__module__
    raise unknown_callee(machine, f"{module}.{getattr(value, '__qualname__', type(value).__name__)}")


def _call_partial(
    machine: Machine, value: Any, arguments: list[AbstractValue], keywords: Keywords, target: str | None
) -> AbstractValue | None:
    externals = machine.externals
    place = externals.constant_place(value, "partial")
    bound = [
        externals.read(externals.constant_place(item, f"partial.args[{i}]"), item) for i, item in enumerate(value.args)
    ]
    named = {
        name: externals.read(externals.constant_place(item, f"partial.keywords[{name!r}]"), item)
        for name, item in value.keywords.items()
    }
    assert place is not None
    named.update(keywords)
    return call_known(machine, value.func, [*bound, *arguments], list(named.items()), target)


# ---------------------------------------------------------------------- Python functions


def _call_made(
    machine: Machine,
    function: FunctionValue,
    arguments: Sequence[AbstractValue],
    keywords: Keywords,
    target: str | None,
) -> AbstractValue | None:
    bound = bind(machine, function.core, arguments, keywords, function.defaults, dict(function.keyword_defaults))
    _calls_itself(machine, function.core)
    return start(machine, function.core, function.namespace, function.code, bound, dict(function.cells), target)


def _call_function(
    machine: Machine,
    function: types.FunctionType,
    arguments: Sequence[AbstractValue],
    keywords: Keywords,
    target: str | None,
) -> AbstractValue | None:
    try:
        core = load(function)
    except SourceError as error:
        raise machine.unsupported(
            "python.source", f"{function.__qualname__}()", f"its source cannot be read: {error}"
        ) from error
    defaults, keyword_defaults = function_defaults(machine, function)
    bound = bind(machine, core, arguments, keywords, defaults, keyword_defaults)
    _guard_used_defaults(machine, function, set(map(id, bound.values())), defaults, keyword_defaults)
    cells = function_cells(machine, function)
    machine.externals.guard_code(function)
    if _calls_itself(machine, core):
        instruction = _outlined_call(machine, core, target)
        live = {name: machine.heap(cell).live for name, cell in cells.items() if isinstance(cell, Reference)}
        if instruction is not None and None not in live.values():
            raise OUTLINE[0](machine, instruction, core, function.__globals__, function.__code__, bound, live)
    return start(machine, core, function.__globals__, function.__code__, bound, cells, target)


def _calls_itself(machine: Machine, core: FunctionCore) -> bool:
    """Whether a call is one of a recursion that is unfolded; one that goes too far ends the attempt."""
    if machine.recursion is not None or all(frame.core is not core for frame in machine.state.frames):
        return False
    machine.hosts.recursive.add(core)
    if not machine.hosts.outlined and not machine.nested and machine.effort.unfolds_too_far():
        raise machine.unsupported("limit.graph_size", f"{core.name}()", "its recursion is unfolded too far")
    return True


#: set by `janusjit.analysis.capture.recursion`: keep the recursion that a call begins in the graph
RECURSION: list[Callable[..., AbstractValue | None]] = []
#: set by `janusjit.analysis.capture.construction`: call a class
INSTANTIATE: list[Callable[..., AbstractValue | None]] = []
#: set by `janusjit.analysis.capture.hosts`: end the graph at a call of a function that has code of its own
OUTLINE: list[Callable[..., Exception]] = []


def _outlined_call(machine: Machine, core: FunctionCore, target: str | None) -> Call | None:
    """Return the instruction of a recursive call that is to run in code of its own; None for any other call."""
    if not machine.hosts.outlined or machine.nested or machine.outermost is None or target is None:
        return None
    count, instruction = machine.outermost
    direct = isinstance(instruction, Call) and count == len(machine.state.frames) and instruction.target == target
    plain = core.kind == "function" and core.name != "__init__" and not core.cells
    return instruction if direct and plain and isinstance(instruction, Call) else None


def function_defaults(
    machine: Machine, function: types.FunctionType
) -> tuple[tuple[AbstractValue, ...], dict[str, AbstractValue]]:
    """Return a function's default values."""
    positional = tuple(
        constant_object(machine, value, f"{function.__qualname__}.__defaults__[{i}]")
        for i, value in enumerate(function.__defaults__ or ())
    )
    named = {
        name: constant_object(machine, value, f"{function.__qualname__}.__kwdefaults__[{name!r}]")
        for name, value in (function.__kwdefaults__ or {}).items()
    }
    return positional, named


def _guard_used_defaults(
    machine: Machine,
    function: types.FunctionType,
    used: set[int],
    defaults: Sequence[AbstractValue],
    keyword_defaults: dict[str, AbstractValue],
) -> None:
    """Assume that the default values a call takes stay the function's; ``used`` are the ids of what was bound."""
    if any(id(value) in used for value in defaults):
        machine.externals.guard_defaults(function)
    for name, value in keyword_defaults.items():
        if id(value) in used:
            machine.externals.guard_keyword_default(function, name)


def start(
    machine: Machine,
    core: FunctionCore,
    namespace: dict[str, Any],
    code: Any,
    bound: dict[str, AbstractValue],
    cells: dict[str, AbstractValue],
    target: str | None,
) -> AbstractValue | None:
    """Push the frame of a function whose arguments are bound; a generator function makes its generator instead."""
    if core.kind == "function":
        if machine.recursion is not None and machine.recursion.enters(core):
            raise machine.recursion.call(core, namespace, code, bound, cells, target)
        kept: AbstractValue | None = RECURSION[0](machine, core, namespace, code, bound, cells)
        if kept is None:
            machine.enter(core, namespace, code, bound, cells, target)
        return kept
    if core.kind in ("generator", "coroutine"):
        frame = machine.enter(core, namespace, code, bound, cells, None)
        machine.state.frames.pop()
        made = machine.state.allocate(GeneratorObject(frame=frame, maker=maker_of(machine, core)))
        frame.generator = made.index
        return made
    raise machine.unsupported("python.construct", core.kind, f"{core.name} is an {core.kind}")


def constant_object(machine: Machine, value: Any, name: str) -> AbstractValue:
    """Return an object kept by code: a number or string as it is, anything mutable as an outside object."""
    if isinstance(value, bool | int | float | str | bytes):
        return Known(value)
    return machine.externals.read(machine.externals.constant_place(value, name), value)


def function_cells(machine: Machine, function: types.FunctionType) -> dict[str, AbstractValue]:
    """Return the closure cells of a Python function by name."""
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    return {name: machine.externals.cell(cell, name) for name, cell in zip(names, cells, strict=True)}
