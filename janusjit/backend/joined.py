"""Arrays that are computed where they are joined.

Owns `join_in_place`. What is joined one behind the other needs no memory of its own: it is computed in its part of the
whole, which is there from then on. Invariant: a part is an array that nothing reads but what joins it, and the memory
of the whole is nobody else's from the first part's beginning on.
"""

from __future__ import annotations

import math

from janusjit.backend.address import Addresses
from janusjit.backend.layout import contiguous
from janusjit.backend.plan import NodeStep, Plan
from janusjit.backend.storage import Placement, Storage
from janusjit.ir.graph import Node, Value
from janusjit.ops.indexing import Range


def join_in_place(plan: Plan, placement: Placement) -> None:
    """Let arrays be parts of what they are joined to, where the times of all storages are known."""
    addresses = Addresses(placement)
    for step in plan.walk():
        if isinstance(step, NodeStep) and step.node.op == "concatenate":
            _join(step, placement, addresses)


def part_along(node: Node, number: int) -> tuple[Range, ...]:
    """Return the index of the part of what a node joins that one of its inputs becomes."""
    axis, shape = node.attributes["axis"], node.inputs[number].type.shape
    start = sum(value.type.shape[axis] for value in node.inputs[:number])
    return tuple(Range(start if at == axis else 0, dim) for at, dim in enumerate(shape))


def _join(step: NodeStep, placement: Placement, addresses: Addresses) -> None:
    node, whole = step.node, placement.storage(step.node.result)
    if any(not isinstance(value.type.size, int) for value in node.inputs) or whole is None:
        return
    scope, before = placement.liveness.scopes[step], node.result.type.shape[: node.attributes["axis"]]
    alone = whole.kind in ("arena", "object") and whole.birth == step.time and whole.scope is scope
    if not alone or whole.layout != contiguous(node.result.type) or any(dim != 1 for dim in before):
        return
    storages = [placement.storage(value) for value in node.inputs]
    start = 0
    for value, storage in zip(node.inputs, storages, strict=True):
        is_part = storage is not None and storage.scope is scope and storages.count(storage) == 1
        if storage is not None and is_part and _is_wanted_once(value, storage, step.time, addresses):
            storage.kind = "part"
            placement.parts[storage] = (whole, start)
            placement.joined.add(node)
            whole.touch(storage.birth)
        assert isinstance(value.type.size, int)
        start += value.type.size * whole.layout.item_size


def _is_wanted_once(value: Value, storage: Storage, time: int, addresses: Addresses) -> bool:
    """Return whether an array is all there is in a storage, which is not used after a time."""
    address, shape = addresses.of(value), storage.layout.shape
    if storage.kind != "arena" or storage.death != time or address.terms:
        return False
    whole = address.layout == contiguous(value.type) and storage.layout.is_contiguous
    sizes = [dim for dim in shape if isinstance(dim, int)]
    return whole and len(sizes) == len(shape) and math.prod(sizes) == value.type.size
