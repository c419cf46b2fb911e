"""Storage: which memory each array of a plan lives in.

Owns `planned` and `assign`. Arrays share a storage when one is an update of the other, is carried round a loop, or
comes out of an ``if`` or a loop; what cannot share is copied where it flows. Invariant: whether memory may be written
over is decided by `janusjit.backend.overwriting` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from janusjit.backend.fuse import input_layout, make_plan
from janusjit.backend.joined import join_in_place
from janusjit.backend.layout import Layout, contiguous, ordered
from janusjit.backend.liveness import Liveness, Read, Scope, breaks, continues
from janusjit.backend.overwriting import Overwriting
from janusjit.backend.plan import (
    UPDATES,
    FusedStep,
    NodeStep,
    Plan,
    RegionStep,
    Step,
    brought_arrays,
    is_reduction,
    is_view,
    nodes_of,
)
from janusjit.backend.storage import Placement, Storage, Transfer, is_view_value
from janusjit.ir.boxes import ArrayBox, Box, Effect, ExitRecipe
from janusjit.ir.dims import symbols_of
from janusjit.ir.graph import Graph, Node, Value
from janusjit.pacing import pause


def planned(graph: Graph) -> tuple[Plan, Placement]:
    """Return the plan of a graph and where its arrays live, with backups of the inputs written in place alone."""
    plan = make_plan(graph)
    placement = assign(plan)
    written = (placement.inputs_written_by(step) for step in plan.walk())
    if idle := plan.backups.keys() - frozenset().union(*written):
        plan = make_plan(graph, idle)
        placement = assign(plan)
    return plan, placement


def assign(plan: Plan) -> Placement:
    """Return where every array of a plan lives."""
    assigner = _Assigner(plan)
    assigner.visit(plan.steps)
    assigner.settle()
    join_in_place(plan, assigner.placement)
    return assigner.placement


class _Assigner:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.liveness = Liveness(plan)
        self.placement = Placement(self.liveness)
        self.overwriting = Overwriting(plan, self.placement)
        self._orders = result_orders(plan)
        self._terminators = {step.node: step for step in plan.walk() if isinstance(step, NodeStep)}
        for index, input_ in enumerate(plan.graph.inputs):
            if input_.value.type.rank > 0:
                storage = self._new(input_layout(input_, index), self.liveness.body, -1, "input")
                storage.input_index = index
                self.placement.place(input_.value, storage, -1)

    def _new(self, layout: Layout, scope: Scope, time: int, kind: str = "arena") -> Storage:
        storage = Storage(layout, kind, scope, time, time)
        self.placement.storages.append(storage)
        return storage

    def _place_new(self, value: Value, step: Step, kind: str = "arena") -> Storage:
        storage = self._new(self._layout(value, step), self.liveness.scopes[step], step.time, kind)
        self.placement.place(value, storage, step.time)
        return storage

    def _layout(self, value: Value, step: Step) -> Layout:
        """Return the layout of a new array: that of the result it becomes, where nothing stands against it.

        Loops write and read any layout. Whether a reshape copies has been decided for C order, and what is carried
        from region to region is expected in it.
        """
        order = self._orders.get(value, ())
        free = isinstance(step, FusedStep) and self.liveness.scopes[step] is self.liveness.body
        if order and free and all(map(_takes_any_layout, self.liveness.reads.get(value, ()))):
            return ordered(value.type, order)
        return contiguous(value.type)

    def _touch(self, value: Value, *times: int) -> None:
        storage = self.placement.storage(value)
        if storage is not None:
            for time in times:
                storage.touch(time)

    # -- steps

    def visit(self, steps: list[Step]) -> None:
        """Place what the steps define, in execution order."""
        for step in steps:
            pause()
            if isinstance(step, RegionStep):
                self._visit_region(step)
                continue
            stored = set(step.stores) if isinstance(step, FusedStep) else None
            for node in nodes_of(step):
                for result in node.results:
                    if result.type.rank == 0 or is_view(node):
                        continue
                    if node.op in UPDATES:
                        self._place_update(node, step, stored is None or result in stored)
                    elif stored is None or result in stored or is_reduction(node):
                        self._place_new(result, step, _kind_of(node))

    def _place_update(self, node: Node, step: Step, stored: bool) -> None:
        base = node.inputs[0]
        storage = None if is_view_value(base) else self.placement.storage(base)
        # where the result is not stored, the whole update that follows decides
        if storage is not None and (not stored or self.overwriting.by_update(storage, node, step)):
            storage.touch(step.time)
            self.placement.place(node.result, storage, step.time)
        elif stored:
            self._place_new(node.result, step)
            if node.attributes.get("path") != ():
                self.placement.copied.add(node.result)

    # -- regions

    def _visit_region(self, step: RegionStep) -> None:
        node = step.node
        if node.op == "loop":
            self._place_carried(step)
        for body in step.bodies:
            self.visit(body)
        if node.op == "loop":
            self._settle_carried(step)
            ends = list(breaks(node))
        else:
            ends = [r.terminator for r in node.regions if r.terminator.op == "yield"]
        for index, result in enumerate(node.results):
            if result.type.rank > 0:
                self._place_result(result, [(self._terminators[end], end.inputs[index]) for end in ends], step)

    def _place_carried(self, step: RegionStep) -> None:
        (region,) = step.node.regions
        for position, (parameter, initial) in enumerate(zip(region.parameters, step.node.inputs, strict=True)):
            if parameter.type.rank == 0 or self.liveness.root(parameter) is not parameter:
                continue
            storage = None if is_view_value(initial) else self.placement.storage(initial)
            sharing = [i for i in step.node.inputs if i.type.rank and self.placement.storage(i) is storage]
            usable = storage is not None and storage.layout == contiguous(parameter.type) and len(sharing) == 1
            if usable and storage is not None and self.overwriting.by_loop(storage, initial, position, step):
                self.placement.place(parameter, storage, step.time)
            else:
                self._place_new(parameter, step)
                self.placement.transfers.setdefault(step, []).append(Transfer(initial, parameter))
            self._touch(parameter, step.time, step.end)

    def _settle_carried(self, step: RegionStep) -> None:
        (region,) = step.node.regions
        for index, parameter in enumerate(region.parameters):
            if parameter.type.rank > 0 and self.liveness.root(parameter) is parameter:
                for end in continues(step.node):
                    self._flow(end.inputs[index], parameter, self._terminators[end])
                self._touch(parameter, step.time, step.end)

    def _place_result(self, result: Value, sources: list[tuple[NodeStep, Value]], step: RegionStep) -> None:
        shared = self._shared_storage(result, sources, step)
        if shared is None:
            self._place_new(result, step)
        else:
            self.placement.place(result, shared, step.end)
        for end, value in sources:
            self._flow(value, result, end, result)
        self._touch(result, step.end, *([] if shared else [step.time]))

    def _shared_storage(self, result: Value, sources: list[tuple[NodeStep, Value]], step: RegionStep) -> Storage | None:
        """Return a storage from outside in which a result may stay; None if it wants one of its own."""
        scope = self.liveness.scopes[step]
        candidates = []
        for _, value in sources:
            storage = None if is_view_value(value) else self.placement.storage(value)
            if storage is None or not scope.within(storage.scope) or storage.layout != contiguous(result.type):
                continue
            if not self.overwriting.is_pushed_over(storage, step):
                candidates.append(storage)
        if len(candidates) == len(sources) and all(storage is candidates[0] for storage in candidates):
            return candidates[0] if candidates else None
        if step.node.op != "if":
            return None
        return next((one for one in candidates if self._may_stay(one, sources, step)), None)

    def _may_stay(self, storage: Storage, sources: list[tuple[NodeStep, Value]], step: RegionStep) -> bool:
        """Return whether a result may take over ``storage``, where some of its sources live, from the others too."""
        elsewhere = [end for end, value in sources if self.placement.storage(value) is not storage]
        kept = [value for end in elsewhere for value in end.node.inputs if value.type.rank > 0]
        if any(self.placement.storage(value) is storage for value in kept):
            return False
        return self.overwriting.by_result(storage, step)

    def _flow(self, source: Value, target: Value, end: NodeStep, result: Value | None = None) -> None:
        """Let ``source`` become ``target`` at the terminator ``end``: computed in its storage, or copied there."""
        storage, own = self.placement.storage(target), self.placement.storage(source)
        assert storage is not None
        if not is_view_value(source) and own is storage:
            return
        begun_inside = own is not None and own.scope is not storage.scope and own.scope.within(storage.scope)
        movable = begun_inside and not is_view_value(source)
        if movable and own is not None and self.overwriting.by_merging(own, storage, result):
            own.merged_into = storage
            storage.hold(*own.members)
            return
        self.placement.transfers.setdefault(end, []).append(Transfer(source, target))

    # -- results

    def settle(self) -> None:
        """Settle how long each storage is used, and which are results or have a size of their own."""
        for step, transfers in self.placement.transfers.items():
            self.placement.transfers[step] = self._in_sequence(transfers, step)
        storages = self.placement.storages = [s for s in self.placement.storages if s.merged_into is None]
        for value, storage in self.placement.placed.items():
            last = self.liveness.last_use(value)
            storage.resolve().touch(max(last, self.placement.defined[value]))
        orders = result_orders(self.plan)
        for value in {value: None for step in exits_of(self.plan) for value in boxed_arrays(step.node)}:
            self._make_object(value, orders.get(value))
        at_entry = set(self.plan.graph.symbols)
        for storage in storages:
            if storage.kind in ("arena", "object") and not symbols_of(storage.layout.shape) <= at_entry:
                storage.kind = "own"

    def _in_sequence(self, transfers: list[Transfer], step: Step) -> list[Transfer]:
        """Order copies that are meant to happen at once, so that none overwrites what another still reads."""
        left, ordered = list(transfers), []
        while left:
            free = next((t for t in left if not self._is_read(t.target, left, t)), None)
            if free is None:  # a cycle: one of the values steps aside
                blocked = left[0]
                for index, transfer in enumerate(left):
                    if self.placement.storage(transfer.source) is self.placement.storage(blocked.target):
                        ordered.append(Transfer(transfer.source, self._aside(transfer, step)))
                        left[index] = Transfer(ordered[-1].target, transfer.target)
                continue
            left.remove(free)
            ordered.append(free)
        return ordered

    def _aside(self, transfer: Transfer, step: Step) -> Value:
        """Return a new array for a source that has to be copied away first."""
        aside = Value(transfer.source.type)
        self._place_new(aside, step)
        return aside

    def _is_read(self, target: Value, transfers: list[Transfer], but: Transfer) -> bool:
        storage = self.placement.storage(target)
        return any(t is not but and self.placement.storage(t.source) is storage for t in transfers)

    def _make_object(self, value: Value, order: tuple[int, ...] | None) -> None:
        """Let an array live in the ndarray it becomes, where it lies there as it is to at all exits."""
        storage = self.placement.storage(value)
        if storage is None or is_view_value(value) or storage.kind != "arena" or order is None:
            return
        if storage.scope is self.liveness.body and storage.layout == ordered(value.type, order):
            storage.kind = "object"


def _takes_any_layout(read: Read) -> bool:
    value = read.value
    while is_view_value(value):
        assert value.node is not None
        if value.node.op == "reshape":
            return False
        value = value.node.inputs[0]
    is_exit = isinstance(read.step, NodeStep) and read.step.node.op == "exit"
    return not read.as_base and (is_exit or isinstance(read.step, FusedStep))


def _kind_of(node: Node) -> str:
    """Return the kind of storage that a node's result lives in."""
    if node.op in ("constant_array", "tape_pop"):
        return "constant" if node.op == "constant_array" else "arena" if node.attributes.get("copied") else "tape"
    return "brought" if brought_arrays(node) else "arena"


