"""Tapes: the stacks on which loops keep what their backward pass needs.

Owns `Tapes`, which lowers ``tape_new``, ``tape_push`` and ``tape_pop``. A tape is a block of the workspace that the
entry holds, and a token is how many bytes of it are in use. Invariant: a tape grows by doubling, so pushing costs a
copy of what is pushed and popping costs nothing: arrays popped lie where they were pushed, but for pops that are marked
as copied, after which the tape may be pushed on while they are in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llvmlite import ir

from janusjit.backend.address import Address
from janusjit.backend.layout import contiguous
from janusjit.backend.llvm.memory import Extents, Memory
from janusjit.backend.llvm.python_api import NULL, PythonApi, opaque
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.backend.llvm.values import (
    I64,
    POINTER,
    Extent,
    PythonEmitter,
    Scalar,
    as_i64,
    declare,
    item_size,
    load,
    offset_pointer,
    store,
)
from janusjit.backend.llvm.workspace import block_new
from janusjit.backend.storage import Placement, Storage
from janusjit.ir.graph import Node, Value
from janusjit.ir.types import TensorType

#: what is on a tape begins at multiples of this
ALIGNMENT = 16
SMALLEST = 4096


class Lowering(Protocol):
    """What tapes ask of the lowering of the graph around them."""

    builder: ir.IRBuilder
    placement: Placement
    scalars: dict[Value, Scalar]
    extents: Extents
    memory: Memory
    python: PythonEmitter

    def copy(self, source: Address, target: Address) -> None:
        """Emit the copy of one array to another."""

    def fail_unless(self, condition: ir.Value, node: Node) -> None:
        """Emit: deoptimize for want of memory unless ``condition`` holds."""


@dataclass
class _Tape:
    """Stack slots: the block's capsule, its address, and how many bytes it has; and the most it ever had."""

    holder: ir.Value
    data: ir.Value
    capacity: ir.Value
    most: ir.Value


