"""Joining control paths.

Owns `Merger`, which makes one state of several that stand at the same control position. Invariant: a merged value is
what each path had; what cannot be one value becomes `Poison` (an error only if used), and heaps of different structure
raise `Unmergeable`, so that the caller continues the paths separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from janusjit.analysis.capture.dropped import check_generators
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.listed import join_storages
from janusjit.analysis.capture.liveness import live_names
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.merge_effects import bounds_of, check_attribute_order, merge_effects
from janusjit.analysis.capture.merge_numbers import merge_numbers
from janusjit.analysis.capture.sameness import same_constant, same_function
from janusjit.analysis.capture.sharing import check_joined_objects, note_joined
from janusjit.analysis.capture.signals import Unmergeable
from janusjit.analysis.capture.state import (
    Cell,
    DictObject,
    Frame,
    GeneratorObject,
    GrownList,
    HeapObject,
    Instance,
    IteratorObject,
    ListObject,
    Namespace,
    RandomOrder,
    SetObject,
    State,
    Storage,
    reference_count,
)
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    DictView,
    EitherValue,
    FunctionValue,
    GeneratorValue,
    Known,
    MethodValue,
    NumbersValue,
    ObjectsValue,
    Poison,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
)
from janusjit.analysis.capture.visibility import is_visible, referred
from janusjit.ir.dims import DimExpr
from janusjit.ir.graph import Region, Value
from janusjit.ir.types import BOOL, INT, TensorType

#: what may hold a graph value, or refer to what does, that was made on the paths
_WITH_RUN_TIME_PARTS = (
    *(Scalar, EitherValue, ArrayValue, NumbersValue, GeneratorValue, TupleValue, RangeValue, SliceValue, MethodValue),
    Reference,
)


@dataclass(slots=True)
class Arm:
    """One control path: its state (None once terminated) and the region its next nodes go to."""

    region: Region
    state: State | None


@dataclass(slots=True)
class Slot:
    """A place where the paths have different run-time values: one graph value a path, and what the join yields."""

    location: tuple[Any, ...]
    values: list[Value]
    result: Value


@dataclass
class Merger:
    """Merges the states of ``arms``; ``fork`` names the branch in the poison left where values cannot be merged.

    ``mark`` is the number of values there were before the paths began, where values made since then are invisible after
    the join even if all paths agree on them (out of a loop); None after a branch. ``peels``: the first path enters a
    loop, and a turn of it may be peeled off. ``kinds``: what values the paths leave in one of several kinds.
    """

    machine: Machine
    arms: Sequence[Arm]
    fork: Any
    mark: int | None = None
    peels: bool = False
    kinds: list[Any] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    poisoned: list[tuple[Any, ...]] = field(default_factory=list)
    _objects: dict[tuple[int, ...], AbstractValue] = field(default_factory=dict)
    _storages: dict[tuple[int, ...], int] = field(default_factory=dict)
    _kept: set[int] = field(default_factory=set)
    _by_values: dict[tuple[Value, ...], Slot] = field(default_factory=dict)

    @property
    def states(self) -> list[State]:
        """The states of the arms."""
        return [arm.state for arm in self.arms if arm.state is not None]

    def merge(self) -> State:
        """Return the merged state; its new graph values are the results of `slots`.

        Raises
        ------
        Unmergeable
            If lists, dicts, iterators or deferred effects differ in structure.
        """
        states, first = self.states, self.states[0]
        self._result = State(first.templates)
        self._result.freed = frozenset().union(*(state.freed for state in states))
        self._result.effects = merge_effects(self)
        for state in states:
            self._result.missed.update(state.missed)
        self._result.refined = {k: v for k, v in first.refined.items() if all(s.refined.get(k) is v for s in states)}
        self._result.dims = {value: dim for value, dim in first.dims.items() if self._bound_before(value, dim)}
        for index in sorted({index for state in states for index in state.heap if index < 0}):
            self._keep(index)
        for effect in self._result.effects:
            self._reach(effect.values)
        for position in range(len(first.frames)):
            self._result.frames.append(self._frame(position, [state.frames[position] for state in states]))
        returned = [state.returned for state in states]
        self._result.returned = self.value(("returned",), returned)
        if self.machine.nested:
            self._keep_held()
        for state in states:
            check_generators(self.machine, state, self._result.heap)
        check_joined_objects(self._result, self._objects)
        note_joined(self.machine, self._result, self._storages)
        return self._result

    def _bound_before(self, value: Value, dim: DimExpr) -> bool:
        """Whether all paths have it that a value is this dimension, and its symbols are bound behind the join."""
        births, mark = self.machine.symbol_births, self.mark
        visible = mark is None or all(births.get(symbol, -1) < mark for symbol in dim.symbols())
        return visible and all(state.dims.get(value) == dim for state in self.states)

    def _keep_held(self) -> None:
        """Keep what rules that wait for a nested run may hold, though no variable does, and the paths agree on."""
        common = set.intersection(*(set(state.heap) for state in self.states))
        for index in sorted(index for index in common if index < self.machine.held):
            try:
                self._keep(index)
            except Unmergeable:  # it is held by no rule, or else it is missed there
                self._result.heap.pop(index, None)
                self._result.missed[index] = self.fork

    def _keep(self, index: int) -> None:
        """Merge a heap object that all paths have, once."""
        if index not in self._kept:
            self._kept.add(index)
            items = [state.at(index) for state in self.states]
            self._result.heap[index] = self._heap_object(("heap", index), items)

    def _reach(self, value: Any) -> None:
        """Keep the heap objects that a value the paths share refers to."""
        for index in referred(value):
            self._keep(index)

    # ------------------------------------------------------------------ frames and heap

    def _frame(self, position: int, frames: list[Frame]) -> Frame:
        first = frames[0]
        if any(len(f.blocks) != len(first.blocks) or f.core is not first.core for f in frames):
            raise Unmergeable("control positions differ")
        if any(a.index != b.index for f in frames for a, b in zip(first.blocks, f.blocks, strict=True)):
            raise Unmergeable("control positions differ")
        merged = first.copy()
        names: dict[str, None] = {}
        for frame in frames:
            names.update(dict.fromkeys(frame.locals))
        live = live_names(first)
        if live is not None:
            names = {name: None for name in names if name in live}
        for cell in first.cells.values():
            self._reach(cell)
        self._reach(first.instance)
        if first.generator is not None:
            self._keep(first.generator)
        merged.locals = {}
        for name in names:
            values = [frame.locals.get(name) for frame in frames]
            if any(value is None for value in values) or self._sized_inside(values):
                merged.locals[name] = self._poison(("local", position, name), f"'{name}' is not bound on every path")
            else:
                merged.locals[name] = self.value(("local", position, name), values)  # type: ignore[arg-type]
        return merged

    def _heap_object(self, where: tuple[Any, ...], items: list[Any]) -> HeapObject:
        first = items[0]
        if any(type(item) is not type(first) for item in items):
            raise Unmergeable("objects differ in kind")
        merged: HeapObject = first.copy()
        merged.written = any(item.written for item in items)
        if isinstance(merged, Storage):
            merged.version = self.graph_value(where, [item.version for item in items])
            join_storages(self, where, merged, items)
            if merged.mirrors is not None:
                self._keep(merged.mirrors.source.storage)
            if first.outside is not None:
                flag = self.graph_value((*where, "outside"), [item.outside[1] for item in items])
                merged.outside = (first.outside[0], flag)
        elif isinstance(merged, ListObject):
            self._same("list lengths", [len(item.items) for item in items])
            merged.items = self._items(where, [item.items for item in items])
        elif isinstance(merged, GrownList):
            self._same("lists", [(i.kind, i.filling, i.identity, len(i.later)) for i in items])
            merged.turn = max(item.turn for item in items)
            merged.base = self._heap_object((*where, "base"), [item.base for item in items])  # type: ignore[assignment]
            merged.buffer = self.graph_value((*where, "buffer"), [item.buffer for item in items])
            merged.count = self.graph_value((*where, "count"), [item.count for item in items])
            if first.of_numpy is not None:
                merged.of_numpy = self.graph_value((*where, "of numpy"), [item.of_numpy for item in items])
            merged.later = self._items(where, [item.later for item in items])
        elif isinstance(merged, DictObject):
            self._same("dict keys", [list(item.items) for item in items])
            merged.items = {k: self.value((*where, k), [item.items[k] for item in items]) for k in first.items}
            self._reach(merged.default_factory)
        elif isinstance(merged, SetObject):
            self._same("set items", [list(item.items) for item in items])
        elif isinstance(merged, Instance):
            self._instance(where, merged, items)
        elif isinstance(merged, Cell):
            self._cell(where, merged, items)
        elif isinstance(merged, Namespace):
            self._namespace(where, merged, items)
        elif isinstance(merged, IteratorObject):
            self._same("the ranges of iterators", [bounds_of(item) for item in items])
            merged.position = self.value((*where, "position"), [item.position for item in items])
            self._reach((*merged.sources, merged.function))
        elif isinstance(merged, RandomOrder):
            if any(item.token is not None for item in items):
                tokens = [self._token(arm, item) for arm, item in zip(self.arms, items, strict=True)]
                merged.token = self.graph_value(where, tokens)
        elif isinstance(merged, GeneratorObject):
            self._generator(where, merged, items)
        return merged

    def _token(self, arm: Arm, order: RandomOrder) -> Value:
        return order.token if order.token is not None else self.constant(arm, 0, INT)

    @staticmethod
    def _same(what: str, things: list[Any]) -> None:
        if any(thing != things[0] for thing in things):
            raise Unmergeable(f"{what} differ")

    def _instance(self, where: tuple[Any, ...], merged: Instance, items: list[Instance]) -> None:
        names = dict.fromkeys(name for item in items for name in item.attributes)
        if merged.address is not None:
            merged.address = self.graph_value((*where, "address"), [item.address for item in items])  # type: ignore[misc]
        check_attribute_order(self.machine, where[-1], merged, items)
        for item in items:
            merged.changed.update(item.changed)
        for name in names:
            values = [item.attributes.get(name) for item in items]
            if merged.live is not None:
                index = where[-1]
                values = [
                    self.machine.externals.read_attribute(merged, index, name) if value is None else value
                    for value in values
                ]
            if any(value is None for value in values):
                merged.attributes.pop(name, None)  # one known by its address can be read again
                if merged.address is None:
                    merged.attributes[name] = self._poison((*where, name), f"'{name}' is set on one path only")
            else:
                merged.attributes[name] = self.value((*where, name), values)  # type: ignore[arg-type]

    def _cell(self, where: tuple[Any, ...], merged: Cell, items: list[Cell]) -> None:
        values = [item.value for item in items]
        if merged.live is not None and any(value is not None for value in values):
            values = [self.machine.externals.read_cell(merged) if value is None else value for value in values]
        if all(value is None for value in values):
            return
        if any(value is None for value in values):
            merged.value = self._poison(where, "a closure variable is bound on one path only")
        else:
            merged.value = self.value(where, values)  # type: ignore[arg-type]

    def _namespace(self, where: tuple[Any, ...], merged: Namespace, items: list[Namespace]) -> None:
        names: dict[str, None] = {}
        for item in items:
            names.update(dict.fromkeys(item.names))
            merged.changed.update(item.changed)
        for name in names:
            values = [
                item.names[name] if name in item.names else self.machine.externals.read_global(merged.live, name)
                for item in items
            ]
            if any(value is None for value in values):
                if any(value is not None for value in values):
                    raise Unmergeable("a global is bound on one path only")
                continue
            merged.names[name] = self.value((*where, name), values)  # type: ignore[arg-type]

    def _generator(self, where: tuple[Any, ...], merged: GeneratorObject, items: list[GeneratorObject]) -> None:
        frames = [item.frame for item in items]
        if all(frame is None for frame in frames):
            return
        if any(frame is None for frame in frames):
            raise Unmergeable("a generator has finished on one path only")
        merged.frame = self._frame(("generator", *where), frames)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ values

    def graph_value(self, where: tuple[Any, ...], values: list[Value]) -> Value:
        """Return one graph value for the paths': the same one, or a new slot's result."""
        first = values[0]
        if self.mark is not None and any(self.machine.sized_since(value, self.mark) for value in values):
            raise Unmergeable("an array's size is known inside a loop only")
        if all(value is first for value in values) and not self.hides(first):
            return first
        known_slot = self._by_values.get(tuple(values))
        if known_slot is not None:
            return known_slot.result
        if any(value.type != first.type for value in values):
            raise Unmergeable("array types differ")
        slot = Slot(where, list(values), Value(first.type))
        self.slots.append(slot)
        self._by_values[tuple(values)] = slot
        return slot.result

    def value(self, where: tuple[Any, ...], values: list[AbstractValue]) -> AbstractValue:
        """Return one abstract value for the paths', or poison."""
        first = values[0]
        if values.count(first) == len(values) and not isinstance(first, _WITH_RUN_TIME_PARTS):
            if self.mark is not None and not is_visible(first, self.hides):
                return self._poison(where, "it was made in a loop, of what cannot be seen behind it")
            self._reach(first)
            return first
        values = [self.machine.externals.force(value) for value in values]
        first = values[0]
        for value in values:
            if isinstance(value, Poison):
                self.poisoned.append(where)
                return value
        if isinstance(first, Known) and all(
            isinstance(v, Known) and same_constant(first.value, v.value) for v in values
        ):
            return first
        merged = merge_numbers(self, where, values)
        if merged is None and all(type(value) is type(first) for value in values):
            merged = self._same_kind(where, values)
        return merged if merged is not None else self._poison(where, "the paths leave different kinds of values")

    def _items(self, where: tuple[Any, ...], sequences: Sequence[Sequence[AbstractValue]]) -> list[AbstractValue]:
        """Merge sequences of one length; most items of a long one have not been looked at, and are the same."""
        return [
            v[0] if isinstance(v[0], Unread) and v.count(v[0]) == len(v) else self.value((*where, position), list(v))
            for position, v in enumerate(zip(*sequences, strict=True))
        ]

    def _sized_inside(self, values: Sequence[Any]) -> bool:
        """Whether an array's size is known only where the paths come from."""
        if self.mark is None:
            return False
        return any(isinstance(v, ArrayValue) and self.machine.sized_since(Value(v.type), self.mark) for v in values)

    def _poison(self, where: tuple[Any, ...], reason: str) -> Poison:
        self.poisoned.append(where)
        return Poison(self.fork, reason)

    def hides(self, value: Value) -> bool:
        """Whether a value cannot be seen behind the join."""
        return self.mark is not None and self.machine.born_since(value, self.mark)

    def constant(self, arm: Arm, value: Any, type_: TensorType) -> Value:
        """Emit a constant at the end of a path."""
        outer, self.machine.region = self.machine.region, arm.region
        made = self.machine.emit("constant", value=value, dtype=type_.dtype)
        self.machine.region = outer
        return made

    def _same_kind(self, where: tuple[Any, ...], values: list[Any]) -> AbstractValue | None:
        first = values[0]
        if isinstance(first, ArrayValue):
            return self._arrays(where, values)
        if isinstance(first, Reference):
            return self._references(where, values)
        if isinstance(first, ObjectsValue):
            address = self.graph_value((*where, "address"), [value.address for value in values])
            return replace(first, address=address) if len({(v.type_, v.origin) for v in values}) == 1 else None
        if isinstance(first, NumbersValue):
            return first if all(v is first for v in values) and not self.hides(first.value) else None
        if isinstance(first, TupleValue):
            if any(len(v.items) != len(first.items) or v.type_ is not first.type_ for v in values):
                return None
            place = first.place if all(v is first for v in values) else None
            return TupleValue(tuple(self._items(where, [v.items for v in values])), first.type_, place)
        if isinstance(first, SliceValue | RangeValue):
            fields = ("start", "stop", "step")
            return type(first)(*(self.value((*where, f), [getattr(v, f) for v in values]) for f in fields))
        if isinstance(first, MethodValue) and all(same_function(v.function, first.function) for v in values):
            return MethodValue(self.value((*where, "self"), [v.owner for v in values]), first.function)
        if isinstance(first, BuiltinMethod) and all(v.name == first.name for v in values):
            return BuiltinMethod(self.value((*where, "self"), [v.owner for v in values]), first.name)
        if isinstance(first, DictView) and all(
            v.owner.index == first.owner.index and v.kind == first.kind for v in values
        ):
            return first
        if isinstance(first, FunctionValue) and all(v.identity == first.identity for v in values):
            return first
        if isinstance(first, GeneratorValue) and all(v.identity == first.identity for v in values):
            return self._generator_value(where, values)
        return None

    def _generator_value(self, where: tuple[Any, ...], values: list[GeneratorValue]) -> AbstractValue:
        first = values[0]
        if first.address is None:
            return first
        address = self.graph_value(where, [value.address for value in values if value.address is not None])
        return first if address is first.address else replace(first, address=address)

    def _references(self, where: tuple[Any, ...], values: list[Reference]) -> AbstractValue | None:
        indices = tuple(value.index for value in values)
        if len(set(indices)) == 1:
            self._keep(indices[0])
            return values[0]
        if any(index < 0 for index in indices):
            return None
        found = self._objects.get(indices)
        if found is None:
            items = [state.at(index) for state, index in zip(self.states, indices, strict=True)]
            if len({(type(i), i.type_, i.address is None) if isinstance(i, Instance) else type(i) for i in items}) != 1:
                return None
            found = self._objects[indices] = self._result.allocate(HeapObject())
            assert isinstance(found, Reference)
            self._result.heap[found.index] = self._heap_object((*where, "object"), items)
        return found

    def _arrays(self, where: tuple[Any, ...], values: list[ArrayValue]) -> AbstractValue | None:
        first = values[0]
        if self._sized_inside(values):
            return None
        same_storage = all(v.storage == first.storage for v in values)
        if same_storage and all(v.path == first.path and len(v.operands) == len(first.operands) for v in values):
            operands = tuple(
                self.graph_value((*where, "operand", i), [v.operands[i] for v in values])
                for i in range(len(first.operands))
            )
            self._keep(first.storage)
            if all(v is first for v in values) and operands == first.operands:
                return first
            return ArrayValue(first.storage, first.path, first.type, operands, first.place, joined=True)
        if any(v.type != first.type for v in values):
            return None
        storages = [state.at(v.storage) for state, v in zip(self.states, values, strict=True)]
        outside = {_outside_origin(v, s) for v, s in zip(values, storages, strict=True)} - {0}
        if len(outside) > 1 or any(v.path or v.operands for v in values):
            return None
        if any(storage.mirrors is not None for storage in storages):
            return None  # which array it would go on to show is known at run time only
        sources = tuple(v.storage for v in values)
        index = self._storages.get(sources)
        if index is None:
            index = self._storages[sources] = self._merge_storages(where, sources, storages, outside)
        return ArrayValue(index, (), first.type, joined=True)

    def _merge_storages(
        self, where: tuple[Any, ...], sources: tuple[int, ...], storages: list[Storage], outside: set[int]
    ) -> int:
        merged = Storage(version=self.graph_value((*where, "array"), [storage.version for storage in storages]))
        join_storages(self, where, merged, storages)
        if outside:
            (origin,) = outside
            flags = [
                storage.outside[1] if storage.outside else self.constant(arm, source < 0, BOOL)
                for arm, source, storage in zip(self.arms, sources, storages, strict=True)
            ]
            merged.outside = (origin, self.graph_value((*where, "outside"), flags))
            merged.frozen = "it may be an array from outside"
            self.machine.aliased.add(origin)
        for state, source in zip(self.states, sources, strict=True):
            if source >= 0 and reference_count(state, source) > 1:
                merged.frozen = merged.frozen or "another name may refer to it"
                self.machine.aliased.add(source)
        return self._result.allocate(merged).index


def _outside_origin(array: ArrayValue, storage: Storage) -> int:
    """Return the outside storage that an array is, or may be; 0 for one made inside."""
    if array.storage < 0:
        return array.storage
    return storage.outside[0] if storage.outside else 0
