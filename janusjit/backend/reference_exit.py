"""Leaving a graph in the reference backend.

Owns `Exit`: making the objects of an exit's recipe and committing its effects. Invariant: every object and every value
to be written exists before the first effect, so a commit cannot fail half way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatchmethod
from typing import Any

import numpy as np

from janusjit.ir import boxes as bx
from janusjit.ir.graph import Node
from janusjit.ir.guards import scalar_type
from janusjit.ops import OPS
from janusjit.ops.objects import object_at
from janusjit.ops.registry import View

Replay = Callable[[Node, Any], Any]


class Exit:
    """What one run does at its exit.

    Parameters
    ----------
    node : Node
        The exit.
    operands : list
        The values of its inputs.
    arguments : sequence
        The call's, for places.
    replay : callable
        ``replay(view node, array)`` does a view operation again on another array.
    """

    def __init__(self, node: Node, operands: list[Any], arguments: Sequence[Any], replay: Replay) -> None:
        self._node = node
        self._operands = operands
        self._arguments = arguments
        self._replay = replay
        self._keyed: dict[int, Any] = {}

    def leave(self) -> Any:
        """Make all objects, commit all effects in order, and return the result."""
        recipe: bx.ExitRecipe = self._node.attributes["recipe"]
        commits = [self.prepare(effect) for effect in recipe.effects]
        result = self.make(recipe.result)
        for commit in commits:
            commit()
        return result

    def make(self, box: bx.Box) -> Any:
        """Return the object a box describes; one object for one key."""
        key = getattr(box, "key", -1)
        if key < 0:
            return self._make(box)
        if key not in self._keyed:
            self._keyed[key] = self._make(box)
        return self._keyed[key]

    @singledispatchmethod
    def _make(self, box: bx.Box) -> Any:
        raise TypeError(f"the reference backend cannot make a {type(box).__name__}")

    @_make.register
    def _constant(self, box: bx.ConstantBox) -> Any:
        return box.value

    @_make.register
    def _choice(self, box: bx.ChoiceBox) -> Any:
        return box.objects[int(self._operands[box.operand])]

    @_make.register
    def _either(self, box: bx.EitherBox) -> Any:
        return self.make(dict(box.options)[int(self._operands[box.operand])])

    @_make.register
    def _place(self, box: bx.PlaceBox) -> Any:
        return box.place.read(self._arguments)

    @_make.register
    def _scalar(self, box: bx.ScalarBox) -> Any:
        operand = self._operands[box.operand]
        return object_at(operand) if box.kind == "object" else scalar_type(box.kind)(operand)

    @_make.register
    def _array(self, box: bx.ArrayBox) -> Any:
        if not box.order:
            return np.array(self._operands[box.operand], order="C")
        outside_in = np.array(self._operands[box.operand].transpose(box.order), order="C")
        made = np.empty_like(outside_in.transpose(np.argsort(box.order)))  # which owns its memory
        made[...] = self._operands[box.operand]
        return made

    @_make.register
    def _view(self, box: bx.ViewBox) -> Any:
        base = self.make(box.base)
        last = self._node.inputs[box.base.operand] if isinstance(box.base, bx.ArrayBox) else None
        steps: list[Node] = []
        value = self._node.inputs[box.operand]
        while value is not last and value.node is not None and _is_view(value.node):
            steps.append(value.node)
            value = value.node.inputs[0]
        for step in reversed(steps):
            base = self._replay(step, base)
        return base

    @_make.register
    def _sequence(self, box: bx.SequenceBox) -> Any:
        return box.type_([self.make(item) for item in box.items])

    @_make.register
    def _dict(self, box: bx.DictBox) -> Any:
        return {self.make(key): self.make(value) for key, value in box.items}

    @_make.register
    def _object(self, box: bx.ObjectBox) -> Any:
        made = box.type_.__new__(box.type_)  # type: ignore[call-overload]
        for name, value in box.attributes:
            object.__setattr__(made, name, self.make(value))
        return made

    @_make.register
    def _call(self, box: bx.CallBox) -> Any:
        return box.function(*map(self.make, box.arguments))

    @singledispatchmethod
    def prepare(self, effect: bx.Effect) -> Callable[[], Any]:
        """Make the objects an effect needs, and return what commits it."""
        raise TypeError(f"the reference backend cannot commit a {type(effect).__name__}")

    @prepare.register
    def _set_attribute(self, effect: bx.SetAttribute) -> Callable[[], Any]:
        owner, value = self.make(effect.owner), self.make(effect.value)
        return lambda: setattr(owner, effect.name, value)

    @prepare.register
    def _delete_attribute(self, effect: bx.DeleteAttribute) -> Callable[[], Any]:
        owner = self.make(effect.owner)
        return lambda: delattr(owner, effect.name)

    @prepare.register
    def _set_item(self, effect: bx.SetItem) -> Callable[[], Any]:
        owner, key, value = self.make(effect.owner), self.make(effect.key), self.make(effect.value)
        return lambda: owner.__setitem__(key, value)

    @prepare.register
    def _delete_item(self, effect: bx.DeleteItem) -> Callable[[], Any]:
        owner, key = self.make(effect.owner), self.make(effect.key)
        return lambda: owner.__delitem__(key)

    @prepare.register
    def _append(self, effect: bx.ListAppend) -> Callable[[], Any]:
        owner, value = self.make(effect.owner), self.make(effect.value)
        return lambda: owner.append(value)

    @prepare.register
    def _replace(self, effect: bx.ReplaceContents) -> Callable[[], Any]:
        owner, items = self.make(effect.owner), [self.make(item) for item in effect.items]

        def commit() -> None:
            owner.clear()
            owner.extend(items) if isinstance(owner, list) else owner.update(items)

        return commit

    @prepare.register
    def _set_global(self, effect: bx.SetGlobal) -> Callable[[], Any]:
        value = self.make(effect.value)
        return lambda: effect.namespace.__setitem__(effect.name, value)

    @prepare.register
    def _delete_global(self, effect: bx.DeleteGlobal) -> Callable[[], Any]:
        return lambda: effect.namespace.__delitem__(effect.name)

    @prepare.register
    def _set_cell(self, effect: bx.SetCell) -> Callable[[], Any]:
        value = self.make(effect.value)
        return lambda: setattr(effect.cell, "cell_contents", value)

    @prepare.register
    def _write(self, effect: bx.WriteArray) -> Callable[[], Any]:
        target, value = effect.place.read(self._arguments), np.array(self._operands[effect.operand])
        return lambda: np.copyto(target, value)

    @prepare.register
    def _function(self, effect: bx.CallFunction) -> Callable[[], Any]:
        function, arguments = self.make(effect.function), [self.make(item) for item in effect.arguments]
        keywords = {name: self.make(item) for name, item in effect.keywords}
        return lambda: function(*arguments, **keywords)


def _is_view(node: Node) -> bool:
    return node.op in OPS and isinstance(OPS[node.op].lowering, View)
