"""Boxes in compiled code: making Python objects at an exit.

Owns the emission of every `Box` kind. Invariant: each object made is held by the frame until the exit returns, so a
failure on the way releases all of them, and boxes with one key are one object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import boxing_arrays as arrays
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.entry_frame import EntryFrame
from janusjit.backend.llvm.entry_places import PlaceReader
from janusjit.backend.llvm.python_api import F64, I64, NULL, POINTER, array_descriptor
from janusjit.backend.llvm.values import Operand, Scalar, load, memory_type, store
from janusjit.errors import CompileError
from janusjit.ir import boxes as kinds
from janusjit.ir.graph import GraphInput, Value
from janusjit.ir.types import DTYPES


@dataclass
class Exit:
    """An exit under construction.

    Attributes
    ----------
    frame : EntryFrame
        The activation; code goes in at its builder.
    places : PlaceReader
        Holds every place the recipe names.
    operands : sequence of Operand
        The exit node's inputs in compiled code.
    values : sequence of Value
        The same in the graph.
    inputs : sequence of GraphInput
        The graph's inputs, which `ArrayValue.input_index` numbers.
    failed : callable
        Given a condition, emits what happens when making an object failed with an exception set.
    """

    frame: EntryFrame
    places: PlaceReader
    operands: Sequence[Operand]
    values: Sequence[Value]
    inputs: Sequence[GraphInput]
    failed: Callable[[ir.Value], None]
    _made: dict[int, ir.Value] = field(default_factory=dict)

    @property
    def builder(self) -> ir.IRBuilder:
        """Where code goes."""
        return self.frame.builder

    def box(self, box: kinds.Box) -> ir.Value:
        """Emit the making of an object; return a reference borrowed from the frame.

        Raises
        ------
        CompileError
            If the kind of box is unknown.
        """
        key = getattr(box, "key", -1)
        if key >= 0 and key in self._made:
            return self._made[key]
        emitter = _EMITTERS.get(type(box))
        if emitter is None:
            raise CompileError("backend.box", f"{type(box).__name__} has no native form")
        made = emitter(self, box)
        if key >= 0:
            self._made[key] = made
        return made

    def take(self, reference: ir.Value) -> ir.Value:
        """Emit: fail if ``reference`` is null; else the frame holds it."""
        self.failed(self.frame.api.is_null(self.builder, reference))
        self.frame.hold_box(reference)
        return reference

    def call(self, name: str, *arguments: ir.Value) -> ir.Value:
        """Emit a C API call that returns a new reference, which the frame then holds."""
        return self.take(self.frame.api.call(self.builder, name, *arguments))

    def require(self, name: str, *arguments: ir.Value) -> None:
        """Emit a C API call that returns a negative status when it fails."""
        api = self.frame.api
        self.failed(api.error(self.builder, api.call(self.builder, name, *arguments)))

    def object(self, value: Any) -> ir.Value:
        """Emit a borrowed reference to an object known now."""
        return self.frame.api.object(self.builder, value)

    def vector(self, items: Sequence[ir.Value]) -> ir.Value:
        """Emit a C array of references on the stack."""
        slot = self.frame.scratch(ir.ArrayType(POINTER, max(len(items), 1)))
        for index, item in enumerate(items):
            self.builder.store(item, self.frame.api.address(self.builder, slot, 8 * index))
        return slot


def _constant(exit_: Exit, box: kinds.ConstantBox) -> ir.Value:
    return exit_.object(box.value)


def _choice(exit_: Exit, box: kinds.ChoiceBox) -> ir.Value:
    api, builder, operand = exit_.frame.api, exit_.builder, exit_.operands[box.operand]
    assert isinstance(operand, Scalar)
    entries = api.reserve(box.objects)
    return builder.load(builder.gep(entries, [operand.value], source_etype=POINTER), typ=POINTER)


def _either(exit_: Exit, box: kinds.EitherBox) -> ir.Value:
    """Each way makes one object, and holds it in the same slot."""
    frame, builder = exit_.frame, exit_.builder
    which = as_scalar(builder, exit_.operands[box.operand]).value
    held, joined = frame.boxed, builder.append_basic_block()
    made: list[tuple[ir.Value, ir.Block]] = []
    for position, (number, option) in enumerate(box.options):
        following = builder.append_basic_block() if position + 1 < len(box.options) else None
        if following is not None:
            own = builder.append_basic_block()
            builder.cbranch(builder.icmp_signed("==", which, ir.Constant(which.type, number)), own, following)
            builder.position_at_end(own)
        frame.boxed = held
        reference = exit_.box(option)
        if frame.boxed == held:  # it is borrowed, as constants are
            frame.api.incref(builder, reference)
            exit_.take(reference)
        made.append((reference, builder.block))
        builder.branch(joined)
        if following is not None:
            builder.position_at_end(following)
    builder.position_at_end(joined)
    result = builder.phi(POINTER)
    for reference, block in made:
        result.add_incoming(reference, block)
    return result


def _place(exit_: Exit, box: kinds.PlaceBox) -> ir.Value:
    return exit_.places.read(box.place).value


def _scalar(exit_: Exit, box: kinds.ScalarBox) -> ir.Value:
    scalar = as_scalar(exit_.builder, exit_.operands[box.operand])
    builder, value = exit_.builder, scalar.value
    if box.kind.startswith("numpy."):
        return _numpy_scalar(exit_, scalar, box.kind.removeprefix("numpy."))
    if box.kind == "object":
        made = builder.inttoptr(value, POINTER)
        exit_.frame.api.incref(builder, made)
        return exit_.take(made)
    if box.kind == "bool":
        return builder.select(value, exit_.object(True), exit_.object(False))
    if box.kind == "float":
        return exit_.call("PyFloat_FromDouble", value if value.type == F64 else builder.fpext(value, F64))
    if DTYPES[scalar.dtype].kind == "i":
        return exit_.call("PyLong_FromLongLong", value if value.type == I64 else builder.sext(value, I64))
    return exit_.call("PyLong_FromUnsignedLongLong", value if value.type == I64 else builder.zext(value, I64))


def as_scalar(builder: ir.IRBuilder, operand: Operand) -> Scalar:
    """Return a 0-d operand in a register."""
    return operand if isinstance(operand, Scalar) else load(builder, operand.dtype, operand.pointer)


def _numpy_scalar(exit_: Exit, scalar: Scalar, dtype: str) -> ir.Value:
    if scalar.dtype != dtype:
        raise CompileError("backend.box", f"a NumPy scalar of {dtype} cannot be made of an operand of {scalar.dtype}")
    builder = exit_.builder
    if dtype == "bool":
        return builder.select(scalar.value, exit_.object(np.True_), exit_.object(np.False_))
    slot = exit_.frame.scratch(memory_type(dtype))
    store(builder, scalar, slot)
    return exit_.call("PyArray_Scalar", slot, exit_.object(array_descriptor(dtype)), NULL)


def _array(exit_: Exit, box: kinds.ArrayBox) -> ir.Value:
    return arrays.fresh_array(exit_, exit_.operands[box.operand], box.order)


def _view(exit_: Exit, box: kinds.ViewBox) -> ir.Value:
    base = exit_.box(box.base)
    operand, value = exit_.operands[box.operand], exit_.values[box.operand]
    if isinstance(operand, Scalar) and not arrays.is_whole(value):
        raise CompileError("backend.box", "a view of one element needs the element's address, not its value")
    moved_from = None
    if isinstance(box.base, kinds.ArrayBox):
        moved_from = arrays.Moved(exit_.operands[box.base.operand], box.base.order)
    of_number = arrays.root_of_view(value).type.rank == 0
    return arrays.view_of(exit_, base, operand, moved_from, arrays.is_broadcast(value), of_number)


def _sequence(exit_: Exit, box: kinds.SequenceBox) -> ir.Value:
    items = [exit_.box(item) for item in box.items]
    if box.type_ is tuple:
        return new_tuple(exit_, items)
    if box.type_ is list:
        return new_list(exit_, items)
    if box.type_ in (set, frozenset):
        made = exit_.call("PySet_New" if box.type_ is set else "PyFrozenSet_New", NULL)
        for item in items:
            exit_.require("PySet_Add", made, item)
        return made
    raise CompileError("backend.box", f"a sequence box makes no {box.type_.__name__}")


def new_tuple(exit_: Exit, items: Sequence[ir.Value]) -> ir.Value:
    """Emit the making of a tuple."""
    made = exit_.call("PyTuple_New", ir.Constant(I64, len(items)))
    _fill(exit_, exit_.frame.api.address(exit_.builder, made, layout.TUPLE_ITEMS), items)
    return made


def new_list(exit_: Exit, items: Sequence[ir.Value]) -> ir.Value:
    """Emit the making of a list."""
    made = exit_.call("PyList_New", ir.Constant(I64, len(items)))
    if items:
        _fill(exit_, exit_.frame.api.field(exit_.builder, made, layout.LIST_ITEMS, POINTER), items)
    return made


def _fill(exit_: Exit, storage: ir.Value, items: Sequence[ir.Value]) -> None:
    api, builder = exit_.frame.api, exit_.builder
    for index, item in enumerate(items):
        api.incref(builder, item)
        builder.store(item, api.address(builder, storage, 8 * index))


def _dict(exit_: Exit, box: kinds.DictBox) -> ir.Value:
    items = [(exit_.box(key), exit_.box(value)) for key, value in box.items]
    made = exit_.call("PyDict_New")
    for key, value in items:
        exit_.require("PyDict_SetItem", made, key, value)
    return made


def _object(exit_: Exit, box: kinds.ObjectBox) -> ir.Value:
    """``tp_new(type, (), NULL)``: what ``type.__new__(type)`` comes down to."""
    attributes = [(name, exit_.box(value)) for name, value in box.attributes]
    api, builder = exit_.frame.api, exit_.builder
    type_ = exit_.object(box.type_)
    prototype = ir.FunctionType(POINTER, [POINTER, POINTER, POINTER])
    new = api.field(builder, type_, layout.TYPE_NEW, prototype.as_pointer())
    made = exit_.take(builder.call(new, [type_, exit_.object(()), NULL]))
    for name, value in attributes:
        exit_.require("PyObject_GenericSetAttr", made, exit_.object(sys.intern(name)), value)
    return made


def _call(exit_: Exit, box: kinds.CallBox) -> ir.Value:
    arguments = exit_.vector([exit_.box(argument) for argument in box.arguments])
    count = ir.Constant(I64, len(box.arguments))
    return exit_.call("PyObject_Vectorcall", exit_.object(box.function), arguments, count, NULL)


_EMITTERS: Mapping[type[kinds.Box], Callable[[Exit, Any], ir.Value]] = {
    kinds.ConstantBox: _constant,
    kinds.ChoiceBox: _choice,
    kinds.EitherBox: _either,
    kinds.PlaceBox: _place,
    kinds.ScalarBox: _scalar,
    kinds.ArrayBox: _array,
    kinds.ViewBox: _view,
    kinds.SequenceBox: _sequence,
    kinds.DictBox: _dict,
    kinds.ObjectBox: _object,
    kinds.CallBox: _call,
}
