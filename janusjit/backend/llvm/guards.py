"""Entry guards in compiled code.

Owns the emission of the `EntryGuard` kinds on Python objects. Invariant: the emitted check has the outcome of
`EntryGuard.check`. Where the fast check does not apply (a subclass, a foreign mapping) the code calls the Python check
itself, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.entry_frame import EntryFrame
from janusjit.backend.llvm.entry_places import PlaceReader, Reading, call_python, place_key
from janusjit.backend.llvm.guards_helpers import dict_keys_are, equals, unbox_int
from janusjit.backend.llvm.python_api import F64, I8, I64, NULL, POINTER, PythonApi
from janusjit.backend.llvm.values import Extent, memory_type
from janusjit.errors import CompileError
from janusjit.ir import class_guards
from janusjit.ir import guards as kinds
from janusjit.ir.dims import Symbol
from janusjit.ir.places import MISSING, Place
from janusjit.pacing import pause

#: key types whose comparison runs no code of the user's
_SIMPLE_KEYS = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True)
class ArrayFacts:
    """What an `ArrayLayout` guard has established of the array at a place."""

    dtype: str
    pointer: ir.Value
    dims: tuple[Extent, ...]
    strides: tuple[Extent, ...]
    contiguous: bool


@dataclass
class Established:
    """What the guards emitted so far have established, for later guards and for the body."""

    symbols: dict[Symbol, ir.Value] = field(default_factory=dict)
    scalars: dict[Hashable, ir.Value] = field(default_factory=dict)
    arrays: dict[Hashable, ArrayFacts] = field(default_factory=dict)


class GuardEmitter:
    """Emits entry guards into a frame, in order.

    Parameters
    ----------
    frame : EntryFrame
        The activation; guards are emitted at its builder.
    places : PlaceReader
        Reads the guarded places.
    parameter_count : int
        Parameters of the jitted function.
    """

    def __init__(self, frame: EntryFrame, places: PlaceReader, parameter_count: int) -> None:
        self.frame = frame
        self.api: PythonApi = frame.api
        self.places = places
        self.established = Established()
        self._parameter_count = parameter_count

    @property
    def builder(self) -> ir.IRBuilder:
        """Where code goes."""
        return self.frame.builder

    def emit(self, guard: kinds.EntryGuard, number: int) -> None:
        """Emit the check of ``guard``; when it fails the call is given up for reason ``number``.

        Raises
        ------
        CompileError
            If there is no native check for this kind of guard.
        """
        pause()
        emitter = EMITTERS.get(type(guard))
        if emitter is None:
            raise CompileError("backend.guard", f"{type(guard).__name__} has no native check")
        emitter(self, guard, number)

    def check_in_python(self, guard: kinds.EntryGuard, number: int) -> None:
        """Emit a call of the Python check on this call's arguments."""
        self.frame.fail_unless(self._python_outcome(guard), number)

    def _python_outcome(self, guard: kinds.EntryGuard) -> ir.Value:
        arguments = [
            self.api.field(self.builder, self.frame.arguments, 8 * index, POINTER)
            for index in range(self._parameter_count)
        ]
        result = call_python(self.api, self.frame, PythonCheck(guard), *arguments)
        true = self.api.object(self.builder, True)
        self.api.decref_unless_null(self.builder, result)
        return self.builder.icmp_unsigned("==", result, true)

    def require_present(self, reading: Reading, number: int) -> None:
        """Emit: fail if there is nothing at the place."""
        if not reading.present:
            self.frame.fail_if(self.api.is_null(self.builder, reading.value), number)
            reading.present = True

    def require_type(self, reading: Reading, type_: type, number: int) -> None:
        """Emit: fail unless the object's type is exactly ``type_``."""
        self.require_present(reading, number)
        if reading.type_ is not type_:
            self.frame.fail_unless(self.api.has_type(self.builder, reading.value, type_), number)
            reading.type_ = type_


class PythonCheck:
    """The Python check of a guard, as compiled code calls it."""

    def __init__(self, guard: kinds.EntryGuard) -> None:
        self.guard = guard

    def __call__(self, *arguments: Any) -> bool:
        holds, _ = self.guard.check(arguments, kinds.SymbolValues())
        return bool(holds)


