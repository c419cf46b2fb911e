"""What compiled code computes with: scalars in registers, arrays in memory, and the functions they are emitted into.

Owns `Scalar`, `ArrayValue`, `KernelContext` and the `PythonEmitter` protocol, which all parts of the LLVM backend
share. Invariant: a ``bool`` is an ``i1`` in a register and a byte that is 0 or 1 in memory; every other dtype is the
same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Union

from llvmlite import ir

from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.module_parts import VECTORS
from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.python_api import PythonApi
from janusjit.ir.boxes import ExitRecipe
from janusjit.ir.dims import Symbol
from janusjit.ir.types import DTYPES, TensorType

I1 = ir.IntType(1)
I8 = ir.IntType(8)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
F32 = ir.FloatType()
F64 = ir.DoubleType()
POINTER = ir.PointerType()
VOID = ir.VoidType()

#: scratch memory of a static size up to so many bytes lies on the stack, other on blocks of the workspace
STACK_SCRATCH_BYTES = 8192
#: the functions by which kernels take and return such blocks (`kernel_memory`)
SCRATCH_AT, SCRATCH_BACK = "janusjit_shared_scratch_at", "janusjit_shared_scratch_back"
#: what marks functions that take them, which may fail
_NEEDS_MEMORY = "janusjit_needs_memory"

#: a dimension or a stride: a Python int where it is known at compile time, else an ``i64``
Extent = Union[int, ir.Value]


def register_type(dtype: str) -> ir.Type:
    """Return the LLVM type of a scalar of ``dtype`` in a register."""
    if dtype == "bool":
        return I1
    return memory_type(dtype)


def memory_type(dtype: str) -> ir.Type:
    """Return the LLVM type of an array element of ``dtype`` in memory."""
    if dtype == "f32":
        return F32
    if dtype == "f64":
        return F64
    return ir.IntType(8 * DTYPES[dtype].itemsize)


def item_size(dtype: str) -> int:
    """Return the bytes an element of ``dtype`` takes."""
    return int(DTYPES[dtype].itemsize)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A 0-d value in a register; ``bool`` as ``i1``. The dtype tells signed from unsigned integers."""

    dtype: str
    value: ir.Value


@dataclass(frozen=True, slots=True)
class ArrayValue:
    """An array in memory.

    ``strides`` are in bytes, may be 0 or negative, and are ints where known. ``owner`` is the ``PyObject*`` of the
    fresh ndarray the memory belongs to, if `PythonEmitter.allocate_array` made it and the value is the whole of it.
    ``input_index`` is the number of the graph input in whose own memory the value lies, whole, if it does.
    ``reference`` is, for functions that are given one, the ``PyObject*`` (borrowed) of an ndarray that is just this.
    """

    dtype: str
    pointer: ir.Value
    dims: tuple[Extent, ...]
    strides: tuple[Extent, ...]
    owner: ir.Value | None = None
    input_index: int | None = None
    reference: ir.Value | None = None

    @property
    def rank(self) -> int:
        return len(self.dims)


Operand = Union[Scalar, ArrayValue]


def as_i64(extent: Extent) -> ir.Value:
    """Return an extent as an ``i64`` value."""
    return ir.Constant(I64, extent) if isinstance(extent, int) else extent


def contiguous_strides(builder: ir.IRBuilder, dtype: str, dims: Sequence[Extent]) -> tuple[Extent, ...]:
    """Return the strides in bytes of a C-contiguous array."""
    strides: list[Extent] = []
    step: Extent = item_size(dtype)
    for dim in reversed(dims):
        strides.append(step)
        step = multiply(builder, step, dim)
    return tuple(reversed(strides))


def multiply(builder: ir.IRBuilder, left: Extent, right: Extent) -> Extent:
    """Return the product of two extents, folded where both are known."""
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    if isinstance(left, int) and left in (0, 1):
        return right if left else 0
    if isinstance(right, int) and right in (0, 1):
        return left if right else 0
    return builder.mul(as_i64(left), as_i64(right))


def load(builder: ir.IRBuilder, dtype: str, pointer: ir.Value) -> Scalar:
    """Load one element."""
    raw = builder.load(pointer, typ=memory_type(dtype), align=item_size(dtype))
    if dtype == "bool":
        return Scalar(dtype, builder.icmp_unsigned("!=", raw, ir.Constant(I8, 0)))
    return Scalar(dtype, raw)