class Tapes:
    """Emits the operations on the tapes of a graph for its lowering."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering
        self._tapes: dict[int, _Tape] = {}

    def lower(self, node: Node) -> bool:
        """Emit an operation on a tape; return whether the node is one."""
        if node.op == "tape_new":
            self._lowering.scalars[node.result] = Scalar("i64", ir.Constant(I64, 0))
        elif node.op == "tape_push":
            self._push(node)
        elif node.op == "tape_pop":
            self._pop(node)
        else:
            return False
        return True

    def _of(self, node: Node) -> _Tape:
        number = node.attributes["tape"]
        if number not in self._tapes:
            builder, memory = self._lowering.builder, self._lowering.memory
            most = ir.GlobalVariable(self._lowering.python.api.module, I64, f"tape_{number}")
            most.initializer = ir.Constant(I64, 0)
            slots = self._lowering.python.hold_slot(), memory.stack_slot(POINTER), memory.stack_slot(I64)
            tape = _Tape(*slots, opaque(most))
            with builder.goto_entry_block():
                builder.store(NULL, tape.data)
                builder.store(ir.Constant(I64, 0), tape.capacity)
            self._tapes[number] = tape
        return self._tapes[number]

    def _push(self, node: Node) -> None:
        token, *values = node.inputs
        builder, tape = self._lowering.builder, self._of(node)
        height = self._lowering.scalars[token].value
        offsets, size = self._offsets([value.type for value in values])
        above = builder.add(height, as_i64(size))
        self._make_room(tape, above, node)
        start = offset_pointer(builder, builder.load(tape.data, typ=POINTER), height)
        for value, offset in zip(values, offsets, strict=True):
            place = offset_pointer(builder, start, offset)
            if value.type.rank == 0:
                store(builder, self._lowering.scalars[value], place)
                continue
            target = Storage(contiguous(value.type), "tape")
            self._lowering.memory.set_pointer(target, place)
            self._lowering.copy(self._lowering.memory.addresses.of(value), Address(target, target.layout))
        self._lowering.scalars[node.result] = Scalar("i64", above)

    def _make_room(self, tape: _Tape, size: ir.Value, node: Node) -> None:
        """Emit the growth of a tape to twice ``size`` if it is smaller than that."""
        builder = self._lowering.builder
        enough = builder.icmp_signed("<=", size, builder.load(tape.capacity, typ=I64))
        grow, there = builder.append_basic_block("grow"), builder.append_basic_block("room")
        builder.cbranch(enough, there, grow).set_weights([1_000_000, 1])
        builder.position_at_end(grow)
        twice = builder.add(builder.shl(size, ir.Constant(I64, 1)), ir.Constant(I64, SMALLEST))
        most = builder.load(tape.most, typ=I64)  # as in former calls: in the long run nothing grows
        capacity = builder.select(builder.icmp_signed(">", most, twice), most, twice)
        api, used = self._lowering.python.api, self._lowering.scalars[node.inputs[0]].value
        data = tape_reserve(api, builder, tape.holder, capacity, used, tape.data)
        self._lowering.fail_unless(builder.icmp_unsigned("!=", data, NULL), node)
        builder.store(capacity, tape.capacity)
        builder.store(capacity, tape.most)
        builder.branch(there)
        builder.position_at_end(there)

    def _pop(self, node: Node) -> None:
        before, *values = node.results
        builder, tape = self._lowering.builder, self._of(node)
        offsets, size = self._offsets([value.type for value in values])
        height = builder.sub(self._lowering.scalars[node.inputs[0]].value, as_i64(size))
        if values:  # a backward pass that is wrong must not read what is no part of the tape
            self._lowering.fail_unless(builder.icmp_signed(">=", height, ir.Constant(I64, 0)), node)
        start = offset_pointer(builder, builder.load(tape.data, typ=POINTER), height)
        for value, offset in zip(values, offsets, strict=True):
            place = offset_pointer(builder, start, offset)
            if value.type.rank == 0:
                self._lowering.scalars[value] = load(builder, value.type.dtype, place)
                continue
            storage = self._lowering.placement.storage(value)
            assert storage is not None
            if not node.attributes.get("copied"):
                self._lowering.memory.set_pointer(storage, place)
                continue
            source = Storage(contiguous(value.type), "tape")
            self._lowering.memory.set_pointer(source, place)
            self._lowering.copy(Address(source, source.layout), self._lowering.memory.addresses.of(value))
        self._lowering.scalars[before] = Scalar("i64", height)

    def _offsets(self, types: Sequence[TensorType]) -> tuple[list[Extent], Extent]:
        """Return where each value of a push begins, and how many bytes they take."""
        builder = self._lowering.builder
        offsets: list[Extent] = []
        total: Extent = 0
        for type_ in types:
            offsets.append(total)
            size = self._lowering.extents.of(type_.size * item_size(type_.dtype))
            if isinstance(size, int):
                rounded: Extent = -(-size // ALIGNMENT) * ALIGNMENT if type_.rank else 8
            else:
                up = builder.add(size, ir.Constant(I64, ALIGNMENT - 1))
                rounded = builder.and_(up, ir.Constant(I64, -ALIGNMENT))
            known = isinstance(total, int) and isinstance(rounded, int)
            total = total + rounded if known else builder.add(as_i64(total), as_i64(rounded))
        return offsets, total


@shared(POINTER, POINTER, I64, I64, POINTER)
def tape_reserve(api: PythonApi, function: ir.Function) -> None:
    """Make the block at the first argument, or null, one of so many bytes, with the first ones of the former kept.

    Arguments: the reference to the block's capsule, the new size, how many bytes are kept, and where the address of the
    block is. Returns that address; null, and no exception, if there is no memory.
    """
    holder, size, used, data = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    former, old = builder.load(holder, typ=POINTER), builder.load(data, typ=POINTER)
    made = block_new(api, builder, size, data)
    with builder.if_then(builder.icmp_unsigned("==", made, NULL), likely=False):
        api.call(builder, "PyErr_Clear")
        builder.ret(NULL)
    new = builder.load(data, typ=POINTER)
    with builder.if_then(builder.icmp_unsigned("!=", former, NULL)):
        builder.call(declare(api.module, "memcpy", POINTER, [POINTER, POINTER, I64]), [new, old, used])
        api.decref(builder, former)
    builder.store(made, holder)
    builder.ret(new)
