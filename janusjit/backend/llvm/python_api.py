"""The CPython and NumPy C API as LLVM declarations.

Owns the prototypes, the addresses behind them, reference counting, and the table of Python objects a module refers to.
Invariant: no address of a Python object or of a function appears in the code itself: objects are loaded from the
module's table, which is filled when the code is loaded, and functions are called by symbol. So machine code does not
depend on the process it was made in.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy._core import multiarray

from janusjit.backend.llvm import engine
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.ir.types import DTYPES

POINTER = ir.PointerType()
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
VOID = ir.VoidType()
NULL = ir.Constant(POINTER, None)

OBJECT_TABLE = "python_objects"
_SYMBOL_PREFIX = "janusjit_"

_LOOKUP_ATTRIBUTE = "PyObject_GetOptionalAttr" if sys.version_info >= (3, 13) else "_PyObject_LookupAttr"

#: name → (result, parameters); the prototypes of the CPython C API reference, version 3.11
_PYTHON_FUNCTIONS: dict[str, tuple[ir.Type, tuple[ir.Type, ...]]] = {
    "Py_IncRef": (VOID, (POINTER,)),
    "Py_DecRef": (VOID, (POINTER,)),
    "_Py_Dealloc": (VOID, (POINTER,)),
    "PyErr_Clear": (VOID, ()),
    "PyErr_CheckSignals": (I32, ()),
    "PyErr_Fetch": (VOID, (POINTER, POINTER, POINTER)),
    "PyErr_NormalizeException": (VOID, (POINTER, POINTER, POINTER)),
    "PyInterpreterState_Get": (POINTER, ()),
    "PyThreadState_Get": (POINTER, ()),
    "PyErr_NoMemory": (POINTER, ()),
    "PyErr_Occurred": (POINTER, ()),
    "PyLong_AsLongLongAndOverflow": (I64, (POINTER, POINTER)),
    "PyLong_FromLongLong": (POINTER, (I64,)),
    "PyLong_FromUnsignedLongLong": (POINTER, (I64,)),
    "PyFloat_FromDouble": (POINTER, (F64,)),
    "PyObject_RichCompare": (POINTER, (POINTER, POINTER, I32)),
    "PyObject_IsTrue": (I32, (POINTER,)),
    "PyObject_Size": (I64, (POINTER,)),
    _LOOKUP_ATTRIBUTE: (I32, (POINTER, POINTER, POINTER)),
    "PyObject_SetAttr": (I32, (POINTER, POINTER, POINTER)),
    "PyObject_GenericGetAttr": (POINTER, (POINTER, POINTER)),
    "PyObject_GenericSetAttr": (I32, (POINTER, POINTER, POINTER)),
    "PyObject_Vectorcall": (POINTER, (POINTER, POINTER, I64, POINTER)),
    "PyObject_SetItem": (I32, (POINTER, POINTER, POINTER)),
    "PyObject_DelItem": (I32, (POINTER, POINTER)),
    "_PyType_Lookup": (POINTER, (POINTER, POINTER)),
    "_PyDict_GetItem_KnownHash": (POINTER, (POINTER, POINTER, I64)),
    "PyDict_GetItemWithError": (POINTER, (POINTER, POINTER)),
    "PyDict_Next": (I32, (POINTER, POINTER, POINTER, POINTER)),
    "PyDict_New": (POINTER, ()),
    "PyDict_SetItem": (I32, (POINTER, POINTER, POINTER)),
    "PyDict_DelItem": (I32, (POINTER, POINTER)),
    "PyCapsule_New": (POINTER, (POINTER, POINTER, POINTER)),
    "PyCapsule_GetPointer": (POINTER, (POINTER, POINTER)),
    "PyList_New": (POINTER, (I64,)),
    "PyList_Append": (I32, (POINTER, POINTER)),
    "PyList_SetSlice": (I32, (POINTER, I64, I64, POINTER)),
    "PyTuple_New": (POINTER, (I64,)),
    "PyTuple_GetItem": (POINTER, (POINTER, I64)),
    "PySet_New": (POINTER, (POINTER,)),
    "PyFrozenSet_New": (POINTER, (POINTER,)),
    "PySet_Contains": (I32, (POINTER, POINTER)),
    "PyDict_Contains": (I32, (POINTER, POINTER)),
    "PySet_Add": (I32, (POINTER, POINTER)),
    "PySet_Clear": (I32, (POINTER,)),
    "PyCell_Set": (I32, (POINTER, POINTER)),
    "PyContextVar_Get": (I32, (POINTER, POINTER, POINTER)),
    "PyMem_RawMalloc": (POINTER, (I64,)),
    "PyMem_RawFree": (VOID, (POINTER,)),
    "PyTraceMalloc_Track": (I32, (I32, I64, I64)),
}

#: where in that table the address of the variable ``PyDataMem_DefaultHandler`` is
_DEFAULT_HANDLER = 306

#: name → (index in NumPy's ``_ARRAY_API`` table, result, parameters); ``numpy/__multiarray_api.h``, stable since 1.7
_NUMPY_FUNCTIONS: dict[str, tuple[int, ir.Type, tuple[ir.Type, ...]]] = {
    "PyArray_Scalar": (60, POINTER, (POINTER, POINTER, POINTER)),
    "PyArray_CopyInto": (50, I32, (POINTER, POINTER)),
    "PyArray_NewCopy": (85, POINTER, (POINTER, I32)),
    "PyArray_Sort": (129, I32, (POINTER, I32, I32)),
    "PyArray_NewFromDescr": (94, POINTER, (POINTER, POINTER, I32, POINTER, POINTER, POINTER, I32, POINTER)),
    "PyArray_EquivTypes": (182, I8, (POINTER, POINTER)),
    "PyArray_SetBaseObject": (282, I32, (POINTER, POINTER)),
    "PyDataMem_GetHandler": (305, POINTER, ()),
}


@functools.cache
def _array_api() -> ctypes.Array[ctypes.c_void_p]:
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    table = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))(multiarray._ARRAY_API, None)
    size = max(_DEFAULT_HANDLER, *(index for index, _, _ in _NUMPY_FUNCTIONS.values())) + 1
    return (ctypes.c_void_p * size).from_address(table)


def _prototype(name: str) -> tuple[ir.Type, tuple[ir.Type, ...], int]:
    if name in _NUMPY_FUNCTIONS:
        index, result, parameters = _NUMPY_FUNCTIONS[name]
        return result, parameters, _array_api()[index] or 0
    result, parameters = _PYTHON_FUNCTIONS[name]
    address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    return result, parameters, address or 0


@functools.cache
def _symbol(name: str) -> tuple[str, ir.FunctionType]:
    layout.require_supported()
    result, parameters, address = _prototype(name)
    symbol = _SYMBOL_PREFIX + name
    engine.register_symbol(symbol, address)
    return symbol, ir.FunctionType(result, parameters)


def register_function(symbol: str) -> bool:
    """Make the symbol of a C API function known, if it is one; return whether it is."""
    name = symbol.removeprefix(_SYMBOL_PREFIX)
    if name == symbol or (name not in _PYTHON_FUNCTIONS and name not in _NUMPY_FUNCTIONS):
        return False
    _symbol(name)
    return True


class PythonApi:
    """The C API within one LLVM module.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Declarations, helper functions and the object table are added to it.
    """

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.objects: list[Any] = []
        self._index: dict[int, int] = {}
        self._helpers: dict[str, ir.Function] = {}
        self._table = ir.GlobalVariable(module, ir.ArrayType(POINTER, 0), OBJECT_TABLE)
        self._entries = opaque(self._table)

    def function(self, name: str) -> ir.Function:
        """Return the declaration of a C API function."""
        symbol, type_ = _symbol(name)
        known = self.module.globals.get(symbol)
        if known is None:
            known = ir.Function(self.module, type_, symbol)
            known.attributes.add("nounwind")
        return known

    def call(self, builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> ir.Value:
        """Emit a call of a C API function."""
        return builder.call(self.function(name), arguments)

    def lookup_attribute(self, builder: ir.IRBuilder, owner: ir.Value, name: ir.Value, result: ir.Value) -> ir.Value:
        """Emit ``getattr(owner, name, <null>)`` into ``result`` (a new reference); negative when it raised."""
        return self.call(builder, _LOOKUP_ATTRIBUTE, owner, name, result)

    def object(self, builder: ir.IRBuilder, value: Any) -> ir.Value:
        """Emit a load of a borrowed reference to ``value``, which the module's table keeps alive."""
        index = self._index.get(id(value))
        if index is None:
            index = self._index[id(value)] = len(self.objects)
            self.objects.append(value)
        return builder.load(self._entry(index), typ=POINTER)

    def _entry(self, index: int) -> ir.Value:
        """Return the address of a table entry: a constant, which takes no instruction."""
        address = f"getelementptr inbounds (i8, {POINTER} {self._entries.get_reference()}, {I64} {8 * index})"
        return ir.FormattedConstant(POINTER, address) if index else self._entries

    def name(self, builder: ir.IRBuilder, text: str) -> ir.Value:
        """Emit a borrowed reference to a name: the very object that programs have, which dicts find at once."""
        return self.object(builder, sys.intern(text))

    def reserve(self, values: Sequence[Any]) -> ir.Value:
        """Return the address of adjacent table entries of their own that hold ``values``; code may replace them."""
        self.objects.extend(values)
        return self._entry(len(self.objects) - len(values))

    def finish_table(self) -> None:
        """Give the object table its final size. Nothing may be added afterwards."""
        type_ = ir.ArrayType(POINTER, len(self.objects))
        self._table.value_type = type_
        self._table.initializer = ir.Constant(type_, None)

    def helper(self, name: str, type_: ir.FunctionType, emit: Callable[[PythonApi, ir.Function], None]) -> ir.Function:
        """Return the module's internal function ``name``, emitting its body the first time it is asked for."""
        known = self._helpers.get(name)
        if known is None:
            known = self._helpers[name] = ir.Function(self.module, type_, name)
            known.linkage = "internal"
            known.attributes.add("nounwind")
            emit(self, known)
        return known

    def field(self, builder: ir.IRBuilder, object_: ir.Value, offset: int, type_: ir.Type) -> ir.Value:
        """Emit a read of the struct member of ``type_`` at a byte offset."""
        return builder.load(self.address(builder, object_, offset), typ=type_)

    def address(self, builder: ir.IRBuilder, object_: ir.Value, offset: int) -> ir.Value:
        """Emit the address ``offset`` bytes into an object."""
        if offset == 0:
            return object_
        return builder.gep(object_, [ir.Constant(I64, offset)], inbounds=True, source_etype=I8)

    def type_of(self, builder: ir.IRBuilder, object_: ir.Value) -> ir.Value:
        """Emit ``type(object)``, borrowed."""
        return self.field(builder, object_, layout.OBJECT_TYPE, POINTER)

    def has_type(self, builder: ir.IRBuilder, object_: ir.Value, type_: type) -> ir.Value:
        """Emit ``type(object) is type_``."""
        return builder.icmp_unsigned("==", self.type_of(builder, object_), self.object(builder, type_))

    def incref(self, builder: ir.IRBuilder, object_: ir.Value) -> None:
        """Emit ``Py_INCREF``."""
        builder.call(self.helper("incref", ir.FunctionType(VOID, [POINTER]), _emit_incref), [object_])

    def decref(self, builder: ir.IRBuilder, object_: ir.Value) -> None:
        """Emit ``Py_DECREF``."""
        builder.call(self.helper("decref", ir.FunctionType(VOID, [POINTER]), _emit_decref), [object_])

    def decref_unless_null(self, builder: ir.IRBuilder, object_: ir.Value) -> None:
        """Emit ``Py_XDECREF``."""
        with builder.if_then(builder.icmp_unsigned("!=", object_, NULL)):
            self.decref(builder, object_)

    def error(self, builder: ir.IRBuilder, status: ir.Value) -> ir.Value:
        """Emit ``status < 0``."""
        return builder.icmp_signed("<", status, ir.Constant(status.type, 0))

    def is_null(self, builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
        """Emit ``pointer == NULL``."""
        return builder.icmp_unsigned("==", pointer, NULL)


def opaque(pointer: ir.Value) -> ir.Value:
    """Return a pointer with its type made opaque: llvmlite still gives allocas and globals typed pointers."""
    pointer.type = POINTER
    return pointer


def fill_table(address: int, objects: Sequence[Any]) -> None:
    """Write references to ``objects``, which the caller keeps alive, into a loaded module's object table."""
    table = (ctypes.c_void_p * len(objects)).from_address(address)
    for index, value in enumerate(objects):
        table[index] = id(value)


def array_descriptor(name: str) -> np.dtype[Any]:
    """Return NumPy's own descriptor object for a graph dtype, the one arrays of it share."""
    return DTYPES[name]


def default_handler() -> Any:
    """Return the capsule of the handler that NumPy allocates the memory of arrays by, unless told otherwise."""
    return ctypes.py_object.from_address(_array_api()[_DEFAULT_HANDLER] or 0).value


def _emit_incref(api: PythonApi, function: ir.Function) -> None:
    function.attributes.add("alwaysinline")
    builder = ir.IRBuilder(function.append_basic_block())
    (object_,) = function.args
    if not layout.INLINE_REFERENCE_COUNTS:
        api.call(builder, "Py_IncRef", object_)
    elif layout.HAS_IMMORTAL_OBJECTS:
        count = builder.load(object_, typ=I32)
        counted = builder.add(count, ir.Constant(I32, 1))
        with builder.if_then(builder.icmp_unsigned("!=", counted, ir.Constant(I32, 0)), likely=True):
            builder.store(counted, object_)
    else:
        builder.store(builder.add(builder.load(object_, typ=I64), ir.Constant(I64, 1)), object_)
    builder.ret_void()


def _emit_decref(api: PythonApi, function: ir.Function) -> None:
    function.attributes.add("alwaysinline")
    builder = ir.IRBuilder(function.append_basic_block())
    (object_,) = function.args
    if not layout.INLINE_REFERENCE_COUNTS:
        api.call(builder, "Py_DecRef", object_)
        builder.ret_void()
        return
    if layout.HAS_IMMORTAL_OBJECTS:
        mortal = builder.icmp_signed(">=", builder.load(object_, typ=I32), ir.Constant(I32, 0))
        done = function.append_basic_block("immortal")
        counted = function.append_basic_block("mortal")
        builder.cbranch(mortal, counted, done)
        ir.IRBuilder(done).ret_void()
        builder.position_at_end(counted)
    left = builder.sub(builder.load(object_, typ=I64), ir.Constant(I64, 1))
    builder.store(left, object_)
    with builder.if_then(builder.icmp_unsigned("==", left, ir.Constant(I64, 0)), likely=False):
        api.call(builder, "_Py_Dealloc", object_)
    builder.ret_void()
