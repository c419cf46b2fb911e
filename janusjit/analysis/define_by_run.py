"""Gradients outside compiled code: functions are run on values that record what is done to them.

Owns `Traced` and `Recording`. Invariants: each operation is done on real values at once, by the op's own eager
function, and recorded by the model that capture uses for it, so an operation means the same in both; a recording
belongs to one thread and ends with the outermost gradient.
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import janusjit.analysis.capture.autograd_programs  # noqa: F401 - registers itself
from janusjit.analysis.capture import arrays, attributes, containers, operators
from janusjit.analysis.capture.calls import call
from janusjit.analysis.capture.externals import Externals
from janusjit.analysis.capture.gradients import differentiate
from janusjit.analysis.capture.host_sites import HostSites
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import length
from janusjit.analysis.capture.signals import PoisonUsed, PythonRaise, Terminated, Unmergeable
from janusjit.analysis.capture.state import ControlEntry, DictObject, Frame, Instance, ListObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    Known,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.core import Block, FunctionCore, Parameters
from janusjit.analysis.differentiated import EAGER, Differentiated
from janusjit.errors import CaptureFailure, JanusError
from janusjit.ir.dims import Symbol, evaluate
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ir.relaxations import Relaxations
from janusjit.ir.types import TensorType, dtype_name
from janusjit.ops import OPS
from janusjit.ops.indexing import evaluate_attributes
from janusjit.profiler.profile import Profile
from janusjit.spans import UNKNOWN_SPAN

_state = threading.local()


class GradientError(JanusError):
    """Something was done to a value being differentiated that has no gradient rule, or cannot be recorded.

    Parameters
    ----------
    code, message : str
        As of any `JanusError`.
    """


class Recording:
    """The operations of one gradient, nested ones included, and their values."""

    def __init__(self) -> None:
        self.graph = Graph("gradient")
        externals = Externals(self.graph, Relaxations(), frozenset(), lambda: UNKNOWN_SPAN)
        self.machine = Machine(self.graph, externals, Profile(), Relaxations(), {}, HostSites())
        core = FunctionCore(
            "gradient", "gradient", Parameters(), Block(), "function", frozenset(), (), [], UNKNOWN_SPAN
        )
        self.machine.state.frames.append(Frame(core, {}, None, {}, {}, [ControlEntry(core.body)]))
        self.values: dict[Value, Any] = {}
        self.sizes: dict[Symbol, int] = {}
        self._done = 0
        self._inputs = 0

    # ------------------------------------------------------------------ values

    def input(self, value: Any) -> Value:
        """Return the graph value of a real array or number."""
        array = np.asarray(value)
        name = dtype_name(array.dtype)
        if name is None:
            raise GradientError("autodiff.dtype", f"arrays of {array.dtype} have no gradients here")
        made = Value(TensorType(name, array.shape), self.graph.body, self._inputs)
        self._inputs += 1
        self.values[made] = array
        return made

    def abstract(self, value: Any) -> AbstractValue:
        """Return the abstract value of anything a function is called with."""
        kind = type(value)
        if isinstance(value, Traced):
            if value.recording is not self:
                raise GradientError("autodiff.escaped", "a value of another gradient is used: it has ended")
            return value.abstract
        if kind is np.ndarray:
            return arrays.new_array(self.machine, self.input(value))
        if isinstance(value, np.generic) and dtype_name(value.dtype) is not None:
            return Scalar(self.input(value), f"numpy.{dtype_name(value.dtype)}", sample=value)
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
        """Return an abstract value as the function being run sees it."""
        return self.python(value, lambda part: Traced(self, part))

    def concrete(self, value: AbstractValue) -> Any:
        """Return an abstract value as plain NumPy and Python objects."""
        return self.python(value, self._concrete)

    def _concrete(self, value: AbstractValue) -> Any:
        if isinstance(value, ArrayValue):
            found = arrays.read(self.machine, value)
            self.evaluate()
            return np.array(self.values[found])
        assert isinstance(value, Scalar)
        self.evaluate()
        number = np.asarray(self.values[value.value])[()]
        return number if value.kind.startswith("numpy.") else number.item()

    # ------------------------------------------------------------------ operations

    @contextlib.contextmanager
    def recording(self) -> Iterator[Machine]:
        """Record operations; what capture cannot follow is an error of the user's here."""
        try:
            yield self.machine
            self.evaluate()
        except PythonRaise as raised:
            raise _real_exception(raised) from None
        except CaptureFailure as failure:
            text = f"{failure.construct}: {failure.reason}"
            raise GradientError("autodiff.unsupported", f"no gradient can be recorded: {text}") from failure
        except (Terminated, PoisonUsed, Unmergeable) as signal:
            raise GradientError("autodiff.unsupported", "no gradient can be recorded of this operation") from signal

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call of a function or method that capture has a model of."""
        with self.recording() as machine:
            target = function if isinstance(function, AbstractValue) else Known(function)
            positional = [self.abstract(argument) for argument in args]
            named = [(name, self.abstract(argument)) for name, argument in kwargs.items()]
            result = call(machine, target, positional, named, None)
            if result is None:
                raise machine.unsupported("autodiff.unsupported", "call", "it is followed in compiled code only")
            found = result
        return self.traced(found)

    def evaluate(self) -> None:
        """Do what has been recorded since the last time."""
        nodes = self.graph.body.nodes
        while self._done < len(nodes):
            self._do(nodes[self._done])
            self._done += 1

    def _do(self, node: Node) -> None:
        inputs = [self.values[value] for value in node.inputs]
        if node.op == "guard":
            if not inputs[0]:
                raise GradientError(node.guard.code, f"{node.guard.subject}: expected {node.guard.expected}")
            return
        if node.op == "bind_dim":
            self.sizes[node.attributes["symbol"]] = int(inputs[0])
            return
        if node.op == "dim":
            self.values[node.result] = np.int64(evaluate(node.attributes["dim"], self.sizes))
            return
        if node.op not in OPS:
            raise GradientError("autodiff.unsupported", f"{node.op} is followed in compiled code only")
        with np.errstate(all="ignore"):
            results = OPS[node.op].eager(*inputs, **evaluate_attributes(node.attributes, self.sizes))
        several = results if isinstance(results, tuple) else (results,)
        if isinstance(bound := node.attributes.get("symbol"), Symbol):
            self.sizes[bound] = len(several[0])
        for value, result in zip(node.results, several, strict=True):
            self.values[value] = np.asarray(result, value.type.numpy_dtype)


def _real_exception(raised: PythonRaise) -> BaseException:
    exception = raised.exception
    if isinstance(exception, Known) and isinstance(exception.value, BaseException):
        return exception.value
    return raised.type_()


def active() -> Recording | None:
    """Return the recording of this thread's outermost gradient, if one is under way."""
    found: Recording | None = getattr(_state, "recording", None)
    return found


