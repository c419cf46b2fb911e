"""Functions that guards call in compiled code.

Owns the out-of-line pieces of entry guards. Invariant: none of them runs code of the user's or leaves an exception set.
"""

from __future__ import annotations

from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.python_api import I1, I32, I64, NULL, POINTER, PythonApi
from janusjit.backend.llvm.python_api_shared import shared

_EQUAL = 2  # Py_EQ


@shared(I1, POINTER, POINTER)
def unbox_int(api: PythonApi, function: ir.Function) -> None:
    """Ints of one digit are read inline, longer ones through the C API."""
    builder = ir.IRBuilder(function.append_basic_block())
    object_, result = function.args
    overflow = builder.alloca(I32)
    tag = api.field(builder, object_, layout.INT_TAG, I64)
    digit = builder.zext(api.field(builder, object_, layout.INT_DIGITS, I32), I64)
    if layout.INT_TAG_IS_SIGNED_SIZE:
        compact = builder.icmp_unsigned("<=", builder.add(tag, ir.Constant(I64, 1)), ir.Constant(I64, 2))
        sign = tag
    else:
        compact = builder.icmp_unsigned("<", tag, ir.Constant(I64, 16))
        sign = builder.sub(ir.Constant(I64, 1), builder.and_(tag, ir.Constant(I64, 3)))
    with builder.if_then(compact, likely=True):
        builder.store(builder.mul(sign, digit), result)
        builder.ret(ir.Constant(I1, 1))
    builder.store(api.call(builder, "PyLong_AsLongLongAndOverflow", object_, overflow), result)
    builder.ret(builder.icmp_signed("==", builder.load(overflow, typ=I32), ir.Constant(I32, 0)))


@shared(I1, POINTER, POINTER)
def equals(api: PythonApi, function: ir.Function) -> None:
    """``a is b or a == b``; the comparison cannot raise."""
    builder = ir.IRBuilder(function.append_basic_block())
    left, right = function.args
    with builder.if_then(builder.icmp_unsigned("==", left, right)):
        builder.ret(ir.Constant(I1, 1))
    result = api.call(builder, "PyObject_RichCompare", left, right, ir.Constant(I32, _EQUAL))
    api.decref(builder, result)
    builder.ret(builder.icmp_unsigned("==", result, api.object(builder, True)))


@shared(I1, POINTER, POINTER, I64)
def dict_keys_are(api: PythonApi, function: ir.Function) -> None:
    """Walk the dict beside the array of expected keys; each key is identical, or of the same type and equal."""
    mapping, expected_keys, count = function.args
    entry, walk, compare, following, end, differ = (
        function.append_basic_block(name) for name in ("entry", "walk", "compare", "following", "end", "differ")
    )
    ir.IRBuilder(differ).ret(ir.Constant(I1, 0))
    builder = ir.IRBuilder(entry)
    position, key_slot = builder.alloca(I64), builder.alloca(POINTER)
    builder.store(ir.Constant(I64, 0), position)
    used = api.field(builder, mapping, layout.DICT_USED, I64)
    builder.cbranch(builder.icmp_signed("==", used, count), walk, differ)
    builder.position_at_end(walk)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), entry)
    more = api.call(builder, "PyDict_Next", mapping, position, key_slot, NULL)
    inside = builder.and_(builder.icmp_signed("!=", more, ir.Constant(I32, 0)), builder.icmp_signed("<", index, count))
    builder.cbranch(inside, compare, end)
    builder.position_at_end(compare)
    key = builder.load(key_slot, typ=POINTER)
    expected = builder.load(builder.gep(expected_keys, [index], source_etype=POINTER), typ=POINTER)
    with builder.if_then(builder.icmp_unsigned("!=", key, expected), likely=False):
        same_type = builder.icmp_unsigned("==", api.type_of(builder, key), api.type_of(builder, expected))
        with builder.if_then(builder.not_(same_type)):
            builder.branch(differ)
        equal = equals(api, builder, key, expected)
        with builder.if_then(builder.not_(equal)):
            builder.branch(differ)
    builder.branch(following)
    builder.position_at_end(following)
    index.add_incoming(builder.add(index, ir.Constant(I64, 1)), following)
    builder.branch(walk)
    builder.position_at_end(end)
    builder.ret(builder.icmp_signed("==", index, count))