def result_orders(plan: Plan) -> dict[Value, tuple[int, ...]]:
    """Return in which order the axes of results lie that are not in C order, where all exits agree."""
    found: dict[Value, set[tuple[int, ...]]] = {}
    for step in exits_of(plan):
        for box in _array_boxes(step.node):
            found.setdefault(step.node.inputs[box.operand], set()).add(box.order)
    return {value: next(iter(orders)) for value, orders in found.items() if len(orders) == 1}


def exits_of(plan: Plan) -> Iterator[NodeStep]:
    """Yield the steps that leave the graph."""
    for step in plan.walk():
        if isinstance(step, NodeStep) and step.node.op == "exit":
            yield step


def boxed_arrays(node: Node) -> list[Value]:
    """Return the operands of an exit that become fresh arrays."""
    values = (node.inputs[box.operand] for box in _array_boxes(node))
    return [value for value in values if value.type.rank > 0]


def _array_boxes(node: Node) -> list[ArrayBox]:
    recipe: ExitRecipe = node.attributes["recipe"]
    found: list[ArrayBox] = []
    pending: list[object] = [recipe.result, *recipe.effects]
    while pending:
        part = pending.pop()
        if isinstance(part, ArrayBox):
            found.append(part)
        elif isinstance(part, tuple):
            pending.extend(part)
        elif isinstance(part, (Box, Effect)):
            pending.extend(getattr(part, field.name) for field in fields(part))
    return found
