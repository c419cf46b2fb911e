"""Gradients outside compiled code: functions are run on values that record what is done to them.

Owns `Traced` and `Recording`. Invariant: each operation is recorded by the model that capture uses for it, over a
machine that does it at once, so an operation means the same in both; a recording belongs to one thread and ends with
the outermost gradient; a write of differentiated values into what cannot hold them is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import janusjit.analysis.capture.autograd_programs
import janusjit.analysis.capture.checkpoints
import janusjit.analysis.capture.derivatives
import janusjit.analysis.recorded_rules  # noqa: F401 - registers itself
from janusjit.analysis.capture import arrays, attributes, containers, operators
from janusjit.analysis.capture.calls import invoke
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import length
from janusjit.analysis.capture.signals import PoisonUsed, PythonRaise, Terminated, Unmergeable
from janusjit.analysis.capture.state import DictObject, Instance, ListObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    Known,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
)
from janusjit.analysis.eager_machine import EagerMachine, GradientError
from janusjit.analysis.stored_values import StoredValues
from janusjit.analysis.variables import Variable
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Value

__all__ = ["GradientError", "Recording", "Traced", "active"]

_state = threading.local()
#: set by `janusjit.analysis.recorded_variables`: the abstract value of a variable
ENTER: list[Callable[[Recording, Variable], AbstractValue]] = []


class Recording:
    """The operations of one gradient, nested ones included, and their values."""

    def __init__(self) -> None:
        self.machine = EagerMachine()
        self.machine.told_to(self)
        self.ended = False
        self.stored = StoredValues(self.plain)
        self.entrance: Callable[[Variable], AbstractValue] | None = None
        self._plain: dict[int, Any] = {}
        self._lifted: list[tuple[np.ndarray[Any, Any], ArrayValue, Value]] = []

    # ------------------------------------------------------------------ values

    def abstract(self, value: Any) -> AbstractValue:
        """Return the abstract value of anything a function is called with."""
        kind = type(value)
        if isinstance(value, Traced):
            return value.abstract if value.recording is self else self.abstract(value.value)
        if kind is np.ndarray and value.dtype != object:
            # the backward pass needs what is in it now
            made = arrays.new_array(self.machine, self.machine.input(value.copy()))
            self._lifted.append((value, made, arrays.read(self.machine, made)))
            return made
        if isinstance(value, Variable):
            return ENTER[0](self, value)
        if isinstance(value, tuple):
            return TupleValue(tuple(map(self.abstract, value)), kind)
        if kind is list:
            return self.machine.state.allocate(ListObject(items=[self.abstract(item) for item in value]))
        if kind is dict:
            return self.machine.state.allocate(DictObject(items={k: self.abstract(v) for k, v in value.items()}))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: self.abstract(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return self.machine.state.allocate(Instance(type_=kind, attributes=fields))
        if kind is slice:
            return containers.from_python(self.machine, value)
        return Known(value)

    def python(self, value: AbstractValue, wrap: Callable[[AbstractValue], Any]) -> Any:
        """Return the Python object of an abstract value; ``wrap`` makes those of arrays and run-time numbers."""
        value = self.machine.resolve(value)
        if isinstance(value, ArrayValue | Scalar):
            return wrap(value)
        if isinstance(value, TupleValue):
            items = [self.python(item, wrap) for item in value.items]
            return tuple(items) if value.type_ is tuple else value.type_._make(items)  # type: ignore[attr-defined]
        if isinstance(value, Known):
            return value.value
        if isinstance(value, SliceValue):
            return slice(*(self.python(part, wrap) for part in (value.start, value.stop, value.step)))
        if isinstance(value, BuiltinMethod):
            return lambda *args, **kwargs: self.call(value, args, kwargs)
        if isinstance(value, Reference):
            return self._object(self.machine.heap(value), wrap)
        raise GradientError("autodiff.result", f"{type(value).__name__} has no form outside compiled code")

    def _object(self, item: Any, wrap: Callable[[AbstractValue], Any]) -> Any:
        if isinstance(item, ListObject):
            return [self.python(part, wrap) for part in item.items]
        if isinstance(item, DictObject):
            return {key: self.python(part, wrap) for key, part in item.items.items()}
        if isinstance(item, Instance):
            made: Any = object.__new__(item.type_)
            for name, part in item.attributes.items():
                object.__setattr__(made, name, self.python(part, wrap))
            return made
        raise GradientError("autodiff.result", f"{type(item).__name__} has no form outside compiled code")

    def traced(self, value: AbstractValue) -> Any:
        """Return an abstract value as the function being run sees it: what is no float is plain."""
        return self.python(value, self._traced)

    def _traced(self, value: AbstractValue) -> Any:
        if isinstance(value, ArrayValue) and not value.type.is_float:
            return self._concrete(value)
        return Traced(self, value)

    def concrete(self, value: AbstractValue) -> Any:
        """Return an abstract value as plain NumPy and Python objects."""
        return self.python(value, self._concrete)

    def _concrete(self, value: AbstractValue) -> Any:
        if isinstance(value, ArrayValue):
            return np.array(self.machine.values[arrays.read(self.machine, value)])
        assert isinstance(value, Scalar)
        number = np.asarray(self.machine.values[value.value])[()]
        return number if value.kind.startswith("numpy.") else number.item()

    def constant(self, array: np.ndarray[Any, Any]) -> Traced:
        """Return an array that nothing else refers to as one that may come to hold differentiated values."""
        return Traced(self, arrays.new_array(self.machine, self.machine.input(array)))

    def holds(self, value: Any) -> bool:
        """Whether a value is being differentiated, or is a list or tuple of such."""
        return isinstance(value, Traced) or (isinstance(value, list | tuple) and any(map(self.holds, value)))

    def depends(self, value: AbstractValue) -> bool:
        """Whether a gradient may flow through an array or number."""
        if isinstance(value, ArrayValue):
            return arrays.read(self.machine, value) in self.machine.activity
        return isinstance(value, Scalar) and value.value in self.machine.activity

    # ------------------------------------------------------------------ operations

    @contextlib.contextmanager
    def recording(self) -> Iterator[Machine]:
        """Record operations; what capture cannot follow is an error of the user's here."""
        machine, before = self.machine, len(self._lifted)
        depth = len(machine.state.frames)
        try:
            yield machine
            self._write_back(before)
        except PythonRaise as raised:
            raise _real_exception(raised) from None
        except CaptureFailure as failure:
            text = f"{failure.construct}: {failure.reason}"
            raise GradientError("autodiff.unsupported", f"no gradient can be recorded: {text}") from failure
        except (Terminated, PoisonUsed, Unmergeable) as signal:
            raise GradientError("autodiff.unsupported", "no gradient can be recorded of this operation") from signal
        finally:
            del machine.state.frames[depth:]
            del self._lifted[before:]

    def _write_back(self, start: int) -> None:
        """Do to plain arrays what was done to them as operands."""
        for array, lifted, value in self._lifted[start:]:
            written = arrays.read(self.machine, lifted)
            if written is value:
                continue
            if written in self.machine.activity:
                raise TypeError(LOST)
            np.copyto(array, self.machine.values[written])

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call of a function or method that capture can follow."""
        try:
            return self._recorded_call(function, args, kwargs)
        except GradientError as error:
            if error.code != "autodiff.unsupported" or self._any_depends((*args, *kwargs.values())):
                raise
            if isinstance(function, BuiltinMethod):
                return self._plain_method_call(function, args, kwargs)
            return self.plain_call(function, args, kwargs)

    def _plain_method_call(self, method: BuiltinMethod, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        owner, name = self.traced(method.owner), method.name
        if owner.recording.depends(owner.abstract):
            raise GradientError("autodiff.unsupported", f"no gradient can be recorded: .{name}() has no rule")

        def called(array: Any, *rest: Any, **named: Any) -> Any:
            return getattr(array, name)(*rest, **named)

        return self.plain_call(called, (owner, *args), kwargs)

    def _any_depends(self, values: Iterable[Any]) -> bool:
        return any(
            self._any_depends(value)
            if isinstance(value, list | tuple)
            else isinstance(value, Traced) and self.depends(value.abstract)
            for value in values
        )

    def _recorded_call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self.recording() as machine:
            target = self.target(function)
            positional = [self.abstract(argument) for argument in args]
            named = [(name, self.abstract(argument)) for name, argument in kwargs.items()]
            found = invoke(machine, target, positional, named)
        return self.traced(found)

    @staticmethod
    def target(function: Any) -> AbstractValue:
        """Return the abstract value of a function that is called."""
        if isinstance(getattr(function, "__self__", None), np.ufunc):
            return BuiltinMethod(Known(function.__self__), function.__name__)
        return function if isinstance(function, AbstractValue) else Known(function)

    def plain_call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function that has no model with the plain arrays of values that no gradient flows through."""
        copies: list[tuple[Traced, Any, Any]] = []

        def plain(value: Any) -> Any:
            if isinstance(value, Traced):
                copies.append((value, value.value, value.value))
                return copies[-1][1]
            return type(value)(map(plain, value)) if type(value) in (list, tuple) else value

        result = function(*map(plain, args), **{name: plain(value) for name, value in kwargs.items()})
        for traced, given, before in copies:
            if result is given:
                result = traced
            elif isinstance(result, np.ndarray) and np.may_share_memory(result, given):
                raise GradientError("autodiff.unsupported", f"{function!r} returns a view of what may be written")
            if not np.array_equal(given, before, equal_nan=True):
                traced[...] = given
        return result

    def plain(self, value: Any) -> Any:
        """Return the plain value of a differentiated one; a whole array's is one object."""
        if not isinstance(value, Traced):
            return value
        if isinstance(value.abstract, ArrayValue) and not value.abstract.path:
            return self._plain.setdefault(value.abstract.storage, value.value)
        return value.value


