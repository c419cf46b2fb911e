"""Building graphs.

Owns `GraphBuilder`, which appends nodes to the innermost open region, and `clone`, which copies a graph. Invariant:
every in-graph guard a built node carries is in ``graph.guards.in_graph`` exactly once, in the order of emission.

The types of results are passed in, or computed by an injected function of the operation, because operations are
declared in a layer above this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from janusjit.ir.boxes import ExitRecipe
from janusjit.ir.dims import Dim, Symbol, symbols_of
from janusjit.ir.graph import TERMINATORS, Graph, GraphInput, Node, Region, Value
from janusjit.ir.guards import GuardSet, InGraphGuard
from janusjit.ir.places import Place
from janusjit.ir.types import INT, TensorType
from janusjit.pacing import pause
from janusjit.spans import UNKNOWN_SPAN, Span

Infer = Callable[[str, tuple[TensorType, ...], Mapping[str, Any]], tuple[TensorType, ...]]
"""Result types of an operation, from its name, input types and attributes."""


class GraphBuilder:
    """Appends nodes to a graph, region by region.

    Parameters
    ----------
    graph : Graph
        The graph to build; its body is the outermost open region.
    infer : callable, optional
        Gives the result types of operations whose ``result_types`` are not passed to `emit`.
    """

    def __init__(self, graph: Graph, infer: Infer | None = None) -> None:
        self.graph = graph
        self.infer = infer
        self._regions = [graph.body]
        self._guards = set(graph.guards.in_graph)

    @property
    def region(self) -> Region:
        """The innermost open region: where `emit` appends."""
        return self._regions[-1]

    @property
    def open_regions(self) -> tuple[Region, ...]:
        """The regions that are open, outermost first: what they hold can be used by what is emitted."""
        return tuple(self._regions)

    @property
    def finished(self) -> bool:
        """Whether the open region has its terminator."""
        return bool(self.region.nodes) and self.region.nodes[-1].op in TERMINATORS

    def add_input(
        self, place: Place, type_: TensorType, kind: str = "array", layout: str = "C", span: Span = UNKNOWN_SPAN
    ) -> Value:
        """Add a graph input read from ``place``; symbols first seen in its shape are bound to its dimensions."""
        value = Value(type_, self.graph.body, len(self.graph.inputs))
        self.graph.inputs.append(GraphInput(place, value, kind, layout, span))
        for axis, dim in enumerate(type_.shape):
            if isinstance(dim, int):
                continue
            (only,) = symbols_of((dim,))
            self.graph.symbols.setdefault(only, (value.index, axis))
        return value

    def emit(
        self,
        op: str,
        inputs: Sequence[Value] = (),
        attributes: Mapping[str, Any] | None = None,
        *,
        span: Span = UNKNOWN_SPAN,
        guard: InGraphGuard | None = None,
        regions: Sequence[Region] = (),
        result_types: Sequence[TensorType] | None = None,
    ) -> Node:
        """Append a node to the open region.

        Raises
        ------
        ValueError
            The region is already terminated, or there is no way to know the result types.
        """
        if self.finished:
            raise ValueError(f"{op} after the terminator {self.region.terminator.op} of its region")
        attributes = dict(attributes or {})
        if result_types is None:
            if self.infer is None:
                raise ValueError(f"result types of {op} are neither given nor inferable")
            result_types = self.infer(op, tuple(value.type for value in inputs), attributes)
        node = Node(op, tuple(inputs), tuple(result_types), attributes, span, tuple(regions), guard)
        self.append(node)
        return node

    def append(self, node: Node) -> None:
        """Append a node made elsewhere, and register its guard."""
        self.region.nodes.append(node)
        if node.guard is not None and node.guard not in self._guards:
            self._guards.add(node.guard)
            self.graph.guards.in_graph.append(node.guard)

    def open_region(self, parameter_types: Sequence[TensorType] = ()) -> Region:
        """Start a nested region; it belongs to no node until its owner is emitted with it."""
        self._regions.append(Region(tuple(parameter_types)))
        return self.region

    def close_region(self) -> Region:
        """End the innermost nested region, which must have its terminator, and return it."""
        if len(self._regions) == 1:
            raise ValueError("the body of a graph is not closed")
        if not self.finished:
            raise ValueError("a region is closed before its terminator")
        return self._regions.pop()

    @contextmanager
    def nested(self, parameter_types: Sequence[TensorType] = ()) -> Iterator[Region]:
        """Open a region for the length of a ``with`` block."""
        yield self.open_region(parameter_types)
        self.close_region()

    @contextmanager
    def inside(self, region: Region) -> Iterator[Region]:
        """Append to a region made elsewhere for the length of a ``with`` block; it need not get its terminator."""
        self._regions.append(region)
        yield region
        self._regions.pop()

    def guard(self, condition: Value, guard: InGraphGuard, span: Span | None = None) -> Node:
        """Emit a guard that fails when ``condition`` (``bool[]``) is false."""
        return self.emit("guard", (condition,), span=span or guard.span, guard=guard, result_types=())

    def bind_dim(self, value: Value, bound: Symbol, span: Span = UNKNOWN_SPAN) -> Node:
        """Let ``bound`` have the value of ``value`` (``i64[]``) from here on."""
        return self.emit("bind_dim", (value,), {"symbol": bound}, span=span, result_types=())

    def dim(self, dim: Dim, span: Span = UNKNOWN_SPAN) -> Value:
        """Emit the value of a dimension, ``i64[]``."""
        return self.emit("dim", (), {"dim": dim}, span=span, result_types=(INT,)).result

    def branch(self, condition: Value, then: Region, otherwise: Region, span: Span = UNKNOWN_SPAN) -> Node:
        """Emit an ``if`` over two finished regions; its result types are those of the arm that yields."""
        yields = [arm.terminator for arm in (then, otherwise) if arm.terminator.op == "yield"]
        types = tuple(value.type for value in yields[0].inputs) if yields else ()
        return self.emit("if", (condition,), span=span, regions=(then, otherwise), result_types=types)

    def loop(
        self, carried: Sequence[Value], body: Region, result_types: Sequence[TensorType], span: Span = UNKNOWN_SPAN
    ) -> Node:
        """Emit a ``loop`` over a finished body; ``result_types`` are those of its ``break`` terminators."""
        return self.emit("loop", carried, span=span, regions=(body,), result_types=result_types)

    def terminate(self, op: str, values: Sequence[Value] = (), span: Span = UNKNOWN_SPAN) -> Node:
        """End the open region with ``yield``, ``continue``, ``break`` or ``unreachable``."""
        return self.emit(op, values, span=span, result_types=())

    def exit(self, operands: Sequence[Value], recipe: ExitRecipe, span: Span = UNKNOWN_SPAN) -> Node:
        """End the open region by leaving the graph; ``operands`` are what the recipe's operand numbers refer to."""
        return self.emit("exit", operands, {"recipe": recipe}, span=span, result_types=())

    def fail(self, guard: InGraphGuard, span: Span | None = None) -> Node:
        """End the open region by an unconditional deoptimization."""
        return self.emit("fail", (), {"guard": guard}, span=span or guard.span, guard=guard, result_types=())


