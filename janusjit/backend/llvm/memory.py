"""Run-time addresses: symbolic extents, storage and the arrays in it, as LLVM values.

Owns `ScopedCache`, `Extents` and `Memory`. Invariant: a value computed once is used again only where its computation
dominates: caches are scoped by the regions of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

from llvmlite import ir

from janusjit.backend.address import Address, Addresses
from janusjit.backend.arena import ALIGNMENT, Arena, plan_arena
from janusjit.backend.llvm.values import (
    I8,
    I64,
    POINTER,
    ArrayValue,
    Extent,
    PythonEmitter,
    Scalar,
    as_i64,
    multiply,
    offset_pointer,
)
from janusjit.backend.storage import Placement, Storage, is_view_value
from janusjit.ir.dims import Dim, DimExpr, FloorDivision, Symbol
from janusjit.ir.graph import Value

#: an arena of a known size up to this many bytes lies on the stack
STACK_ARENA_BYTES = 65536

Key = TypeVar("Key")
Item = TypeVar("Item")


class ScopedCache(Generic[Key, Item]):
    """A dictionary whose entries last as long as the scope they are made in."""

    def __init__(self) -> None:
        self._scopes: list[dict[Key, Item]] = [{}]

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Forget, in the end, what is entered meanwhile."""
        self._scopes.append({})
        yield
        self._scopes.pop()

    def get(self, key: Key) -> Item | None:
        """Return the entry of ``key``, or None."""
        return next((entries[key] for entries in reversed(self._scopes) if key in entries), None)

    def set(self, key: Key, item: Item) -> None:
        """Make an entry in the innermost scope."""
        self._scopes[-1][key] = item


class Extents:
    """Computes dimensions from the values of symbols."""

    def __init__(self, builder: ir.IRBuilder, symbols: Mapping[Symbol, ir.Value]) -> None:
        self.builder = builder
        self._symbols = dict(symbols)
        self.cache: ScopedCache[Dim, ir.Value] = ScopedCache()

    def bind(self, symbol: Symbol, value: ir.Value) -> None:
        """Let ``symbol`` have a value from here on."""
        self._symbols[symbol] = value

    def of(self, dim: Dim) -> Extent:
        """Return a dimension's value."""
        if isinstance(dim, int):
            return dim
        known = self.cache.get(dim)
        if known is None:
            known = self._compute(dim)
            self.cache.set(dim, known)
        return known

    def value(self, dim: Dim) -> ir.Value:
        """Return a dimension's value as an ``i64``."""
        return as_i64(self.of(dim))

    def _compute(self, dim: DimExpr) -> ir.Value:
        total: ir.Value = ir.Constant(I64, 0)
        for monomial, coefficient in dim.terms:
            product: Extent = coefficient
            for atom in monomial:
                factor = self._divided(atom) if isinstance(atom, FloorDivision) else self._symbols[atom]
                product = multiply(self.builder, factor, product)
            total = self.builder.add(total, as_i64(product))
        return total

    def _divided(self, division: FloorDivision) -> ir.Value:
        numerator, divisor = self.value(division.numerator), ir.Constant(I64, division.divisor)
        quotient, remainder = self.builder.sdiv(numerator, divisor), self.builder.srem(numerator, divisor)
        below = self.builder.icmp_signed("<", remainder, ir.Constant(I64, 0))
        return self.builder.sub(quotient, self.builder.zext(below, I64))


