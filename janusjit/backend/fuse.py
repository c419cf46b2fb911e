"""Fusion: from the nodes of a region to steps.

Owns `make_plan`. Elementwise nodes and reductions are gathered into loop nests as they come, each joining the latest
nest of its shape that computes or reads one of its inputs and runs after all of them exist; `janusjit.backend.sink`
then moves what is wanted later only, and `janusjit.backend.gather` large steps over the same rows to each other.
Invariant: a step runs after every step that defines what it reads. Whether an
update may overwrite its base is not decided here: whatever order results, `janusjit.backend.buffers` copies where a
reader is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from janusjit.backend import cost
from janusjit.backend.element_updates import written_again
from janusjit.backend.flag_checks import insert_checks
from janusjit.backend.gather import gather
from janusjit.backend.layout import Layout, contiguous, fortran, unknown, viewed
from janusjit.backend.merge import RECENT, merge
from janusjit.backend.plan import (
    FusedStep,
    NodeStep,
    Plan,
    RegionStep,
    Step,
    element_inputs,
    is_elementwise,
    is_in_place,
    is_reduction,
    is_view,
    may_fail,
    number,
    reduced_axes,
    root,
    updated_shape,
)
from janusjit.backend.row_order import bring_together
from janusjit.backend.scheduled import Scheduled, used_by
from janusjit.backend.separation import Separation
from janusjit.backend.sink import sink
from janusjit.ir.builder import clone
from janusjit.ir.dims import Dim, Symbol, symbols_of
from janusjit.ir.graph import Graph, GraphInput, Node, Region, Value
from janusjit.ops.indexing import symbols_in
from janusjit.pacing import pause
from janusjit.spans import BackwardSpan
from janusjit.transform.facts import only_warns


def make_plan(graph: Graph, without_backup: Collection[int] = ()) -> Plan:
    """Return the plan of a verified graph: of a copy of it, in which every ``reshape`` that copies says so.

    No backup is kept of the inputs ``without_backup``.
    """
    graph = clone(graph)
    insert_copies(graph)
    again = written_again(graph) if only_warns(graph) else frozenset()
    backups = insert_checks(graph, again.union(without_backup))
    steps = schedule_graph(graph, Separation.of(graph, again.union(backups)))
    number(steps)
    return Plan(graph, steps, backups, again)


def schedule_graph(graph: Graph, separation: Separation | None) -> list[Step]:
    """Return the steps of a graph in which all is told apart that has to be."""
    steps = schedule(graph.body, graph.memory_limit is not None, separation)
    if separation is None or separation.is_kept(steps):
        return steps
    return schedule(graph.body, graph.memory_limit is not None, replace(separation, early=frozenset()))


def input_layout(input_: GraphInput, index: int) -> Layout:
    """Return the layout of an array input; strides that are not known are symbols."""
    type_ = input_.value.type
    if input_.layout == "any":
        return unknown(type_, f"input{index}")
    return contiguous(type_) if input_.layout == "C" else fortran(type_)


def insert_copies(graph: Graph) -> None:
    """Put a ``copy`` before each ``reshape`` of an array that is not laid out for it, or may not be."""
    layouts: dict[Value, tuple[Layout, ...]]
    layouts = {i.value: (input_layout(i, index),) for index, i in enumerate(graph.inputs)}

    def layouts_of(value: Value) -> tuple[Layout, ...]:
        return layouts.get(value) or (contiguous(value.type),)

    def visit(region: Region) -> None:
        nodes, region.nodes = region.nodes, []
        for node in nodes:
            if is_view(node):
                following = [viewed(one, node.op, node.attributes) for one in layouts_of(node.inputs[0])]
                possible = [one[0] for one in following if one is not None]
                if len(possible) < len(following):
                    copy = Node("copy", node.inputs, (node.inputs[0].type,), span=node.span)
                    region.nodes.append(copy)
                    node.inputs = (copy.result,)
                else:
                    layouts[node.result] = tuple(possible)
            elif node.op in ("update", "update_take", "update_mask"):
                in_place, elsewhere = layouts_of(node.inputs[0]), contiguous(node.result.type)
                layouts[node.result] = tuple(dict.fromkeys([*in_place, elsewhere]))
            for inner in node.regions:
                visit(inner)
            region.nodes.append(node)

    visit(graph.body)


def schedule(region: Region, saving: bool = False, separation: Separation | None = None) -> list[Step]:
    """Return the steps of a region.

    With ``saving``, nothing of the backward pass is computed before it begins; ``separation`` says which nodes are not
    to be in one step.
    """
    scheduler = Scheduler(region, saving, separation)
    for node in region.nodes:
        pause()
        scheduler.add(node)
    return scheduler.finish()


class Scheduler:
    """Gathers the nodes of one region into steps, in program order."""

    def __init__(self, region: Region, saving: bool = False, separation: Separation | None = None) -> None:
        self.scheduled = Scheduled(region, separation)
        self._saving = saving
        self._bound: dict[Symbol, int] = {}
        self._readers: dict[Value, list[FusedStep]] = {}
        self._last_read: dict[Value, int] = {}
        self._barrier = -1

    def add(self, node: Node) -> None:
        """Place the next node of the region."""
        if is_view(node):
            available = max(map(self.available, node.inputs))
            self.scheduled.available[node.result] = max(available, self._bound_by(symbols_in(node.attributes)))
        elif is_elementwise(node) or is_reduction(node) or (node.op == "update" and node.result.type.rank > 0):
            if self.scheduled.users.get(node.result):
                self._fuse(node)
        elif node.op != "constant":  # constants are there from the beginning
            bodies = [schedule(inner, self._saving, self.scheduled.separation) for inner in node.regions]
            self._add_alone(node, RegionStep(node, bodies) if bodies else NodeStep(node))

    def _add_alone(self, node: Node, step: Step) -> None:
        here = self.scheduled.append(step)
        self.scheduled.available.update((result, here) for result in node.results)
        if "symbol" in node.attributes:
            self._bound[node.attributes["symbol"]] = here
        if may_fail(node) or node.regions:
            self._barrier = here
        for value in used_by(node):
            self._note_read(value, here)

    def available(self, value: Value) -> int:
        """Return the position of the step after which ``value`` is in memory; -1 if it is from outside."""
        return self.scheduled.available.get(value, -1)

    def finish(self) -> list[Step]:
        """Move work to where it is wanted, settle what is stored, and return the steps."""
        merge(self.scheduled)
        sink(self.scheduled)
        return bring_together(gather(self.scheduled.settled()), self.scheduled.row_sums)

    # -- fusing

    def _fuse(self, node: Node) -> None:
        shape = iteration_shape(node)
        step = self._find_step(node, shape)
        if step is None:
            step = FusedStep(shape)
            self.scheduled.append(step)
        position = self.scheduled.position[step]
        for value in element_inputs(node):
            if value not in step.values:
                self._readers.setdefault(value, []).append(step)
                self._note_read(value, position)
        self.scheduled.place(node, step)

    def _find_step(self, node: Node, shape: tuple[Dim, ...]) -> FusedStep | None:
        """Return the latest step that ``node`` can be computed in; None if it wants a new one."""
        candidates: dict[FusedStep, int] = {}
        for value in element_inputs(node):
            home = self.scheduled.home.get(value)
            for step in ([home] if home else []) + self._readers.get(value, [])[-RECENT:]:
                if step.shape == shape and value.type.rank > 0:
                    candidates[step] = self.scheduled.position[step]
        for step in sorted(candidates, key=candidates.__getitem__, reverse=True):
            if self._fits(node, step):
                return step
        return None

    def _fits(self, node: Node, step: FusedStep) -> bool:
        position = self.scheduled.position[step]
        if self.scheduled.separates([node], step):
            return False
        if self._saving and _is_backward(node) and not all(map(_is_backward, step.nodes)):
            return False
        if cost.is_too_much(step.nodes, [node]) or len(self.scheduled.leaves(step)) >= cost.KERNEL_ARRAYS:
            return False
        symbols = symbols_in(node.attributes) | symbols_of(step.shape)
        if self._bound_by(symbols) >= position:
            return False
        if any(value not in step.values and self.available(value) >= position for value in node.inputs):
            return False
        if node.op == "update":
            base = root(node.inputs[0])
            if node.inputs[0] in step.values and not is_in_place(node):
                return False  # what is set here would be overwritten by the base's own elements, which come later
            return self._barrier < position and self._last_read.get(base, -1) <= position
        return not is_reduction(node) or step.axes in (None, reduced_axes(node))

    def _note_read(self, value: Value, position: int) -> None:
        base = root(value)
        self._last_read[base] = max(self._last_read.get(base, -1), position)

    def _bound_by(self, symbols: Iterable[Symbol]) -> int:
        return max((self._bound.get(symbol, -1) for symbol in symbols), default=-1)


def _is_backward(node: Node) -> bool:
    return isinstance(node.span, BackwardSpan)


def iteration_shape(node: Node) -> tuple[Dim, ...]:
    """Return the shape a node is computed over: of what it reduces, of the part it updates, of its result."""
    if is_reduction(node):
        return node.inputs[0].type.shape
    return updated_shape(node) if node.op == "update" else node.result.type.shape
