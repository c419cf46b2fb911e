"""May this memory be written over now?

Owns `Overwriting`, the questions that stand between an update and making it in place. Invariants: a storage is written
only when no reader of what it holds is left, on any path; and the caller's memory is written by updates of the caller's
own array only, where no guard can fail any more (but for that of the floating-point flags, before which the array is
put back from its backup) and every later exit commits the write. What is read from a tape lies on it, and nothing else
comes to live there that a push may find in its way.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.backend import cost
from janusjit.backend.address import Address, moved, view_of
from janusjit.backend.delays import RING_BYTES, delay, ring_bytes
from janusjit.backend.layout import follow
from janusjit.backend.liveness import Liveness, Scope, breaks, continues
from janusjit.backend.plan import UPDATES, FusedStep, NodeStep, Plan, RegionStep, Step
from janusjit.backend.storage import Placement, Storage, is_view_value
from janusjit.ir.boxes import WriteArray
from janusjit.ir.dims import product
from janusjit.ir.graph import Node, Value
from janusjit.ir.places import Place
from janusjit.ops.indexing import PathStep
from janusjit.transform.facts import only_warns


class Overwriting:
    """Answers for one plan, while storages are assigned."""

    def __init__(self, plan: Plan, placement: Placement) -> None:
        self._inputs = plan.graph.inputs
        self._backups = plan.backups
        self._must_give_up = not only_warns(plan.graph)
        self._placement = placement
        self._on_threads = plan.graph.threads > 1
        self._liveness: Liveness = placement.liveness
        self._exits = [
            (step, written_places(step.node))
            for step in plan.walk()
            if isinstance(step, NodeStep) and step.node.op == "exit"
        ]
        self._pushes = [step for step in plan.walk() if isinstance(step, NodeStep) and step.node.op == "tape_push"]

    def by_update(self, storage: Storage, update: Node, step: Step) -> bool:
        """Return whether ``step`` may make ``update`` in ``storage``, which holds the update's base."""
        if not self._defined_this_turn(update.inputs[0], step):
            return False  # the next turn of the loop begins with what is there now
        return self._may_write(storage, step) and all(
            not self._is_read_later(member, step) and self._is_seen_unchanged(storage, member, update, step)
            for member in self._live_members(storage, step)
        )

    def by_loop(self, storage: Storage, initial: Value, position: int, step: RegionStep) -> bool:
        """Return whether a loop may keep the value it begins with at ``position`` in ``initial``'s own memory."""
        if not self._defined_this_turn(initial, step) or not self._may_write(storage, step):
            return False
        if storage.kind == "input":
            (region,) = step.node.regions
            ends = continues(step.node)
            if not all(is_version(end.inputs[position], region.parameters[position]) for end in ends):
                return False
        return all(
            not self._is_read_later(member, step)
            and sum(read.step is step for read in self._liveness.reads.get(member, ())) <= 1
            for member in self._live_members(storage, step)
        )

    def by_result(self, storage: Storage, step: RegionStep) -> bool:
        """Return whether the result of the ``if`` that is ``step`` may take the place of what ``storage`` holds."""
        if storage.kind != "arena":
            return False
        scope = self._liveness.scopes[step]
        return not any(self._liveness.is_read_again(m, step, scope, after=step.end) for m in storage.members)

    def is_pushed_over(self, storage: Storage, step: Step) -> bool:
        """Return whether what ``storage`` holds lies on a tape that may be pushed on after ``step``."""
        if storage.kind != "tape":
            return False
        (popped, *_), scope = storage.members, self._liveness.scopes[step]
        assert popped.node is not None
        return any(
            self._liveness.may_follow(push, step, scope)
            for push in self._pushes
            if push.node.attributes["tape"] == popped.node.attributes["tape"]
        )

    def by_merging(self, own: Storage, target: Storage, result: Value | None) -> bool:
        """Return whether all that lives in ``own`` may live in ``target`` instead, from its first value on.

        ``result`` is what it becomes there, unless that is the next value a loop carries.
        """
        if own.kind != "arena" or target.kind != "arena" or own.layout != target.layout:
            return False
        members = [member for member in target.members if member is not result]
        return own is not target and not any(self._is_in_the_way(member, own) for member in members)

    # -- parts of the answers

    def _may_write(self, storage: Storage, step: Step) -> bool:
        if storage.kind != "input":
            return storage.kind != "constant" and not self.is_pushed_over(storage, step)
        assert storage.input_index is not None
        place = self._inputs[storage.input_index].place
        if self._must_give_up and self._liveness.is_checked_after(step) and storage.input_index not in self._backups:
            return False
        return not self._liveness.fails_after(step) and self._is_committed(place, step)

    def _is_committed(self, place: Place, step: Step) -> bool:
        """Return whether all exits after ``step`` end with a new value of the array at ``place``."""
        scope = self._liveness.scopes[step]
        later = [w for e, w in self._exits if e.time > step.time and not self._liveness.scopes[e].excludes(scope)]
        return all(any(place is one for one in written) for written in later)

    def _defined_this_turn(self, value: Value, step: Step) -> bool:
        defined = self._liveness.scope_of(self._liveness.root(value))
        return all(defined.within(loop) for loop in self._liveness.scopes[step].loops())

    def _live_members(self, storage: Storage, step: Step) -> list[Value]:
        """Return the arrays of ``storage`` that may be read at ``step`` or later, and look at the others no more.

        They stay members: what is merged into the storage afterwards may begin before they are read.
        """
        scope = self._liveness.scopes[step]
        storage.live = [m for m in storage.live if self._may_matter(m, step, scope)]
        return storage.live

    def _may_matter(self, member: Value, step: Step, scope: Scope) -> bool:
        if self._liveness.last_use(member) >= step.time:
            return True
        in_loop = [*self._liveness.scope_of(member).loops(), *scope.loops()]
        return bool(in_loop)

    def _is_read_later(self, member: Value, step: Step) -> bool:
        return self._liveness.is_read_again(member, step, self._liveness.scopes[step])

    def _is_seen_unchanged(self, storage: Storage, member: Value, update: Node, step: Step) -> bool:
        """Return whether the reads of ``member`` in the overwriting step itself, if any, come before the write."""
        reads = [r for r in self._liveness.reads.get(member, ()) if r.step is step and not r.as_base]
        if not reads:
            return True
        if not isinstance(step, FusedStep) or update.op != "update":
            return False
        values = [read.value for read in reads]
        if not all(value.type.shape == step.shape for value in values):
            return False
        return all(is_part(value, update) for value in values) or self._is_delayed(storage, values, update, step)

    def _is_delayed(self, storage: Storage, values: Sequence[Value], update: Node, step: FusedStep) -> bool:
        """Return whether the write can, and should, stay some rows behind what reads neighbouring rows.

        Threads would have to wait for each other.
        """
        shape = storage.layout.shape
        if self._on_threads or step.reductions or step.stores != [update.result] or not step.shape:
            return False
        size = product(shape) * storage.layout.item_size
        if not isinstance(size, int) or size <= cost.CACHE_BYTES or step.shape[0] in (0, 1):
            return False
        target = part_of_storage(storage, update)
        sources = [window_of_storage(storage, value) for value in values]
        if target is None or any(source is None for source in sources):
            return False
        rows = delay(target, [source for source in sources if source is not None])
        waiting = None if rows is None else ring_bytes(target, rows)
        if rows is None or waiting is None or waiting > RING_BYTES:
            return False
        self._placement.delays[step] = rows
        return True

    def _is_in_the_way(self, member: Value, own: Storage) -> bool:
        """Return whether ``member`` is wanted, or written, when ``own`` is in use already."""
        liveness = self._liveness
        if self._placement.defined[member] > own.birth and not liveness.scope_of(member).excludes(own.scope):
            return True
        for read in liveness.reads.get(member, ()):
            if read.step.time < own.birth or read.scope.excludes(own.scope):
                continue
            if read.step.time > own.birth or read.as_base or not self._is_replaced(read.step, read.value, own):
                return True
        return False

    def _is_replaced(self, step: Step, value: Value, own: Storage) -> bool:
        """Return whether ``step``, which begins ``own``, reads elements of ``value`` only to compute those of ``own``.

        An update of a part does not: its base is copied first, and its elements are written elsewhere than read.
        """
        if not isinstance(step, FusedStep) or is_view_value(value) or value.type.shape != step.shape:
            return False
        begun = [member for member in own.members if self._placement.defined[member] == step.time]
        partial = any(n.op in UPDATES and n.attributes.get("path") != () for n in step.nodes if n.result in begun)
        return not partial and any(member in step.stores for member in begun)