LOST = "differentiated values are written into an array from outside: pass it as an argument, or make it inside"


def _real_exception(raised: PythonRaise) -> BaseException:
    exception = raised.exception
    if isinstance(exception, Known) and isinstance(exception.value, BaseException):
        return exception.value
    return raised.type_()


def active() -> Recording | None:
    """Return the recording of this thread's outermost gradient, if one is under way."""
    found: Recording | None = getattr(_state, "recording", None)
    return found


def activate(recording: Recording | None) -> None:
    """Let a recording be the one of this thread's outermost gradient; None ends it."""
    _state.recording = recording


# ---------------------------------------------------------------------- what functions see

_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """An array or number that is being differentiated, or was computed from one.

    It behaves like the array: NumPy's functions, operators, indexing, methods and attributes. What makes it a plain
    number (``float``, ``math`` functions, formatting by ``%f``) would lose the gradient and raises TypeError;
    `janusjit.stop_gradient` gives the number.
    """

    __slots__ = ("abstract", "recording")
    __array_priority__ = 1000.0

    def __init__(self, recording: Recording, abstract: AbstractValue) -> None:
        self.recording = recording
        self.abstract = abstract

    @property
    def value(self) -> Any:
        """The plain array or number."""
        return self.recording.concrete(self.abstract)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, Variable) for value in inputs):
            return NotImplemented
        if "out" in kwargs:
            kwargs["out"] = kwargs["out"][0] if len(kwargs["out"]) == 1 else kwargs["out"]
        function: Any = ufunc if method == "__call__" else getattr(ufunc, method)
        return self.recording.call(function, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if any(issubclass(type_, Variable) for type_ in types):
            return NotImplemented
        return self.recording.call(function, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._depends():
            return np.array(self.value, *args, **kwargs)
        raise TypeError("an array of values that are being differentiated: use np.stack, or np.array in compiled code")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        recording = self.recording
        try:
            with recording.recording() as machine:
                found = attributes.get_attribute(machine, self.abstract, name)
        except GradientError:
            if self._depends() or callable(getattr(np.ndarray, name, None)):
                raise
            return getattr(self.value, name)
        return recording.traced(found)

    def __getitem__(self, index: Any) -> Any:
        recording = self.recording
        with recording.recording() as machine:
            found = containers.get_item(machine, self.abstract, recording.abstract(index))
        return recording.traced(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        recording = self.recording
        with recording.recording() as machine:
            containers.set_item(machine, self.abstract, recording.abstract(index), recording.abstract(value))

    def __len__(self) -> int:
        with self.recording.recording() as machine:
            found = length(machine, self.abstract)
        return int(self.recording.concrete(found))

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        if isinstance(self.abstract, Scalar) and self.abstract.value.type.is_float:
            raise TypeError("a float cannot be interpreted as an integer")
        return operator.index(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def _depends(self) -> bool:
        """Whether it may not be taken for a plain value."""
        return not self.recording.ended and self.recording.depends(self.abstract)

    def __float__(self) -> float:
        if not self._depends():
            return float(self.value)
        raise TypeError("float() of a value being differentiated loses its gradient: see janusjit.stop_gradient")

    def __repr__(self) -> str:
        return f"Traced({self.value!r})"

    def __format__(self, specification: str) -> str:
        return format(self.value, specification)

    __hash__ = object.__hash__


def _binary(symbol: str, reflected: bool) -> Callable[[Traced, Any], Any]:
    def operate(self: Traced, other: Any) -> Any:
        if isinstance(other, Variable):
            return NotImplemented
        recording = self.recording
        with recording.recording() as machine:
            operands = (self.abstract, recording.abstract(other))
            found = operators.binary(machine, symbol, *(operands[::-1] if reflected else operands))
        return recording.traced(found)

    return operate


def _in_place(symbol: str) -> Callable[[Traced, Any], Any]:
    def operate(self: Traced, other: Any) -> Any:
        if isinstance(other, Variable):
            return NotImplemented
        recording = self.recording
        with recording.recording() as machine:
            found = operators.in_place(machine, symbol, self.abstract, recording.abstract(other))
        return self if found is self.abstract else recording.traced(found)

    return operate


def _unary(symbol: str) -> Callable[[Traced], Any]:
    def operate(self: Traced) -> Any:
        with self.recording.recording() as machine:
            found = operators.unary(machine, symbol, self.abstract)
        return self.recording.traced(found)

    return operate


for _name, _symbol in _BINARY.items():
    setattr(Traced, f"__{_name}__", _binary(_symbol, False))
    setattr(Traced, f"__r{_name}__", _binary(_symbol, True))
    setattr(Traced, f"__i{_name}__", _in_place(_symbol))
for _name, _symbol in _COMPARED.items():
    setattr(Traced, f"__{_name}__", _binary(_symbol, False))
for _name, _symbol in (("neg", "u-"), ("pos", "u+"), ("invert", "~")):
    setattr(Traced, f"__{_name}__", _unary(_symbol))
setattr(Traced, "__abs__", lambda self: self.recording.call(np.absolute, (self,), {}))  # noqa: B010 - after the others
