"""What a call of Python returns, taken into compiled code.

Owns `take_array` and `take_number`. Invariants: what is taken has the dtype and the dimensions that were asked for; an
array that is taken owns its memory, and nothing else in the process refers to it, so it is no input and no view of one.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.python_api import I1, I8, I32, I64, NULL, POINTER, PythonApi, array_descriptor
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.backend.llvm.values import ArrayValue, KernelContext, as_i64, load, memory_type, store
from janusjit.ir.types import DTYPES

#: an extent that an array may have, whatever it is
ANY_EXTENT = -1

_USABLE = layout.ARRAY_C_CONTIGUOUS | layout.ARRAY_OWNS_DATA | layout.ARRAY_ALIGNED | layout.ARRAY_WRITEABLE


def take_array(context: KernelContext, result: ir.Value, out: ArrayValue) -> ir.Value:
    """Emit: put a reference to the array that a call returned into the memory of ``out``; null if it is another.

    Parameters
    ----------
    context : KernelContext
        The function to emit into.
    result : llvmlite.ir.Value
        The object, a reference that the caller goes on to own.
    out : ArrayValue
        The dtype and the dimensions it has to have (`ANY_EXTENT` where any will do), and where the reference goes.

    Returns
    -------
    llvmlite.ir.Value
        Whether (``i1``) there is a reference; an exception may be set otherwise.
    """
    builder, api = context.builder, context.python.api
    dims = context.stack_slot(ir.ArrayType(I64, max(out.rank, 1)), align=8)
    for axis, extent in enumerate(out.dims):
        builder.store(as_i64(extent), api.address(builder, dims, 8 * axis))
    descriptor = api.object(builder, array_descriptor(out.dtype))
    taken = _array_of_result(api, builder, result, descriptor, ir.Constant(I32, out.rank), dims)
    builder.store(taken, out.pointer)
    return builder.not_(api.is_null(builder, taken))


def take_number(context: KernelContext, result: ir.Value, out: ArrayValue) -> ir.Value:
    """Emit: copy the number that a call returned, as a NumPy scalar or an array of no dimensions, to ``out``.

    Returns whether (``i1``) it is one of the dtype of ``out``; an exception may be set otherwise.
    """
    builder, api = context.builder, context.python.api
    succeeded = context.stack_slot(I1, align=1)
    builder.store(ir.Constant(I1, 1), succeeded)
    is_scalar = api.has_type(builder, result, DTYPES[out.dtype].type)
    with builder.if_else(is_scalar, likely=True) as (then, other):
        with then:
            value = api.field(builder, result, layout.NUMPY_SCALAR_VALUE, memory_type(out.dtype))
            builder.store(value, out.pointer)
        with other:
            descriptor = api.object(builder, array_descriptor(out.dtype))
            array = _array_of_result(api, builder, result, descriptor, ir.Constant(I32, 0), NULL)
            found = builder.not_(api.is_null(builder, array))
            builder.store(found, succeeded)
            with builder.if_then(found, likely=True):
                data = api.field(builder, array, layout.ARRAY_DATA, POINTER)
                store(builder, load(builder, out.dtype, data), out.pointer)
                api.decref(builder, array)
    return builder.load(succeeded, typ=I1)


@shared(POINTER, POINTER, POINTER, I32, POINTER)
def _array_of_result(api: PythonApi, function: ir.Function) -> None:
    """Return a new reference to an array like ``result`` that is nobody else's; null if it is not of the right kind.

    The arguments are the result, a reference that the caller owns; the descriptor, rank and dimensions it has to have.
    """
    result, descriptor, rank, dims = function.args
    entry, convert, look = (function.append_basic_block(name) for name in ("entry", "convert", "look"))
    builder = ir.IRBuilder(entry)
    slot = builder.alloca(POINTER)
    slot.type = POINTER
    builder.store(result, slot)
    builder.cbranch(api.has_type(builder, result, np.ndarray), look, convert)
    builder.position_at_end(convert)
    converted = api.call(
        builder, "PyObject_Vectorcall", api.object(builder, np.asarray), slot, ir.Constant(I64, 1), NULL
    )
    with builder.if_then(api.is_null(builder, converted), likely=False):
        builder.ret(NULL)
    made = _own_array(api, builder, converted, descriptor, rank, dims)
    api.decref(builder, converted)
    builder.ret(made)
    builder.position_at_end(look)
    builder.ret(_own_array(api, builder, result, descriptor, rank, dims))


@shared(POINTER, POINTER, POINTER, I32, POINTER)
def _own_array(api: PythonApi, function: ir.Function) -> None:
    """Do what `_array_of_result` does, of an ndarray: its array itself if that is nobody else's, else a copy."""
    array, descriptor, rank, dims = function.args
    names = ("entry", "dims", "axis", "next", "types", "flags", "keep", "equivalent", "copy", "refuse")
    blocks = {name: function.append_basic_block(name) for name in names}
    builder = ir.IRBuilder(blocks["entry"])
    found = api.field(builder, array, layout.ARRAY_DIMS, POINTER)
    same_rank = builder.icmp_signed("==", api.field(builder, array, layout.ARRAY_RANK, I32), rank)
    builder.cbranch(same_rank, blocks["dims"], blocks["refuse"])

    builder.position_at_end(blocks["dims"])
    axis = builder.phi(I32)
    axis.add_incoming(ir.Constant(I32, 0), blocks["entry"])
    builder.cbranch(builder.icmp_signed("<", axis, rank), blocks["axis"], blocks["types"])
    builder.position_at_end(blocks["axis"])
    wanted, has = (builder.load(builder.gep(v, [axis], source_etype=I64), typ=I64) for v in (dims, found))
    any_will_do = builder.icmp_signed("==", wanted, ir.Constant(I64, ANY_EXTENT))
    fits = builder.or_(builder.icmp_signed("==", wanted, has), any_will_do)
    builder.cbranch(fits, blocks["next"], blocks["refuse"])
    builder.position_at_end(blocks["next"])
    axis.add_incoming(builder.add(axis, ir.Constant(I32, 1)), blocks["next"])
    builder.branch(blocks["dims"])

    builder.position_at_end(blocks["types"])
    own = api.field(builder, array, layout.ARRAY_DESCR, POINTER)
    builder.cbranch(builder.icmp_unsigned("==", own, descriptor), blocks["flags"], blocks["equivalent"])
    builder.position_at_end(blocks["flags"])
    flags = builder.and_(api.field(builder, array, layout.ARRAY_FLAGS, I32), ir.Constant(I32, _USABLE))
    usable = builder.icmp_signed("==", flags, ir.Constant(I32, _USABLE))
    references = api.field(builder, array, layout.OBJECT_REFCOUNT, I32)  # of 64 bits, these are enough for this
    alone = builder.icmp_signed("==", references, ir.Constant(I32, 1))
    builder.cbranch(builder.and_(usable, alone), blocks["keep"], blocks["copy"])
    builder.position_at_end(blocks["keep"])
    api.incref(builder, array)
    builder.ret(array)

    builder.position_at_end(blocks["equivalent"])
    equivalent = api.call(builder, "PyArray_EquivTypes", own, descriptor)
    builder.cbranch(builder.icmp_unsigned("!=", equivalent, ir.Constant(I8, 0)), blocks["copy"], blocks["refuse"])
    builder.position_at_end(blocks["copy"])
    api.incref(builder, descriptor)  # the call takes it over
    type_ = api.object(builder, np.ndarray)
    copy = api.call(
        builder, "PyArray_NewFromDescr", type_, descriptor, rank, found, NULL, NULL, ir.Constant(I32, 0), NULL
    )
    with builder.if_then(api.is_null(builder, copy), likely=False):
        builder.ret(NULL)
    status = api.call(builder, "PyArray_CopyInto", copy, array)
    with builder.if_then(api.error(builder, status), likely=False):
        api.decref(builder, copy)
        builder.ret(NULL)
    builder.ret(copy)
    builder.position_at_end(blocks["refuse"])
    builder.ret(NULL)