class Substitution:
    """A map from values to the values that stand for them, followed through chains."""

    def __init__(self) -> None:
        self._map: dict[Value, Value] = {}

    def __bool__(self) -> bool:
        return bool(self._map)

    def __getitem__(self, value: Value) -> Value:
        while (following := self._map.get(value)) is not None:
            value = following
        return value

    def set(self, old: Value, new: Value) -> None:
        """Let ``new`` stand for ``old`` from now on; they have the same type."""
        new = self[new]
        if new is not old:
            self._map[old] = new

    def update(self, old: Sequence[Value], new: Sequence[Value]) -> None:
        """Let the values ``new`` stand for ``old``, one for one."""
        for before, after in zip(old, new, strict=True):
            self.set(before, after)

    def apply(self, node: Node) -> None:
        """Replace the inputs of ``node`` (not those of nodes in its regions)."""
        pause()
        if self._map and any(value in self._map for value in node.inputs):
            node.inputs = tuple(self[value] for value in node.inputs)


def clone(graph: Graph) -> Graph:
    """Return a copy that shares places, guards and recipes, but no node, region, value or list."""
    copy = Graph(
        graph.name,
        graph.parameters,
        guards=GuardSet(list(graph.guards.entry), list(graph.guards.in_graph)),
        symbols=dict(graph.symbols),
        span=graph.span,
        memory_limit=graph.memory_limit,
        threads=graph.threads,
        measured=graph.measured,
    )
    values: dict[Value, Value] = {}
    for found in graph.inputs:
        values[found.value] = Value(found.value.type, copy.body, found.value.index)
        copy.inputs.append(replace(found, value=values[found.value]))
    clone_nodes(graph.body, copy.body, values)
    return copy


def clone_nodes(source: Region, target: Region, values: dict[Value, Value]) -> None:
    """Append copies of the nodes of ``source`` to ``target``; ``values`` maps what they use, and is extended."""
    for node in source.nodes:
        pause()
        regions = tuple(clone_region(region, values) for region in node.regions)
        inputs = tuple(values.get(value, value) for value in node.inputs)
        types = tuple(value.type for value in node.results)
        copy = Node(node.op, inputs, types, dict(node.attributes), node.span, regions, node.guard)
        values.update(zip(node.results, copy.results, strict=True))
        target.nodes.append(copy)


def clone_region(region: Region, values: dict[Value, Value]) -> Region:
    """Return a copy of a region; values from outside are those ``values`` maps them to, or the same."""
    copy = Region(tuple(parameter.type for parameter in region.parameters))
    values.update(zip(region.parameters, copy.parameters, strict=True))
    clone_nodes(region, copy, values)
    return copy


def drop_guards(graph: Graph, carried: set[InGraphGuard]) -> None:
    """Drop the in-graph guards that nodes carried before a change (``carried``) and none carries now.

    A guard that no node carried speaks of the whole graph (floating-point flags) and stays.
    """
    gone = carried - carried_guards(graph)
    if gone:
        graph.guards.in_graph[:] = [guard for guard in graph.guards.in_graph if guard not in gone]


def carried_guards(graph: Graph) -> set[InGraphGuard]:
    """Return the guards that nodes carry."""
    return {node.guard for node in graph.walk() if node.guard is not None}
