"""Gathering: steps over the same rows of large arrays are put next to each other.

Owns `gather`. Steps that stand together can be done block by block of rows (`janusjit.backend.tiles`); what stands
between them in the program is often small, and wanted by neither: the mean of a loss between two passes over the
logits. Invariant: a step runs after every step that defines what it reads; only steps that compute, and do nothing
else, are moved or passed.
"""

from __future__ import annotations

import math

from janusjit.backend import cost
from janusjit.backend.plan import FusedStep, Step, nodes_of, root
from janusjit.backend.row_order import defined_by, only_computes
from janusjit.ir.dims import symbols_of
from janusjit.ops.indexing import symbols_in
from janusjit.ops.registry import Elementwise
from janusjit.pacing import pause

#: a step passes so many others at most
MOST_PASSED = 8


def gather(steps: list[Step]) -> list[Step]:
    """Return the steps of a region in the order they are to run in."""
    arranged: list[Step] = []
    for step in steps:
        pause()
        arranged.insert(_place(step, arranged), step)
    return arranged


def _place(step: Step, before: list[Step]) -> int:
    """Return where to put a step: behind the last one over its rows, if it can get there, or at the end."""
    end = len(before)
    if not isinstance(step, FusedStep) or not _is_large(step) or not only_computes(step):
        return end
    read = {root(value) for node in nodes_of(step) for value in node.inputs}
    for index in range(end - 1, max(end - 2 - MOST_PASSED, -1), -1):
        other = before[index]
        if isinstance(other, FusedStep) and _goes_by_rows(other) and other.shape[0] == step.shape[0]:
            return index + 1
        if not only_computes(other, (Elementwise,)) or not read.isdisjoint(defined_by(other)):
            return end
    return end


def _is_large(step: FusedStep) -> bool:
    """Return whether a step goes by rows over more than stays in the cache."""
    if not _goes_by_rows(step) or any(symbols_in(node.attributes) for node in nodes_of(step)):
        return False
    known = [dim for dim in step.shape if isinstance(dim, int)]
    widest = max(value.type.numpy_dtype.itemsize for node in nodes_of(step) for value in node.results)
    return len(known) == len(step.shape) and math.prod(known) * widest > cost.CACHE_BYTES


def _goes_by_rows(step: FusedStep) -> bool:
    """Return whether a step goes over several rows and does not combine them."""
    known = len(step.shape) > 1 and not symbols_of(step.shape[:1])
    return known and step.shape[0] not in (0, 1) and 0 not in (step.axes or ())
