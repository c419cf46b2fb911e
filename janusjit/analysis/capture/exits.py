"""Exits: results and effects.

Owns the effects an exit commits, and the end of a control path. Invariant: what the caller can see afterwards (results,
outside containers, attributes, globals, cells, arrays) is what eager would have left, with the same identities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from janusjit.analysis.capture.boxing import ATTRIBUTES, Boxer, Cycle, Edge
from janusjit.analysis.capture.dropped import check_generators
from janusjit.analysis.capture.machine import EXIT, Machine
from janusjit.analysis.capture.signals import Terminated
from janusjit.analysis.capture.state import (
    Cell,
    DictObject,
    GrownList,
    Instance,
    ListObject,
    Namespace,
    SetObject,
    Storage,
)
from janusjit.analysis.capture.values import AbstractValue, Known, Reference
from janusjit.ir.boxes import (
    Box,
    CallFunction,
    ConstantBox,
    DeleteAttribute,
    DeleteGlobal,
    DeleteItem,
    Effect,
    ExitRecipe,
    ListAppend,
    PlaceBox,
    ReplaceContents,
    SetAttribute,
    SetCell,
    SetGlobal,
    SetItem,
    WriteArray,
)
from janusjit.ir.graph import Node
from janusjit.ir.places import MISSING


class Committer(Boxer):
    """Builds the recipe of one exit: its result, and what makes outside objects what they are now."""

    def effects(self) -> tuple[Effect, ...]:
        """Return the writes that make outside objects what they are now."""
        found: list[Effect] = []
        for call in self.machine.state.effects:
            found.append(
                CallFunction(
                    self.box(call.function),
                    tuple(map(self.box, call.arguments)),
                    tuple((name, self.box(value)) for name, value in call.keywords),
                )
            )
        for index, item in sorted(self.machine.state.heap.items(), reverse=True):
            if index < 0 and item.written:
                found.extend(self._object_effects(item))
        filled: list[Effect] = []
        while self.cells or self.later:
            while self.cells:
                cell, contents = self.cells.pop()
                filled.append(SetAttribute(cell, "cell_contents", self.box(contents)))
            if self.later:
                edge, value = self.later.pop()
                filled.append(self._postponed_effect(edge, value))
        grown = {str(item.place) for item in self.machine.state.heap.values() if item.written and _has_grown(item)}
        self.machine.externals.grown |= grown.difference(map(_replaced, (*filled, *found)))
        return (*filled, *found)

    def _postponed_effect(self, edge: Edge, value: AbstractValue) -> Effect:
        """Return the write that puts into an object what could not be made before it."""
        index, slot = edge
        owner, item = self.box(Reference(index)), self.machine.state.at(index)
        if isinstance(item, ListObject):
            return SetItem(owner, ConstantBox(slot), self.box(value))
        if isinstance(item, DictObject):
            return SetItem(owner, self.key(slot), self.box(value))
        assert isinstance(item, Instance)
        return self._attribute_effect(owner, item.type_, slot, value)

    def _object_effects(self, item: Any) -> list[Effect]:
        if isinstance(item, Storage):
            assert item.place is not None
            return [] if item.version is item.original else [WriteArray(item.place, self.operand(item.version))]
        if isinstance(item, ListObject):
            return self._list_effects(item)
        if isinstance(item, GrownList):
            return self._grown_effects(item)
        if isinstance(item, DictObject):
            return self._dict_effects(item)
        if isinstance(item, SetObject):
            return self._set_effects(item)
        if isinstance(item, Instance):
            return self._instance_effects(item)
        if isinstance(item, Cell) and item.live is not None and item.value is not None:
            if item.holder is not None:
                return [SetAttribute(PlaceBox(item.holder), "cell_contents", self.box(item.value))]
            return [SetCell(item.live, self.box(item.value))]
        if isinstance(item, Namespace):
            return [
                DeleteGlobal(item.live, name) if value is None else SetGlobal(item.live, name, self.box(value))
                for name in item.changed
                for value in (item.names[name],)
            ]
        return []

    def _list_effects(self, item: ListObject) -> list[Effect]:
        assert item.place is not None
        owner = PlaceBox(item.place)
        kept = len(item.original)
        if item.intact:
            return [ListAppend(owner, self.box(value)) for value in item.items[kept:]]
        if len(item.items) == kept:
            return [
                SetItem(owner, ConstantBox(position), self.box(value))
                for position, (value, before) in enumerate(zip(item.items, item.original, strict=True))
                if value is not before
            ]
        self.machine.externals.guard_length(item.place, kept)
        return [ReplaceContents(owner, tuple(map(self.box, item.items)))]

    def _grown_effects(self, item: GrownList) -> list[Effect]:
        assert item.place is not None
        owner = PlaceBox(item.place)
        filled = CallFunction(ConstantBox(list.extend), (owner, self.filled(item)))
        return [
            *self._object_effects(item.base),
            filled,
            *(ListAppend(owner, self.box(value)) for value in item.later),
        ]

    def _set_effects(self, item: SetObject) -> list[Effect]:
        assert item.place is not None
        owner = PlaceBox(item.place)
        removed = [key for key in item.original if key not in item.items]
        added = [value for key, value in item.items.items() if key not in item.original]
        effects: list[Effect] = [CallFunction(ConstantBox(set.discard), (owner, self.key(key))) for key in removed]
        return [*effects, *(CallFunction(ConstantBox(set.add), (owner, self.box(value))) for value in added)]

    def _dict_effects(self, item: DictObject) -> list[Effect]:
        assert item.place is not None
        owner = PlaceBox(item.place)
        effects: list[Effect] = []
        kept = [key for key in item.original if key in item.items]
        new = [key for key in item.items if key not in item.original]
        # an equal key of another type, as True for 1, has come back for one that was deleted
        reordered = [(type(key), key) for key in (*kept, *new)] != [(type(key), key) for key in item.items]
        for key in item.original:
            if key not in item.items or reordered:
                effects.append(DeleteItem(owner, self.key(key)))
        effects.extend(
            SetItem(owner, self.key(key), self.box(value))
            for key, value in item.items.items()
            if reordered or key not in item.original or value is not item.original[key]
        )
        return effects

    def _instance_effects(self, item: Instance) -> list[Effect]:
        assert item.place is not None
        owner = PlaceBox(item.place)
        found = ATTRIBUTES[0](self.machine, item)
        return [self._attribute_effect(owner, item.type_, name, found[name]) for name in item.changed]

    def _attribute_effect(self, owner: Box, type_: type, name: str, value: AbstractValue) -> Effect:
        """Return the write of an attribute; a class's own ``__setattr__`` has been followed, and is not run again."""
        removed = isinstance(value, Known) and value.value is MISSING
        method = "__delattr__" if removed else "__setattr__"
        made = () if removed else (self.box(value),)
        if self.machine.externals.on_type(type_, method) is not object.__dict__[method]:
            return CallFunction(ConstantBox(object.__dict__[method]), (owner, ConstantBox(name), *made))
        return SetAttribute(owner, name, *made) if made else DeleteAttribute(owner, name)


