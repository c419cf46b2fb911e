"""Arrays that are the same in every run, though they are computed.

Owns `ConstantArrays`. Invariant: an array has the bits that the eager functions give; what would fail or warn is not
known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.ir.graph import Node, Value
from janusjit.ops import OPS
from janusjit.transform.facts import is_operation, is_stateful, reads_object
from janusjit.transform.fold import FAILURES, array_of

#: arrays of more elements are not computed
LARGEST = 1 << 22


class ConstantArrays:
    """What is known of arrays of integers; each is computed once."""

    def __init__(self) -> None:
        self._known: dict[Value, Any] = {}

    def of(self, value: Value) -> Any:
        """Return an array of integers that follows from constants alone; None for any other."""
        pending = [value]
        while pending:
            item = pending[-1]
            if item in self._known:
                pending.pop()
                continue
            node = item.node
            needed = () if node is None or not _may_be_known(node) else node.inputs
            missing = [value for value in needed if value not in self._known]
            if missing:
                pending += missing
                continue
            self._known[item] = None if node is None else self._computed(node)
        return self._known[value]

    def _computed(self, node: Node) -> Any:
        found = array_of(node)
        if found is not None or not _may_be_known(node):
            return found
        inputs = [self._known[value] for value in node.inputs]
        if any(item is None for item in inputs):
            return None
        try:
            with np.errstate(all="raise"):
                return OPS[node.op].eager(*inputs, **node.attributes)
        except FAILURES:
            return None


def _may_be_known(node: Node) -> bool:
    """Return whether a node computes an array of integers of a known size, of its inputs alone."""
    if not is_operation(node) or node.guard is not None or len(node.results) != 1 or "symbol" in node.attributes:
        return False
    type_ = node.result.type
    if is_stateful(node) or reads_object(node) or type_.dtype[0] not in "iu":
        return False
    return all(isinstance(size, int) and size <= LARGEST for size in (type_.size, *(v.type.size for v in node.inputs)))
