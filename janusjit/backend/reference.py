"""The reference backend: the oracle that compiled code and transforms are compared with.

Owns `interpret`, which runs a graph op by op with the declared eager functions. Invariant: nothing outside the graph
changes before the exit has made every object it needs, except the states of random number generators; a failed guard
leaves everything as it was, those included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from janusjit.backend.reference_exit import Exit
from janusjit.errors import JanusError
from janusjit.ir.dims import Symbol, evaluate
from janusjit.ir.graph import Graph, GraphInput, Node, Region, Value, attempts
from janusjit.ir.guards import EntryGuard, InGraphGuard, SymbolValues
from janusjit.ir.types import DTYPES
from janusjit.ops import OPS
from janusjit.ops.generators import ObjectAddress, restore_state, save_state
from janusjit.ops.indexing import evaluate_attributes

#: what eager functions raise for operations that cannot be done, or that Python has to warn of
FAILURES = (ArithmeticError, LookupError, ValueError, TypeError, RuntimeError, MemoryError, Warning)


class DeoptimizationSignal(JanusError):
    """A guard failed: nothing visible has changed, and plain Python is to run the call.

    ``guard`` is the entry or in-graph guard; ``found`` what there was instead, in words.
    """

    def __init__(self, guard: EntryGuard | InGraphGuard, found: str = "") -> None:
        got = f", got {found}" if found else ""
        super().__init__(guard.code, f"{guard.subject}: expected {guard.expected}{got}")
        self.guard = guard
        self.found = found


class InterpretationError(JanusError):
    """A node computed something else than its type says: a defect of the graph or of an op's declaration."""

    def __init__(self, message: str) -> None:
        super().__init__("reference.type", message)


def interpret(graph: Graph, arguments: Sequence[Any]) -> Any:
    """Run a graph on a call's arguments: commit its effects and return its result.

    Parameters
    ----------
    graph : Graph
        A verified graph.
    arguments : sequence
        One value a parameter of the function.

    Raises
    ------
    DeoptimizationSignal
        A guard failed, at entry or inside.
    InterpretationError
        An eager function's result is not of the declared type.
    """
    return Interpreter(graph, arguments).run()


