"""Where CPython and NumPy keep what compiled code reads.

Owns the struct offsets compiled code relies on. Invariant: none of them is trusted before `unsupported_reason` has
compared what real objects hold at these offsets with what Python says they hold; on an interpreter laid out
differently (free-threaded, trace-refs, 32-bit, another implementation) nothing is compiled.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import struct
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator

import numpy as np

from janusjit.errors import CompileError
from janusjit.ir.types import DTYPES

#: types whose instances begin as a dict does and keep their items as it does, and those that give them in that order
DICTS = (dict, collections.defaultdict, collections.Counter, collections.OrderedDict)
DICTS_IN_ORDER = DICTS[:3]

OBJECT_REFCOUNT = 0
OBJECT_TYPE = 8
VARIABLE_SIZE = 16  # ob_size of lists, tuples; also ma_used of dicts

LIST_ITEMS = 24
TUPLE_ITEMS = 24
DICT_USED = 16
SET_USED = 24
#: a word that no two states of dicts have in common, as 3.11 to 3.13 keep it
DICT_VERSION = 24 if sys.version_info < (3, 14) else None
CELL_CONTENTS = 16
FLOAT_VALUE = 16
METHOD_FUNCTION = 16
#: where a builtin has its definition and what it is called with, and a definition its function and flags
BUILTIN_DEFINITION, BUILTIN_SELF = 16, 24
DEFINITION_FUNCTION, DEFINITION_FLAGS = 8, 16
METH_FASTCALL = 0x80
FUNCTION_CODE = 48
NUMPY_SCALAR_VALUE = 16

#: 3.11: signed digit count; 3.12 on: digit count << 3 with the sign in the low two bits (0: +, 1: zero, 2: -)
INT_TAG = 16
INT_DIGITS = 24
INT_DIGIT_BITS = sys.int_info.bits_per_digit
INT_TAG_IS_SIGNED_SIZE = sys.version_info < (3, 12)

ARRAY_DATA = 16
ARRAY_RANK = 24
ARRAY_DIMS = 32
ARRAY_STRIDES = 40
ARRAY_BASE = 48
ARRAY_DESCR = 56
ARRAY_FLAGS = 64
ARRAY_MEMORY_HANDLER = 88

ARRAY_C_CONTIGUOUS = 0x1
ARRAY_F_CONTIGUOUS = 0x2
ARRAY_OWNS_DATA = 0x4
ARRAY_ALIGNED = 0x100
ARRAY_WRITEABLE = 0x400

DESCR_BYTEORDER = 26

TYPE_BASIC_SIZE = 32
TYPE_VECTORCALL = 56
TYPE_FLAGS = 168
TYPE_NEW = 312
TYPE_ORDER = 344

#: instances have, where their type says, the address of the function that calls them
TYPE_HAS_VECTORCALL = 1 << 11
#: 3.13 on: behind instances of the size that the type says there are values of attributes
TYPE_HAS_INLINE_VALUES = 1 << 2
_SLOT_TP_NEW = 65

#: 3.12 on: reference counts whose low 32 bits are negative belong to immortal objects
HAS_IMMORTAL_OBJECTS = sys.version_info >= (3, 12)
#: reference counting as 3.11 to 3.13 do it may be emitted inline; elsewhere ``Py_IncRef`` and ``Py_DecRef`` are called
INLINE_REFERENCE_COUNTS = sys.version_info < (3, 14)


class MethodDefinition(ctypes.Structure):
    """``PyMethodDef``: what a builtin or a method in C is made of."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


def require_supported() -> None:
    """Raise `CompileError` unless compiled code can read this interpreter's objects."""
    reason = unsupported_reason()
    if reason is not None:
        raise CompileError("environment.interpreter", reason)


@functools.cache
def unsupported_reason() -> str | None:
    """Return why objects cannot be read by compiled code here, or None when they can."""
    for reason in _build_reasons():
        return reason
    for name, probe in _PROBES.items():
        if not probe():
            return f"{name} are laid out differently in {sys.implementation.name} {sys.version.split()[0]}"
    return None


def _build_reasons() -> Iterator[str]:
    if sys.implementation.name != "cpython":
        yield f"needs CPython, this is {sys.implementation.name}"
    if struct.calcsize("P") != 8 or sys.byteorder != "little":
        yield "needs a 64-bit little-endian machine"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        yield "needs the global interpreter lock, this is a free-threaded build"
    if object.__basicsize__ != 16:
        yield "object headers are not two words (a trace-refs build)"


def word(address: int) -> int:
    """Return the eight bytes at an address."""
    return int(ctypes.c_uint64.from_address(address).value)


def _int32(address: int) -> int:
    return int(ctypes.c_int32.from_address(address).value)


def _probe_headers() -> bool:
    value = object()
    before = word(id(value))
    holders = [value] * 3
    return word(id(value) + OBJECT_TYPE) == id(object) and word(id(value)) - before == len(holders)


def _probe_sequences() -> bool:
    items = [object(), object(), object()]
    pair = (items[0], items[1])
    listed = word(id(items) + LIST_ITEMS)
    return (
        word(id(items) + VARIABLE_SIZE) == 3
        and [word(listed + 8 * i) for i in range(3)] == list(map(id, items))
        and word(id(pair) + VARIABLE_SIZE) == 2
        and [word(id(pair) + TUPLE_ITEMS + 8 * i) for i in range(2)] == list(map(id, pair))
    )


def _probe_hashed() -> bool:
    mapping = {i: i for i in range(5)}
    before = DICT_VERSION and word(id(mapping) + DICT_VERSION)
    mapping[1] = 7
    if DICT_VERSION and word(id(mapping) + DICT_VERSION) == before:
        return False
    del mapping[2]
    members = set(range(7))
    members.discard(3)
    return word(id(mapping) + DICT_USED) == 4 and word(id(members) + SET_USED) == 6


