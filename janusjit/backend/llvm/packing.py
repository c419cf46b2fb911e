"""Lists of numbers as arrays, in compiled code.

Owns `packed_numbers`, which does what `janusjit.ir.places.pack` does where the numbers are floats or ints. Invariant:
only items of exactly the type asked for are read; where there is another, or no item at all, there is no array.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.boxing_arrays import new_array
from janusjit.backend.llvm.entry_frame import EntryFrame
from janusjit.backend.llvm.guards_helpers import unbox_int
from janusjit.backend.llvm.python_api import I1, I64, NULL, POINTER, PythonApi
from janusjit.backend.llvm.python_api_shared import shared

_F64 = ir.DoubleType()
#: the kinds of numbers that are packed natively: their type, and the dtype of the array
NATIVE_KINDS: dict[str, tuple[type, str]] = {
    "float": (float, "f64"),
    "numpy.f64": (np.float64, "f64"),
    "int": (int, "i64"),
}


def packed_numbers(frame: EntryFrame, items: ir.Value, kind: str, last: int | None) -> ir.Value:
    """Emit the array of the last items of an exact list, or of all: a new reference, or null if there is none."""
    api, builder = frame.api, frame.builder
    type_, dtype = NATIVE_KINDS[kind]
    size = api.field(builder, items, layout.VARIABLE_SIZE, I64)
    most = size if last is None else ir.Constant(I64, last)
    count = builder.select(builder.icmp_signed("<", size, most), size, most)
    listed = api.field(builder, items, layout.LIST_ITEMS, POINTER)
    first = builder.gep(listed, [builder.sub(size, count)], source_etype=POINTER)
    before = builder.block
    with builder.if_then(are_all_of(api, builder, first, count, api.object(builder, type_)), likely=True):
        array = new_array(api, frame, dtype, [count])
        with builder.if_then(api.is_null(builder, array), likely=False):
            api.call(builder, "PyErr_Clear")
        made_in = builder.block
        with builder.if_then(builder.icmp_unsigned("!=", array, NULL), likely=True):
            fill = copy_floats if dtype == "f64" else copy_ints
            copied = fill(api, builder, first, count, api.field(builder, array, layout.ARRAY_DATA, POINTER))
            copied_in = builder.block
            with builder.if_then(builder.not_(copied), likely=False):
                api.decref(builder, array)
                refused_in = builder.block
            filled = builder.phi(POINTER)
            filled.add_incoming(array, copied_in)
            filled.add_incoming(NULL, refused_in)
            filled_in = builder.block
        found = builder.phi(POINTER)
        found.add_incoming(NULL, made_in)
        found.add_incoming(filled, filled_in)
        found_in = builder.block
    result = builder.phi(POINTER)
    result.add_incoming(NULL, before)
    result.add_incoming(found, found_in)
    return result


def _over_items(function: ir.Function, turn: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> None:
    """Emit a loop over references: true where there are any, and ``turn`` held for each."""
    first, count = function.args[:2]
    entry, body, done, differ = (function.append_basic_block(name) for name in ("entry", "body", "done", "differ"))
    ir.IRBuilder(done).ret(ir.Constant(I1, 1))
    ir.IRBuilder(differ).ret(ir.Constant(I1, 0))
    builder = ir.IRBuilder(entry)
    enough = builder.icmp_signed(">=", count, ir.Constant(I64, 1))
    builder.cbranch(enough, body, differ)
    builder.position_at_end(body)
    position = builder.phi(I64)
    position.add_incoming(ir.Constant(I64, 0), entry)
    item = builder.load(builder.gep(first, [position], source_etype=POINTER), typ=POINTER)
    holds = turn(builder, item, position)
    following = builder.add(position, ir.Constant(I64, 1))
    going = function.append_basic_block("going")
    builder.cbranch(holds, going, differ)
    builder.position_at_end(going)
    position.add_incoming(following, going)
    builder.cbranch(builder.icmp_signed("<", following, count), body, done)


@shared(I1, POINTER, I64, POINTER, is_hot=True)
def are_all_of(api: PythonApi, function: ir.Function) -> None:
    """Whether there are objects, and all are of exactly one type."""
    wanted = function.args[2]

    def turn(builder: ir.IRBuilder, item: ir.Value, position: ir.Value) -> ir.Value:
        return builder.icmp_unsigned("==", api.type_of(builder, item), wanted)

    _over_items(function, turn)


@shared(I1, POINTER, I64, POINTER, is_hot=True)
def copy_floats(api: PythonApi, function: ir.Function) -> None:
    """Copy the values of objects that are Python or NumPy floats of 64 bits, which hold them at one place."""
    target = function.args[2]
    assert layout.FLOAT_VALUE == layout.NUMPY_SCALAR_VALUE

    def turn(builder: ir.IRBuilder, item: ir.Value, position: ir.Value) -> ir.Value:
        value = api.field(builder, item, layout.FLOAT_VALUE, _F64)
        builder.store(value, builder.gep(target, [position], source_etype=_F64))
        return ir.Constant(I1, 1)

    _over_items(function, turn)


@shared(I1, POINTER, I64, POINTER, is_hot=True)
def copy_ints(api: PythonApi, function: ir.Function) -> None:
    """Copy the values of Python ints; false where one does not fit."""
    target = function.args[2]

    def turn(builder: ir.IRBuilder, item: ir.Value, position: ir.Value) -> ir.Value:
        return unbox_int(api, builder, item, builder.gep(target, [position], source_etype=I64))

    _over_items(function, turn)
