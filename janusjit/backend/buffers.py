"""Storage: which memory each array of a plan lives in.

Owns `Storage` and `assign`. Arrays share a storage when one is an update of the other, is carried round a loop, or comes
out of an ``if`` or a loop. Invariant: an array is never written over while a reader of it is left, and the memory of an
input is written only where nothing can fail any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from janusjit.backend.fuse import input_layout
from janusjit.backend.layout import Layout, contiguous
from janusjit.backend.liveness import UPDATES, Liveness, Scope, breaks, continues, nodes_of
from janusjit.backend.plan import FusedStep, NodeStep, Plan, RegionStep, Step, is_reduction, is_view
from janusjit.ir.boxes import ArrayBox, ExitRecipe
from janusjit.ir.dims import symbols_of
from janusjit.ir.graph import Node, Value
from janusjit.ops.indexing import PathStep


@dataclass(eq=False)
class Storage:
    """Memory for one array at a time.

    ``kind`` is ``"input"`` (the caller's array number ``input_index``), ``"constant"``, ``"arena"``, ``"object"`` (the
    fresh ndarray of a result) or ``"own"`` (of a size known in the middle of the graph only). ``birth`` and ``death`` are
    the times between which it is used.
    """

    layout: Layout
    kind: str = "arena"
    scope: Scope = field(default_factory=Scope)
    birth: int = -1
    death: int = -1
    input_index: int | None = None
    members: list[Value] = field(default_factory=list)
    merged_into: Storage | None = None
    users: int = 0

    def resolve(self) -> Storage:
        """Return the storage this one has become part of, or itself."""
        storage = self
        while storage.merged_into is not None:
            storage = storage.merged_into
        return storage

    def touch(self, time: int) -> None:
        """Extend the life to include ``time``."""
        self.birth = time if self.birth < 0 else min(self.birth, time)
        self.death = max(self.death, time)


@dataclass(frozen=True, eq=False)
class Transfer:
    """An array to be copied to the storage of a loop's or an ``if``'s value."""

    source: Value
    target: Value


@dataclass
class Placement:
    """The outcome: where arrays live, and which copies that costs.

    Attributes
    ----------
    transfers : dict
        By step: for a loop what to copy before it, for a terminator what to copy at it.
    copied : set
        The updates that first copy their base to the storage of their result.
    """

    liveness: Liveness
    storages: list[Storage] = field(default_factory=list)
    transfers: dict[Step, list[Transfer]] = field(default_factory=dict)
    copied: set[Value] = field(default_factory=set)
    _of: dict[Value, Storage] = field(default_factory=dict)

    def storage(self, value: Value) -> Storage | None:
        """Return where the memory of ``value``, or of what it is a view of, is; None if it exists in registers only."""
        found = self._of.get(self.liveness.root(value))
        return None if found is None else found.resolve()

    def place(self, value: Value, storage: Storage) -> None:
        """Let an array live in a storage."""
        self._of[value] = storage
        storage.resolve().members.append(value)


def assign(plan: Plan) -> Placement:
    """Return where every array of a plan lives."""
    assigner = _Assigner(plan)
    assigner.visit(plan.steps)
    assigner.settle()
    return assigner.placement


class _Assigner:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.liveness = Liveness(plan)
        self.placement = Placement(self.liveness)
        self._terminators = {step.node: step for step in plan.walk() if isinstance(step, NodeStep)}
        for index, input_ in enumerate(plan.graph.inputs):
            if input_.value.type.rank > 0:
                storage = self._new(input_layout(input_, index), self.liveness.body, -1, "input")
                storage.input_index = index
                self.placement.place(input_.value, storage)

    def _new(self, layout: Layout, scope: Scope, time: int, kind: str = "arena") -> Storage:
        storage = Storage(layout, kind, scope, time, time)
        self.placement.storages.append(storage)
        return storage

    def _place_new(self, value: Value, step: Step, scope: Scope, kind: str = "arena") -> None:
        self.placement.place(value, self._new(contiguous(value.type), scope, step.time, kind))

    # -- steps

    def visit(self, steps: list[Step]) -> None:
        """Place what the steps define, in execution order."""
        for step in steps:
            scope = self.liveness.scopes[step]
            if isinstance(step, RegionStep):
                self._visit_region(step, scope)
                continue
            stored = set(step.stores) if isinstance(step, FusedStep) else set()
            for node in nodes_of(step):
                for result in node.results:
                    if result.type.rank == 0 or is_view(node):
                        continue
                    if node.op in UPDATES:
                        self._place_update(node, step, scope, result in stored or not isinstance(step, FusedStep))
                    elif isinstance(step, NodeStep) or result in stored or is_reduction(node):
                        self._place_new(result, step, scope, "constant" if node.op == "constant_array" else "arena")

    def _place_update(self, node: Node, step: Step, scope: Scope, stored: bool) -> None:
        base = node.inputs[0]
        storage = self.placement.storage(base)
        whole = node.attributes.get("path") == ()
        passed_on = not stored  # the next whole update decides for it
        base_is_whole = storage is not None and not is_view_value(base)
        if storage is not None and base_is_whole and (passed_on or self._may_overwrite(storage, base, node, step)):
            storage.touch(step.time)
            self.placement.place(node.result, storage)
        elif stored:
            self._place_new(node.result, step, scope)
            if not whole:
                self.placement.copied.add(node.result)
                self._touch(base, step.time)
            return

    def _touch(self, value: Value, time: int) -> None:
        storage = self.placement.storage(value)
        if storage is not None:
            storage.touch(time)

    # -- overwriting

    def _may_overwrite(self, storage: Storage, base: Value, node: Node | None, step: Step) -> bool:
        """Return whether ``step`` may write over ``base``, by its update ``node``: no reader of ``storage`` is left."""
        scope = self.liveness.scopes[step]
        if storage.kind == "constant" or (storage.kind == "input" and self.liveness.fails_after(step)):
            return False
        defined = self.liveness.scope_of(self.liveness.root(base))
        if any(not defined.within(loop) for loop in scope.loops()):
            return False  # the next turn of the loop begins with what is there now
        storage.members = [m for m in storage.members if self._is_live(m, step, scope)]
        return not any(
            self.liveness.is_read_again(member, step, scope) or not self._reads_in_step(member, node, step)
            for member in storage.members
        )

    def _is_live(self, member: Value, step: Step, scope: Scope) -> bool:
        """Return whether a member may matter to a later update: it is read later, or may be in another turn."""
        if self.liveness.last_use(member) >= step.time:
            return True
        return any(True for _ in self.liveness.scope_of(member).loops()) or any(True for _ in scope.loops())

    def _reads_in_step(self, member: Value, node: Node | None, step: Step) -> bool:
        """Return whether the reads of ``member`` in the overwriting step itself, if any, see it unchanged."""
        reads = [read for read in self.liveness.reads.get(member, ()) if read.step is step]
        if not reads or node is None:
            return node is not None or len(reads) <= 1
        if not isinstance(step, FusedStep) or node.op != "update":
            return False
        return all(read.value.type.shape == step.shape and _is_part(read.value, node) for read in reads)

    # -- regions

    def _visit_region(self, step: RegionStep, scope: Scope) -> None:
        node = step.node
        if node.op == "loop":
            self._place_carried(step, scope)
        for body in step.bodies:
            self.visit(body)
        if node.op == "loop":
            self._settle_carried(step)
            ends = list(breaks(node))
        else:
            ends = [r.terminator for r in node.regions if r.terminator.op == "yield"]
        for index, result in enumerate(node.results):
            if result.type.rank > 0:
                sources = [(self._terminators[end], end.inputs[index]) for end in ends]
                self._place_result(result, sources, step, scope)

    def _place_carried(self, step: RegionStep, scope: Scope) -> None:
        (region,) = step.node.regions
        for position, (parameter, initial) in enumerate(zip(region.parameters, step.node.inputs, strict=True)):
            if parameter.type.rank == 0 or self.liveness.root(parameter) is not parameter:
                continue
            storage = self.placement.storage(initial)
            shared = [i for i in step.node.inputs if i.type.rank and self.placement.storage(i) is storage]
            usable = storage is not None and storage.layout == contiguous(parameter.type) and len(shared) == 1
            usable = usable and not is_view_value(initial)
            if usable and storage and storage.kind == "input":
                # the caller's memory takes updates of the caller's array only, not what a name is bound to later
                usable = all(_updates(end.inputs[position], parameter) for end in continues(step.node))
            if usable and storage and self._may_overwrite(storage, initial, None, step):
                self.placement.place(parameter, storage)
            else:
                self._place_new(parameter, step, scope)
                self.placement.transfers.setdefault(step, []).append(Transfer(initial, parameter))
            self._span(parameter, step)

    def _span(self, value: Value, step: RegionStep) -> None:
        self._touch(value, step.time)
        self._touch(value, step.end)

    def _settle_carried(self, step: RegionStep) -> None:
        (region,) = step.node.regions
        for index, parameter in enumerate(region.parameters):
            if parameter.type.rank == 0 or self.liveness.root(parameter) is not parameter:
                continue
            target = self.placement.storage(parameter)
            assert target is not None
            for end in continues(step.node):
                self._flow(end.inputs[index], parameter, self._terminators[end], target)
            self._span(parameter, step)

    def _place_result(
        self, result: Value, sources: list[tuple[NodeStep, Value]], step: RegionStep, scope: Scope
    ) -> None:
        found = {self.placement.storage(value) for _, value in sources}
        only = found.pop() if len(found) == 1 else None
        whole = all(not is_view_value(value) for _, value in sources)
        outside = only is not None and scope.within(only.scope)
        if only is not None and whole and outside and only.layout == contiguous(result.type):
            self.placement.place(result, only)
            only.touch(step.end)
            return
        self._place_new(result, step, scope)
        target = self.placement.storage(result)
        assert target is not None
        for end, value in sources:
            self._flow(value, result, end, target)
        self._span(result, step)

    def _flow(self, source: Value, target: Value, end: NodeStep, storage: Storage) -> None:
        """Let ``source`` become ``target`` at the terminator ``end``: computed in its storage, or copied there."""
        own = self.placement.storage(source)
        if own is storage and not is_view_value(source):
            return
        if own is not None and not is_view_value(source) and self._may_merge(own, storage):
            own.merged_into = storage
            storage.members += own.members
            return
        self.placement.transfers.setdefault(end, []).append(Transfer(source, target))

    def _may_merge(self, own: Storage, target: Storage) -> bool:
        """Return whether all that lives in ``own`` may live in ``target``, where nothing is wanted any more then."""
        if own.kind != "arena" or own.layout != target.layout or target.kind not in ("arena", "input"):
            return False
        return False

    # -- results

    def settle(self) -> None:
        """Settle how long each storage is used, and which are results or have a size of their own."""
        for step, transfers in self.placement.transfers.items():
            self.placement.transfers[step] = self._in_sequence(transfers, step)
        storages = self.placement.storages = [s for s in self.placement.storages if s.merged_into is None]
        for value, storage in list(self.placement._of.items()):
            last = self.liveness.last_use(value)
            if last >= 0:
                storage.resolve().touch(last)
        for step in self.plan.walk():
            if isinstance(step, NodeStep) and step.node.op == "exit":
                for value in boxed_arrays(step.node):
                    self._make_object(value)
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
        self._place_new(aside, step, self.liveness.scopes[step])
        return aside

    def _is_read(self, target: Value, transfers: list[Transfer], but: Transfer) -> bool:
        storage = self.placement.storage(target)
        return any(t is not but and self.placement.storage(t.source) is storage for t in transfers)

    def _make_object(self, value: Value) -> None:
        storage = self.placement.storage(value)
        if storage is None or is_view_value(value) or storage.kind != "arena":
            return
        if storage.scope is self.liveness.body:
            storage.kind = "object"


def _updates(value: Value, origin: Value) -> bool:
    """Whether ``value`` is a version of the array ``origin``: made from it by updates alone."""
    if value is origin:
        return True
    node = value.node
    if node is None:
        return False
    if node.op in UPDATES:
        return _updates(node.inputs[0], origin)
    if node.op == "if":
        ends = [region.terminator for region in node.regions if region.terminator.op == "yield"]
        return all(_updates(end.inputs[value.index], origin) for end in ends)
    if node.op == "loop":
        (region,) = node.regions
        return any(
            _updates(initial, origin) and all(_updates(end.inputs[value.index], parameter) for end in breaks(node))
            for initial, parameter in zip(node.inputs, region.parameters, strict=True)
        )
    return False


def is_view_value(value: Value) -> bool:
    """Return whether a value is a view of another."""
    return value.node is not None and is_view(value.node)


def boxed_arrays(node: Node) -> list[Value]:
    """Return the operands of an exit that become fresh arrays."""
    recipe: ExitRecipe = node.attributes["recipe"]
    found: list[Value] = []
    pending: list[object] = [recipe.result, *recipe.effects]
    while pending:
        part = pending.pop()
        if isinstance(part, ArrayBox):
            found.append(node.inputs[part.operand])
        elif isinstance(part, tuple):
            pending.extend(part)
        elif hasattr(part, "__dataclass_fields__"):
            pending.extend(getattr(part, name) for name in part.__dataclass_fields__)
    return [value for value in found if value.type.rank > 0]


def _is_part(value: Value, update: Node) -> bool:
    """Return whether ``value`` is the very part of an array's memory that ``update`` sets."""
    path: list[tuple[PathStep, tuple[Value, ...]]] = []
    while is_view_value(value):
        assert value.node is not None
        node = value.node
        step = PathStep.of(node.op, len(node.inputs) - 1, **node.attributes)
        path.append((step, node.inputs[1:]))
        value = node.inputs[0]
    steps = tuple(step for step, _ in reversed(path))
    extras = tuple(extra for _, extras in reversed(path) for extra in extras)
    return steps == update.attributes["path"] and extras == update.inputs[2:]
