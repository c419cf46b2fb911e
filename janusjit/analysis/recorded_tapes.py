"""Gradients of tapes outside compiled code.

Owns what `GradientTape.gradient` does. Invariant: gradients flow through records of the tape alone; where another tape
records, going back is an operation that it sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import janusjit.analysis.recorded_checkpoints
import janusjit.analysis.recorded_variable_rules  # noqa: F401 - registers itself
from janusjit.analysis.capture.arrays import new_array
from janusjit.analysis.capture.values import Scalar
from janusjit.analysis.recorded_variables import Operation, settle
from janusjit.analysis.recording_mode import MODE
from janusjit.analysis.records import Record, before, records_of, release
from janusjit.analysis.tapes import FREE, PULL, SETTLE, GradientTape
from janusjit.analysis.variables import FREED, Variable, plain
from janusjit.ir.graph import Value


def pull(tape: GradientTape, targets: list[Variable], seeds: list[Any], sources: list[Variable]) -> list[Any]:
    """Return the gradient by each source; None where no target depends on it."""
    records = before((record for target in targets for record in records_of(target)), tape.number)
    with Operation() as operation:
        made = [(target, seed) for target, seed in zip(targets, seeds, strict=True) if records_of(target)]
        nodes = operation.machine.graph.body.nodes
        begin = len(nodes)
        abstract = [operation.abstract(target) for target, _ in made]
        totals: list[Value | None] = [None] * len(sources)
        for group in _groups(sources):
            places = _places(operation, [sources[number] for number in group], records)
            flat = [value for values in places for value in values]
            found = iter(operation.pulled_back(records, abstract, [plain(seed) for _, seed in made], flat))
            for number, values in zip(group, places, strict=True):
                totals[number] = _sum(operation, [next(found) for _ in values])
        for target, seed in zip(targets, seeds, strict=True):
            _add_direct(operation, target, seed, sources, totals)
        operation.machine.evaluate()
        return _results(operation, totals, begin, records)


def _groups(sources: Sequence[Variable]) -> list[list[int]]:
    """Return which sources are gone back to together: results may depend on each other, leaves do not."""
    leaves = [number for number, source in enumerate(sources) if source.is_leaf]
    computed = [[number] for number, source in enumerate(sources) if not source.is_leaf]
    return [leaves, *computed] if leaves else computed


def _places(operation: Operation, sources: Sequence[Variable], records: Sequence[Record]) -> list[list[Value]]:
    """Return the graph values that stand for each source."""
    taken: dict[int, list[Value]] = {}
    for record in records:
        for leaf, value in record.leaves:
            taken.setdefault(id(leaf), []).append(value)
    return [taken.get(id(source), []) if source.is_leaf else [_value(source)] for source in sources]


def _value(source: Variable) -> Value:
    if source._history is FREED:
        raise TypeError("a gradient is taken by the result of operations that have been freed")
    abstract = source._history.abstract
    if isinstance(abstract, Scalar):
        return abstract.value
    if abstract.path or len(source._history.memories) > 1:
        raise TypeError("a gradient is taken by a view: take it by what it is a view of, or by a copy")
    version: Value = source._history.memories[0].storage.version
    return version


def _sum(operation: Operation, parts: Sequence[Value | None]) -> Value | None:
    total: Value | None = None
    for part in parts:
        if part is not None:
            total = part if total is None else operation.machine.emit("add", total, part)
    return total


def _add_direct(
    operation: Operation, target: Variable, seed: Any, sources: Sequence[Variable], totals: list[Value | None]
) -> None:
    """Add the cotangent of a target that is a leaf, and a source itself."""
    if target.is_leaf:
        for number, source in enumerate(sources):
            if source is target:
                cotangent = np.broadcast_to(1.0 if seed is None else plain(seed), target.shape)
                given = operation.machine.input(np.array(cotangent, target.dtype))
                totals[number] = _sum(operation, [totals[number], given])


def _results(operation: Operation, totals: Sequence[Value | None], begin: int, records: Sequence[Record]) -> list[Any]:
    mode = MODE.get()
    if not (mode.enabled and mode.tapes):
        return [None if value is None else operation.array_of(value) for value in totals]
    for record in records:
        operation.parents[record] = None
    machine = operation.machine
    for record in records:
        for value in (*(value for _, value in record.leaves), *(r for node in record.nodes for r in node.results)):
            if value.type.is_float:
                machine.record_by(value)
    nodes = machine.graph.body.nodes[begin:]
    machine.activity.spread(nodes)
    made = operation.record(nodes)
    return [None if value is None else operation.result(new_array(machine, value), made) for value in totals]


def free(tape: GradientTape) -> None:
    """Free what a tape recorded, but for what another one wants."""
    release(list(tape.records), tape.number)


__all__ = ["GradientTape", "free", "pull"]
PULL.append(pull)
FREE.append(free)
SETTLE.append(settle)
