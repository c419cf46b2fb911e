"""Reading what lives outside the function.

Owns the translation of live objects, found at places, into abstract values with entry guards and graph inputs.
Invariant: capture relies on nothing about an outside object that a guard does not check; an object reached by two
places is one heap object; reading has no effect on the user's program (no user code runs).
"""

from __future__ import annotations

import collections
import enum
import functools
import random
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from janusjit.analysis.capture.entry_guards import EntryGuards, alike
from janusjit.analysis.capture.outside_functions import read_function, redefinition_key
from janusjit.analysis.capture.state import (
    Cell,
    DictObject,
    HeapObject,
    Instance,
    ListObject,
    Namespace,
    RandomOrder,
    SetObject,
    Storage,
)
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    GeneratorValue,
    HostValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.differentiated import Differentiated
from janusjit.analysis.plain_types import computes_class, has_plain_attributes, is_followed_tuple
from janusjit.analysis.snapshot import OutsideSnapshot, Snapshot
from janusjit.analysis.twin import is_wrapper
from janusjit.analysis.variables import Recorded
from janusjit.errors import CaptureFailure
from janusjit.ir.dims import Dim, Symbol, symbol
from janusjit.ir.graph import Graph, GraphInput, Value
from janusjit.ir.guards import (
    ArrayLayout,
    DistinctObjects,
    IdentityIs,
    IsMissing,
    NoOverlap,
    SameObject,
    ScalarTypeIs,
    TypeIs,
)
from janusjit.ir.memory import lies_apart
from janusjit.ir.places import (
    MISSING,
    ArgumentPlace,
    CellPlace,
    ConstantPlace,
    GlobalPlace,
    PackedPlace,
    Place,
)
from janusjit.ir.relaxations import Relaxations
from janusjit.ir.types import BOOL, FLOAT, INT, TensorType, dtype_name, is_writeable
from janusjit.ops.generators import GENERATOR_TYPES, generator_of
from janusjit.spans import Span

_IDENTITY_TYPES = (
    Differentiated,
    Recorded,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    type,
    np.ufunc,
    np.dtype,
    enum.Enum,
    functools.partial,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.BuiltinMethodType,
    type(np.sum),
    type(np.random.seed),
    type(np.random.default_rng),
    type(NotImplemented),
    type(np._NoValue),
    type(Ellipsis),
    type(None),
)
#: types of dicts that are followed: a subclass has methods of its own
DICT_TYPES = (dict, collections.defaultdict, collections.OrderedDict, collections.Counter)
_SCALAR_TYPES = {"int": INT, "float": FLOAT, "bool": BOOL}


@dataclass(frozen=True, slots=True, eq=False)
class Unread(AbstractValue):
    """An item of an outside container that nothing has looked at yet."""

    place: Place
    live: Any


