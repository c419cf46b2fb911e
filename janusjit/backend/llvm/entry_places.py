"""Native reads of places.

Owns `PlaceReader`. Invariant: reading a place yields the very object `Place.read` yields (null for `MISSING`); a place
is read once, at the first guard or use that needs it, however many places go through it; and what is read from outside
the arguments is held, so no effect and no other thread can free it before the call ends.
"""

from __future__ import annotations

import sys
import types
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.entry_frame import EntryFrame
from janusjit.backend.llvm.packing import NATIVE_KINDS, packed_numbers
from janusjit.backend.llvm.python_api import I32, I64, NULL, POINTER, VOID, PythonApi, opaque
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.errors import CompileError
from janusjit.ir.places import (
    MISSING,
    ArgumentPlace,
    AttributePlace,
    CellPlace,
    ConstantPlace,
    GlobalPlace,
    ItemPlace,
    LengthPlace,
    MembershipPlace,
    PackedPlace,
    Place,
    pack,
)

#: types whose instances cannot be given another class, and which are read by direct access to their memory
_FIXED_TYPES = (dict, list, tuple)

#: what answers ``in`` for objects of exactly these types
_CONTAINS: dict[type | None, str] = {
    set: "PySet_Contains",
    frozenset: "PySet_Contains",
    **dict.fromkeys(layout.DICTS, "PyDict_Contains"),
}


@dataclass(slots=True)
class Reading:
    """What is known of the object at a place.

    Attributes
    ----------
    value : llvmlite.ir.Value
        The object, or null when there is none; borrowed from the frame.
    present : bool
        The value is known not to be null.
    type_ : type or None
        The object's exact type, where a guard has established it.
    length : int or None
        How many items it has, where a guard has established it and it cannot change: of a tuple.
    """

    value: ir.Value
    present: bool = False
    type_: type | None = None
    length: int | None = None


#: places whose reading is no reference borrowed from a container
_NEVER_BORROWED = (ArgumentPlace, ConstantPlace, AttributePlace, LengthPlace, MembershipPlace, PackedPlace)


def place_key(place: Place) -> Hashable:
    """Return a key that is equal for places that are the same path."""
    match place:
        case ArgumentPlace():
            return ("argument", place.index)
        case GlobalPlace():
            return ("global", id(place.namespace), place.name)
        case CellPlace():
            return ("cell", id(place.cell))
        case AttributePlace():
            return ("attribute", place_key(place.owner), place.name)
        case ItemPlace():
            return ("item", place_key(place.owner), type(place.key), place.key)
        case LengthPlace():
            return ("length", place_key(place.owner))
        case MembershipPlace():
            return ("membership", place_key(place.owner), type(place.key), place.key)
        case PackedPlace():
            return ("packed", place_key(place.owner), place.kind, place.last)
        case ConstantPlace():
            return ("constant", id(place.value))
    return ("place", id(place))


def owners(place: Place) -> Iterable[Place]:
    """Yield the places ``place`` goes through, innermost first."""
    while isinstance(place, (AttributePlace, ItemPlace, LengthPlace, MembershipPlace, PackedPlace)):
        place = place.owner
        yield place


