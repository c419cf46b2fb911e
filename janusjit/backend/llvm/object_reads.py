"""Reads of Python objects by their address.

Owns `ObjectReads`, which lowers the ops ``object.*``, inline in the entry function, which holds the interpreter's lock.
Invariants: nothing of an object is read before its type has been found to be one that has it there; no reference and no
exception is left behind; and what is read by a reference of its own is taken only if the object keeps it besides.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Protocol

from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.guards_arrays import array_matches, constant_sizes
from janusjit.backend.llvm.guards_helpers import equals, unbox_int
from janusjit.backend.llvm.interruptions import emit_is_free
from janusjit.backend.llvm.memory import Extents, Memory
from janusjit.backend.llvm.python_api import I32, NULL, PythonApi, array_descriptor
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.backend.llvm.values import (
    F64,
    I1,
    I64,
    POINTER,
    Extent,
    PythonEmitter,
    Scalar,
    as_i64,
    declare,
    item_size,
    load,
    multiply,
)
from janusjit.backend.plan import lowering_of
from janusjit.ir.graph import Node, Value
from janusjit.ir.guards import scalar_type
from janusjit.ops.objects import identified
from janusjit.ops.registry import ObjectRead


class Lowering(Protocol):
    """What the reads ask of the lowering of the graph around them."""

    builder: ir.IRBuilder
    scalars: dict[Value, Scalar]
    extents: Extents
    memory: Memory
    python: PythonEmitter
    attempts: set[Node]
    held: dict[Node | None, ir.Value]

    def prepare(self, value: Value) -> None:
        """Emit the allocation of an array's storage, if its size has become known just now."""

    def fail_unless(self, condition: ir.Value, node: Node) -> None:
        """Emit: deoptimize for the guard of ``node`` unless ``condition`` holds."""