def _has_grown(item: Any) -> bool:
    """Return whether a list from outside is longer at the exit than it was, and what it held is still in its place."""
    if isinstance(item, ListObject):
        return item.place is not None and item.intact and len(item.items) > len(item.original)
    return isinstance(item, GrownList) and item.place is not None


def _replaced(effect: Effect) -> str | None:
    """Return the place, in words, in which an effect puts another object."""
    if isinstance(effect, SetGlobal):
        return effect.name
    if isinstance(effect, SetAttribute) and isinstance(effect.owner, PlaceBox):
        return f"{effect.owner.place}.{effect.name}"
    if isinstance(effect, SetItem) and isinstance(effect.owner, PlaceBox) and isinstance(effect.key, ConstantBox):
        return f"{effect.owner.place}[{effect.key.value!r}]"
    return None


def exit_graph(machine: Machine, value: AbstractValue) -> Terminated:
    """End the path with an exit that returns ``value``."""
    check_generators(machine, machine.state)
    return end_with(machine, lambda boxer: boxer.box(value))


def end_with(machine: Machine, make: Callable[[Boxer], Box]) -> Terminated:
    """End the path with an exit; ``make`` boxes its result. Objects that hold each other are made, then joined."""
    postponed: set[Edge] = set()
    while True:
        boxer = Committer(machine, postponed)
        try:
            recipe = ExitRecipe(make(boxer), boxer.effects())
        except Cycle as found:
            postponed.add(found.edge)
            continue
        return machine.terminate(Node("exit", tuple(boxer.operands), (), {"recipe": recipe}, machine.span))


EXIT.append(exit_graph)