class PlaceReader:
    """Reads places into a frame.

    Parameters
    ----------
    frame : EntryFrame
        The activation read into.
    guarded : iterable of Place
        The place of each guard, one for each guard.
    pinned : iterable of Place
        Places whose object is used after the prologue.
    """

    def __init__(self, frame: EntryFrame, guarded: Iterable[Place], pinned: Iterable[Place]) -> None:
        self._frame = frame
        self._readings: dict[Hashable, Reading] = {}
        uses = Counter[Hashable]()
        for place in guarded:
            uses[place_key(place)] += 1
            uses.update({place_key(owner): 2 for owner in owners(place)})
        for place in pinned:
            uses.update({place_key(p): 2 for p in (place, *owners(place))})
        self._held = frozenset(key for key, count in uses.items() if count > 1)

    def known(self, place: Place) -> Reading | None:
        """Return the reading of a place that has been read already."""
        return self._readings.get(place_key(place))

    def read(self, place: Place) -> Reading:
        """Emit the read of a place, unless it has been read, and return what is known of it."""
        reading = self.known(place)
        if reading is None:
            reading = self._readings[place_key(place)] = self._read(place)
            if not isinstance(place, _NEVER_BORROWED) and self._needs_hold(place):
                self._hold_borrowed(reading)
        return reading

    def read_for_identity(self, place: Place, value: Any) -> tuple[Reading, ir.Value, ir.Value]:
        """Emit the read of a place that has to be ``value`` itself; return the reading, the object found and ``value``.

        The object found is not held; after the comparison the reading stands for ``value``.
        """
        reading = self.known(place)
        is_new = reading is None
        if reading is None:
            reading = self._readings[place_key(place)] = self._read(place, borrow_attribute=True)
        found, expected = reading.value, self._frame.api.object(self._frame.builder, value)
        if is_new:
            reading.value = expected
        return reading, found, expected

    def _needs_hold(self, place: Place) -> bool:
        return place_key(place) in self._held

    def _hold_borrowed(self, reading: Reading) -> None:
        incref_unless_null(self._frame.api, self._frame.builder, reading.value)
        self._frame.hold(reading.value)

    def _read(self, place: Place, borrow_attribute: bool = False) -> Reading:
        frame, builder, api = self._frame, self._frame.builder, self._frame.api
        match place:
            case ArgumentPlace():
                return Reading(api.field(builder, frame.arguments, 8 * place.index, POINTER), present=True)
            case ConstantPlace():
                if place.value is MISSING:
                    return Reading(NULL)
                fixed = type(place.value) if type(place.value) in _FIXED_TYPES else None
                return Reading(api.object(builder, place.value), present=True, type_=fixed)
            case GlobalPlace():
                return Reading(self._dict_item(api.object(builder, place.namespace), sys.intern(place.name)))
            case CellPlace():
                cell = api.object(builder, place.cell)
                return Reading(api.field(builder, cell, layout.CELL_CONTENTS, POINTER))
            case AttributePlace():
                return self._read_attribute(place, borrow_attribute)
            case ItemPlace():
                return Reading(self._item(self.read(place.owner), place))
            case LengthPlace():
                return self._computed(self.read(place.owner), len)
            case MembershipPlace():
                return self._membership(self.read(place.owner), place.key)
            case PackedPlace():
                return self._packed(self.read(place.owner), place)
        raise CompileError("backend.place", f"{type(place).__name__} has no native read")

    def _unless_missing(self, owner: Reading, read: Callable[[], ir.Value]) -> ir.Value:
        """Emit ``owner is NULL ? NULL : read()``."""
        if owner.present:
            return read()
        builder = self._frame.builder
        before = builder.block
        with builder.if_then(builder.icmp_unsigned("!=", owner.value, NULL)):
            value = read()
            read_in = builder.block
        return self._join(value, read_in, before)

    def _join(self, value: ir.Value, read_in: ir.Block, skipped_in: ir.Block) -> ir.Value:
        joined = self._frame.builder.phi(POINTER)
        joined.add_incoming(NULL, skipped_in)
        joined.add_incoming(value, read_in)
        return joined

    def _dict_item(self, dict_: ir.Value, key: Any) -> ir.Value:
        """Emit ``dict.get(key, NULL)``, borrowed; an exception of a foreign key's ``__eq__`` counts as not found."""
        api, builder = self._frame.api, self._frame.builder
        return dict_item(api, builder, dict_, api.object(builder, key))

    def _read_attribute(self, place: AttributePlace, borrow: bool) -> Reading:
        owner = self.read(place.owner)
        module = place.owner.value if isinstance(place.owner, ConstantPlace) else None
        if isinstance(module, types.ModuleType) and not _on_module_type(place.name):
            value = self._module_attribute(module, owner.value, place.name, borrow)
        else:
            value = self._unless_missing(owner, lambda: self._attribute(owner.value, place.name, borrow))
        if not borrow:
            self._frame.hold(value)
        return Reading(value)

    def _attribute(self, owner: ir.Value, name: str, borrow: bool) -> ir.Value:
        api, builder = self._frame.api, self._frame.builder
        read = borrowed_attribute if borrow else attribute
        return read(api, builder, owner, api.name(builder, name))

    def _module_attribute(self, module: types.ModuleType, owner: ir.Value, name: str, borrow: bool) -> ir.Value:
        api, builder = self._frame.api, self._frame.builder
        namespace = api.object(builder, module.__dict__)
        read = borrowed_module_attribute if borrow else module_attribute
        return read(api, builder, owner, namespace, api.name(builder, name))

    def _item(self, owner: Reading, place: ItemPlace) -> ir.Value:
        """Emit ``owner[key]``, borrowed, by direct access where the owner's type is known, else through Python."""
        type_, key = owner.type_, place.key
        if type_ in layout.DICTS:
            return self._unless_missing(owner, lambda: self._dict_item(owner.value, key))
        if type_ is not None and isinstance(key, int) and key >= 0:
            if type_ is list:
                return self._unless_missing(owner, lambda: self._list_item(owner.value, int(key)))
            if issubclass(type_, tuple) and type_.__getitem__ is tuple.__getitem__:
                return self._unless_missing(owner, lambda: self._tuple_item(owner, int(key)))
        return self._item_in_python(owner, place)

    def _computed(self, owner: Reading, function: Callable[[Any], Any]) -> Reading:
        """Emit a pure function of an object, called through Python."""
        value = self._unless_missing(owner, lambda: call_python(self._frame.api, self._frame, function, owner.value))
        self._frame.hold(value)
        return Reading(value)

    def _membership(self, owner: Reading, key: Any) -> Reading:
        """Emit ``key in owner`` as True or False; null where the comparison with a foreign key raises."""
        function = _CONTAINS.get(owner.type_)
        if function is None:
            return self._computed(owner, Contains(key))
        api, builder = self._frame.api, self._frame.builder

        def ask() -> ir.Value:
            return has_key(api, builder, api.call(builder, function, owner.value, api.object(builder, key)))

        return Reading(self._unless_missing(owner, ask))

    def _packed(self, owner: Reading, place: PackedPlace) -> Reading:
        """Emit the array of a list's items."""
        if owner.type_ is not list or place.kind not in NATIVE_KINDS:
            return self._computed(owner, Packer((place.kind, place.last)))
        value = self._unless_missing(owner, lambda: packed_numbers(self._frame, owner.value, place.kind, place.last))
        self._frame.hold(value)
        return Reading(value)

    def _item_in_python(self, owner: Reading, place: ItemPlace) -> ir.Value:
        """Emit the read of an item of an object whose type no guard has established: Python's own."""
        frame, builder, api = self._frame, self._frame.builder, self._frame.api
        reader = ItemReader(place.key)
        value = self._unless_missing(owner, lambda: call_python(api, frame, reader, owner.value))
        frame.hold(value)  # not under the condition: what is held, is held on every path
        missing = api.object(builder, MISSING)
        return builder.select(builder.icmp_unsigned("==", value, missing), NULL, value)

    def _tuple_item(self, owner: Reading, index: int) -> ir.Value:
        api, builder = self._frame.api, self._frame.builder
        if owner.length is not None and index < owner.length:
            return api.field(builder, owner.value, layout.TUPLE_ITEMS + 8 * index, POINTER)
        return self._indexed(owner.value, index, lambda: api.address(builder, owner.value, layout.TUPLE_ITEMS))

    def _list_item(self, owner: ir.Value, index: int) -> ir.Value:
        api, builder = self._frame.api, self._frame.builder
        return self._indexed(owner, index, lambda: api.field(builder, owner, layout.LIST_ITEMS, POINTER))

    def _indexed(self, owner: ir.Value, index: int, items: Callable[[], ir.Value]) -> ir.Value:
        api, builder = self._frame.api, self._frame.builder
        size = api.field(builder, owner, layout.VARIABLE_SIZE, I64)
        before = builder.block
        with builder.if_then(builder.icmp_signed(">", size, ir.Constant(I64, index)), likely=True):
            value = api.field(builder, items(), 8 * index, POINTER)
            read_in = builder.block
        return self._join(value, read_in, before)