class Interpreter:
    """One run of a graph."""

    def __init__(self, graph: Graph, arguments: Sequence[Any]) -> None:
        self.graph = graph
        self.arguments = arguments
        self.symbols = SymbolValues()
        self.values: dict[Value, Any] = {}
        self.tapes: dict[int, list[tuple[Any, ...]]] = {}
        self._attempts = attempts(graph.body)
        self._failed: set[Node] = set()

    def run(self) -> Any:
        """Check the entry guards, run the body, do what the exit reached says."""
        for guard in self.graph.guards.entry:
            holds, found = guard.check(self.arguments, self.symbols)
            if not holds:
                raise DeoptimizationSignal(guard, found)
        for given in self.graph.inputs:
            self.values[given.value] = self._read(given)
        for symbol, (index, axis) in self.graph.symbols.items():
            self.symbols[symbol] = self.values[self.graph.inputs[index].value].shape[axis]
        generators = [self.values[given.value].object for given in self.graph.inputs if given.kind == "generator"]
        states = [save_state(generator) for generator in generators]
        try:
            with np.errstate(all="ignore"):
                leaving = self.region(self.graph.body)
        except BaseException:
            for generator, state in zip(generators, states, strict=True):
                restore_state(generator, state)
            raise
        return Exit(leaving, [self.values[value] for value in leaving.inputs], self.arguments, self.replay).leave()

    def _read(self, given: GraphInput) -> Any:
        found = given.place.read(self.arguments)
        if given.kind in ("generator", "object"):
            return ObjectAddress.of(found)
        if given.kind == "array" or given.kind.startswith("numpy."):
            return found
        return given.value.type.numpy_dtype.type(found)

    def region(self, region: Region) -> Node:
        """Run the nodes of a region and return the terminator control left by."""
        for node in region.nodes:
            leaving = self.node(node)
            if leaving is not None:
                return leaving
        raise InterpretationError("a region without a terminator")

    def node(self, node: Node) -> Node | None:
        """Run a node; return the terminator if control does not go on behind it."""
        structural = _STRUCTURAL.get(node.op)
        if structural is not None:
            return structural(self, node)
        op = OPS[node.op]
        attributes = evaluate_attributes(node.attributes, self.symbols)
        try:
            computed = op.eager(*(self.values[value] for value in node.inputs), **attributes)
        except FAILURES as error:
            if node in self._attempts:
                self._failed.add(node)
                return None
            if node.guard is None:
                raise
            raise DeoptimizationSignal(node.guard, f"{type(error).__name__}: {error}") from error
        self._failed.discard(node)
        results = computed if isinstance(computed, tuple) else (computed,)
        if isinstance(bound := node.attributes.get("symbol"), Symbol):
            self.symbols[bound] = len(results[0])
        for value, result in zip(node.results, results, strict=True):
            self.values[value] = self._checked(value, result, node)
        return None

    def _checked(self, value: Value, result: Any, node: Node) -> Any:
        shape = tuple(evaluate(dim, self.symbols) for dim in value.type.shape)
        if np.shape(result) != shape or getattr(result, "dtype", None) != DTYPES[value.type.dtype]:
            found = f"{getattr(result, 'dtype', type(result).__name__)}{list(np.shape(result))}"
            raise InterpretationError(f"{node!r} computed {found}, not {value.type}")
        return result

    def replay(self, node: Node, base: Any) -> Any:
        """Do a view operation again, on the array that is to be the base of a view."""
        attributes = evaluate_attributes(node.attributes, self.symbols)
        return OPS[node.op].eager(base, *(self.values[value] for value in node.inputs[1:]), **attributes)

    def _if(self, node: Node) -> Node | None:
        leaving = self.region(node.regions[0 if self.values[node.inputs[0]] else 1])
        if leaving.op != "yield":
            return leaving
        self._assign(node.results, leaving.inputs)
        return None

    def _loop(self, node: Node) -> Node | None:
        (body,) = node.regions
        self._assign(body.parameters, node.inputs)
        while (leaving := self.region(body)).op == "continue":
            self._assign(body.parameters, leaving.inputs)
        if leaving.op != "break":
            return leaving
        self._assign(node.results, leaving.inputs)
        return None

    def _assign(self, targets: Sequence[Value], sources: Sequence[Value]) -> None:
        found = [self.values[source] for source in sources]
        self.values.update(zip(targets, found, strict=True))

    def _guard(self, node: Node) -> None:
        if not self.values[node.inputs[0]]:
            raise DeoptimizationSignal(node.guard)

    def _fail(self, node: Node) -> None:
        raise DeoptimizationSignal(node.guard)

    def _bind_dim(self, node: Node) -> None:
        self.symbols[node.attributes["symbol"]] = int(self.values[node.inputs[0]])

    def _dim(self, node: Node) -> None:
        self.values[node.result] = np.int64(evaluate(node.attributes["dim"], self.symbols))

    def _succeeded(self, node: Node) -> None:
        self.values[node.result] = np.bool_(node.inputs[0].node not in self._failed)

    def _tape_new(self, node: Node) -> None:
        self.tapes[node.attributes["tape"]] = []
        self.values[node.result] = np.int64(0)

    def _tape_push(self, node: Node) -> None:
        height, *pushed = (self.values[value] for value in node.inputs)
        tape = self.tapes[node.attributes["tape"]]
        tape[height:] = [tuple(pushed)]
        self.values[node.result] = np.int64(height + 1)

    def _tape_pop(self, node: Node) -> None:
        height = self.values[node.inputs[0]] - 1
        if height < 0:
            raise InterpretationError(f"{node!r} pops from an empty tape")
        found = (np.int64(height), *self.tapes[node.attributes["tape"]][height])
        for value, item in zip(node.results, found, strict=True):
            self.values[value] = self._checked(value, item, node)

    def _leave(self, node: Node) -> Node:
        return node

    def _unreachable(self, node: Node) -> None:
        raise InterpretationError("control reached a node that is declared unreachable")


_STRUCTURAL: dict[str, Callable[[Interpreter, Node], Node | None]] = {
    "if": Interpreter._if,
    "loop": Interpreter._loop,
    "guard": Interpreter._guard,
    "fail": Interpreter._fail,
    "bind_dim": Interpreter._bind_dim,
    "dim": Interpreter._dim,
    "succeeded": Interpreter._succeeded,
    "tape_new": Interpreter._tape_new,
    "tape_push": Interpreter._tape_push,
    "tape_pop": Interpreter._tape_pop,
    "yield": Interpreter._leave,
    "continue": Interpreter._leave,
    "break": Interpreter._leave,
    "exit": Interpreter._leave,
    "unreachable": Interpreter._unreachable,
}
