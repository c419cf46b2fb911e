"""Storages: the memory arrays live in, and who lives where.

Owns `Storage`, `Transfer` and `Placement`. Invariant: at any time a storage holds one array, which the plan's steps
find there; `janusjit.backend.buffers` decides, everything later only asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from janusjit.backend.layout import Layout
from janusjit.backend.liveness import Liveness, Scope
from janusjit.backend.plan import UPDATES, FusedStep, Step, is_view, nodes_of
from janusjit.ir.graph import Node, Value


@dataclass(eq=False)
class Storage:
    """Memory for one array at a time.

    ``kind`` is ``"input"`` (the caller's array number ``input_index``), ``"constant"``, ``"arena"``, ``"object"``
    (the fresh ndarray of a result), ``"own"`` (of a size known in the middle of the graph only), ``"brought"`` (the
    ndarray that a call returned), ``"tape"`` (where a push has put it, free from the pop on) or ``"part"`` (of another
    storage, see `Placement`). ``birth`` and ``death`` are the times between which it is used. ``kept_rows`` is how many
    rows there are at a time of an array that is wanted in blocks only, and ``room`` how many of them lie between the
    first ones of two threads.
    """

    layout: Layout
    kind: str = "arena"
    scope: Scope = field(default_factory=Scope)
    birth: int = -1
    death: int = -1
    input_index: int | None = None
    members: list[Value] = field(default_factory=list)
    live: list[Value] = field(default_factory=list)
    merged_into: Storage | None = None
    kept_rows: int | None = None
    room: int = 0

    def resolve(self) -> Storage:
        """Return the storage this one has become part of, or itself."""
        storage = self
        while storage.merged_into is not None:
            storage = storage.merged_into
        return storage

    def hold(self, *values: Value) -> None:
        """Note that arrays live here: among ``members`` for good, among ``live`` while they may be read later."""
        self.members += values
        self.live += values

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
    placed : dict
        The storage each array was given, before storages were merged.
    defined : dict
        The time at which each array is computed.
    delays : dict
        The updates in place that read neighbouring rows, and by how many rows writing stays behind reading.
    parts : dict
        The storages that are part of another, which one, and how many bytes behind its beginning they lie.
    joined : set
        The nodes that join arrays some of which are such parts.
    """

    liveness: Liveness
    storages: list[Storage] = field(default_factory=list)
    transfers: dict[Step, list[Transfer]] = field(default_factory=dict)
    copied: set[Value] = field(default_factory=set)
    placed: dict[Value, Storage] = field(default_factory=dict)
    defined: dict[Value, int] = field(default_factory=dict)
    delays: dict[Step, int] = field(default_factory=dict)
    parts: dict[Storage, tuple[Storage, int]] = field(default_factory=dict)
    joined: set[Node] = field(default_factory=set)

    def storage(self, value: Value) -> Storage | None:
        """Return where the memory of ``value``, or of what it is a view of, is; None if it exists in registers only."""
        found = self.placed.get(self.liveness.root(value))
        return None if found is None else found.resolve()

    def place(self, value: Value, storage: Storage, time: int) -> None:
        """Let an array live in a storage from ``time`` on."""
        self.placed[value] = storage
        self.defined[value] = time
        storage.resolve().hold(value)

    def inputs_written_by(self, step: Step) -> set[int]:
        """Return the inputs in whose memory a step makes updates."""
        updated = (node.result for node in nodes_of(step) if node.op in UPDATES and node.result.type.rank > 0)
        stored = [value for value in updated if not isinstance(step, FusedStep) or value in step.stores]
        storages = [storage for storage in map(self.storage, stored) if storage is not None]
        return {storage.input_index for storage in storages if storage.input_index is not None}

    def is_last(self, value: Value) -> bool:
        """Return whether a value computed by a single step is the last that is put into its storage."""
        storage = self.storage(value)
        others = [other for other, place in self.placed.items() if place.resolve() is storage]
        return all(
            other.node is not None
            and not other.node.regions
            and (other is value or self.defined[other] < self.defined[value])
            for other in others
        )


def is_view_value(value: Value) -> bool:
    """Return whether a value is a view of another."""
    return value.node is not None and is_view(value.node)