@shared(POINTER, POINTER, POINTER)
def dict_item(api: PythonApi, function: ir.Function) -> None:
    """``dict.get(key, NULL)``, borrowed; an exception counts as not found."""
    builder = ir.IRBuilder(function.append_basic_block())
    value = api.call(builder, "PyDict_GetItemWithError", *function.args)
    with builder.if_then(api.is_null(builder, value), likely=False):
        api.call(builder, "PyErr_Clear")
    builder.ret(value)


@shared(POINTER, I32)
def has_key(api: PythonApi, function: ir.Function) -> None:
    """True or False, borrowed, for the answer of the C API; null, and no exception set, for an error."""
    builder = ir.IRBuilder(function.append_basic_block())
    (answer,) = function.args
    with builder.if_then(api.error(builder, answer), likely=False):
        api.call(builder, "PyErr_Clear")
        builder.ret(NULL)
    found = builder.icmp_signed("!=", answer, ir.Constant(I32, 0))
    builder.ret(builder.select(found, api.object(builder, True), api.object(builder, False)))


@shared(VOID, POINTER)
def incref_unless_null(api: PythonApi, function: ir.Function) -> None:
    """``Py_XINCREF``."""
    builder = ir.IRBuilder(function.append_basic_block())
    (value,) = function.args
    with builder.if_then(builder.icmp_unsigned("!=", value, NULL), likely=True):
        api.incref(builder, value)
    builder.ret_void()


