"""What is known of operations on variables that were recorded.

Owns `Record`, one operation, `Memory`, what arrays share, and `History`, where a variable comes from. Invariant: a
record refers to the records before it and nothing refers forward, so what no variable depends on any more is freed at
once; a released record holds neither arrays nor what led to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from janusjit.analysis.capture.state import Storage
from janusjit.analysis.capture.values import ArrayValue, Scalar
from janusjit.analysis.eager_machine import can_be_done_again
from janusjit.analysis.tapes import TAPES
from janusjit.analysis.variables import FREED, Variable
from janusjit.ir.graph import Node, Value

_numbers = itertools.count()


class Record:
    """One recorded operation.

    Attributes
    ----------
    nodes : list of Node
        Those that gradients flow through, in order.
    values : dict
        The arrays of what they take and give.
    parents : tuple of Record
        Where its operands come from.
    leaves : tuple of (Variable, Value)
        The leaves among its operands, and the graph values of the copies it took of them.
    number : int
        Orders records as they were made.
    tapes : frozenset of int
        The numbers of the tapes that were recording.
    shared : bool
        Whether the nodes are part of a gradient under way as well.
    """

    __slots__ = ("__weakref__", "leaves", "nodes", "number", "parents", "released", "shared", "tapes", "values")

    def __init__(
        self,
        nodes: list[Node],
        values: dict[Value, Any],
        parents: tuple[Record, ...],
        leaves: tuple[tuple[Any, Value], ...],
        tapes: Iterable[Any],
        shared: bool,
    ) -> None:
        self.nodes, self.values, self.parents, self.leaves = nodes, values, parents, leaves
        self.number, self.released, self.shared = next(_numbers), False, shared
        self.tapes = frozenset(tape.number for tape in tapes)
        for tape in tapes:
            tape.records.add(self)

    def release(self) -> None:
        """Let go of everything."""
        if not self.shared:
            for node in self.nodes:
                for value in node.results:
                    value.definition = None
        self.nodes, self.values, self.parents, self.leaves = [], {}, (), ()
        self.released = True


class Memory:
    """The memory of results that may be views of each other: its last version, and the record of that."""

    __slots__ = ("array", "index", "record", "storage")

    def __init__(self, index: int, storage: Storage, array: Any, record: Record | None) -> None:
        self.index, self.storage, self.array, self.record = index, storage, array, record


class History:
    """Where a computed variable comes from.

    Parameters
    ----------
    abstract : ArrayValue or Scalar
        What it is in the graph.
    memories : tuple of Memory
        Its own memory, and those of what it shows read-only; none of a number.
    record : Record or None
        The operation that made a number.
    values : dict
        The arrays of the graph values that are its own: a number, or where a view begins.
    """

    __slots__ = ("abstract", "made", "memories", "values")

    def __init__(
        self,
        abstract: ArrayValue | Scalar,
        memories: tuple[Memory, ...],
        record: Record | None,
        values: dict[Value, Any],
    ) -> None:
        self.abstract, self.memories, self.made, self.values = abstract, memories, record, values

    @property
    def records(self) -> list[Record]:
        """The operations that made what it is now."""
        found = [memory.record for memory in self.memories] or [self.made]
        return [record for record in found if record is not None]


#: stands for all operations that compiled code has used up
USED_UP = Record([], {}, (), (), (), False)
USED_UP.release()


def records_of(variable: Variable) -> list[Record]:
    """Return the operations that made what a variable is now; none of a leaf."""
    history = variable._history
    if history is None:
        return []
    return [USED_UP] if history is FREED else list(history.records)


def before(starts: Iterable[Record], tape: int | None = None) -> list[Record]:
    """Return records and all that led to them, in the order in which they were made.

    Parameters
    ----------
    starts : iterable of Record
        Where to begin.
    tape : int, optional
        Only what was recorded by the tape of this number, and is reached through such.
    """
    found: set[Record] = set()
    pending = list(starts)
    while pending:
        record = pending.pop()
        if record not in found and (tape is None or tape in record.tapes):
            found.add(record)
            pending += record.parents
    return sorted(found, key=lambda record: record.number)


def forget(starts: Iterable[Record], first: int) -> None:
    """Let go of what the records from number ``first`` on that led to some computed: it is computed again."""
    found: set[Record] = set()
    pending = list(starts)
    while pending:
        record = pending.pop()
        if record not in found and record.number >= first:
            found.add(record)
            pending += record.parents
    made = {value for record in found for node in record.nodes if can_be_done_again(node) for value in node.results}
    for record in found:
        record.values = {value: array for value, array in record.values.items() if value not in made}


def next_number() -> int:
    """Return a number above those of all records so far."""
    return next(_numbers)


def release(records: Iterable[Record], but_for: int | None = None) -> None:
    """Release records that no tape still wants; the tape numbered ``but_for`` does not count."""
    for record in records:
        if not any(number != but_for and _wanted_by(number) for number in record.tapes):
            record.release()


def _wanted_by(number: int) -> bool:
    tape = TAPES.get(number)
    return tape is not None and not tape.used