def written_places(exit_: Node) -> list[Place]:
    """Return the places whose arrays an exit writes to."""
    return [effect.place for effect in exit_.attributes["recipe"].effects if isinstance(effect, WriteArray)]


def is_version(value: Value, origin: Value) -> bool:
    """Return whether ``value`` is a version of the array ``origin``: made from it by updates alone."""
    pending, seen = [value], set()
    while pending:
        one = pending.pop()
        if one is origin or one in seen:
            continue
        seen.add(one)
        node = one.node
        if node is not None and node.op in UPDATES:
            pending.append(node.inputs[0])
        elif node is not None and node.op == "if":
            ends = [region.terminator for region in node.regions if region.terminator.op == "yield"]
            pending.extend(end.inputs[one.index] for end in ends)
        elif node is None or node.op != "loop" or not _is_version_by_loop(one, node, origin):
            return False
    return True


def _is_version_by_loop(value: Value, loop: Node, origin: Value) -> bool:
    (region,) = loop.regions
    return any(
        is_version(initial, origin) and all(is_version(end.inputs[value.index], parameter) for end in breaks(loop))
        for initial, parameter in zip(loop.inputs, region.parameters, strict=True)
    )


def part_of_storage(storage: Storage, update: Node) -> Address | None:
    """Return the part of a storage that an update of what it holds sets, if that is known."""
    following = follow(storage.layout, update.attributes["path"])
    return None if following is None or update.inputs[2:] else moved(Address(storage, storage.layout), following, ())


def window_of_storage(storage: Storage, value: Value) -> Address | None:
    """Return where a view of the array in a storage lies, if it is one view by a basic index of known positions."""
    node = value.node
    if node is None or node.op != "view" or node.inputs[1:] or is_view_value(node.inputs[0]):
        return None
    return view_of(Address(storage, storage.layout), node)


def is_part(value: Value, update: Node) -> bool:
    """Return whether ``value`` is the very part of an array's memory that ``update`` sets."""
    path: list[tuple[PathStep, tuple[Value, ...]]] = []
    while is_view_value(value):
        assert value.node is not None
        node = value.node
        path.append((PathStep.of(node.op, len(node.inputs) - 1, **node.attributes), node.inputs[1:]))
        value = node.inputs[0]
    steps = tuple(step for step, _ in reversed(path))
    extras = tuple(extra for _, extras in reversed(path) for extra in extras)
    return steps == update.attributes["path"] and extras == update.inputs[2:]