@shared(POINTER, POINTER, POINTER)
def attribute(api: PythonApi, function: ir.Function) -> None:
    """``getattr(owner, name, NULL)``, a new reference; an exception counts as not found."""
    _emit_attribute(api, function, is_borrowed=False)


@shared(POINTER, POINTER, POINTER)
def borrowed_attribute(api: PythonApi, function: ir.Function) -> None:
    """The same, borrowed: to be compared, at once, and no more."""
    _emit_attribute(api, function, is_borrowed=True)


def _emit_attribute(api: PythonApi, function: ir.Function, is_borrowed: bool) -> None:
    builder = ir.IRBuilder(function.append_basic_block())
    owner, name = function.args
    slot = opaque(builder.alloca(POINTER))
    status = api.lookup_attribute(builder, owner, name, slot)
    with builder.if_then(api.error(builder, status), likely=False):
        api.call(builder, "PyErr_Clear")
        builder.ret(NULL)
    value = builder.load(slot, typ=POINTER)
    if is_borrowed:
        api.decref_unless_null(builder, value)
    builder.ret(value)


@shared(POINTER, POINTER, POINTER, POINTER)
def module_attribute(api: PythonApi, function: ir.Function) -> None:
    """`attribute` of a plain module: first its dict, which the generic lookup consults before anything else."""
    _emit_module_attribute(api, function, is_borrowed=False)


@shared(POINTER, POINTER, POINTER, POINTER)
def borrowed_module_attribute(api: PythonApi, function: ir.Function) -> None:
    """`borrowed_attribute` of a plain module."""
    _emit_module_attribute(api, function, is_borrowed=True)


def _emit_module_attribute(api: PythonApi, function: ir.Function, is_borrowed: bool) -> None:
    builder = ir.IRBuilder(function.append_basic_block())
    owner, namespace, name = function.args
    with builder.if_then(api.has_type(builder, owner, types.ModuleType), likely=True):
        value = dict_item(api, builder, namespace, name)
        with builder.if_then(builder.icmp_unsigned("!=", value, NULL), likely=True):
            if not is_borrowed:
                api.incref(builder, value)
            builder.ret(value)
    builder.ret((borrowed_attribute if is_borrowed else attribute)(api, builder, owner, name))


class Contains:
    """Tells whether a container has a key."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __call__(self, owner: Any) -> bool:
        return self.key in owner


class Packer:
    """Puts the items of a list into an array, as `PackedPlace.read` does."""

    def __init__(self, what: tuple[str, int | None]) -> None:
        self.what = what

    def __call__(self, owner: Any) -> Any:
        return pack(owner, *self.what)


class ItemReader:
    """Reads one item as `ItemPlace.read` does."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __call__(self, owner: Any) -> Any:
        return ItemPlace(ConstantPlace(owner, "owner"), self.key).read(())


def _on_module_type(name: str) -> bool:
    return any(name in base.__dict__ for base in types.ModuleType.__mro__)


def call_python(api: PythonApi, frame: EntryFrame, function: Callable[..., Any], *arguments: ir.Value) -> ir.Value:
    """Emit ``function(*arguments)``; a new reference, null (and no exception set) if it raised."""
    builder = frame.builder
    vector = frame.scratch(ir.ArrayType(POINTER, max(len(arguments), 1)))
    for index, argument in enumerate(arguments):
        builder.store(argument, api.address(builder, vector, 8 * index))
    count = ir.Constant(I64, len(arguments))
    result = api.call(builder, "PyObject_Vectorcall", api.object(builder, function), vector, count, NULL)
    with builder.if_then(api.is_null(builder, result), likely=False):
        api.call(builder, "PyErr_Clear")
    return result
