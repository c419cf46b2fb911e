"""Operations done by calling a method of a Python object: draws of random numbers.

Owns `emit_object_call`. Invariants: a result is accepted only if it is of the very type, dtype and shape the node says;
no reference and no exception is left behind, whatever the method does; and where the graph looks at the floating-point
flags, they are afterwards what they were before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.call_results import take_array, take_number
from janusjit.backend.llvm.library import WRITEABLE, array_wrapper, vectorcall
from janusjit.backend.llvm.python_api import F64, I8, I32, I64, POINTER
from janusjit.backend.llvm.values import (
    ArrayValue,
    KernelContext,
    Operand,
    Scalar,
    as_i64,
    memory_type,
    store,
)
from janusjit.ir.graph import Node
from janusjit.ir.types import DTYPES
from janusjit.ops.indexing import symbols_in
from janusjit.ops.registry import OPS, ObjectCall

_TRUE = ir.Constant(ir.IntType(1), 1)


def emit_object_call(
    context: KernelContext, node: Node, inputs: Sequence[Operand], outputs: Sequence[ArrayValue]
) -> None:
    """Emit a node whose lowering is an `ObjectCall`; the requirement fails if the call raises or its result is odd.

    Parameters
    ----------
    context : KernelContext
        The function to emit into, which returns ``i1``.
    node : Node
        The operation.
    inputs : sequence of Operand
        The order token, the address of the object if there is one, and the arguments.
    outputs : sequence of ArrayValue
        Memory for the next token, and for the result; for a result that is an array and not an argument, memory for the
        reference to the ndarray, with the dimensions it must have.
    """
    _Emission(context, node, outputs).emit(inputs)


class _Emission:
    def __init__(self, context: KernelContext, node: Node, outputs: Sequence[ArrayValue]) -> None:
        lowering = OPS[node.op].lowering
        assert isinstance(lowering, ObjectCall)
        self._lowering = lowering
        self._context = context
        self._api = context.python.api
        self._attributes = node.attributes
        self._outputs = outputs
        self._succeeded = context.stack_slot(I8, align=1)

    @property
    def _builder(self) -> ir.IRBuilder:
        return self._context.builder

    def emit(self, inputs: Sequence[Operand]) -> None:
        builder, api = self._builder, self._api
        store(builder, _scalar(inputs[0]), self._outputs[0].pointer)
        references = self._arguments(list(inputs[1:]))
        vector = self._context.stack_slot(ir.ArrayType(POINTER, max(len(references), 1)), align=8)
        made: ir.Value = _TRUE
        for position, reference in enumerate(references):
            builder.store(reference, api.address(builder, vector, 8 * position))
            made = builder.and_(made, builder.not_(api.is_null(builder, reference)))
        builder.store(ir.Constant(I8, 0), self._succeeded)
        with builder.if_then(made, likely=True):
            self._call(vector, len(references))
        held = builder.icmp_unsigned("!=", builder.load(self._succeeded, typ=I8), ir.Constant(I8, 0))
        with builder.if_then(builder.not_(held), likely=False):
            api.call(builder, "PyErr_Clear")
        for position in range(len(references)):
            api.decref_unless_null(builder, builder.load(api.address(builder, vector, 8 * position), typ=POINTER))
        self._context.require(held)

    def _call(self, vector: ir.Value, count: int) -> None:
        builder, api, lowering = self._builder, self._api, self._lowering
        names = tuple(name for name in self._passed() if name in lowering.keyword_only)
        result = vectorcall(self._context, lowering.function, vector, count - len(names), names)
        with builder.if_then(builder.not_(api.is_null(builder, result)), likely=True):
            if lowering.returns == "value":
                self._take_value(result)
            else:
                builder.store(ir.Constant(I8, 1), self._succeeded)
            if lowering.returns == "object":
                builder.store(builder.ptrtoint(result, I64), self._outputs[1].pointer)
            else:
                api.decref(builder, result)

    # -- arguments: a new reference each

    def _arguments(self, inputs: list[Operand]) -> list[ir.Value]:
        builder, lowering = self._builder, self._lowering
        references = []
        if lowering.has_owner:
            owner = builder.inttoptr(_scalar(inputs.pop(0)).value, POINTER)
            self._api.incref(builder, owner)
            references.append(owner)
        for name in self._passed():
            if name in self._attributes:
                references.append(self._constant(self._attributes[name]))
            elif lowering.returns == "argument" and len(references) == lowering.has_owner:
                references.append(self._written(inputs.pop(0)))
            else:
                references.append(self._boxed(inputs.pop(0)))
        return references

    def _passed(self) -> list[str]:
        """Return the names of the parameters that are passed: all up to the last one that is not its default."""
        lowering, attributes = self._lowering, self._attributes
        names = sorted(lowering.parameters, key=lambda name: name in lowering.keyword_only)
        while names and names[-1] in attributes and names[-1] in lowering.defaults:
            if attributes[names[-1]] != lowering.defaults[names[-1]]:
                break
            names.pop()
        return names

    def _constant(self, value: Any) -> ir.Value:
        """Emit an attribute; dimensions that are not known are those of the result."""
        builder, api = self._builder, self._api
        if not symbols_in(value):
            reference = api.object(builder, value)
            api.incref(builder, reference)
            return reference
        if not isinstance(value, tuple):
            return api.call(builder, "PyLong_FromLongLong", as_i64(self._outputs[1].dims[0]))
        made = api.call(builder, "PyTuple_New", ir.Constant(I64, len(value)))
        with builder.if_then(builder.not_(api.is_null(builder, made)), likely=True):
            for position, extent in enumerate(self._outputs[1].dims[: len(value)]):
                item = api.call(builder, "PyLong_FromLongLong", as_i64(extent))
                builder.store(item, api.address(builder, made, layout.TUPLE_ITEMS + 8 * position))
        return made

    def _boxed(self, operand: Operand) -> ir.Value:
        builder, api = self._builder, self._api
        if isinstance(operand, ArrayValue):
            return array_wrapper(self._context, operand, 0)
        value = operand.value
        kind = DTYPES[operand.dtype].kind
        if kind == "b":
            chosen = builder.select(value, api.object(builder, True), api.object(builder, False))
            api.incref(builder, chosen)
            return chosen
        if kind == "f":
            return api.call(builder, "PyFloat_FromDouble", value if value.type == F64 else builder.fpext(value, F64))
        if kind == "i":
            return api.call(builder, "PyLong_FromLongLong", value if value.type == I64 else builder.sext(value, I64))
        wide = value if value.type == I64 else builder.zext(value, I64)
        return api.call(builder, "PyLong_FromUnsignedLongLong", wide)

    def _written(self, operand: Operand) -> ir.Value:
        """Emit a copy of an array in the result's memory, as an array that the method may write to."""
        builder, api = self._builder, self._api
        source = array_wrapper(self._context, self._context.as_array(operand), 0)
        target = array_wrapper(self._context, self._outputs[1], WRITEABLE)
        both = builder.not_(builder.or_(api.is_null(builder, source), api.is_null(builder, target)))
        with builder.if_then(both, likely=True):
            api.call(builder, "PyArray_CopyInto", target, source)
        api.decref_unless_null(builder, source)
        return target

    # -- the result

    def _take_value(self, result: ir.Value) -> None:
        out = self._outputs[1]
        kind = "array" if out.rank or self._attributes.get("size") is not None else None
        if kind is None:
            kind = self._lowering.scalar_kind(self._attributes)
        if kind == "array":
            self._take_array(result, out)
        elif kind == "float":
            self._take_if(self._api.has_type(self._builder, result, float), result, layout.FLOAT_VALUE)
        elif kind == "int":
            self._take_int(result)
        elif kind == "numpy.bool":
            self._take_bool(result)
        else:
            type_ = DTYPES[kind.removeprefix("numpy.")].type
            self._take_if(self._api.has_type(self._builder, result, type_), result, layout.NUMPY_SCALAR_VALUE)

    def _take_if(self, right: ir.Value, result: ir.Value, offset: int) -> None:
        """Emit: if the type is right, copy the number that lies at an offset of the result."""
        builder, out = self._builder, self._outputs[1]
        with builder.if_then(right, likely=True):
            value = self._api.field(builder, result, offset, memory_type(out.dtype))
            self._take(Scalar(out.dtype, value))

    def _take(self, scalar: Scalar) -> None:
        store(self._builder, scalar, self._outputs[1].pointer)
        self._builder.store(ir.Constant(I8, 1), self._succeeded)

    def _take_int(self, result: ir.Value) -> None:
        builder, api = self._builder, self._api
        with builder.if_then(api.has_type(builder, result, int), likely=True):
            overflow = self._context.stack_slot(I32, align=4)
            value = api.call(builder, "PyLong_AsLongLongAndOverflow", result, overflow)
            fits = builder.icmp_signed("==", builder.load(overflow, typ=I32), ir.Constant(I32, 0))
            with builder.if_then(fits, likely=True):
                self._take(Scalar("i64", value))

    def _take_bool(self, result: ir.Value) -> None:
        builder, api = self._builder, self._api
        with builder.if_then(api.has_type(builder, result, np.bool_), likely=True):
            true = builder.icmp_unsigned("==", result, api.object(builder, np.True_))
            self._take(Scalar("bool", true))

    def _take_array(self, result: ir.Value, out: ArrayValue) -> None:
        """Emit: if the result is an ndarray, take it, or the only element of one without dimensions."""
        builder = self._builder
        with builder.if_then(self._api.has_type(builder, result, np.ndarray), likely=True):
            taken = (take_array if out.rank else take_number)(self._context, result, out)
            builder.store(builder.zext(taken, I8), self._succeeded)


def _scalar(operand: Operand) -> Scalar:
    assert isinstance(operand, Scalar)
    return operand
