"""Assignment targets.

Owns writing a value to a target of any form. Invariant: targets are written left to right, the owner and the index of
each evaluated when its turn comes.
"""

from __future__ import annotations

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Local
from janusjit.analysis.lower.context import Lowering
from janusjit.analysis.lower.expressions import lower_index


def assign(state: Lowering, target: cst.CSTNode, value: Atom, owned: bool = False) -> None:
    """Write ``value`` to ``target``; ``owned`` says that nobody else reads the temporary ``value``."""
    if isinstance(target, cst.Name):
        state.store(target, target.value, value, owned)
    elif isinstance(target, cst.Attribute):
        owner = state.expression(target.value)
        state.emit(core.StoreAttribute, target, owner, state.mangled(target.attr.value), value)
    elif isinstance(target, cst.Subscript):
        owner = state.settled(state.expression(target.value), target.value, target.slice)
        state.emit(core.StoreItem, target, owner, lower_index(state, target), value)
    elif isinstance(target, cst.Tuple | cst.List):
        _unpack(state, target, value)
    else:
        raise state.unsupported(target, f"the assignment target {type(target).__name__} is not known")


def _unpack(state: Lowering, target: cst.Tuple | cst.List, value: Atom) -> None:
    """Unpack into plain locals at once, or through temporaries when a target is more than that."""
    elements = [element.value for element in target.elements]
    starred = [isinstance(element, cst.StarredElement) for element in target.elements]
    star = starred.index(True) if any(starred) else -1
    names = [state.plain_local(item.value) if isinstance(item, cst.Name) else None for item in elements]
    plain = [name for name in names if name is not None]
    if len(plain) == len(elements):
        state.emit(core.Unpack, target, tuple(plain), star, value)
        return
    temporaries = tuple(state.fresh() for _ in elements)
    state.emit(core.Unpack, target, temporaries, star, value)
    for item, temporary in zip(elements, temporaries, strict=True):
        assign(state, item, Local(temporary))


def delete(state: Lowering, target: cst.CSTNode) -> None:
    """Lower ``del target``."""
    if isinstance(target, cst.Name):
        state.delete(target, target.value)
    elif isinstance(target, cst.Attribute):
        owner = state.expression(target.value)
        state.emit(core.RemoveAttribute, target, owner, state.mangled(target.attr.value))
    elif isinstance(target, cst.Subscript):
        owner = state.settled(state.expression(target.value), target.value, target.slice)
        state.emit(core.RemoveItem, target, owner, lower_index(state, target))
    elif isinstance(target, cst.Tuple | cst.List):
        for element in target.elements:
            delete(state, element.value)
    else:
        raise state.unsupported(target, f"the deletion target {type(target).__name__} is not known")