def _run(function: Differentiated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a gradient function in plain Python."""
    outer = active()
    recording = Recording() if outer is None else outer
    _state.recording = recording

    def run(given: list[AbstractValue], named: dict[str, AbstractValue]) -> AbstractValue:
        passed = kwargs | {name: recording.traced(value) for name, value in named.items()}
        result = function.function(*map(recording.traced, given), **passed)
        recording.evaluate()
        return recording.abstract(result)

    try:
        with recording.recording() as machine:
            # other keywords are passed on as they are
            named = {name: recording.abstract(kwargs[name]) for name in function.names if name in kwargs}
            result = differentiate(machine, function, [recording.abstract(argument) for argument in args], named, run)
        return recording.concrete(result) if outer is None else recording.traced(result)
    finally:
        _state.recording = outer


EAGER.append(_run)

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
        if "out" in kwargs:
            (out,) = kwargs["out"]
            if not isinstance(out, Traced):
                raise TypeError("out= is an array that is not being differentiated: the gradient would be lost")
            kwargs["out"] = out
        function: Any = ufunc if method == "__call__" else getattr(ufunc, method)
        return self.recording.call(function, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.recording.call(function, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("an array of values that are being differentiated: use np.stack, or np.array in compiled code")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        recording = self.recording
        with recording.recording() as machine:
            found = attributes.get_attribute(machine, self.abstract, name)
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

    def __float__(self) -> float:
        raise TypeError("float() of a value being differentiated loses its gradient: see janusjit.stop_gradient")

    def __repr__(self) -> str:
        return f"Traced({self.value!r})"

    def __format__(self, specification: str) -> str:
        return format(self.value, specification)

    __hash__ = object.__hash__


def _binary(symbol: str, reflected: bool) -> Callable[[Traced, Any], Any]:
    def operate(self: Traced, other: Any) -> Any:
        recording = self.recording
        with recording.recording() as machine:
            operands = (self.abstract, recording.abstract(other))
            found = operators.binary(machine, symbol, *(operands[::-1] if reflected else operands))
        return recording.traced(found)

    return operate


def _in_place(symbol: str) -> Callable[[Traced, Any], Any]:
    def operate(self: Traced, other: Any) -> Any:
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
