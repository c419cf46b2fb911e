"""Python functions from outside that are other objects at other calls, made anew by the same definition.

Owns `read_function`, which reads such a function by its code, defaults and cells, and `same_definition`. Invariant: a
function is known by its identity until another one of the same definition has been found in its place.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from janusjit.analysis.capture.values import AbstractValue, FunctionValue, HostValue, TupleValue
from janusjit.analysis.source import SourceError, load
from janusjit.ir.guards import IdentityIs, TypeIs
from janusjit.ir.places import ConstantPlace, GlobalPlace, Place

if TYPE_CHECKING:
    from janusjit.analysis.capture.externals import Externals


def redefinition_key(place: Place, live: Any) -> Any:
    """Return the key under which a function found at a place is no longer taken to be always the same; else None."""
    if type(live) is not types.FunctionType or isinstance(place, ConstantPlace | GlobalPlace) or live.__dict__:
        return None
    return ("function", str(place))


def same_definition(one: Any, other: Any) -> bool:
    """Whether two functions were made by the same ``def`` or ``lambda``."""
    return (
        type(other) is types.FunctionType
        and one.__code__ is other.__code__
        and one.__globals__ is other.__globals__
        and not other.__dict__
    )


def read_function(externals: Externals, place: Place, live: types.FunctionType) -> AbstractValue | None:
    """Return a function by what it is made of; None where capture cannot read it.

    Parameters
    ----------
    externals : Externals
        Reads its defaults and cells, and guards its code.
    place : Place
        Where it is.
    live : function
        The function of the call capture looks at.
    """
    if live.__kwdefaults__ is not None:
        return None
    try:
        core = load(live)
    except SourceError:
        return None
    span = externals.span()
    externals.guard((id(place), "type"), TypeIs(place, types.FunctionType, span=span))
    for name in ("__code__", "__globals__", "__kwdefaults__"):
        part = externals.attribute_place(place, name)
        externals.guard((id(part), "identity"), IdentityIs(part, getattr(live, name), span=span))
    defaults = externals.read(externals.attribute_place(place, "__defaults__"), live.__defaults__)
    return FunctionValue(
        core,
        live.__globals__,
        _cells(externals, externals.attribute_place(place, "__closure__"), live),
        defaults.items if isinstance(defaults, TupleValue) else (),
        (),
        live.__code__,
        made=HostValue(place, live),
        wraps=True,  # its name may be any
    )


def _cells(externals: Externals, place: Place, live: types.FunctionType) -> tuple[tuple[str, AbstractValue], ...]:
    span, cells = externals.span(), live.__closure__
    if cells is None:
        externals.guard((id(place), "identity"), IdentityIs(place, None, span=span))
        return ()
    externals.guard((id(place), "type"), TypeIs(place, tuple, span=span))
    externals.guard_length(place, len(cells))
    found = []
    for position, (name, cell) in enumerate(zip(live.__code__.co_freevars, cells, strict=True)):
        found.append((name, externals.held_cell(externals.item_place(place, position), cell, name)))
    return tuple(found)
