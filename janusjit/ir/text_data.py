"""The leaves of the textual IR: literals, object references, dimensions, places, spans.

Owns `DataPrinter`. Invariant: what it prints, `janusjit.ir.parse` reads back to an equal value, or with the printer's
namespace to the same object.
"""

from __future__ import annotations

import builtins
import re
import struct
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from janusjit.ir import places as pl
from janusjit.ir.boxes import ExitRecipe
from janusjit.ir.dims import DimExpr, Symbol, symbols_of
from janusjit.ir.graph import Graph
from janusjit.ir.guards import Guard
from janusjit.ir.types import TensorType
from janusjit.spans import UNKNOWN_SPAN, Span

NAN_BITS = 0x7FF8000000000000


def quote(text: str) -> str:
    """Return a Python string literal, with double quotes where they need no escaping."""
    plain = text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else repr(text)


def format_span(span: Span) -> str:
    """Return `` @file:line:column``, or nothing for an unknown span."""
    if span == UNKNOWN_SPAN:
        return ""
    name = span.file.rsplit("/", 1)[-1]
    name = name if re.fullmatch(r"[\w.<>+-]+", name) else quote(name)
    return f" @{name}:{span.line}:{span.column}"


def identifier(text: str, default: str) -> str:
    """Return ``text`` with all but letters, digits, underscores (and dots inside) replaced."""
    cleaned = re.sub(r"[^\w.]", "_", text).strip(".")
    return cleaned if re.match(r"[^\W\d]", cleaned) else f"{default}{cleaned}"


class Names:
    """Unique names for objects compared by identity."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.taken = set(reserved)
        self.names: dict[int, str] = {}
        self.objects: list[Any] = []

    def of(self, item: Any, wanted: str) -> str:
        name = self.names.get(id(item))
        if name is None:
            name, count = wanted, 1
            while name in self.taken:
                count += 1
                name = f"{wanted}_{count}"
            self.taken.add(name)
            self.names[id(item)] = name
            self.objects.append(item)  # keeps the id from being used again
        return name


class DataPrinter:
    """Prints plain data, object references, dimensions and places; collects what ``&name`` refers to."""

    def __init__(self, parameters: tuple[str, ...] = ()) -> None:
        self.namespace: dict[str, Any] = {}
        self.roots: dict[str, str] = {}
        self._objects = Names()
        self._places = Names(parameters)

    def reference(self, item: Any) -> str:
        """Return ``&name`` for an object, and enter it in the namespace."""
        module_dict = isinstance(item, dict) and "__name__" in item
        own = item["__name__"] if module_dict else getattr(item, "__qualname__", getattr(item, "__name__", None))
        wanted = own if isinstance(own, str) else f"{type(item).__name__}_object"
        name = self._objects.of(item, identifier(wanted, "object_"))
        if getattr(builtins, name, self) is not item:
            self.namespace[name] = item
        return f"&{name}"

    def data(self, item: Any) -> str:
        """Return the text of an attribute value or guard field."""
        if item is None or type(item) in (bool, int, bytes):
            return repr(item)
        if type(item) is str:
            return quote(item)
        if type(item) is float:
            return format_float(item)
        if type(item) is tuple:
            return f"({', '.join(map(self.data, item))}{',' if len(item) == 1 else ''})"
        if isinstance(item, DimExpr):
            return str(item) if str(item).isidentifier() else f"dim({item})"
        if isinstance(item, Symbol):
            return f"symbol({item.name})"
        if isinstance(item, TensorType):
            return str(item)
        if isinstance(item, pl.Place):
            return self.place(item)
        if is_dataclass(item) and not isinstance(item, type):
            return self.record(item)
        return self.reference(item)

    def record(self, item: Any) -> str:
        """Return ``ClassName(field, …)`` for a dataclass instance; keyword-only fields are left out."""
        name = self.reference(type(item))[1:]
        return f"{name}({', '.join(self.data(getattr(item, f.name)) for f in fields(item) if not f.kw_only)})"

    def place(self, place: pl.Place) -> str:
        """Return a place as a path; its root is declared in ``roots`` unless it is an argument."""
        if isinstance(place, pl.ArgumentPlace):
            return place.name
        if isinstance(place, pl.AttributePlace):
            return f"{self.place(place.owner)}.{place.name}"
        if isinstance(place, pl.ItemPlace):
            return f"{self.place(place.owner)}[{self.data(place.key)}]"
        if isinstance(place, pl.LengthPlace):
            return f"{self.place(place.owner)}.len()"
        if isinstance(place, pl.PackedPlace):
            last = "" if place.last is None else f", {place.last}"
            return f"{self.place(place.owner)}.packed({self.data(place.kind)}{last})"
        if isinstance(place, pl.MembershipPlace):
            return f"{self.place(place.owner)}.has({self.data(place.key)})"
        if not isinstance(place, (pl.ConstantPlace, pl.GlobalPlace, pl.CellPlace)):
            raise TypeError(f"{type(place).__name__} has no text")
        name = self._places.of(place, identifier(place.name, "place_").replace(".", "_"))
        if name not in self.roots:
            kind, item = _root(place)
            self.roots[name] = f"{kind}({self.reference(item)}, {quote(place.name)})"
        return name


def _root(place: pl.ConstantPlace | pl.GlobalPlace | pl.CellPlace) -> tuple[str, Any]:
    if isinstance(place, pl.ConstantPlace):
        return "constant", place.value
    return ("global", place.namespace) if isinstance(place, pl.GlobalPlace) else ("cell", place.cell)


def format_float(value: float) -> str:
    """Return a float's shortest exact text; infinities as ``+inf``, ``-inf``, NaN as ``+nan`` (or by its bits)."""
    if value != value:
        (bits,) = struct.unpack("<Q", struct.pack("<d", value))
        return "+nan" if bits == NAN_BITS else f"float_bits({bits:#x})"
    return f"{'+' if value > 0 else ''}{value!r}" if value in (float("inf"), float("-inf")) else repr(value)


def all_symbols(graph: Graph) -> set[Symbol]:
    """Return every symbol that types, attributes, guards or bindings of a graph mention.

    Raises
    ------
    ValueError
        Two different symbols have one name.
    """
    found = set(graph.symbols)
    for value in (given.value for given in graph.inputs):
        found |= symbols_of(value.type.shape)
    for guard in graph.guards.entry:
        _symbols_in(tuple(getattr(guard, f.name) for f in fields(guard) if not f.kw_only), found)
    for node in graph.walk():
        for value in (*node.results, *(p for region in node.regions for p in region.parameters)):
            found |= symbols_of(value.type.shape)
        for item in node.attributes.values():
            _symbols_in(item, found)
    if len({symbol.name for symbol in found}) != len(found):
        raise ValueError(f"two symbols of graph {graph.name} have one name: {sorted(found)}")
    return found


def _symbols_in(item: Any, found: set[Symbol]) -> None:
    if isinstance(item, Symbol):
        found.add(item)
    elif isinstance(item, DimExpr):
        found |= item.symbols()
    elif isinstance(item, TensorType):
        found |= symbols_of(item.shape)
    elif isinstance(item, tuple):
        for part in item:
            _symbols_in(part, found)
    elif is_dataclass(item) and not isinstance(item, (type, ExitRecipe, Guard, pl.Place)):
        for field in fields(item):
            _symbols_in(getattr(item, field.name), found)