class Memory:
    """The storages of a plan at run time.

    Parameters
    ----------
    builder
        Where code goes.
    placement
        Which array lives where.
    extents
        Computes dimensions.
    scalars : mapping
        The run-time values of 0-d graph values: starts of views.
    python
        Makes ndarrays.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        placement: Placement,
        extents: Extents,
        scalars: Mapping[Value, Scalar],
        python: PythonEmitter,
    ) -> None:
        self._builder, self._placement, self._extents = builder, placement, extents
        self._scalars, self._python = scalars, python
        self.addresses = Addresses(placement)
        self._arena = Arena()
        self._pointers: dict[Storage, ir.Value] = {}
        self._owners: dict[Storage, ir.Value] = {}
        self._moved: ScopedCache[tuple[Storage, tuple[object, ...]], ir.Value] = ScopedCache()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Forget, in the end, what is computed meanwhile."""
        with self._moved.scope(), self._extents.cache.scope():
            yield

    def set_pointer(self, storage: Storage, pointer: ir.Value) -> None:
        """Say where a storage is."""
        self._pointers[storage] = pointer

    def adopt(self, storage: Storage, owner: ir.Value, data: ir.Value) -> None:
        """Say that a storage is an ndarray that a call returned, which the frame holds."""
        self._pointers[storage] = data
        if storage.scope is self._placement.liveness.body:
            self._owners[storage] = owner

    def allocate(self) -> None:
        """Emit the allocation, at entry, of results and of the arena."""
        storages = self._placement.storages
        for storage in storages:
            if storage.kind == "object":
                self.allocate_object(storage)
        self._arena = arena = plan_arena(storages)
        self._allocate_arena(arena)
        for part, (whole, start) in reversed(self._placement.parts.items()):  # what is part of a part comes later
            self._pointers[part] = offset_pointer(self._builder, self._pointers[whole], start)

    def _allocate_arena(self, arena: Arena) -> None:
        starts: list[Extent] = []
        end: Extent = arena.known_bytes
        for size in arena.sizes:
            starts.append(end)
            rounded = self._extents.of((size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT)
            end = rounded if end == 0 else self._builder.add(as_i64(end), as_i64(rounded))
        if isinstance(end, int) and end == 0:
            return
        base = self._allocate_block(end)
        for storage, offset in arena.offsets.items():
            self._pointers[storage] = offset_pointer(self._builder, base, offset)
        for storage, slot in arena.slots.items():
            self._pointers[storage] = offset_pointer(self._builder, base, starts[slot])

    def _allocate_block(self, size: Extent) -> ir.Value:
        if isinstance(size, int) and size <= STACK_ARENA_BYTES:
            return self.stack_slot(I8, size)
        return self._python.allocate_block(self._builder, as_i64(size))

    def allocate_object(self, storage: Storage) -> None:
        """Emit the making of an ndarray for a storage of its own."""
        dims = [self._extents.of(dim) for dim in storage.layout.shape]
        strides = None if storage.layout.is_contiguous else [self._extents.of(s) for s in storage.layout.strides]
        owner, data = self._python.allocate_array(self._builder, storage.layout.type, dims, strides)
        self._pointers[storage] = data
        if storage.scope is self._placement.liveness.body:
            self._owners[storage] = owner

    def prepare(self, storage: Storage) -> None:
        """Emit the allocation of a storage whose size has become known just now, where its first value is made."""
        if storage not in self._pointers:
            self.allocate_object(storage)

    def pointer_to(self, storage: Storage) -> ir.Value:
        """Return where a storage is."""
        return self._pointers[storage]

    def takes_over(self, later: Value, earlier: Value) -> bool:
        """Return whether the memory of ``later`` holds the array ``earlier`` when ``later`` begins to be computed."""
        placement = self._placement
        now, before = placement.storage(later), placement.storage(earlier)
        if now is None or before is None or now.layout != before.layout or is_view_value(earlier):
            return False
        whole = now.kept_rows is None and before.kept_rows is None
        same_turn = placement.liveness.scope_of(later) is placement.liveness.scope_of(earlier)
        return (
            whole
            and same_turn
            and placement.defined[later] == now.birth
            and placement.is_last(earlier)
            and self._arena.takes_over(now, before)
        )

    def stack_slot(self, type_: ir.Type, count: int = 1) -> ir.Value:
        """Return the address of ``count`` uninitialised elements on the stack."""
        with self._builder.goto_entry_block():
            slot = self._builder.alloca(ir.ArrayType(type_, count))
        slot.align = ALIGNMENT
        slot.type = POINTER  # opaque: llvmlite would insist on elements of the array's type
        return slot

    def pointer(self, address: Address) -> ir.Value:
        """Return the address of the first element."""
        base = self._pointers[address.storage]
        if not address.terms:
            return base
        key = (address.storage, address.terms)
        known = self._moved.get(key)
        if known is None:
            known = base
            for start, stride in address.terms:
                begin = self._scalars[start].value if isinstance(start, Value) else self._extents.of(start)
                known = offset_pointer(self._builder, known, multiply(self._builder, begin, self._extents.of(stride)))
            self._moved.set(key, known)
        return known

    def array_at(self, address: Address) -> ArrayValue:
        """Return the array at an address."""
        layout = address.layout
        dims, strides = (tuple(map(self._extents.of, part)) for part in (layout.shape, layout.strides))
        return ArrayValue(layout.dtype, self.pointer(address), dims, strides)

    def array(self, value: Value) -> ArrayValue:
        """Return an array that is in memory."""
        address = self.addresses.of(value)
        found = self.array_at(address)
        if address.terms or address.layout != address.storage.layout:
            return found
        owner = self._owners.get(address.storage)
        return ArrayValue(found.dtype, found.pointer, found.dims, found.strides, owner, address.storage.input_index)
