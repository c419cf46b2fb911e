"""Operations on variables outside compiled code.

Owns what is done to a `Variable`. Invariant: an operation that is recorded goes through the model that capture has of
it, over a machine that does it at once, so it means the same in compiled code; one that is not recorded is NumPy's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import arrays, attributes, containers, operators
from janusjit.analysis.capture.calls import invoke
from janusjit.analysis.capture.gradients import recorded_backward
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import COMPARISONS, PYTHON_OPERATORS
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, BuiltinMethod, Known, Scalar
from janusjit.analysis.define_by_run import ENTER, Recording, Traced, active
from janusjit.analysis.recorded_rules import DRESS
from janusjit.analysis.recording_mode import MODE
from janusjit.analysis.records import USED_UP, History, Memory, Record, before, records_of, release
from janusjit.analysis.variables import (
    ENGINE,
    FREED,
    RECORDED_DATA,
    RECORDED_IN_GRADIENT,
    Variable,
    is_float,
    plain,
    recorded,
    untracked,
)
from janusjit.ir.graph import Node, Value

Rule = Callable[[Machine], AbstractValue]
#: attributes that are arrays; all others are plain data
_ARRAY_ATTRIBUTES = frozenset({"T", "mT", "real", "imag", "flat"})
_FREED = "the recorded operations have been freed: by an earlier backward() without retain_graph, or with their tape"


class Operation:
    """One operation being recorded, by the recording of the gradient under way or a new one.

    Parameters
    ----------
    python_floats : bool
        Whether floats of Python's among its results are variables too.
    """

    def __init__(self, python_floats: bool = False) -> None:
        self._python_floats = python_floats
        outer = active()
        self.recording = Recording() if outer is None else outer
        self.machine = self.recording.machine
        self.shared = outer is not None
        self.memories: dict[int, Memory] = {}
        self.parents: dict[Record, None] = {}
        self.leaves: list[tuple[Variable, Value]] = []
        self._outer_entrance = self.recording.entrance

    def __enter__(self) -> Operation:
        self.recording.entrance = self.abstract
        return self

    def __exit__(self, *raised: Any) -> None:
        self.recording.entrance = self._outer_entrance

    # ------------------------------------------------------------------ operands

    def abstract(self, variable: Variable) -> AbstractValue:
        """Return the abstract value of a variable."""
        history = variable._history
        if history is not None and history is not FREED:
            return self._computed(history, variable.requires_grad)
        value = self._input(variable._data)
        made = arrays.new_array(self.machine, value)
        if history is FREED:
            self.machine.record_by(value)
            self.parents[USED_UP] = None
            return made if value.type.shape else Scalar(value, f"numpy.{value.type.dtype}")
        self.machine.state.at(made.storage).writeable = False  # it is a copy: what is written would be lost
        if variable.requires_grad:
            self.machine.record_by(value)
            self.leaves.append((variable, value))
        return made

    def _input(self, data: Any) -> Value:
        """Return the graph value of a copy of a leaf's data."""
        if isinstance(data, Traced):
            value = arrays.as_array(self.machine, self.recording.abstract(data))
            assert value is not None
            return self.machine.emit("copy", value)
        return self.machine.input(np.array(data))

    def _computed(self, history: History, requires_grad: bool) -> AbstractValue:
        machine = self.machine
        for record in history.records:
            self.parents[record] = None
        machine.values.update(history.values)
        for memory in history.memories:
            if memory.record is not None and memory.record.released and not self.shared:
                memory.storage.version = machine.input(memory.array)  # what led to the old one can be freed
            machine.state.heap[memory.index] = memory.storage
            machine.values[memory.storage.version] = memory.array
            self.memories[memory.index] = memory
            if requires_grad and memory.record is not None:
                machine.record_by(memory.storage.version)
        if isinstance(history.abstract, Scalar):
            machine.record_by(history.abstract.value)
        return history.abstract

    def into(self, variable: Variable) -> AbstractValue:
        """Return the abstract value of a variable that is about to be written.

        Raises
        ------
        RuntimeError
            If it is a leaf that requires gradients.
        """
        if variable._history is None and variable.requires_grad:
            raise RuntimeError("a leaf Variable that requires gradients is written in place: see no_grad()")
        if variable._history is None:
            made = self.abstract(variable)
            assert isinstance(made, ArrayValue)
            storage = self.machine.state.at(made.storage)
            storage.writeable = True
            memory = Memory(made.storage, storage, self.machine.values[storage.version], None)
            self.memories[made.storage] = memory
            variable._history = History(made, (memory,), None, {})
        variable.requires_grad = True
        return self.abstract(variable)

    # ------------------------------------------------------------------ results

    def run(self, rule: Rule) -> Any:
        """Do an operation, record it, and return its result."""
        nodes = self.machine.graph.body.nodes
        begin = len(nodes)
        with self.recording.recording() as machine:
            found = machine.resolve(rule(machine))
        record = self.record(nodes[begin:])
        if isinstance(found, Known) and isinstance(found.value, np.floating):
            found = self._number(found.value)
        return self.recording.python(found, lambda value: self.result(value, record))

    def record(self, nodes: Sequence[Node]) -> Record:
        machine = self.machine
        kept = [node for node in nodes if any(value in machine.activity for value in node.results)]
        values = {value: machine.values[value] for node in kept for value in (*node.inputs, *node.results)}
        for node in kept:
            node.attributes = machine.evaluated(node.attributes)
        record = Record(kept, values, tuple(self.parents), tuple(self.leaves), MODE.get().tapes, self.shared)
        for memory in self.memories.values():
            version = memory.storage.version
            if machine.values[version] is not memory.array:
                memory.array, memory.record = machine.values[version], record
        return record

    def result(self, value: AbstractValue, record: Record) -> Any:
        if isinstance(value, ArrayValue) and value.type.is_float:
            memories = self._memories(value.storage, record)
            return computed(History(value, memories, None, {v: self.machine.values[v] for v in value.operands}))
        if isinstance(value, Scalar) and value.value.type.is_float and (value.kind != "float" or self._python_floats):
            value = Scalar(value.value, f"numpy.{value.value.type.dtype}")
            return computed(History(value, (), record, {value.value: self.machine.values[value.value]}))
        return self.recording.concrete(value)

    def _memories(self, index: int, record: Record) -> tuple[Memory, ...]:
        storage = self.machine.state.at(index)
        if index not in self.memories:
            array = self.machine.values[storage.version]
            self.memories[index] = Memory(index, storage, array, record)
        shown = () if storage.mirrors is None else self._memories(storage.mirrors.source.storage, record)
        return (self.memories[index], *shown)

    def _number(self, number: Any) -> Scalar:
        """Return a NumPy float that no gradient flows through as what one may flow through."""
        value = self.machine.input(number)
        self.machine.record_by(value)
        return Scalar(value, f"numpy.{value.type.dtype}")

    # ------------------------------------------------------------------ backward

    def pulled_back(
        self,
        records: Sequence[Record],
        targets: Sequence[AbstractValue],
        seeds: Sequence[Any],
        sources: Sequence[Value],
    ) -> list[Value | None]:
        """Go back from targets to sources through recorded operations; return a graph value for each source."""
        machine = self.machine
        if any(record.released for record in records):
            raise RuntimeError(_FREED)
        for record in records:
            machine.values.update(record.values)
        nodes = [node for record in records for node in record.nodes]
        with machine.behind(nodes):
            outputs, cotangents = [], []
            for target, seed in zip(targets, seeds, strict=True):
                output = arrays.as_array(machine, target)
                assert output is not None
                outputs.append(output)
                cotangents.append(self._seed(output, seed))
            with self.recording.recording():  # the rule of a custom_vjp runs code of the user's
                found = recorded_backward(machine, outputs, cotangents, list(sources))
            machine.keep_only([value for value in found if value is not None], len(nodes))
            mode = MODE.get()
            if self.shared or (mode.enabled and mode.tapes):
                machine.evaluate()
            else:
                machine.catch_up(found)  # no gradient will be taken of it
        return found

    def _seed(self, output: Value, seed: Any) -> Value:
        machine, shape = self.machine, output.type.shape
        if seed is None:
            one = machine.emit("constant", value=1.0, dtype=output.type.dtype)
            return machine.emit("full", one, shape=shape) if shape else one
        value = arrays.as_array(machine, self.recording.abstract(seed if shape_of(seed) else np.asarray(seed)))
        if value is None or value.type.shape != shape:
            raise RuntimeError(f"the cotangent has to have the result's shape, {shape}")
        return arrays.cast(machine, value, output.type.dtype)

    def array_of(self, value: Value) -> Any:
        """Return a graph value as a new array that leaves the record: one being differentiated, in a gradient."""
        if self.shared:
            value = self.machine.emit("detach", value)
            self.machine.evaluate()
            if value in self.machine.differentiated:
                return Traced(self.recording, arrays.new_array(self.machine, value))
        return np.array(self.machine.values[value])


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an array, variable or number."""
    return np.shape(plain(value))


def computed(history: History) -> Variable:
    """Return the variable of a recorded result."""
    made = Variable.__new__(Variable)
    made._data, made.grad, made.requires_grad, made._history = None, None, True, history
    return made


def copied(data: Any, dtype: Any) -> Any:
    """Return a copy of values that `janusjit.grad` differentiates; None of anything else."""
    if not isinstance(data, Traced):
        return None
    found = data.recording.call(np.array, (data,), {} if dtype is None else {"dtype": dtype})
    return found if isinstance(found, Traced) else None


def enter(recording: Recording, variable: Variable) -> AbstractValue:
    """Return the abstract value of a variable that meets values that `janusjit.grad` differentiates."""
    if recording.entrance is not None:
        return recording.entrance(variable)
    if recorded(variable):
        raise TypeError(RECORDED_IN_GRADIENT)
    return recording.abstract(variable.data)


ENTER.append(enter)
RECORDED_DATA.append(copied)
DRESS.append(lambda value: dressed(value))


# ---------------------------------------------------------------------- operations that are not recorded


def bare(value: Any) -> Any:
    """Return a value with the data of variables in their place."""
    if type(value) in (list, tuple):
        return type(value)(map(bare, value))
    if type(value) is dict:
        return {key: bare(part) for key, part in value.items()}
    return plain(value)


def dressed(value: Any) -> Any:
    """Return the result of an operation, each array of floats in it as a variable."""
    if isinstance(value, Traced) and isinstance(value.abstract, Scalar) and value.abstract.kind == "float":
        return value
    if isinstance(value, np.ndarray | np.floating | Traced):
        return untracked_result(value)
    if isinstance(value, list | tuple):
        items = map(dressed, value)
        make: Any = getattr(type(value), "_make", type(value))
        return make(items)
    return value


def untracked_result(value: Any) -> Any:
    """Return an array of floats as a variable that requires no gradients."""
    if isinstance(value, Traced):
        if isinstance(value.abstract, Scalar):
            array = arrays.new_array(value.recording.machine, value.abstract.value)
            return untracked(Traced(value.recording, array))
        return untracked(value)
    return untracked(value) if is_float(value) else value


class VariableEngine:
    """Does operations on variables; see `janusjit.analysis.variables.Engine`."""

    def binary(self, symbol: str, left: Any, right: Any) -> Any:
        """Return ``left symbol right``."""
        if symbol in COMPARISONS or not (recorded(left) or recorded(right)):
            return dressed(PYTHON_OPERATORS[symbol](plain(left), plain(right)))
        return self._do(lambda machine, a, b: operators.binary(machine, symbol, a, b), left, right)

    def in_place(self, symbol: str, left: Variable, right: Any) -> Any:
        """Return ``left symbol= right``."""
        if not (recorded(left) or recorded(right)):
            data = left.data
            np.copyto(data, PYTHON_OPERATORS[symbol](data, plain(right)), casting="same_kind")
            return left
        if left._history is not None and left.shape == ():
            return self.binary(symbol, left, right)  # a number: NumPy binds the name to another one
        with Operation() as operation:

            def rule(machine: Machine) -> AbstractValue:
                operators.in_place(machine, symbol, operation.into(left), operation.recording.abstract(right))
                return Known(None)

            operation.run(rule)
        return left

    def unary(self, symbol: str, operand: Variable) -> Any:
        """Return ``symbol operand``."""
        if symbol == "abs":
            return self.call(np.absolute, (operand,), {})
        if not recorded(operand):
            return dressed(PYTHON_OPERATORS[symbol](operand.data))
        return self._do(lambda machine, a: operators.unary(machine, symbol, a), operand)

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of NumPy."""
        if not (recorded(args) or recorded(kwargs)):
            result = function(*map(bare, args), **bare(kwargs))
            out = kwargs.get("out")
            return out if out is not None and result is plain(out) else dressed(result)
        out = kwargs.get("out")
        with Operation() as operation:

            def rule(machine: Machine) -> AbstractValue:
                abstract = operation.recording.abstract
                named = [(name, abstract(value)) for name, value in kwargs.items() if name != "out"]
                if out is not None:
                    named.append(("out", operation.into(out) if isinstance(out, Variable) else abstract(out)))
                return invoke(machine, operation.recording.target(function), list(map(abstract, args)), named)

            result = operation.run(rule)
        return result if out is None else out

    def method(self, owner: Variable, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method that arrays have."""
        if not (recorded(owner) or recorded(args) or recorded(kwargs)):
            return dressed(getattr(owner.data, name)(*map(bare, args), **bare(kwargs)))
        with Operation() as operation:

            def rule(machine: Machine) -> AbstractValue:
                abstract = operation.recording.abstract
                target = BuiltinMethod(abstract(owner), name)
                named = [(key, abstract(value)) for key, value in kwargs.items()]
                return invoke(machine, target, list(map(abstract, args)), named)

            return operation.run(rule)

    def attribute(self, owner: Variable, name: str) -> Any:
        """Return an attribute that arrays have."""
        if name not in _ARRAY_ATTRIBUTES or not recorded(owner):
            return dressed(getattr(owner.data, name))
        return self._do(lambda machine, a: attributes.get_attribute(machine, a, name), owner)

    def item(self, owner: Variable, index: Any) -> Any:
        """Return ``owner[index]``."""
        if not recorded(owner):
            return dressed(owner.data[bare(index)])
        return self._do(containers.get_item, owner, index)

    def set_item(self, owner: Variable, index: Any, value: Any) -> None:
        """``owner[index] = value``."""
        if not (recorded(owner) or recorded(value)):
            owner.data[bare(index)] = plain(value)
            return
        with Operation() as operation:

            def rule(machine: Machine) -> AbstractValue:
                abstract = operation.recording.abstract
                containers.set_item(machine, operation.into(owner), abstract(index), abstract(value))
                return Known(None)

            operation.run(rule)

    def _do(self, rule: Callable[..., AbstractValue], *operands: Any) -> Any:
        with Operation() as operation:
            return operation.run(lambda machine: rule(machine, *map(operation.recording.abstract, operands)))

    # ------------------------------------------------------------------ data and gradients

    def data(self, owner: Variable) -> Any:
        """Return the present data of a computed variable, read-only."""
        history = owner._history
        abstract = None if history is FREED else history.abstract
        if active() is not None:
            traced = owner._data if abstract is None else _differentiated(owner)
            if isinstance(traced, Traced):
                return traced
        if abstract is None:
            array = owner._data
        elif isinstance(abstract, Scalar):
            (array,) = history.values.values()
        elif not abstract.path and len(history.memories) == 1:
            array = history.memories[0].array
        else:
            with Operation() as operation:
                operation.abstract(owner)
                array = operation.machine.values[arrays.read(operation.machine, abstract)]
        view = np.asarray(array).view()
        view.flags.writeable = False
        return view

    def backward(self, owner: Variable, gradient: Any, retain_graph: bool) -> None:
        """Add to the gradients of the leaves."""
        shape = shape_of(owner)
        if not owner.requires_grad:
            raise RuntimeError("backward() of a variable that requires no gradients: nothing was recorded")
        if gradient is None and plain(owner).size != 1:
            raise RuntimeError(f"backward() of a variable of shape {shape} needs the cotangent")
        if owner._history is None:
            given = np.ones(shape) if gradient is None else plain(gradient)
            given = given if isinstance(given, Traced) else np.asarray(given)
            if np.shape(given) != shape:
                raise RuntimeError(f"the cotangent has to have the result's shape, {shape}")
            _accumulate(owner, given.astype(owner.dtype))
            return
        records = before(records_of(owner))
        leaves = list(itertools.chain.from_iterable(record.leaves for record in records))
        with Operation() as operation:
            target = operation.abstract(owner)
            seed = None if gradient is None else plain(gradient)
            found = operation.pulled_back(records, [target], [seed], [value for _, value in leaves])
            for (leaf, _), value in zip(leaves, found, strict=True):
                if value is not None:
                    _accumulate(leaf, operation.array_of(value))
        if not retain_graph:
            release(records)
            settle(owner)


def _differentiated(owner: Variable) -> Traced | None:
    """Return the data of a computed variable, if `janusjit.grad` may differentiate them."""
    with Operation() as operation:
        machine, abstract = operation.machine, operation.abstract(owner)
        value = arrays.as_array(machine, abstract)
        if value is None or value not in machine.differentiated:
            return None
        detached = arrays.new_array(machine, machine.emit("detach", value))
        machine.state.at(detached.storage).writeable = False
        return Traced(operation.recording, detached)


def settle(variable: Variable) -> None:
    """Let a result whose operations have been freed be no more than its data."""
    history = variable._history
    if history is not None and history is not FREED and all(record.released for record in history.records):
        variable._data, variable._history = ENGINE[0].data(variable), FREED


def _accumulate(leaf: Variable, gradient: Any) -> None:
    total = gradient if leaf.grad is None else leaf.grad + gradient
    if isinstance(total, Traced):
        total.recording.stored.storing(leaf)
    leaf.grad = total if isinstance(total, Traced) else np.asarray(total)


ENGINE.append(VariableEngine())