class ObjectReads:
    """Emits the reads of objects of a graph for its lowering."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering

    def lower(self, node: Node) -> bool:
        """Emit the read of an object; return whether the node is one."""
        if not isinstance(lowering_of(node), ObjectRead):
            return False
        read = _Read(self._lowering, node)
        scalar = _READS[node.op](read)
        if read.otherwise is not None:
            scalar = read.joined(scalar)
        if scalar is not None:
            self._lowering.scalars[node.result] = scalar
        return True


class _Read:
    """One read. ``otherwise`` is where it goes on if what is required does not hold, for a node that is asked then."""

    def __init__(self, lowering: Lowering, node: Node) -> None:
        self.lowering, self.node = lowering, node
        self.builder = lowering.builder
        self.api: PythonApi = lowering.python.api
        self.object = self.builder.inttoptr(lowering.scalars[node.inputs[0]].value, POINTER)
        asked = node in lowering.attempts
        self.otherwise = self.builder.append_basic_block("not_read") if asked else None

    def require(self, condition: ir.Value) -> None:
        """Emit: the read fails unless ``condition`` holds."""
        if self.otherwise is None:
            self.lowering.fail_unless(condition, self.node)
            return
        following = self.builder.append_basic_block("held")
        self.builder.cbranch(condition, following, self.otherwise).set_weights([1_000_000, 1])
        self.builder.position_at_end(following)

    def joined(self, scalar: Scalar | None) -> Scalar | None:
        """Emit the end of a node that is asked whether it succeeded; return its result, 0 if it did not."""
        builder = self.builder
        assert self.otherwise is not None
        read = builder.block
        after = builder.append_basic_block("read")
        builder.branch(after)
        builder.position_at_end(self.otherwise)
        builder.branch(after)
        builder.position_at_end(after)
        self.lowering.held[self.node] = self._either(I1, ir.Constant(I1, 1), read)
        return None if scalar is None else Scalar(scalar.dtype, self._either(scalar.value.type, scalar.value, read))

    def _either(self, type_: ir.Type, value: ir.Value, read: ir.Block) -> ir.Value:
        phi = self.builder.phi(type_)
        phi.add_incoming(value, read)
        phi.add_incoming(ir.Constant(type_, None), self.otherwise)
        return phi

    def is_a(self, type_: type) -> ir.Value:
        """Emit whether the object is of exactly this type."""
        return self.api.has_type(self.builder, self.object, type_)

    def is_same(self, item: object) -> ir.Value:
        """Emit whether it is the object ``item``."""
        return self.builder.icmp_unsigned("==", self.object, self.api.object(self.builder, item))

    def address(self, reference: ir.Value) -> Scalar:
        """Return a reference as an address."""
        return Scalar("i64", self.builder.ptrtoint(reference, I64))


def _is_type(read: _Read) -> Scalar:
    return Scalar("bool", read.is_a(read.node.attributes["type"]))


def _is(read: _Read) -> Scalar:
    return Scalar("bool", read.is_same(identified(read.node.attributes["object"])))


def _is_text(read: _Read) -> Scalar:
    text = sys.intern(read.node.attributes["text"])  # as the strings in programs are: the first look tells
    return Scalar("bool", is_equal_text(read.api, read.builder, read.object, read.api.object(read.builder, text)))


def _has_method(read: _Read) -> Scalar:
    api, builder = read.api, read.builder
    name = api.object(builder, sys.intern(read.node.attributes["name"]))
    function = api.object(builder, identified(read.node.attributes["function"]))
    return Scalar("bool", is_bound_method(api, builder, read.object, name, function))


def _attribute(read: _Read) -> Scalar:
    name = read.api.object(read.builder, sys.intern(read.node.attributes["name"]))
    found = kept_attribute(read.api, read.builder, read.object, name)
    read.require(read.builder.icmp_unsigned("!=", found, NULL))
    return read.address(found)


def _length(read: _Read) -> Scalar:
    read.require(read.builder.or_(read.is_a(list), read.is_a(tuple)))
    return Scalar("i64", read.api.field(read.builder, read.object, layout.VARIABLE_SIZE, I64))


def _item(read: _Read) -> Scalar:
    builder, api = read.builder, read.api
    index = read.lowering.scalars[read.node.inputs[1]].value
    is_list = read.is_a(list)
    read.require(builder.or_(is_list, read.is_a(tuple)))
    size = api.field(builder, read.object, layout.VARIABLE_SIZE, I64)
    read.require(builder.icmp_unsigned("<", index, size))  # a negative one is a large one
    listed = api.field(builder, read.object, layout.LIST_ITEMS, POINTER)  # a tuple that is not empty has a word there
    items = builder.select(is_list, listed, api.address(builder, read.object, layout.TUPLE_ITEMS))
    return read.address(builder.load(builder.gep(items, [index], source_etype=POINTER), typ=POINTER))


def _number(read: _Read) -> Scalar:
    builder, api, kind = read.builder, read.api, read.node.attributes["kind"]
    read.require(read.is_a(scalar_type(kind)))
    if kind == "float":
        return Scalar("f64", api.field(builder, read.object, layout.FLOAT_VALUE, F64))
    if kind == "bool":
        return Scalar("bool", read.is_same(True))
    if kind == "int":
        slot = read.lowering.memory.stack_slot(I64)
        read.require(unbox_int(api, builder, read.object, slot))
        return Scalar("i64", builder.load(slot, typ=I64))
    return load(builder, read.node.result.type.dtype, api.address(builder, read.object, layout.NUMPY_SCALAR_VALUE))


def _array(read: _Read) -> Scalar | None:
    builder, api, type_ = read.builder, read.api, read.node.result.type
    target, size = None, item_size(type_.dtype)
    dims = [read.lowering.extents.of(dim) for dim in type_.shape]
    if type_.rank:
        read.lowering.prepare(read.node.result)
        target = read.lowering.memory.array(read.node.result).pointer
        for dim in dims:
            size = multiply(builder, size, dim)
    descriptor = api.object(builder, array_descriptor(type_.dtype))
    rank, flags = ir.Constant(I32, type_.rank), ir.Constant(I32, layout.ARRAY_ALIGNED | layout.ARRAY_C_CONTIGUOUS)
    sizes = constant_sizes(api.module, type_.shape)
    read.require(array_matches(api, builder, read.object, descriptor, rank, flags, sizes))
    _require_dims(read, dims)
    data = api.field(builder, read.object, layout.ARRAY_DATA, POINTER)
    if target is None:
        return load(builder, type_.dtype, data)
    builder.call(declare(api.module, "memcpy", POINTER, [POINTER, POINTER, I64]), [target, data, as_i64(size)])
    return None


def _require_dims(read: _Read, dims: list[Extent]) -> None:
    """Emit the comparison of the dimensions that are known at run time only."""
    for axis, dim in enumerate(dims):
        if not isinstance(dim, int):
            found = read.api.field(read.builder, read.object, layout.ARRAY_DIMS, POINTER)
            size = read.api.field(read.builder, found, 8 * axis, I64)
            read.require(read.builder.icmp_signed("==", size, dim))


def _is_free(read: _Read) -> Scalar:
    return Scalar("bool", emit_is_free(read.api, read.builder))


_READS: dict[str, Callable[[_Read], Scalar | None]] = {
    "interpreter.is_free": _is_free,
    "object.is_type": _is_type,
    "object.is": _is,
    "object.is_text": _is_text,
    "object.has_method": _has_method,
    "object.attribute": _attribute,
    "object.length": _length,
    "object.item": _item,
    "object.number": _number,
    "object.array": _array,
}


@shared(POINTER, POINTER, POINTER)
def kept_attribute(api: PythonApi, function: ir.Function) -> None:
    """``object.__getattribute__(owner, name)``, borrowed; null, and no exception set, if nothing else keeps it."""
    builder = ir.IRBuilder(function.append_basic_block())
    found = api.call(builder, "PyObject_GenericGetAttr", *function.args)
    with builder.if_then(api.is_null(builder, found), likely=False):
        api.call(builder, "PyErr_Clear")
        builder.ret(NULL)
    references = api.field(builder, found, layout.OBJECT_REFCOUNT, I32)  # of 64 bits, these are enough for this
    alone = builder.icmp_signed("==", references, ir.Constant(I32, 1))
    api.decref(builder, found)
    builder.ret(builder.select(alone, NULL, found))


@shared(I1, POINTER, POINTER, POINTER)
def is_bound_method(api: PythonApi, function: ir.Function) -> None:
    """Whether ``object.__getattribute__(owner, name)`` is a method of the owner made of a function."""
    builder = ir.IRBuilder(function.append_basic_block())
    owner, name, expected = function.args
    found = api.call(builder, "PyObject_GenericGetAttr", owner, name)
    with builder.if_then(api.is_null(builder, found), likely=False):
        api.call(builder, "PyErr_Clear")
        builder.ret(ir.Constant(I1, 0))
    is_method = api.has_type(builder, found, types.MethodType)
    held = builder.load(api.address(builder, found, layout.METHOD_FUNCTION), typ=POINTER)  # any object has a word there
    same = builder.and_(is_method, builder.icmp_unsigned("==", held, expected))
    api.decref(builder, found)
    builder.ret(same)


@shared(I1, POINTER, POINTER)
def is_equal_text(api: PythonApi, function: ir.Function) -> None:
    """Whether an object is a string like the second one, which is one."""
    builder = ir.IRBuilder(function.append_basic_block())
    found, text = function.args
    with builder.if_then(builder.icmp_unsigned("==", found, text)):
        builder.ret(ir.Constant(I1, 1))
    with builder.if_then(builder.not_(api.has_type(builder, found, str)), likely=False):
        builder.ret(ir.Constant(I1, 0))
    builder.ret(equals(api, builder, found, text))
