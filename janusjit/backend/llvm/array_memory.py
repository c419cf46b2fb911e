"""The memory of large fresh arrays.

Owns `array_new`, which makes an ndarray on a block of the workspace, and the handler (NumPy Enhancement Proposal 49)
by which NumPy gives the block back to the workspace when the array goes. Invariant: the array owns its data, as one
that NumPy allocated does: its user may resize, keep or drop it, in any thread, after janusjit's other objects are gone.

A training loop drops as many large arrays as it makes. Where the C library returns their memory to the system, each is
made of fresh pages, whose faults take longer than most arithmetic done on them. The data begin `OFFSET` bytes behind a
line of the cache, as those of arrays do that the C library gives pages of their own: where a loop's store is aligned,
so are its loads then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.python_api import I1, I8, I32, I64, NULL, POINTER, VOID, PythonApi, default_handler, opaque
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.backend.llvm.workspace import block_give, block_size, block_take

#: arrays from this size on lie on blocks; the C library keeps smaller ones
SMALLEST = 1 << 16
#: how far behind a line of the cache the data begin; what the C library keeps before large blocks takes as much
OFFSET = 16
#: a block may be larger than the array by one part in so many
_SPARE = 8

_LIBRARY = "array_memory"
_NAME, _VERSION = b"janusjit", 1
#: where members of a ``PyDataMem_Handler`` are: behind its name, its version; behind that and a context, its functions
_NAME_BYTES, _FUNCTIONS_AT, _HANDLER_BYTES = 127, 136, 168
#: what NumPy names the capsules of handlers, and its domain of ``tracemalloc`` (``numpy/ndarraytypes.h``)
_CAPSULE_NAME = b"mem_handler\0"
_TRACE_DOMAIN = 389047
_FLAGS = layout.ARRAY_C_CONTIGUOUS | layout.ARRAY_ALIGNED | layout.ARRAY_WRITEABLE


@shared(POINTER, I64, library=_LIBRARY)
def array_bytes(api: PythonApi, function: ir.Function) -> None:
    """Return memory for an array of so many bytes, or null."""
    (size,) = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    whole = builder.add(size, ir.Constant(I64, OFFSET))
    most = builder.add(whole, builder.udiv(whole, ir.Constant(I64, _SPARE)))
    block = block_take(api, builder, whole, most)
    with builder.if_then(api.is_null(builder, block), likely=False):
        builder.ret(NULL)
    builder.ret(api.address(builder, block, OFFSET))


@shared(VOID, POINTER, library=_LIBRARY)
def array_bytes_back(api: PythonApi, function: ir.Function) -> None:
    """Give an array's memory back."""
    (data,) = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    block_give(api, builder, api.address(builder, data, -OFFSET))
    builder.ret_void()


@shared(POINTER, POINTER, I64, library=_LIBRARY)
def array_malloc(api: PythonApi, function: ir.Function) -> None:
    """Allocate, as ``malloc`` of a handler."""
    _, size = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    builder.ret(array_bytes(api, builder, size))


@shared(POINTER, POINTER, I64, I64, library=_LIBRARY)
def array_calloc(api: PythonApi, function: ir.Function) -> None:
    """Allocate zeros, as ``calloc`` of a handler."""
    _, count, item = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    with_overflow = builder.umul_with_overflow(count, item)
    with builder.if_then(builder.extract_value(with_overflow, 1), likely=False):
        builder.ret(NULL)
    size = builder.extract_value(with_overflow, 0)
    block = array_bytes(api, builder, size)
    with builder.if_then(builder.icmp_unsigned("!=", block, NULL), likely=True):
        fill = builder.module.declare_intrinsic("llvm.memset", [POINTER, I64])
        builder.call(fill, [block, ir.Constant(I8, 0), size, ir.Constant(I1, 0)])
    builder.ret(block)


@shared(POINTER, POINTER, POINTER, I64, library=_LIBRARY)
def array_realloc(api: PythonApi, function: ir.Function) -> None:
    """Move to memory of another size, as ``realloc`` of a handler."""
    _, data, size = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    made = array_bytes(api, builder, size)
    with builder.if_then(builder.icmp_unsigned("!=", made, NULL), likely=True):
        block = api.address(builder, data, -OFFSET)
        had = builder.sub(block_size(api, builder, block), ir.Constant(I64, OFFSET))
        both = builder.select(builder.icmp_unsigned("<", had, size), had, size)
        copy = builder.module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, I64])
        builder.call(copy, [made, data, both, ir.Constant(I1, 0)])
        array_bytes_back(api, builder, data)
    builder.ret(made)


@shared(VOID, POINTER, POINTER, I64, library=_LIBRARY)
def array_free(api: PythonApi, function: ir.Function) -> None:
    """Give memory back, as ``free`` of a handler."""
    _, data, _ = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    array_bytes_back(api, builder, data)
    builder.ret_void()


