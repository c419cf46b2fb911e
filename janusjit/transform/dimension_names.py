"""Other names for dimensions that are known at run time only.

Owns `rename_dims`. Invariant: a node and all that is nested in it speak of the new names only.
"""

from __future__ import annotations

from collections.abc import Mapping

from janusjit.ir.dims import DimExpr, Symbol
from janusjit.ir.graph import Node, Value, walk
from janusjit.ir.verify import symbols_in
from janusjit.ops.indexing import evaluate_attributes


class _Names(dict[Symbol, DimExpr]):
    """The new names; any other symbol stands for itself."""

    def __missing__(self, key: Symbol) -> DimExpr:
        return DimExpr((((key,), 1),))


def rename_dims(node: Node, names: Mapping[Symbol, DimExpr]) -> None:
    """Give dimensions other names, in a node and in the nodes of its regions."""
    known = _Names(names)
    for one in (node, *(inner for region in node.regions for inner in walk(region))):
        for value in one.results:
            _rename_type(value, known)
        for region in one.regions:
            for parameter in region.parameters:
                _rename_type(parameter, known)
        one.attributes = {name: _renamed(item, known) for name, item in one.attributes.items()}


def _renamed(item: object, names: _Names) -> object:
    if isinstance(item, Symbol):
        return next(iter(names[item].symbols()))
    return evaluate_attributes(item, names) if symbols_in(item) else item  # type: ignore[arg-type]


def _rename_type(value: Value, names: _Names) -> None:
    if symbols_in(value.type.shape):
        value.type = value.type.with_shape(evaluate_attributes(value.type.shape, names))  # type: ignore[arg-type]
