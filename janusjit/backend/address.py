"""Addresses: storage, layout and shift of every array value, as far as the plan knows them.

Owns `Address` and `Addresses`. Invariant: two values with equal addresses are the same elements of memory, so a kernel
that reads and writes one place through one pointer can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Union

from janusjit.backend.layout import Layout, Shift, follow, viewed
from janusjit.backend.storage import Placement, Storage, is_view_value
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Node, Value
from janusjit.ops.indexing import IndexItem, Operand


@dataclass(frozen=True, slots=True)
class Address:
    """Elements of a storage: ``terms`` are the (start, stride) products that say how far behind its begin they lie."""

    storage: Storage
    layout: Layout
    terms: tuple[tuple[Union[Dim, Value], Dim], ...] = ()

    def broadcast(self, shape: tuple[Dim, ...]) -> Address:
        """Return the address stretched to ``shape``."""
        return replace(self, layout=self.layout.broadcast(shape))


class Addresses:
    """Computes the addresses of values under a placement."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._known: dict[Value, Address] = {}

    def of(self, value: Value) -> Address:
        """Return where an array that is in memory lies."""
        known = self._known.get(value)
        if known is None:
            known = self._known[value] = self._compute(value)
        return known

    def _compute(self, value: Value) -> Address:
        if is_view_value(value):
            assert value.node is not None
            return view_of(self.of(value.node.inputs[0]), value.node)
        passed_on = self._placement.liveness.passed_on(value)
        if passed_on is not None:
            return self.of(passed_on)
        storage = self._placement.storage(value)
        if storage is None:
            raise ValueError(f"{value!r} is not in memory")
        return Address(storage, storage.layout)

    def of_update(self, update: Node) -> Address:
        """Return the part of the result of an ``update`` that it sets."""
        whole = self.of(update.result)
        return moved(whole, follow(whole.layout, update.attributes["path"]), update.inputs[2:])

    def of_reduced(self, value: Value, shape: tuple[Dim, ...]) -> Address:
        """Return where the result of a reduction lies, with reduced dimensions of 1 kept as ``shape`` has them.

        A 0-d result has a storage of its own, which is no part of the placement: it is read back to a register.
        """
        if value.type.rank == 0:
            item = value.type.numpy_dtype.itemsize
            storage = Storage(Layout(value.type.dtype, (), ()), "register")
            return Address(storage, Layout(value.type.dtype, shape, (item,) * len(shape)))
        address = self.of(value)
        layout = viewed(address.layout, "reshape", {"shape": shape})
        return moved(address, layout, ())


def view_of(base: Address, view: Node) -> Address:
    """Return the address a view operation gives of an array at ``base``."""
    return moved(base, viewed(base.layout, view.op, view.attributes), view.inputs[1:])


def part_of(base: Address, index: tuple[IndexItem, ...]) -> Address:
    """Return the address of the part of an array at ``base`` that a basic index without extra inputs picks."""
    return moved(base, viewed(base.layout, "view", {"index": index}), ())


def moved(base: Address, following: tuple[Layout, Shift] | None, extras: tuple[Value, ...]) -> Address:
    """Return the address a path of view operations gives, of an array at ``base``."""
    if following is None:
        raise ValueError("a reshape that copies stands where only views may")
    layout, shift = following
    terms = tuple((extras[s.number] if isinstance(s, Operand) else s, stride) for s, stride in shift.terms)
    return Address(base.storage, layout, base.terms + terms)