def store(builder: ir.IRBuilder, scalar: Scalar, pointer: ir.Value) -> None:
    """Store one element."""
    value = builder.zext(scalar.value, I8) if scalar.dtype == "bool" else scalar.value
    builder.store(value, pointer, align=item_size(scalar.dtype))


def offset_pointer(builder: ir.IRBuilder, pointer: ir.Value, offset: Extent) -> ir.Value:
    """Return ``pointer`` moved by ``offset`` bytes."""
    if isinstance(offset, int) and offset == 0:
        return pointer
    return builder.gep(pointer, [as_i64(offset)], source_etype=I8)


def element_pointer(builder: ir.IRBuilder, array: ArrayValue, indices: Sequence[Extent]) -> ir.Value:
    """Return the address of the element of ``array`` at ``indices`` (one for each leading dimension given)."""
    pointer = array.pointer
    for index, stride in zip(indices, array.strides, strict=False):
        pointer = offset_pointer(builder, pointer, multiply(builder, index, stride))
    return pointer


class PythonEmitter(Protocol):
    """What the lowering of a graph asks of the entry function around it (which knows the Python C API).

    ``inputs`` are the graph's, ``input_objects`` the ``PyObject*`` (borrowed) of those that are arrays, and
    ``symbols`` the dimension symbols that its entry guards bind.
    """

    inputs: list[Operand]
    input_objects: dict[int, ir.Value]
    symbols: dict[Symbol, ir.Value]

    @property
    def api(self) -> PythonApi:
        """The C API within the module."""

    @property
    def checks_flags(self) -> bool:
        """Whether the graph looks at the floating-point flags that the body has raised."""

    def emit_flags(self, builder: ir.IRBuilder) -> ir.Value:
        """Emit a look at the flags; return those that NumPy is to act on (``i32``, 0 if there are none)."""

    def emit_clear_flags(self, builder: ir.IRBuilder) -> None:
        """Emit the clearing of the flags."""

    def emit_witness(
        self,
        builder: ir.IRBuilder,
        flags: ir.Value,
        time: int,
        address: ir.Value,
        restore: Callable[[], None] | None,
    ) -> None:
        """Emit asking `janusjit.backend.witness` whether the call goes on, and the way out if it does not.

        ``restore`` emits what has to be done before plain Python does the call again; None if it cannot any more.
        """

    def pinned(self, builder: ir.IRBuilder, operand: Scalar) -> Scalar:
        """Emit what keeps the computation of a number before this, and its flags; return the number."""

    def allocate_block(self, builder: ir.IRBuilder, size: ir.Value) -> ir.Value:
        """Emit the taking of work memory, 64-byte aligned, until the call ends; return its address."""

    def allocate_array(
        self, builder: ir.IRBuilder, type_: TensorType, dims: Sequence[Extent], strides: Sequence[Extent] | None = None
    ) -> tuple[ir.Value, ir.Value]:
        """Emit the making of a fresh ndarray without gaps; return its ``PyObject*`` and the address of its data.

        It is C-contiguous unless ``strides`` are given.

        Leaves ``builder`` in the block where the allocation has succeeded. The array is released on every way out on
        which no exit has boxed it.
        """

    def hold(self, builder: ir.IRBuilder, reference: ir.Value) -> None:
        """Take over a new reference to an object made in the body, in place of that of the previous turn of a loop."""

    def hold_slot(self) -> ir.Value:
        """Return the address of a reference, null at first, that is released on every way out."""

    def copy_state(
        self, builder: ir.IRBuilder, generator: ir.Value, types: tuple[type, type | None]
    ) -> list[Callable[[ir.IRBuilder], None]]:
        """Emit a copy of the state of a random number generator (and its bit generator) of these types.

        Returns what emits copying it back, at places that the copy dominates.
        """

    def emit_exit(self, builder: ir.IRBuilder, recipe: ExitRecipe, operands: Sequence[Operand]) -> None:
        """Emit an exit of the graph; ends the current block."""

    def emit_fail(self, builder: ir.IRBuilder, guard_number: int) -> None:
        """Emit the deoptimization for in-graph guard ``guard_number``; ends the current block."""

    def emit_out_of_memory(self, builder: ir.IRBuilder) -> None:
        """Emit the deoptimization for a failed allocation; ends the current block."""


