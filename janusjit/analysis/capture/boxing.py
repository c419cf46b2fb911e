"""From abstract values back to Python objects.

Owns `Boxer`, which makes the recipes for the objects that leave a graph. Invariant: what is one object in
the end is one recipe, and what holds itself is made before what it holds.
"""

from __future__ import annotations

import collections
import itertools
import types
from collections.abc import Callable, Collection
from typing import Any

from janusjit.analysis import frame_values
from janusjit.analysis.capture.arrays import check_mirror, new_array, read
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.frame_state import backwards_parts
from janusjit.analysis.capture.listed import ARRAYS, list_with, refused
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.making import choose, choose_item, make_function, make_read_only
from janusjit.analysis.capture.numpy_memory import axis_order, of_new_array, strides
from janusjit.analysis.capture.protocols import ObjectKey, key_value, set_order
from janusjit.analysis.capture.sharing import Escaping
from janusjit.analysis.capture.state import (
    Cell,
    DictObject,
    GeneratorObject,
    GrownList,
    Instance,
    IteratorObject,
    Listed,
    ListObject,
    SetObject,
    Storage,
)
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    AddressValue,
    ArrayValue,
    BuiltinMethod,
    Deferred,
    DictView,
    EitherValue,
    FlatValue,
    FunctionValue,
    GeneratorValue,
    HostValue,
    Known,
    MethodValue,
    NumbersValue,
    ObjectsValue,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    SuperValue,
    TupleValue,
)
from janusjit.errors import CaptureFailure
from janusjit.ir.boxes import (
    ArrayBox,
    Box,
    CallBox,
    ConstantBox,
    DictBox,
    EitherBox,
    ObjectBox,
    PlaceBox,
    ScalarBox,
    SequenceBox,
    ViewBox,
)
from janusjit.ir.graph import Value
from janusjit.ir.places import MISSING

#: set by `janusjit.analysis.capture.tapes`: what an instance holds when it has left the graph
ATTRIBUTES: list[Callable[[Machine, Instance], dict[str, AbstractValue]]] = []
#: the heap index of an object, and the attribute, key or position that holds another
Edge = tuple[int, Any]


class Cycle(Exception):
    """An object made inside holds itself; ``edge`` is where the circle can be cut."""

    def __init__(self, edge: Edge) -> None:
        super().__init__(edge)
        self.edge = edge


