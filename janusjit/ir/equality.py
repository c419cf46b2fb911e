"""Structural equality of graphs.

Owns `difference`. Invariant: two graphs without difference print alike up to value names, and mean the same; objects
they refer to (`ConstantPlace` values, types, functions) are the same ones.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from janusjit.ir.dims import DimExpr, Symbol
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.text_data import format_float, format_span
from janusjit.ir.types import TensorType
from janusjit.spans import Span


def difference(first: Graph, second: Graph) -> str | None:
    """Return where two graphs differ, in words, or None if they are structurally equal.

    Spans are compared by file name, line and column.
    """
    return _Comparison().graphs(first, second)


class _Comparison:
    def __init__(self) -> None:
        self._values: dict[Value, Value] = {}
        self._shared: dict[int, Any] = {}

    def graphs(self, first: Graph, second: Graph) -> str | None:
        for name in ("name", "parameters", "span"):
            if found := self.data(getattr(first, name), getattr(second, name)):
                return f"{name}: {found}"
        if len(first.inputs) != len(second.inputs):
            return f"{len(first.inputs)} and {len(second.inputs)} inputs"
        for a, b in zip(first.inputs, second.inputs, strict=True):
            self._values[a.value] = b.value
            for x, y in ((a.place, b.place), (a.value.type, b.value.type), (a.kind, b.kind), (a.layout, b.layout)):
                if found := self.data(x, y):
                    return f"input {a.place}: {found}"
        if first.symbols != second.symbols:
            return f"symbols {first.symbols} and {second.symbols}"
        if found := self.data(tuple(first.guards.entry), tuple(second.guards.entry)):
            return f"entry guards: {found}"
        if found := self.data(tuple(first.guards.in_graph), tuple(second.guards.in_graph)):
            return f"in-graph guards: {found}"
        return self.regions(first.body, second.body)

    def regions(self, first: Region, second: Region) -> str | None:
        if [p.type for p in first.parameters] != [p.type for p in second.parameters]:
            return "the parameters of a region differ"
        self._values.update(zip(first.parameters, second.parameters, strict=True))
        if len(first.nodes) != len(second.nodes):
            return f"a region has {len(first.nodes)} and {len(second.nodes)} nodes"
        pairs = zip(first.nodes, second.nodes, strict=True)
        return next((found for a, b in pairs if (found := self.nodes(a, b))), None)

    def nodes(self, first: Node, second: Node) -> str | None:
        where = f"{first!r} and {second!r}"
        if first.op != second.op or format_span(first.span) != format_span(second.span):
            return where
        if len(first.inputs) != len(second.inputs) or len(first.regions) != len(second.regions):
            return f"{where} have different numbers of inputs or regions"
        for number, (a, b) in enumerate(zip(first.inputs, second.inputs, strict=True)):
            if self._values.get(a) is not b:
                return f"{where} have different inputs {number}"
        if found := self.data(first.guard, second.guard):
            return f"{where}: guard: {found}"
        if found := self.data(_meaning(first), _meaning(second)):
            return f"{where}: {found}"
        if [r.type for r in first.results] != [r.type for r in second.results]:
            return f"{where} have different result types"
        for a_region, b_region in zip(first.regions, second.regions, strict=True):
            if found := self.regions(a_region, b_region):
                return found
        self._values.update(zip(first.results, second.results, strict=True))
        return None

    def data(self, first: Any, second: Any) -> str | None:
        """Compare attribute values, guards, places, boxes."""
        unequal = f"{first!r} and {second!r}"
        if type(first) is not type(second):
            return unequal
        if isinstance(first, Span):
            return None if format_span(first) == format_span(second) else unequal
        if isinstance(first, float):
            return None if format_float(first) == format_float(second) else unequal
        if isinstance(first, tuple):
            if len(first) != len(second):
                return unequal
            return next((found for a, b in zip(first, second, strict=True) if (found := self.data(a, b))), None)
        if isinstance(first, (DimExpr, Symbol, TensorType)):
            return None if first == second else unequal
        if is_dataclass(first) and not isinstance(first, type):
            return self._records(first, second)
        if isinstance(first, dict) and set(first) == set(second) and "__name__" not in first:
            return next((f"{key}: {found}" for key in first if (found := self.data(first[key], second[key]))), None)
        hashable = type(first).__hash__ is not None  # an ndarray is not, and its == is no bool
        return None if first is second or (hashable and first == second) else unequal

    def _records(self, first: Any, second: Any) -> str | None:
        if id(first) in self._shared:  # one object on one side is one object on the other
            return None if self._shared[id(first)] is second or first == second else f"{first!r} is shared differently"
        self._shared[id(first)] = second
        for field in fields(first):
            if field.compare and (found := self.data(getattr(first, field.name), getattr(second, field.name))):
                return f"{field.name}: {found}"
        return None


def _meaning(node: Node) -> dict[str, Any]:
    """Return the attributes of a node; the guard of a ``fail`` is compared as the node's."""
    return {name: value for name, value in node.attributes.items() if name != "guard"}