#: LLVM does loops of fewer turns in vectors of which lanes are masked (``vectorizer-min-trip-count``), and may unroll
#: those of fewer turns than the second, and do what that gives in vectors of odd lengths, which are filled up
SHORTEST_VECTOR_LOOP, UNROLLED = 16, 256


class KernelContext:
    """An LLVM function under construction in which one operation, or the whole graph, is computed.

    Parameters
    ----------
    function
        The function emitted into. Kernels return ``i1`` (whether all requirements held) or nothing.
    python
        Keeps objects alive for the code.
    threads
        How many threads the code may use.

    Notes
    -----
    `scratch` memory lives until the function returns; `require` makes a kernel return ``false``. Code goes in at
    ``builder``, which helpers may leave in a different block than they found it. Where it `computes_elements_only`, no
    vector has lanes that are computed for nothing: operations on what is there may raise flags. A function that
    `needs_passes` has loops that LLVM is to find vectors for.
    """

    def __init__(self, function: ir.Function, python: PythonEmitter, threads: int = 1) -> None:
        self.function = function
        self.threads = threads
        self.module: ir.Module = function.module
        self.python = python
        self.entry_block: ir.Block = function.append_basic_block("entry")
        self.builder = PacedBuilder(function.append_basic_block("body"))
        self.computes_elements_only = False
        self.needs_passes = False
        self._block_slots: list[ir.Value] = []
        self._failure: ir.Block | None = None

    def declare(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        """Return the module's declaration of an external function, made at its first use."""
        return declare(self.module, name, result, arguments)

    def stack_slot(self, type_: ir.Type, count: int = 1, align: int = 64) -> ir.Value:
        """Return the address of ``count`` uninitialised elements on the function's stack."""
        with self.builder.goto_block(self.entry_block):
            slot = self.builder.alloca(type_, size=ir.Constant(I64, count))
        slot.align = align
        slot.type = POINTER  # opaque: llvmlite would insist on elements of type_
        return slot

    def scratch(self, dtype: str, dims: Sequence[Extent]) -> ArrayValue:
        """Return an uninitialised C-contiguous array that lives until the function returns."""
        size: Extent = item_size(dtype)
        for dim in dims:
            size = multiply(self.builder, size, dim)
        strides = contiguous_strides(self.builder, dtype, dims)
        if isinstance(size, int) and size <= STACK_SCRATCH_BYTES:
            return ArrayValue(dtype, self.stack_slot(I8, max(size, 1)), tuple(dims), strides)
        null = ir.Constant(POINTER, None)
        slot = self.stack_slot(POINTER, align=8)
        with self.builder.goto_block(self.entry_block):
            self.builder.store(null, slot)
        take = self.declare(SCRATCH_AT, POINTER, [POINTER, I64])
        block = self.builder.call(take, [slot, as_i64(size)])
        self._block_slots.append(slot)
        self.note_memory()
        self.require(self.builder.icmp_unsigned("!=", block, null))
        return ArrayValue(dtype, block, tuple(dims), strides)

    def note_memory(self) -> None:
        """Note that the function may end for want of memory: it takes blocks, or what it calls does."""
        setattr(self.function, _NEEDS_MEMORY, True)

    def as_array(self, operand: Operand) -> ArrayValue:
        """Return an operand in memory: a scalar is stored to the stack."""
        if isinstance(operand, ArrayValue):
            return operand
        slot = self.stack_slot(memory_type(operand.dtype))
        store(self.builder, operand, slot)
        return ArrayValue(operand.dtype, slot, (), ())

    def require(self, condition: ir.Value) -> None:
        """Return (``false``) from the kernel unless ``condition`` (``i1``) holds: the node's guard, if any, fails."""
        if self._failure is None:
            self._failure = self.function.append_basic_block("failed")
        following = self.function.append_basic_block("held")
        self.builder.cbranch(condition, following, self._failure)
        self.builder.position_at_end(following)

    @contextmanager
    def loop(self, count: Extent, interleaved: bool = False, kept: bool = False) -> Iterator[ir.Value]:
        """Emit ``for index in range(count)``; the ``with`` body emits the loop's, given the index (``i64``).

        An ``interleaved`` one does two vectors in a turn if LLVM vectorises it; one that is ``kept`` stays as it is.
        """
        if isinstance(count, int) and count == 1:  # to LLVM, a loop is a dozen passes
            yield ir.Constant(I64, 0)
            return
        builder = self.builder
        before = builder.block
        head = self.function.append_basic_block("loop")
        body = self.function.append_basic_block("loop.body")
        after = self.function.append_basic_block("loop.end")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(I64, "index")
        index.add_incoming(ir.Constant(I64, 0), before)
        builder.cbranch(builder.icmp_signed("<", index, as_i64(count)), body, after)
        builder.position_at_end(body)
        yield index
        index.add_incoming(next_turn(builder, index), builder.block)
        back = builder.branch(head)
        wishes = {"interleave.count": ir.Constant(I32, 2)} if interleaved else {}
        if self.computes_elements_only and is_below(count, UNROLLED):
            wishes = {"unroll.disable": None}
            if is_below(count, SHORTEST_VECTOR_LOOP):
                wishes["vectorize.enable"] = ir.Constant(I1, 0)
        if kept:
            wishes = {"unroll.disable": None, "vectorize.enable": ir.Constant(I1, 0)}
        if wishes:
            back.set_metadata("llvm.loop", _marked(self.module, wishes))
        builder.position_at_end(after)

    def finish(self) -> None:
        """Close a kernel: release its scratch memory and return, at the end and after a failed requirement."""
        returns_flag = self.function.function_type.return_type == I1
        self._emit_return(ir.Constant(I1, 1) if returns_flag else None)
        if self._failure is not None:
            self.builder.position_at_end(self._failure)
            self._emit_return(ir.Constant(I1, 0) if returns_flag else None)
        body = self.function.blocks[1]
        ir.IRBuilder(self.entry_block).branch(body)

    def mark_vectors(self) -> None:
        """Note on the finished function whether it is vector code already."""
        if not self.needs_passes:
            set.add(self.function.attributes, VECTORS)  # an attribute llvmlite does not know of

    def finish_with(self, result: ir.Value) -> None:
        """Close a function that returns ``result``; it has neither requirements nor scratch memory on blocks."""
        self.builder.ret(result)
        ir.IRBuilder(self.entry_block).branch(self.function.blocks[1])

    def _emit_return(self, flag: ir.Value | None) -> None:
        for slot in self._block_slots:
            self.builder.call(self.declare(SCRATCH_BACK, VOID, [POINTER]), [slot])
        if flag is None:
            self.builder.ret_void()
        else:
            self.builder.ret(flag)


def needs_memory(function: ir.Function) -> bool:
    """Return whether a function may end for want of memory."""
    return getattr(function, _NEEDS_MEMORY, False)


def is_below(count: Extent, limit: int) -> bool:
    """Return whether a loop is known to make fewer turns than a limit."""
    known = count.constant if isinstance(count, ir.Constant) else count
    return isinstance(known, int) and known < limit


def _marked(module: ir.Module, wishes: Mapping[str, ir.Constant | None]) -> ir.MDValue:
    """Return the metadata of one loop that asks for something."""
    nodes = [
        module.add_metadata([f"llvm.loop.{wish}", *([] if value is None else [value])])
        for wish, value in wishes.items()
    ]
    loop = ir.MDValue(module, nodes, name=str(len(module.metadata)))
    loop.operands = (loop, *nodes)  # by referring to itself it is this loop's alone
    return loop


def declare(module: ir.Module, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
    """Return the module's declaration of an external function, made at its first use."""
    known = module.globals.get(name)
    return known if known is not None else ir.Function(module, ir.FunctionType(result, arguments), name)


def observe_memory(builder: ir.IRBuilder) -> None:
    """Emit an empty instruction before which all that has been stored is computed and in memory."""
    builder.asm(ir.FunctionType(VOID, []), "", "~{memory}", [], True)


def prefetch(context: KernelContext, address: ir.Value, writes: bool = False) -> None:
    """Emit the request for the line at an address, where there may be no memory, that is read or written soon."""
    function = context.declare("llvm.prefetch.p0", VOID, [POINTER, I32, I32, I32])
    context.builder.call(function, [address, *(ir.Constant(I32, number) for number in (int(writes), 3, 1))])