class Boxer:
    """Builds the recipe of one exit."""

    def __init__(self, machine: Machine, postponed: Collection[Edge] = ()) -> None:
        self.machine = machine
        self.postponed = postponed
        self.operands: list[Value] = []
        self._numbers: dict[Value, int] = {}
        self._keys: dict[Any, int] = {}
        self._escaping = Escaping(machine)
        self._count = itertools.count()
        self._boxes: dict[Any, Box] = {}
        self._open: dict[int, Edge | None] = {}
        self._parts: dict[int, set[int]] = {}
        self._whole: set[int] = set()
        self.later: list[tuple[Edge, AbstractValue]] = []
        self.cells: list[tuple[Box, AbstractValue]] = []

    def operand(self, value: Value) -> int:
        """Return the number of an operand, adding it if it is new."""
        if value not in self._numbers:
            self._numbers[value] = len(self.operands)
            self.operands.append(value)
        return self._numbers[value]

    def box(self, value: AbstractValue) -> Box:
        """Return the recipe for a value."""
        if isinstance(value, Unread):
            return PlaceBox(value.place)
        value = self.machine.settle(value)
        if isinstance(value, Known):
            return ConstantBox(value.value)
        if isinstance(value, EitherValue):
            options = tuple((number, self.box(option)) for number, option in value.options)
            return EitherBox(self.operand(value.which), options)
        if isinstance(value, Scalar):
            if value.place is not None and value.kind not in ("bool", "numpy.bool"):
                return PlaceBox(value.place)  # an object that is told from equal ones, as `x is numpy.nan` does
            return ScalarBox(self.operand(value.value), value.kind)
        if isinstance(value, ArrayValue):
            return self._array(value)
        if isinstance(value, ObjectsValue):
            return ScalarBox(self.operand(value.address), "object")
        if isinstance(value, TupleValue):
            return self._tuple(value)
        if isinstance(value, Reference):
            return self._reference(value)
        if isinstance(value, GeneratorValue):
            if value.place is not None:
                return PlaceBox(value.place)
            assert value.address is not None
            return ScalarBox(self.operand(value.address), "object")
        if isinstance(value, HostValue):
            return PlaceBox(value.place)
        if isinstance(value, Deferred):
            key = self._key(("deferred", value.identity))
            return self._once(key, lambda: CallBox(value.function, tuple(map(self.box, value.arguments)), key))
        if isinstance(value, SliceValue | RangeValue):
            maker: Any = slice if isinstance(value, SliceValue) else range
            return CallBox(maker, tuple(map(self.box, (value.start, value.stop, value.step))))
        if isinstance(value, FunctionValue):
            return self.box(value.made) if value.made is not None else self._function(value)
        if isinstance(value, MethodValue):
            return CallBox(types.MethodType, (self.box(value.function), self.box(value.owner)))
        if isinstance(value, BuiltinMethod):
            return self._assembled("builtin_method", (value.name,), value.owner)
        if isinstance(value, AddressValue):
            return CallBox(id, (self.box(value.owner),))
        if isinstance(value, FlatValue):
            return self._assembled("flat", (), value.array)
        if isinstance(value, DictView):
            return self._assembled("dict_view", (value.kind,), value.owner)
        if isinstance(value, NumbersValue):
            key, made = self._key(("numbers", value.identity)), new_array(self.machine, value.value)
            return self._once(key, lambda: self._assembled("numbers", (value.kind,), made, key=key))
        if isinstance(value, SuperValue):
            return self._assembled("super", (), Known(value.type_), value.owner)
        raise self.machine.unsupported(
            "python.result", type(value).__name__, "an object of this kind leaves the function"
        )

    def _assembled(self, kind: str, fixed: tuple[Any, ...], *parts: AbstractValue, key: int = -1) -> Box:
        """Return the recipe for an object that is made of others, as a frame state's composites are."""
        return CallBox(frame_values.make, (ConstantBox(kind), ConstantBox(fixed), *map(self.box, parts)), key)

    def _key(self, identity: Any) -> int:
        if identity not in self._keys:
            self._keys[identity] = next(self._count)
        return self._keys[identity]

    def _once(self, key: int, make: Any) -> Box:
        found = self._boxes.get(key)
        if found is None:
            if key in self._open:
                edge = next((edge for edge in reversed(self._open.values()) if edge is not None), None)
                if edge is None:
                    raise self.machine.unsupported("python.result", "cycle", "an object made inside contains itself")
                raise Cycle(edge)
            self._open[key] = None
            found = self._boxes[key] = make()
            del self._open[key]
        return found

    def _part(self, index: int, key: int, slot: Any, value: AbstractValue) -> Box:
        """Return the recipe for what an object holds; for what has to wait until that is made, of None."""
        edge = (index, slot)
        if edge in self.postponed:
            self.later.append((edge, value))
            return ConstantBox(None)
        self._open[key] = edge
        return self.box(value)

    # ------------------------------------------------------------------ arrays and tuples

    def _array(self, value: ArrayValue) -> Box:
        storage: Storage = self.machine.state.at(value.storage)
        if value.storage < 0:
            assert storage.place is not None
            if value.place is not None or not value.path:
                return PlaceBox(storage.place)
            key = self._key(("view", value.identity))
            return self._once(key, lambda: ViewBox(self._view(value), PlaceBox(storage.place), key))
        if storage.mirrors is not None and storage.writeable:
            raise self.machine.unsupported("array.alias", "result", "a view that is not followed leaves compiled code")
        alone = self._escaping.alone(value)
        if storage.listed is not None:
            item = self._list_item(value, storage, storage.listed)
            if item is not None:
                return item
        key = self._key(("storage", value.storage))
        if alone:
            order = axis_order(value.type.shape, strides(self.machine, value))
            return self._once(key, lambda: ArrayBox(self._view(value), key, order))
        version = storage.version
        order = axis_order(version.type.shape, of_new_array(self.machine, version))
        base = self._once(key, lambda: ArrayBox(self.operand(version), key, order))
        if storage.outside is not None:
            return self._either(value, storage, base)
        if not storage.writeable:
            return self._read_only(value, storage, base)
        if not value.path:
            return base
        view_key = self._key(("view", value.identity))
        return self._once(view_key, lambda: ViewBox(self._view(value), base, view_key))

    def _list_item(self, value: ArrayValue, storage: Storage, listed: Listed) -> Box | None:
        """Return the recipe for an array that may be an item of a list; None if the list does not leave the graph."""
        item, position = list_with(self.machine, listed), listed.position
        if position is None:
            self._parts.setdefault(listed.buffer, set()).add(value.identity)
            self._check_items(listed)
            key = self._key(("view", value.identity))
            return self._once(key, lambda: ArrayBox(self._view(value), key))
        if item is None:
            self._whole.add(listed.buffer)
            self._check_items(listed)
            return None
        if value.path:
            raise refused(self.machine, listed, "result", "a view of an item of a list leaves compiled code")
        filled, key = self.filled(item), self._key(("storage", value.storage))
        own = ArrayBox(self.operand(storage.version))
        choice = (ScalarBox(self.operand(position), "int"), filled, own)
        return self._once(key, lambda: CallBox(choose_item, choice, key))

    def _check_items(self, listed: Listed) -> None:
        parts = self._parts.get(listed.buffer, ())
        if len(parts) > 1 or (parts and listed.buffer in self._whole):
            raise refused(self.machine, listed, "result", "items of a list leave compiled code by several ways")

    def _either(self, value: ArrayValue, storage: Storage, made: Box) -> Box:
        """Return the recipe for an array that is the outside one or a new one, as a run-time flag says."""
        assert storage.outside is not None
        origin, flag = storage.outside
        place = self.machine.state.at(origin).place
        if value.path:
            raise self.machine.unsupported(
                "array.alias", "result", f"a view of an array is returned, and {storage.frozen}"
            )
        key = self._key(("either", value.storage))
        choice = (ScalarBox(self.operand(flag), "bool"), PlaceBox(place), made)
        return self._once(key, lambda: CallBox(choose, choice, key))

    def _read_only(self, value: ArrayValue, storage: Storage, made: Box) -> Box:
        """Return the recipe for an array that eager made as a read-only view."""
        check_mirror(self.machine, storage)
        if value.path or (storage.mirrors is not None and storage.mirrors.source.storage < 0):
            raise self.machine.unsupported("array.alias", "result", "a read-only view of another array is returned")
        return self._once(self._key(("read-only", value.storage)), lambda: CallBox(make_read_only, (made,)))

    def _view(self, value: ArrayValue) -> int:
        return self.operand(read(self.machine, value))

    def _tuple(self, value: TupleValue) -> Box:
        if value.place is not None:
            return PlaceBox(value.place)
        items = tuple(map(self.box, value.items))
        if value.type_ is tuple:
            if not items:
                return ConstantBox(())
            return SequenceBox(tuple, items)
        return CallBox(value.type_._make, (SequenceBox(tuple, items),))  # type: ignore[attr-defined]

    # ------------------------------------------------------------------ heap objects

    def _reference(self, value: Reference) -> Box:
        item = self.machine.heap(value)
        if isinstance(item, Cell) and item.live is not None:
            return ConstantBox(item.live) if item.holder is None else PlaceBox(item.holder)
        if item.place is not None:
            return PlaceBox(item.place)
        key = self._key(("heap", value.index))
        if isinstance(item, ListObject):
            return self._once(key, lambda: self._list(item, value.index, key))
        if isinstance(item, GrownList):
            return self._once(key, lambda: self._joined(item, key))
        if isinstance(item, SetObject):
            set_order(self.machine, item)  # what goes through it later has to find Python's order
            return self._once(key, lambda: SequenceBox(set, tuple(map(self.box, item.items.values())), key))
        if isinstance(item, DictObject):
            return self._once(key, lambda: self._dict(item, value.index, key))
        if isinstance(item, Instance) and item.address is not None:
            return ScalarBox(self.operand(item.address), "object")
        if isinstance(item, Instance):
            return self._once(key, lambda: self._instance(item, value.index, key))
        if isinstance(item, Cell):
            return self._once(key, lambda: self._cell(item, key))
        if isinstance(item, IteratorObject):
            return self._once(key, lambda: self._iterator(item, key))
        if isinstance(item, GeneratorObject):
            raise self._generator(item)
        raise self.machine.unsupported("python.result", "iterator", "an iterator leaves the function")

    def _generator(self, item: GeneratorObject) -> CaptureFailure:
        """Return the failure that lets Python make, and so run, a generator that has to be an object."""
        failure = self.machine.unsupported("python.result", "generator", "a generator leaves the function")
        if item.maker is not None and item.maker not in self.machine.hosts.instructions:
            failure.instruction = item.maker
        return failure

    def _iterator(self, item: IteratorObject, key: int) -> Box:
        """Return the recipe for an iterator that stands where it stands now."""
        sources = item.sources
        if item.kind == "range":
            (source,) = sources
            assert isinstance(source, RangeValue)
            return self._assembled("range", (None,) * 4, source.start, source.stop, source.step, item.position, key=key)
        if item.kind == "sequence":
            self._check_source(item)
        if item.backwards is not None:
            return self._assembled(*backwards_parts(item, None), key=key)
        if item.kind == "sequence" and isinstance(sources[0], DictView) and isinstance(item.function, Known):
            fixed = (sources[0].kind, len(item.function.value), None)
            return self._assembled("dict", fixed, sources[0].owner, item.position, key=key)
        if item.kind == "sequence" and isinstance(item.position, Known):
            return self._assembled("sequence", (item.position.value,), sources[0], key=key)
        if item.kind == "rows":
            return self._assembled("rows", (), sources[0], item.position, key=key)
        if item.kind == "zip":
            return self._assembled("zip", (item.strict,), *sources, key=key)
        if item.kind in ("map", "filter") and item.function is not None:
            return self._assembled(item.kind, (), item.function, *sources, key=key)
        if item.kind == "enumerate":
            start = item.function or Known(0)
            return self._assembled("enumerate", (None, None), start, item.position, *sources, key=key)
        raise self.machine.unsupported("python.result", "iterator", f"an iterator ({item.kind}) leaves the function")

    def _check_source(self, item: IteratorObject) -> None:
        """See that an iterator is none over what has been changed: it is made before the changes take effect."""
        source = item.sources[0].owner if isinstance(item.sources[0], DictView) else item.sources[0]
        held = self.machine.heap(source) if isinstance(source, Reference) else None
        if isinstance(held, DictObject):
            changed = held.place is not None and list(held.items) != list(held.original)
        elif isinstance(held, ListObject) and held.place is not None:
            position = item.position.value if isinstance(item.position, Known) else 0
            least = position if item.backwards is None else item.backwards - position
            changed = held.written if held.type_ is not list else least > len(held.original)
        else:
            changed = False
        if changed:
            failure = self.machine.unsupported("python.size", "iterator", "it goes through what has been changed")
            if item.maker is not None and item.maker not in self.machine.hosts.instructions:
                failure.instruction = item.maker
            raise failure

    def _cell(self, item: Cell, key: int) -> Box:
        """Return the recipe for a cell: it is made empty, since what is in it may hold the cell itself."""
        made = CallBox(types.CellType, (), key)
        if item.value is not None:
            self.cells.append((made, item.value))
        return made

    def _list(self, item: ListObject, index: int, key: int) -> Box:
        if item.type_ is not list:
            contents = SequenceBox(list, tuple(map(self.box, item.items)))
            return CallBox(item.type_, (contents, ConstantBox(item.limit)), key)
        items = tuple(self._part(index, key, place, value) for place, value in enumerate(item.items))
        return SequenceBox(list, items, key)

    def _joined(self, item: GrownList, key: int) -> Box:
        return CallBox(frame_values.make, (ConstantBox("joined"), ConstantBox(()), *self.grown_parts(item)), key)

    def grown_parts(self, item: GrownList) -> tuple[Box, ...]:
        """Return the recipes for lists that together are one that has grown in loops."""
        base = item.base
        before = self.grown_parts(base) if isinstance(base, GrownList) else (self._list_of(base.items),)
        return (*before, self.filled(item), self._list_of(item.later))

    def filled(self, item: GrownList) -> Box:
        """Return the recipe for a list of what a loop has appended."""
        buffer, count = ArrayBox(self.operand(item.buffer)), ScalarBox(self.operand(item.count), "int")
        if item.kind == ARRAYS:
            self._whole.add(item.identity)
            if self._parts.get(item.identity):
                raise self.machine.unsupported("array.alias", "result", "an item of a list is returned beside it")
            key = self._key(("filled", item.identity))
            made = CallBox(frame_values.make, (ConstantBox("arrays"), ConstantBox(()), buffer, count), key)
            return self._once(key, lambda: made)
        if item.of_numpy is not None:
            parts = (buffer, ArrayBox(self.operand(item.of_numpy)), count)
            return CallBox(frame_values.make, (ConstantBox("mixed_numbers"), ConstantBox(()), *parts))
        return CallBox(frame_values.make, (ConstantBox("numbers"), ConstantBox((item.kind,)), buffer, count))

    def _list_of(self, items: list[AbstractValue]) -> Box:
        return SequenceBox(list, tuple(map(self.box, items)))

    def _dict(self, item: DictObject, index: int, key: int) -> Box:
        if item.type_ is dict:
            return DictBox(tuple((self.key(k), self._part(index, key, k, v)) for k, v in item.items.items()), key)
        items = DictBox(tuple((self.key(k), self.box(v)) for k, v in item.items.items()))
        if item.type_ is collections.defaultdict:
            return CallBox(collections.defaultdict, (self.box(item.default_factory or NONE), items), key)
        if item.type_ in (collections.OrderedDict, collections.Counter):
            return CallBox(item.type_, (items,), key)
        raise self.machine.unsupported("python.result", item.type_.__name__, "it leaves the function")

    def key(self, key: Any) -> Box:
        """Return the recipe for a dict key or set item."""
        if isinstance(key, ObjectKey):
            return self.box(key_value(self.machine, key))
        if type(key) is tuple and any(isinstance(part, ObjectKey | tuple) for part in key):
            return SequenceBox(tuple, tuple(map(self.key, key)))
        return ConstantBox(key)

    def _instance(self, item: Instance, index: int, key: int) -> Box:
        if issubclass(item.type_, BaseException):
            raise self.machine.unsupported("python.result", item.type_.__name__, "an exception object is returned")
        attributes = tuple(
            (name, self._part(index, key, name, value))
            for name, value in ATTRIBUTES[0](self.machine, item).items()
            if not (isinstance(value, Known) and value.value is MISSING)
        )
        return ObjectBox(item.type_, attributes, key)

    def _function(self, value: FunctionValue) -> Box:
        key = self._key(("function", value.identity))
        return self._once(key, lambda: self._make_function(value, key))

    def _make_function(self, value: FunctionValue, key: int) -> Box:
        if value.wraps or value.code is None or value.code.co_freevars != tuple(name for name, _ in value.cells):
            raise self.machine.unsupported("python.result", "function", "a function made inside leaves the function")
        cells = (
            SequenceBox(tuple, tuple(self.box(cell) for _, cell in value.cells)) if value.cells else ConstantBox(None)
        )
        defaults = SequenceBox(tuple, tuple(map(self.box, value.defaults))) if value.defaults else ConstantBox(None)
        keywords = DictBox(tuple((ConstantBox(name), self.box(v)) for name, v in value.keyword_defaults))
        fixed = (ConstantBox(value.code), ConstantBox(value.namespace), ConstantBox(value.core.qualified_name))
        return CallBox(make_function, (*fixed, cells, defaults, keywords), key)