_Guard = TypeVar("_Guard", bound=kinds.EntryGuard)
_Emitter = Callable[[GuardEmitter, Any, int], None]
EMITTERS: dict[type[kinds.EntryGuard], _Emitter] = {}


def emits(kind: type[_Guard]) -> Callable[[Callable[[GuardEmitter, _Guard, int], None]], _Emitter]:
    """Declare the decorated function as the emission of a guard kind."""

    def declare(emitter: Callable[[GuardEmitter, _Guard, int], None]) -> _Emitter:
        EMITTERS[kind] = emitter
        return emitter

    return declare


@emits(kinds.TypeIs)
def _emit_type_is(emitter: GuardEmitter, guard: kinds.TypeIs, number: int) -> None:
    emitter.require_type(emitter.places.read(guard.place), guard.type_, number)


@emits(kinds.IdentityIs)
def _emit_identity_is(emitter: GuardEmitter, guard: kinds.IdentityIs, number: int) -> None:
    if guard.value is MISSING:
        _emit_is_missing(emitter, guard, number)
    else:
        _require_identity(emitter, guard.place, guard.value, number)


def _require_identity(emitter: GuardEmitter, place: Place, value: Any, number: int) -> None:
    reading, found, expected = emitter.places.read_for_identity(place, value)
    emitter.frame.fail_unless(emitter.builder.icmp_unsigned("==", found, expected), number)
    reading.present = True


@emits(kinds.IsMissing)
def _emit_is_missing(emitter: GuardEmitter, guard: kinds.IsMissing | kinds.IdentityIs, number: int) -> None:
    reading = emitter.places.read(guard.place)
    emitter.frame.fail_unless(emitter.api.is_null(emitter.builder, reading.value), number)


@emits(kinds.ValueEquals)
def _emit_value_equals(emitter: GuardEmitter, guard: kinds.ValueEquals, number: int) -> None:
    value = guard.value
    builder, api = emitter.builder, emitter.api
    if value is None or isinstance(value, bool):
        _require_identity(emitter, guard.place, value, number)
    elif type(value) is int and -(2**63) <= value < 2**63:
        found = unbox_scalar(emitter, guard.place, "int", number)
        emitter.frame.fail_unless(builder.icmp_signed("==", found, ir.Constant(I64, value)), number)
    elif type(value) is float:
        found = builder.bitcast(unbox_scalar(emitter, guard.place, "float", number), I64)
        bits = int(np.float64(value).view(np.int64))
        emitter.frame.fail_unless(builder.icmp_signed("==", found, ir.Constant(I64, bits)), number)
    elif type(value) in (str, bytes, int):
        reading = emitter.places.read(guard.place)
        emitter.require_type(reading, type(value), number)
        equal = equals(api, builder, reading.value, api.object(builder, value))
        emitter.frame.fail_unless(equal, number)
    else:
        emitter.check_in_python(guard, number)


@emits(kinds.LengthIs)
def _emit_length_is(emitter: GuardEmitter, guard: kinds.LengthIs, number: int) -> None:
    reading = emitter.places.read(guard.place)
    offset = _length_offset(reading.type_)
    if offset is None:
        emitter.check_in_python(guard, number)
        return
    length = emitter.api.field(emitter.builder, reading.value, offset, I64)
    expected = ir.Constant(I64, guard.length)
    emitter.frame.fail_unless(emitter.builder.icmp_signed("==", length, expected), number)
    if reading.type_ is not None and issubclass(reading.type_, tuple):
        reading.length = guard.length


def _length_offset(type_: type | None) -> int | None:
    """Return where instances of exactly ``type_`` keep their length, if reading it there is ``len``."""
    if type_ in (set, frozenset):
        return layout.SET_USED
    if type_ in (list, *layout.DICTS):
        return layout.VARIABLE_SIZE
    if type_ is not None and issubclass(type_, tuple) and type_.__len__ is tuple.__len__:
        return layout.VARIABLE_SIZE
    return None


