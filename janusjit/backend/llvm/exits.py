"""The operands of an exit.

Owns `exit_operands`. Invariants: an operand boxed once is handed over with the ndarray it was computed in, one boxed
more often, or in another order of axes than it was computed in, is copied for each box; and a view lies in the memory
of the array it is to be a view of, even where its values were computed in a copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from llvmlite import ir

from janusjit.backend.address import Address, view_of
from janusjit.backend.layout import ordered
from janusjit.backend.llvm.memory import Memory
from janusjit.backend.llvm.values import ArrayValue, Operand
from janusjit.backend.plan import VIEW_OPS
from janusjit.ir.boxes import ArrayBox, Box, Effect, ExitRecipe, PlaceBox, ViewBox
from janusjit.ir.graph import Graph, Node, Value


def exit_operands(memory: Memory, graph: Graph, operand: Callable[[Value], Operand], node: Node) -> list[Operand]:
    """Return the operands of an exit node for `PythonEmitter.emit_exit`."""
    boxes = list(boxes_of(node.attributes["recipe"]))
    operands = [operand(value) for value in node.inputs]
    boxed: Counter[ir.Value] = Counter()
    arrays = [box for box in boxes if isinstance(box, ArrayBox)]
    for fresh in {(box.key if box.key >= 0 else -1 - n): box for n, box in enumerate(arrays)}.values():
        array = operands[fresh.operand]
        if isinstance(array, ArrayValue) and array.owner is not None:
            boxed[array.owner] += 1
    for one in arrays:
        array = operands[one.operand]
        if isinstance(array, ArrayValue) and not _is_in_order(memory, node.inputs[one.operand], one):
            operands[one.operand] = replace(array, owner=None)
    operands = [
        replace(o, owner=None) if isinstance(o, ArrayValue) and o.owner is not None and boxed[o.owner] > 1 else o
        for o in operands
    ]
    for box in boxes:
        if isinstance(box, ViewBox):
            value = node.inputs[box.operand]
            base = node.inputs[box.base.operand] if isinstance(box.base, ArrayBox) else None
            found = _view_operand(memory, graph, value, base, box)
            operands[box.operand] = operands[box.operand] if found is None else found
    return operands


def _is_in_order(memory: Memory, value: Value, box: ArrayBox) -> bool:
    """Return whether an array lies as what is made of it; C order is that of all that is owned."""
    return not box.order or memory.addresses.of(value).layout == ordered(value.type, box.order)


def _view_operand(
    memory: Memory, graph: Graph, value: Value, base: Value | None, box: ViewBox
) -> ArrayValue | None:
    """Return a view in the memory of the object it is to be a view of; None if the operand is right as it is.

    A view without dimensions is a number to compiled code, and a view of that an array of its own.
    """
    views = []
    while value is not base and value.node is not None and value.node.op in VIEW_OPS:
        views.append(value.node)
        value = value.node.inputs[0]
    if value is not base and value.node is not None and value.node.op == "copy":
        raise ValueError("a view that was copied cannot be made a view of what it was copied from")
    if isinstance(box.base, PlaceBox):
        place = box.base.place
        value = next(input_.value for input_ in graph.inputs if input_.place is place)
    elif isinstance(box.base, ArrayBox) and box.base.order:
        return _view_of_copy(memory, views, value, box.base)
    elif all(view.result.type.rank > 0 for view in views):
        return None
    if value.type.rank == 0:
        return None
    return _along(memory, views, memory.addresses.of(value))


def _view_of_copy(memory: Memory, views: list[Node], value: Value, base: ArrayBox) -> ArrayValue:
    """Return a view of an array whose axes lie in another order in what is made of it."""
    address = memory.addresses.of(value)
    return _along(memory, views, replace(address, layout=ordered(value.type, base.order)))


def _along(memory: Memory, views: list[Node], address: Address) -> ArrayValue:
    for view in reversed(views):
        address = view_of(address, view)
    return memory.array_at(address)


def boxes_of(recipe: ExitRecipe) -> Iterator[Box]:
    """Yield every box of a recipe."""
    pending: list[object] = [recipe.result, *recipe.effects]
    while pending:
        part = pending.pop()
        if isinstance(part, Box):
            yield part
        if isinstance(part, (Box, Effect)):
            pending.extend(getattr(part, field.name) for field in fields(part))
        elif isinstance(part, tuple):
            pending.extend(part)