def _probe_cells() -> bool:
    content = object()
    cell = types.CellType(content)
    return word(id(cell) + CELL_CONTENTS) == id(content)


def _probe_methods() -> bool:
    method = types.MethodType(read_compact_int, object())
    return word(id(method) + METHOD_FUNCTION) == id(read_compact_int)


def _probe_functions() -> bool:
    return word(id(_probe_methods) + FUNCTION_CODE) == id(_probe_methods.__code__)


def _probe_floats() -> bool:
    value = float.fromhex("-0x1.23456789abcdep+5")
    return ctypes.c_double.from_address(id(value) + FLOAT_VALUE).value == value


def read_compact_int(value: int) -> int | None:
    """Return an int as compiled code reads it from its header and first digit; None when that does not hold it."""
    tag = ctypes.c_int64.from_address(id(value) + INT_TAG).value
    digit = ctypes.c_uint32.from_address(id(value) + INT_DIGITS).value
    if INT_TAG_IS_SIGNED_SIZE:
        return tag * digit if -1 <= tag <= 1 else None
    return (1 - (tag & 3)) * digit if tag < 16 else None


def _probe_ints() -> bool:
    largest = (1 << INT_DIGIT_BITS) - 1
    return all(read_compact_int(v) == v for v in (0, 1, -1, 5, -7, 1000, -12345, largest, -largest)) and all(
        read_compact_int(v) is None for v in (largest + 1, -largest - 1, 1 << 62, -(1 << 80))
    )


def _probe_arrays() -> bool:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    view = base[:, 1:, ::2]
    address = id(view)
    dims, strides = word(address + ARRAY_DIMS), word(address + ARRAY_STRIDES)
    return (
        word(address + ARRAY_DATA) == view.ctypes.data
        and _int32(address + ARRAY_RANK) == view.ndim
        and tuple(word(dims + 8 * i) for i in range(3)) == view.shape
        and tuple(word(strides + 8 * i) for i in range(3)) == view.strides
        and word(address + ARRAY_BASE) == id(view.base)
        and word(address + ARRAY_DESCR) == id(view.dtype)
        and _probe_flags(view)
        and _probe_flags(base[0])
        and _probe_flags(base.T)
    )


def _probe_flags(array: np.ndarray) -> bool:
    array.flags.writeable = False
    read_only = _int32(id(array) + ARRAY_FLAGS)
    array.flags.writeable = True
    flags = _int32(id(array) + ARRAY_FLAGS)
    return (
        bool(flags & ARRAY_C_CONTIGUOUS) == array.flags.c_contiguous
        and bool(flags & ARRAY_F_CONTIGUOUS) == array.flags.f_contiguous
        and bool(flags & ARRAY_OWNS_DATA) == array.flags.owndata
        and bool(flags & ARRAY_ALIGNED) == array.flags.aligned
        and read_only == flags & ~ARRAY_WRITEABLE
        and bool(flags & ARRAY_WRITEABLE)
    )


def _probe_memory_handlers() -> bool:
    one, other = np.empty(3), np.empty((4, 5), np.int8)
    handlers = [word(id(array) + ARRAY_MEMORY_HANDLER) for array in (one, other, other[1:])]
    return handlers[0] == handlers[1] != 0 and handlers[2] == 0


def _probe_descriptors() -> bool:
    return all(
        ctypes.c_char.from_address(id(dtype) + DESCR_BYTEORDER).value == dtype.byteorder.encode()
        or dtype.byteorder == "="
        for dtype in (np.dtype(">f8"), np.dtype("i1"), np.dtype(">i2"))
    ) and all(np.zeros(1, dtype).dtype is dtype for dtype in DTYPES.values())


def _probe_numpy_scalars() -> bool:
    for dtype in DTYPES.values():
        value = np.frombuffer(bytes(range(1, 1 + dtype.itemsize)), dtype)[0]
        if ctypes.string_at(id(value) + NUMPY_SCALAR_VALUE, dtype.itemsize) != value.tobytes():
            return False
    return True


def vectorcall_of(callee: Callable[..., object]) -> int:
    """Return the address of the C function of type ``vectorcallfunc`` that calls an object; 0 if there is none."""
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)
    return prototype(("PyVectorcall_Function", ctypes.pythonapi))(callee) or 0


def _probe_types() -> bool:
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)
    get_slot = prototype(("PyType_GetSlot", ctypes.pythonapi))

    class Plain:
        pass

    types_ = (Plain, dict, np.ndarray, object)
    return (
        all(word(id(t) + TYPE_NEW) == get_slot(t, _SLOT_TP_NEW) for t in types_)
        and word(id(Plain) + TYPE_ORDER) == id(Plain.__mro__)
        and all(word(id(t) + TYPE_FLAGS) == t.__flags__ for t in types_)
        and all(word(id(t) + TYPE_BASIC_SIZE) == t.__basicsize__ for t in types_)
        and all(word(id(f) + word(id(type(f)) + TYPE_VECTORCALL)) == vectorcall_of(f) for f in (len, _probe_types))
    )


_PROBES: dict[str, Callable[[], bool]] = {
    "object headers": _probe_headers,
    "lists and tuples": _probe_sequences,
    "dicts and sets": _probe_hashed,
    "closure cells": _probe_cells,
    "floats": _probe_floats,
    "methods": _probe_methods,
    "functions": _probe_functions,
    "ints": _probe_ints,
    "NumPy arrays": _probe_arrays,
    "handlers of NumPy arrays": _probe_memory_handlers,
    "NumPy descriptors": _probe_descriptors,
    "NumPy scalars": _probe_numpy_scalars,
    "types": _probe_types,
}
