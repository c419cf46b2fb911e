"""Dicts from outside that may be where the attributes of an object, or a module's globals, are kept.

Owns the guards that tell them apart. Invariant: what capture follows as two things, the items of a dict and attributes
or globals of the same names, is two things at each call, unless nothing writes it.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator
from typing import Any

from janusjit.analysis.capture.externals import Externals
from janusjit.analysis.capture.state import DictObject, Instance
from janusjit.analysis.capture.values import Reference
from janusjit.errors import CaptureFailure
from janusjit.ir.guards import DistinctObjects, find_on_type
from janusjit.ir.places import Place
from janusjit.spans import Span


def tell_tables_apart(externals: Externals, written: Collection[int], span: Span) -> None:
    """Assume of each dict that shares names with an object or a module that these are not kept in it.

    Raises
    ------
    CaptureFailure
        If they are kept in it now.
    """
    items = externals.templates.items()
    dicts = {index: item.place for index, item in items if isinstance(item, DictObject) and item.type_ is dict}
    for index, place in dicts.items():
        if place is None:
            continue
        keys = externals.names_at(place, "item")
        for table, where in _tables(externals, place, keys, index in written, written):
            if externals.live_object(Reference(index)) is table:
                reason = "its items are attributes or globals that are used by their names as well, and written"
                raise CaptureFailure("python.aliasing", "supportable", span, str(place), reason)
            externals.guard((id(place), id(where), "table"), DistinctObjects(place, where, span=span))


def _tables(
    externals: Externals, place: Place, keys: set[str], is_written: bool, written: Collection[int]
) -> Iterator[tuple[dict[str, Any], Place]]:
    """Yield what keeps names that a dict shares, and where it is found."""
    for namespace, names in externals.names_of_globals().values():
        if names & keys:
            yield namespace, externals.constant_place(namespace, "globals()")
    for index, item in externals.templates.items():
        if not isinstance(item, Instance) or item.place is None or not (is_written or index in written):
            continue
        if not isinstance(find_on_type(item.type_, "__dict__"), types.GetSetDescriptorType):
            continue
        if externals.names_at(item.place, "attribute") & keys or (index in written and externals.has_keys(place)):
            yield item.live.__dict__, externals.attribute_place(item.place, "__dict__")
