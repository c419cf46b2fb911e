"""The joining of arrays some of which have been computed in their part of the whole.

Owns `join_the_rest`. Invariant: what `janusjit.backend.joined` has not placed in the whole is copied there.
"""

from __future__ import annotations

from typing import Protocol

from janusjit.backend.address import Address, part_of
from janusjit.backend.joined import part_along
from janusjit.backend.llvm.memory import Memory
from janusjit.backend.storage import Placement
from janusjit.ir.graph import Node


class Lowering(Protocol):
    """What joining asks of the lowering of the graph around it."""

    placement: Placement
    memory: Memory

    def copy(self, source: Address, target: Address) -> None:
        """Emit the copy of one array to another."""


def join_the_rest(lowering: Lowering, node: Node) -> str:
    """Emit the copies of what does not lie in its part of the whole; return how the node is done."""
    whole, placed = lowering.memory.addresses.of(node.result), 0
    for number, value in enumerate(node.inputs):
        storage = lowering.placement.storage(value)
        if storage is not None and lowering.placement.parts.get(storage, (None, 0))[0] is whole.storage:
            placed += 1
        elif value.type.size:
            lowering.copy(lowering.memory.addresses.of(value), part_of(whole, part_along(node, number)))
    return f"computing {placed} of {len(node.inputs)} in place"