@shared(POINTER, library=_LIBRARY)
def array_handler(api: PythonApi, function: ir.Function) -> None:
    """Return the capsule of the handler, borrowed; null with an exception set if it cannot be made."""
    builder = PacedBuilder(function.append_basic_block("entry"))
    made = _variable(api, "array_handler_capsule", POINTER)
    capsule = builder.load(made, typ=POINTER)
    with builder.if_then(builder.icmp_unsigned("!=", capsule, NULL), likely=True):
        builder.ret(capsule)
    handler = _variable(api, "array_handler", ir.ArrayType(I8, _HANDLER_BYTES))
    name = _variable(api, "array_handler_name", ir.ArrayType(I8, len(_CAPSULE_NAME)))
    for target, text in ((handler, _NAME), (name, _CAPSULE_NAME)):
        for position, byte in enumerate(text):
            builder.store(ir.Constant(I8, byte), api.address(builder, target, position))
    builder.store(ir.Constant(I8, _VERSION), api.address(builder, handler, _NAME_BYTES))
    for position, member in enumerate((array_malloc, array_calloc, array_realloc, array_free)):
        address = builder.ptrtoint(member.declare(api.module), I64)
        builder.store(address, api.address(builder, handler, _FUNCTIONS_AT + 8 * position))
    capsule = api.call(builder, "PyCapsule_New", handler, name, NULL)
    builder.store(capsule, made)
    builder.ret(capsule)


def _variable(api: PythonApi, name: str, type_: ir.Type) -> ir.Value:
    variable = ir.GlobalVariable(api.module, type_, name)
    variable.initializer = ir.Constant(type_, None)
    variable.align = 8
    return opaque(variable)


@shared(POINTER, POINTER, I32, POINTER, POINTER, I64, library=_LIBRARY)
def array_new(api: PythonApi, function: ir.Function) -> None:
    """Return a fresh array of a dtype, rank, extents, strides (null: in C order) and bytes: a new reference, or null.

    The reference to the dtype is taken over; an exception is set where the array could not be made. NumPy allocates the
    memory of small arrays, and of all where the user has set a handler.
    """
    *layout_of, size = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    with builder.if_then(builder.icmp_signed("<", size, ir.Constant(I64, SMALLEST)), likely=False):
        builder.ret(_from_descriptor(api, builder, layout_of))
    handler = api.call(builder, "PyDataMem_GetHandler")
    with builder.if_then(api.is_null(builder, handler), likely=False):
        builder.ret(_given_up(api, builder, layout_of))
    api.decref(builder, handler)
    is_default = builder.icmp_unsigned("==", handler, api.object(builder, default_handler()))
    with builder.if_then(builder.not_(is_default), likely=False):
        builder.ret(_from_descriptor(api, builder, layout_of))
    capsule = array_handler(api, builder)
    with builder.if_then(api.is_null(builder, capsule), likely=False):
        builder.ret(_given_up(api, builder, layout_of))
    data = array_bytes(api, builder, size)
    with builder.if_then(api.is_null(builder, data), likely=False):
        api.call(builder, "PyErr_NoMemory")
        builder.ret(_given_up(api, builder, layout_of))
    array = _from_descriptor(api, builder, layout_of, data, _FLAGS)
    with builder.if_then(api.is_null(builder, array), likely=False):
        array_bytes_back(api, builder, data)
        builder.ret(NULL)
    _hand_over(api, builder, array, capsule)
    address = builder.ptrtoint(data, I64)
    api.call(builder, "PyTraceMalloc_Track", ir.Constant(I32, _TRACE_DOMAIN), address, size)  # if it fails, no harm
    builder.ret(array)


def _from_descriptor(
    api: PythonApi, builder: ir.IRBuilder, layout_of: Sequence[ir.Value], data: ir.Value = NULL, flags: int = 0
) -> ir.Value:
    descriptor, rank, dims, strides = layout_of
    type_ = api.object(builder, np.ndarray)
    given = (dims, strides, data, ir.Constant(I32, flags), NULL)
    return api.call(builder, "PyArray_NewFromDescr", type_, descriptor, rank, *given)


def _given_up(api: PythonApi, builder: ir.IRBuilder, layout_of: Sequence[ir.Value]) -> ir.Value:
    api.decref(builder, layout_of[0])
    return NULL


def _hand_over(api: PythonApi, builder: ir.IRBuilder, array: ir.Value, capsule: ir.Value) -> None:
    """Emit what makes an array the owner of its data."""
    api.incref(builder, capsule)
    builder.store(capsule, api.address(builder, array, layout.ARRAY_MEMORY_HANDLER))
    flags = builder.or_(api.field(builder, array, layout.ARRAY_FLAGS, I32), ir.Constant(I32, layout.ARRAY_OWNS_DATA))
    builder.store(flags, api.address(builder, array, layout.ARRAY_FLAGS))