@emits(kinds.DictKeysAre)
def _emit_dict_keys_are(emitter: GuardEmitter, guard: kinds.DictKeysAre, number: int) -> None:
    reading = emitter.places.read(guard.place)
    if reading.type_ not in layout.DICTS_IN_ORDER or not all(type(key) in _SIMPLE_KEYS for key in guard.keys):
        emitter.check_in_python(guard, number)
        return
    api, builder = emitter.api, emitter.builder
    keys = api.reserve(guard.keys)
    count = ir.Constant(I64, len(guard.keys))
    emitter.frame.fail_unless(dict_keys_are(api, builder, reading.value, keys, count), number)


@emits(class_guards.ClassAttributeIs)
def _emit_class_attribute_is(emitter: GuardEmitter, guard: class_guards.ClassAttributeIs, number: int) -> None:
    api, builder = emitter.api, emitter.builder
    name = api.name(builder, guard.name)
    found = api.call(builder, "_PyType_Lookup", api.object(builder, guard.class_), name)
    expected = NULL if guard.value is MISSING else api.object(builder, guard.value)
    emitter.frame.fail_unless(builder.icmp_unsigned("==", found, expected), number)


@emits(class_guards.ClassOrderIs)
def _emit_class_order_is(emitter: GuardEmitter, guard: class_guards.ClassOrderIs, number: int) -> None:
    api, builder = emitter.api, emitter.builder
    order = api.field(builder, api.object(builder, guard.class_), layout.TYPE_ORDER, POINTER)
    same = builder.icmp_unsigned("==", order, api.object(builder, guard.order))
    emitter.frame.fail_unless(same, number)


@emits(kinds.ScalarTypeIs)
def _emit_scalar_type_is(emitter: GuardEmitter, guard: kinds.ScalarTypeIs, number: int) -> None:
    unbox_scalar(emitter, guard.place, guard.kind, number)


def unbox_scalar(emitter: GuardEmitter, place: Place, kind: str, number: int) -> ir.Value:
    """Emit the check that a place holds an exact scalar of ``kind`` and return its value in a register.

    Python ints come as ``i64`` (one that does not fit fails the guard), floats as ``double``, bools as ``i1``.
    """
    key = (place_key(place), kind)
    known = emitter.established.scalars.get(key)
    if known is None:
        reading = emitter.places.read(place)
        emitter.require_type(reading, kinds.scalar_type(kind), number)
        known = emitter.established.scalars[key] = _scalar_value(emitter, reading.value, kind, number)
    return known


def _scalar_value(emitter: GuardEmitter, object_: ir.Value, kind: str, number: int) -> ir.Value:
    api, builder = emitter.api, emitter.builder
    if kind == "float":
        return api.field(builder, object_, layout.FLOAT_VALUE, F64)
    if kind == "bool":
        return builder.icmp_unsigned("==", object_, api.object(builder, True))
    if kind == "int":
        slot = emitter.frame.scratch(I64)
        fits = unbox_int(api, builder, object_, slot)
        emitter.frame.fail_unless(fits, number)
        return emitter.builder.load(slot, typ=I64)
    dtype = kind.removeprefix("numpy.")
    value = api.field(builder, object_, layout.NUMPY_SCALAR_VALUE, memory_type(dtype))
    return builder.icmp_unsigned("!=", value, ir.Constant(I8, 0)) if dtype == "bool" else value


@emits(kinds.SameObject)
def _emit_same_object(emitter: GuardEmitter, guard: kinds.SameObject, number: int) -> None:
    first, second = emitter.places.read(guard.first), emitter.places.read(guard.second)
    emitter.frame.fail_unless(emitter.builder.icmp_unsigned("==", first.value, second.value), number)


@emits(kinds.DistinctObjects)
def _emit_distinct_objects(emitter: GuardEmitter, guard: kinds.DistinctObjects, number: int) -> None:
    first, second = emitter.places.read(guard.first), emitter.places.read(guard.second)
    emitter.frame.fail_if(emitter.builder.icmp_unsigned("==", first.value, second.value), number)
