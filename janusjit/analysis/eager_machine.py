"""The abstract machine of values that are there.

Owns `EagerMachine` and `GradientError`. Invariant: every node has been done, on real values and by its op's eager
function, when the rule that emitted it goes on; so sizes are numbers, whatever no gradient flows through is a
constant, and there is one control path. A value that has been forgotten is computed again when it is asked for.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.externals import Externals
from janusjit.analysis.capture.host_sites import HostSites
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import ControlEntry, Frame
from janusjit.analysis.capture.values import AbstractValue, Known, Scalar
from janusjit.analysis.core import Block, FunctionCore, Parameters
from janusjit.errors import JanusError
from janusjit.ir.dims import DimExpr, Symbol, evaluate
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.places import Place
from janusjit.ir.relaxations import Relaxations
from janusjit.ir.types import TensorType, dtype_name
from janusjit.ops import OPS
from janusjit.ops.identities import ENDS_OF_RECORDS
from janusjit.ops.indexing import evaluate_attributes
from janusjit.ops.registry import ObjectCall, ObjectRead, View
from janusjit.profiler.profile import Profile
from janusjit.spans import UNKNOWN_SPAN
from janusjit.transform.activity import Activity

#: operations that never meet a floating-point error, and need nobody to say that it is none of the user's
_QUIET = frozenset({"constant", "constant_array", "full", "copy", "eye", "concatenate", "where", "update"})


def can_be_done_again(node: Node) -> bool:
    """Whether a node gives the same whenever it is done, and nothing else depends on its having been done."""
    if node.op not in OPS or "symbol" in node.attributes:
        return False
    return not OPS[node.op].stateful and not isinstance(OPS[node.op].lowering, (ObjectCall, ObjectRead))


class GradientError(JanusError):
    """Something was done to a value being differentiated that has no gradient rule, or cannot be recorded.

    Parameters
    ----------
    code, message : str
        As of any `JanusError`.
    """


class EagerExternals(Externals):
    """What Python code that the machine goes through reads from outside, with the values it has."""

    def __init__(self, machine: EagerMachine) -> None:
        super().__init__(machine.graph, Relaxations(), lambda: UNKNOWN_SPAN)
        self.machine = machine

    def _input(self, place: Place, type_: TensorType, kind: str, layout: str) -> Value:
        value = super()._input(place, type_, kind, layout)
        self.machine.values[value] = np.asarray(place.read(()))
        return value


class Values(dict[Value, Any]):
    """The arrays of graph values; what has been forgotten is computed again by ``again``."""

    def __init__(self, again: Callable[[Value], None]) -> None:
        super().__init__()
        self._again = again

    def __missing__(self, value: Value) -> Any:
        self._again(value)
        return super().__getitem__(value)


class EagerMachine(Machine):
    """Follows operations, and the Python code of functions it is asked to call, on values that are there.

    Attributes
    ----------
    values : dict
        The array of each graph value.
    activity : Activity
        Which values a gradient may flow through.
    differentiated : set of Value
        Which of them gradients of functions may flow through: those under way, not those by variables.
    """

    externals: EagerExternals

    def __init__(self) -> None:
        graph = Graph("gradient")
        self.graph = graph
        self.values: dict[Value, Any] = Values(self._again)
        self.activity = Activity((), ENDS_OF_RECORDS)
        self.differentiated: set[Value] = set()
        self._sizes: dict[Symbol, int] = {}
        self._done = 0
        self._inputs = 0
        #: while a backward pass is done: which of its nodes uses a value last, and where they begin
        self._uses: tuple[dict[Value, int], int] | None = None
        super().__init__(graph, EagerExternals(self), Profile(), Relaxations(), {}, HostSites())
        core = FunctionCore(
            "gradient", "gradient", Parameters(), Block(), "function", frozenset(), (), [], UNKNOWN_SPAN
        )
        self.state.frames.append(Frame(core, {}, None, {}, {}, [ControlEntry(core.body)]))

    def told_to(self, recording: Any) -> None:
        """Hear which recording the machine belongs to."""
        self._recording = weakref.ref(recording)

    @property
    def recording(self) -> Any:
        """The `janusjit.analysis.define_by_run.Recording` that the machine belongs to."""
        return self._recording()

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

    # ------------------------------------------------------------------ what is known

    def emit_node(
        self,
        op: str,
        inputs: tuple[Value, ...],
        attributes: dict[str, Any] | None = None,
        guard: InGraphGuard | None = None,
        types: tuple[TensorType, ...] | None = None,
        regions: tuple[Region, ...] = (),
    ) -> Node:
        """Append an operation, with the sizes that are known by now."""
        if self._sizes and attributes and op != "bind_dim":
            attributes = self.evaluated(attributes)
        return super().emit_node(op, inputs, attributes, guard, types, regions)

    def append(self, node: Node) -> None:
        """Append a node, and do it."""
        self.effort.nodes = 0  # of a capture, they would have to be compiled
        super().append(node)
        self.evaluate()

    def evaluate(self) -> None:
        """Do what has been appended since the last time."""
        nodes = self.graph.body.nodes
        while self._done < len(nodes):
            node = nodes[self._done]
            self._done += 1
            if node.results and node.results[0] in self.values:
                continue
            self._do(node)
            self._spread(node)

    def _spread(self, node: Node) -> None:
        self.activity.spread([node])
        if not self.differentiated.isdisjoint(node.inputs):
            if node.op in ENDS_OF_RECORDS:
                self.activity.add(node.result)
            self.differentiated.update(value for value in node.results if value in self.activity)

    def catch_up(self, gradient: Iterable[Value | None] | None = None) -> None:
        """Do what has been put among the nodes, or what has been appended to have a gradient."""
        if gradient is not None:
            self._go_back(gradient)
            return
        self._done = 0
        self.evaluate()

    def resolve(self, value: AbstractValue) -> AbstractValue:
        """Return a value, as a constant if no gradient flows through it."""
        value = super().resolve(value)
        if isinstance(value, Scalar) and value.value not in self.activity:
            number = np.asarray(self.values[value.value])[()]
            return Known(number if value.kind.startswith("numpy.") else number.item())
        return value

    def differentiate_by(self, value: Value) -> None:
        """Let gradients of functions flow to a value."""
        self.activity.add(value)
        self.differentiated.add(value)

    def record_by(self, value: Value) -> None:
        """Let gradients by variables flow to a value."""
        self.activity.add(value)

    def differentiates(self, values: Iterable[Value]) -> bool:
        """Whether a gradient may flow through any of some values."""
        return any(value in self.activity for value in values)

    def unrolls(self) -> bool:
        """Say that loops are gone through turn by turn."""
        return True

    def decide(self, condition: Value) -> bool | Value:
        """Return which way a condition goes."""
        return bool(self.values[condition])

    @contextlib.contextmanager
    def behind(self, nodes: list[Node]) -> Iterator[None]:
        """Append, for the length of a ``with`` block, behind nodes that were done elsewhere."""
        body = self.graph.body
        own = body.nodes
        body.nodes, self._done = list(nodes), len(nodes)
        try:
            yield
        finally:
            own += body.nodes[len(nodes) :]
            body.nodes, self._done = own, len(own)

    def forget(self, nodes: Sequence[Node]) -> None:
        """Let go of the results of nodes, but for those that cannot be had again."""
        for node in nodes:
            if can_be_done_again(node):
                for value in node.results:
                    self.values.pop(value, None)

    def _again(self, value: Value) -> None:
        """Compute what has been forgotten."""
        needed: dict[Node, None] = {}
        pending = [value]
        while pending:
            node = pending.pop().node
            if node is not None and node not in needed and not all(one in self.values for one in node.results):
                needed[node] = None
                pending += node.inputs
        done: set[Node] = set()
        for node in reversed(needed):
            self._with_inputs(node, needed, done)
        if self._uses is not None:
            self._forget_unused([one for node in needed for one in node.results if one is not value])

    def _forget_unused(self, values: Iterable[Value]) -> None:
        """Let go of values that were computed again, and that the rest of the backward pass does not use."""
        assert self._uses is not None
        last, begun = self._uses
        for value in values:
            if last.get(value, -1) < self._done - begun:
                self.values.pop(value, None)

    def _with_inputs(self, first: Node, needed: Container[Node], done: set[Node]) -> None:
        """Do a node, after those of ``needed`` that give what it takes."""
        stack = [first]
        while stack:
            node = stack[-1]
            made_by = (value.node for value in node.inputs)
            missing = [one for one in made_by if one is not None and one in needed and one not in done]
            if missing:
                stack += missing
                continue
            stack.pop()
            if node not in done:
                done.add(node)
                self._do(node)

    def _go_back(self, found: Iterable[Value | None]) -> None:
        """Do a backward pass; what only it needs is forgotten on the way, unless a gradient is taken of it."""
        if self.gradients.levels > 1:
            return
        begun = self._done
        nodes = self.graph.body.nodes[begun:]
        wanted = set(found)
        last = {value: number for number, node in enumerate(nodes) for value in (*node.results, *node.inputs)}
        own = {value for node in nodes if can_be_done_again(node) for value in node.results}
        over: list[list[Value]] = [[] for _ in nodes]
        for value, number in last.items():
            if value not in wanted and (value in own or value not in self.values):
                over[number].append(value)
        self._uses = last, begun
        try:
            for node, gone in zip(nodes, over, strict=True):
                self._do(node)
                self._done += 1
                self._spread(node)
                for value in gone:
                    self.values.pop(value, None)
        finally:
            self._uses = None

    def keep_only(self, wanted: Iterable[Value], start: int) -> None:
        """Drop, of the nodes from number ``start`` on that are still to be done, those that nothing wanted needs."""
        nodes = self.graph.body.nodes
        needed = set(wanted)
        kept: list[Node] = []
        for node in reversed(nodes[max(start, self._done) :]):
            if any(result in needed for result in node.results):
                needed.update(node.inputs)
                kept.append(node)
        nodes[max(start, self._done) :] = kept[::-1]

    def evaluated(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return attributes with sizes as the numbers they are."""
        found: dict[str, Any] = evaluate_attributes(attributes, self._sizes)
        return found

    # ------------------------------------------------------------------ doing

    def _do(self, node: Node) -> None:
        inputs = [self.values[value] for value in node.inputs]
        if node.op == "guard":
            if not inputs[0]:
                assert node.guard is not None
                raise GradientError(node.guard.code, f"{node.guard.subject}: expected {node.guard.expected}")
            return
        if node.op == "bind_dim":
            self._sizes[node.attributes["symbol"]] = int(inputs[0])
            return
        if node.op == "dim":
            self.values[node.result] = np.int64(evaluate(node.attributes["dim"], self._sizes))
            return
        if node.op not in OPS:
            raise GradientError("autodiff.unsupported", f"{node.op} is followed in compiled code only")
        declared = OPS[node.op]
        attributes = self.evaluated(node.attributes) if self._sizes and node.attributes else node.attributes
        if node.op in _QUIET or isinstance(declared.lowering, View):
            results = declared.eager(*inputs, **attributes)
        else:
            with np.errstate(all="ignore"):
                results = declared.eager(*inputs, **attributes)
        several = results if isinstance(results, tuple) else (results,)
        if isinstance(bound := node.attributes.get("symbol"), Symbol):
            self._sizes[bound] = len(several[0])
        for value, result in zip(node.results, several, strict=True):
            array = np.asarray(result, value.type.numpy_dtype)
            self.values[value] = array
            if any(isinstance(dim, DimExpr) for dim in value.type.shape):
                value.type = TensorType(value.type.dtype, array.shape)