class Externals(EntryGuards):
    """Everything one capture has read from outside.

    Parameters
    ----------
    graph : Graph
        Receives inputs, symbols and entry guards.
    relaxations : Relaxations
        Keys of assumptions that failed before and are not made again, and the places whose numbers are constants.
    span : callable
        Returns the span of the instruction being captured.
    snapshot : Snapshot, optional
        Holds what may be read of what can change; without, all may, since the program waits.
    """

    def __init__(
        self, graph: Graph, relaxations: Relaxations, span: Callable[[], Span], snapshot: Snapshot | None = None
    ) -> None:
        super().__init__(graph, relaxations, span)
        self.snapshot = snapshot
        self.static = relaxations.static
        self.templates: dict[int, HeapObject] = {}
        self._objects: dict[int, tuple[Any, AbstractValue, Place]] = {}
        self._memo: dict[Any, AbstractValue] = {}
        self._addresses: dict[Any, Value] = {}
        self.bit_generators: dict[Value, type | None] = {}
        self._symbols: dict[Any, Dim] = {}
        self._arrays: dict[int, tuple[Place, np.ndarray]] = {}
        self._held_cells: list[Place] = []
        self.resumed = False
        self.random_order = Reference(self._add(RandomOrder()))

    def argument(self, index: int, name: str, live: Any) -> AbstractValue:
        """Return parameter ``index``."""
        return self.read(ArgumentPlace(index, name), live)

    def read_length(self, place: Place, length: int, varies: bool = False) -> AbstractValue:
        """Return the length of an outside container: assumed, or read at each call if it varies or varied before."""
        if not varies and not self.length_varies(place):
            self.lengths_assumed.add(str(place))
            self.guard_length(place, length)
            return Known(length)
        return self.read(self.length_place(place), length)

    def known_length(self, place: Place) -> AbstractValue | None:
        """Return the length of an outside container where it has been read."""
        return self._memo.get((id(self.length_place(place)), "scalar"))

    # ------------------------------------------------------------------ reading

    def read_global(self, namespace: dict[str, Any], name: str) -> AbstractValue | None:
        """Return a global (or builtin), or None where neither exists."""
        key = (id(namespace), "global", name)
        if key in self._memo:
            return self._memo[key]
        place = self._place(key, lambda: GlobalPlace(namespace, name))
        if name in namespace:
            value = self.read(place, namespace[name])
        else:
            self.guard((id(place), "missing"), IsMissing(place, span=self.span()))
            builtins = namespace.get("__builtins__")
            table = builtins.__dict__ if isinstance(builtins, types.ModuleType) else builtins
            if not isinstance(table, dict) or name not in table:
                return None
            value = self.read(self._place((id(table), "global", name), lambda: GlobalPlace(table, name)), table[name])
        self._memo[key] = value
        return value

    def namespace(self, live: dict[str, Any]) -> Reference:
        """Return the heap object of a module's globals."""
        return self._template(("namespace", id(live)), lambda: Namespace(live=live))

    def cell(self, live: types.CellType, name: str) -> Reference:
        """Return the heap object of an outside closure cell."""
        place = self._place((id(live), "cell"), lambda: CellPlace(live, name))
        return self._template(("cell", id(live)), lambda: Cell(place, live=live))

    def held_cell(self, holder: Place, live: types.CellType, name: str) -> Reference:
        """Return the heap object of a cell that is itself found at a place; another one at each call."""
        key = ("cell", id(live))
        known = self._memo.get(key)
        if isinstance(known, Reference):
            cell = self.templates[known.index]
            assert isinstance(cell, Cell)
            self._guard_same(cell.holder or self.constant_place(live, name), holder, live)
            return known
        for other in self._held_cells:
            self.guard_distinct(other, holder)
        self._held_cells.append(holder)
        place = self.attribute_place(holder, "cell_contents")
        return self._template(key, lambda: Cell(place, live=live, holder=holder))

    def read_cell(self, cell: Cell) -> AbstractValue:
        """Return the contents of an outside cell at entry."""
        assert cell.live is not None and cell.place is not None
        key = (id(cell.live), "contents")
        if key not in self._memo:
            self._memo[key] = self.read(cell.place, CellPlace(cell.live, "").read(()))
        return self._memo[key]

    def _template(self, key: Any, make: Callable[[], HeapObject]) -> Reference:
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = Reference(self._add(make()))
        assert isinstance(found, Reference)
        return found

    def _add(self, item: HeapObject) -> int:
        index = -1 - len(self.templates)
        self.templates[index] = item
        return index

    def force(self, value: AbstractValue) -> AbstractValue:
        """Read an `Unread` item; any other value is returned as it is."""
        if not isinstance(value, Unread):
            return value
        key = ("unread", id(value))
        if key not in self._memo:
            self._memo[key] = self.read(value.place, value.live)
            self._memo["keep", id(value)] = value  # so that the id stays this object's
        return self._memo[key]

    def read_attribute(self, instance: Instance, index: int, name: str) -> AbstractValue:
        """Return an attribute of an outside instance as it was at entry, or ``Known(MISSING)``."""
        assert instance.place is not None
        key = ("attribute", index, name)
        if key not in self._memo:
            place = self.attribute_place(instance.place, name)
            self._memo[key] = self.read(place, getattr(instance.live, name, MISSING))
        return self._memo[key]

    def read(self, place: Place, live: Any) -> AbstractValue:
        """Return the abstract value of the object now at a place, guarding what is assumed of it."""
        if live is MISSING:
            self.guard((id(place), "missing"), IsMissing(place, span=self.span()))
            return Known(MISSING)
        seen = self._objects.get(id(live))
        if seen is not None and not (type(live) is np.ndarray and self.are_told_apart(place)):
            self._guard_same(seen[2], place, live)
            return seen[1]
        if computes_class(type(live)):
            return self._host(place, live)
        if isinstance(live, bool | int | float | str | bytes | np.generic) and not isinstance(live, enum.Enum):
            return self._read_scalar(place, live)
        owner = generator_of(live)
        if owner is not None:
            self.guard((id(place), "identity"), IdentityIs(place, live, span=self.span()))
            return BuiltinMethod(self.read(self.constant_place(owner, f"{place}.__self__"), owner), live.__name__)
        fixed = type(live) is frozenset and not isinstance(place, ArgumentPlace)
        if fixed or isinstance(live, _IDENTITY_TYPES) or is_wrapper(live):
            key = redefinition_key(place, live)
            made = read_function(self, place, live) if key is not None and key in self.relaxations else None
            if made is not None:
                self._objects[id(live)] = (live, made, place)
                return made
            if not isinstance(place, ConstantPlace):
                self.guard((id(place), "identity"), IdentityIs(place, live, span=self.span(), relaxation=key))
            return Known(live)
        if self.snapshot is not None and not self.snapshot.holds(live):
            raise OutsideSnapshot
        return self._read_object(place, live)

    def _guard_same(self, first: Place, second: Place, live: Any) -> None:
        """Assume that the object found at one place before is the one now found at another."""
        if first is second or (isinstance(first, ConstantPlace) and isinstance(second, ConstantPlace)):
            return
        if isinstance(second, ConstantPlace):
            self.guard((id(first), "identity"), IdentityIs(first, live, span=self.span()))
        else:
            key = ("apart", alike(second)) if type(live) is np.ndarray and alike(second) != str(second) else None
            self.guard((id(second), id(first), "same"), SameObject(first, second, span=self.span(), relaxation=key))

    def _read_scalar(self, place: Place, live: Any) -> AbstractValue:
        kind = type(live)
        fixed = str(place) in self.static
        passed_on = self.resumed and isinstance(place, ArgumentPlace) and not self.may_assume_value(place)
        if fixed or (kind in (str, bytes) and not passed_on and not self.is_data(place)):
            self.guard_value(place, live)
            return Known(live)
        if kind is bool and str(place) not in self.outcomes and self.may_assume_value(place):
            key = ("flags", alike(place)) if self.is_among_many(place) else ("value", str(place))
            self.guard((id(place), "identity"), IdentityIs(place, live, span=self.span(), relaxation=key))
            return Known(live)
        if kind in (bool, float) or (kind is int and -(2**63) <= live < 2**63):
            return self._scalar_input(place, kind.__name__, _SCALAR_TYPES[kind.__name__], live)
        if isinstance(live, np.generic) and (name := dtype_name(live.dtype)) is not None and kind is live.dtype.type:
            return self._scalar_input(place, f"numpy.{name}", TensorType(name), live)
        return self._host(place, live)

    def _scalar_input(self, place: Place, kind: str, type_: TensorType, live: Any) -> Scalar:
        key = (id(place), "scalar")
        found = self._memo.get(key)
        if found is None:
            self.guard(key, ScalarTypeIs(place, kind, span=self.span()))
            value = self._input(place, type_, kind, "C")
            found = self._memo[key] = Scalar(value, kind, place, live)
        assert isinstance(found, Scalar)
        return found

    def _input(self, place: Place, type_: TensorType, kind: str, layout: str) -> Value:
        value = Value(type_, self.graph.body, len(self.graph.inputs))
        self.graph.inputs.append(GraphInput(place, value, kind, layout, self.span()))
        return value

    def _read_object(self, place: Place, live: Any) -> AbstractValue:
        kind = type(live)
        value: AbstractValue
        if kind is np.ndarray:
            value = self._read_array(place, live)
        elif isinstance(live, tuple):
            self.guard((id(place), "type"), TypeIs(place, kind, span=self.span()))
            if not is_followed_tuple(kind, self.on_type) or getattr(live, "__dict__", None):
                return self._host(place, live)
            self.guard_length(place, len(live))
            self.tuples.add(id(place))
            items = tuple(self.read(self.item_place(place, i), item) for i, item in enumerate(live))
            value = TupleValue(items, kind, place)
        elif kind is list:
            self.guard((id(place), "type"), TypeIs(place, kind, span=self.span()))
            unread = [Unread(self.item_place(place, i), item) for i, item in enumerate(live)]
            value = Reference(self._add(ListObject(place, items=list(unread), original=tuple(unread))))
        elif kind in DICT_TYPES:
            self.guard((id(place), "type"), TypeIs(place, kind, span=self.span()))
            table: dict[Any, AbstractValue] = {k: Unread(self.item_place(place, k), v) for k, v in live.items()}
            factory = self._default_factory(place, live)
            value = Reference(self._add(DictObject(place, False, table, dict(table), kind, factory)))
        elif kind is set:
            self.guard((id(place), "type"), TypeIs(place, kind, span=self.span()))
            members: dict[Any, AbstractValue] = {item: Known(item) for item in live}
            value = Reference(self._add(SetObject(place, items=members, original=frozenset(live))))
        elif kind in GENERATOR_TYPES:
            self.guard((id(place), "type"), TypeIs(place, kind, span=self.span()))
            value = GeneratorValue(kind, place, live)
        elif has_plain_attributes(kind):
            self.guard((id(place), "type"), TypeIs(place, kind, span=self.span()))
            self.on_type(kind, "__getattribute__")
            value = Reference(self._add(Instance(place, type_=kind, live=live)))
        else:
            return self._host(place, live)
        self._objects[id(live)] = (live, value, place)
        return value

    def _default_factory(self, place: Place, live: Any) -> AbstractValue | None:
        """Return what makes the values that a default dict is asked for and does not have."""
        factory = live.default_factory if type(live) is collections.defaultdict else None
        return None if factory is None else self.read(self.attribute_place(place, "default_factory"), factory)

    def _host(self, place: Place, live: Any) -> HostValue:
        self.guard((id(place), "type"), TypeIs(place, type(live), span=self.span()))
        return HostValue(place, live)

    def generator_address(self, generator: GeneratorValue) -> Value:
        """Return the address of a generator that numbers are drawn from.

        Raises
        ------
        CaptureFailure
            If its state is kept by a bit generator that is not NumPy's own.
        """
        if generator.address is not None:
            return generator.address
        place = generator.place
        assert place is not None
        key = (id(place), "generator")
        found = self._addresses.get(key)
        if found is None:
            if generator.type_ is not random.Random:
                self.guard_bit_generator(place, generator.live)
            found = self._addresses[key] = self._input(place, INT, "generator", "C")
            bits = getattr(generator.live, "_bit_generator", None)
            self.bit_generators[found] = None if bits is None else type(bits)
        return found

    def live_object(self, value: AbstractValue) -> Any:
        """Return the object from outside that a value stands for, ``MISSING`` if it is none."""
        objects = self._objects.values()
        same = (live for live, known, _ in objects if known is value or _same_object(known, value))
        return next(same, MISSING)

    def object_address(self, place: Place) -> Value:
        """Return the address of an instance from outside, of whose type there is a guard."""
        key = (id(place), "object")
        if key not in self._addresses:
            self._addresses[key] = self._input(place, INT, "object", "C")
        return self._addresses[key]

    # ------------------------------------------------------------------ arrays

    def _read_array(self, place: Place, live: np.ndarray) -> AbstractValue:
        name = dtype_name(live.dtype) if live.dtype.isnative else None
        if name is None or not live.flags.aligned:
            return self._host(place, live)
        layout = "C" if live.flags.c_contiguous else "F" if live.flags.f_contiguous else "any"
        position = len(self.graph.inputs)
        shape = tuple(self._dimension(place, axis, size, position) for axis, size in enumerate(live.shape))
        self.guard((id(place), "layout"), ArrayLayout(place, name, shape, layout, span=self.span()))
        type_ = TensorType(name, shape)
        version = self._input(place, type_, "array", layout)
        storage = self._add(Storage(place, version=version, original=version, writeable=is_writeable(live)))
        self._arrays[storage] = (place, live)
        return ArrayValue(storage, (), type_, place=place)

    def _dimension(self, place: Place, axis: int, size: int, position: int) -> Dim:
        key = ("dim", str(place), axis)
        varies = key in self.relaxations or (axis == 0 and isinstance(place, PackedPlace))
        if not varies or size < 2:
            return size
        own = ("own", *key) in self.relaxations or (isinstance(place, PackedPlace) and place.last is not None)
        shared: Any = key if own else ("shared", size)
        found = self._symbols.get(shared)
        if found is None:
            found = self._symbols[shared] = symbol(f"s{len(self._symbols)}")
            (only,) = found.symbols()
            self.graph.symbols[only] = (position, axis)
        return found

    def symbol_sizes(self) -> dict[Symbol, int]:
        """Return the size of each input symbol in the call capture looks at."""
        sizes: dict[Symbol, int] = {}
        for found, (position, axis) in self.graph.symbols.items():
            live = next(live for place, live in self._arrays.values() if place is self.graph.inputs[position].place)
            sizes[found] = live.shape[axis]
        return sizes

    def layout(self, storage: int) -> str:
        """Return the memory layout (``C``, ``F`` or ``any``) that the guard of an outside array promises."""
        place = self._arrays[storage][0]
        return next(found.layout for found in self.graph.inputs if found.place is place)

    def live_array(self, storage: int) -> np.ndarray | None:
        """Return the live array of an outside storage."""
        found = self._arrays.get(storage)
        return found[1] if found else None

    # ------------------------------------------------------------------ closing

    def close(self, written: Sequence[int], span: Span) -> None:
        """Add the aliasing guards that the writes of the whole capture call for.

        Raises
        ------
        CaptureFailure
            If arrays that are written overlap others now.
        """
        for index in written:
            item = self.templates[index]
            if isinstance(item, Storage):
                self._close_array(index, span)
            elif item.place is not None:
                self._close_object(index, item)
        written = [index for index in written if isinstance(self.templates[index], Storage)]
        self.assume_warning_filters([self._arrays[index][0] for index in written], span)

    def _close_array(self, index: int, span: Span) -> None:
        place, live = self._arrays[index]
        if not lies_apart(live):
            raise _overlap(span, f"{place} is written and its elements share memory", "elements of an array")
        guards = self.graph.guards.entry
        for position, guard in enumerate(guards):
            if isinstance(guard, ArrayLayout) and guard.place is place:
                guards[position] = replace(guard, writeable=True)
        for other, (other_place, other_live) in self._arrays.items():
            if other == index:
                continue
            if np.may_share_memory(live, other_live):
                raise _overlap(span, f"{place} is written and shares memory with {other_place}", "two arrays")
            key = (min(index, other), max(index, other), "overlap")
            self.guard(key, NoOverlap(place, other_place, span=span))

    def _close_object(self, index: int, item: HeapObject) -> None:
        for other, candidate in self.templates.items():
            if other != index and candidate.place is not None and type(candidate) is type(item):
                if isinstance(item, Instance) and isinstance(candidate, Instance) and item.type_ is not candidate.type_:
                    continue
                key = (min(index, other), max(index, other), "distinct")
                assert item.place is not None
                self.guard(key, DistinctObjects(item.place, candidate.place, span=self.span()))


def _overlap(span: Span, construct: str, which: str) -> CaptureFailure:
    reason, hint = f"{which} from outside overlap, and are written", "pass a copy, or a view made inside the function"
    return CaptureFailure("array.overlap", "supportable", span, construct, reason, hint)


def _same_object(known: AbstractValue, value: AbstractValue) -> bool:
    return isinstance(known, Reference) and isinstance(value, Reference) and known.index == value.index
