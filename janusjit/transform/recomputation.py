"""Keep or compute again: what a backward region does to have the values of the forward region.

Owns `choose`. A value is computed again if that is cheap, and what it is computed from takes no more memory than the
value itself. Invariant: what is computed again has the bits it had, because the same operations are done on the same
values; nothing that can fail is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from janusjit.ir.dims import Dim, DimExpr, evaluate
from janusjit.ir.graph import Node, Value
from janusjit.ops import OPS
from janusjit.ops.registry import Elementwise, View

#: elementwise functions that take longer than the memory traffic of keeping their result
_COSTLY = frozenset(
    {"exp", "expm1", "exp2", "sin", "cos", "tan", "arctan", "sinh", "cosh", "tanh", "arcsinh", "log", "log1p", "log2"}
    | {"log10", "cbrt", "arcsin", "arccos", "arctanh", "arccosh", "arctan2", "hypot", "logaddexp", "power"}
    | {"scalar_power", "sigmoid", "softplus", "floor_divide", "remainder", "fmod"}
)
_CREATION = frozenset({"constant", "constant_array", "full", "arange", "eye"})
#: operations done again for one value at most
LONGEST = 12
#: what a dimension known at run time only counts as
TYPICAL = 64


@dataclass
class Choice:
    """The values that are kept."""

    kept: list[Value] = field(default_factory=list)

    def again(self, wanted: Sequence[Value], way: Sequence[Node], stands_for: dict[Value, Value]) -> list[Node]:
        """Return copies of the nodes that compute ``wanted`` from what is kept; ``stands_for`` is extended by them."""
        needed: set[Node] = set()
        here = set(way)
        pending = [value.node for value in wanted if value not in stands_for]
        while pending:
            node = pending.pop()
            if node is None or node in needed or node not in here:
                continue
            needed.add(node)
            pending += [value.node for value in node.inputs if value not in stands_for]
        copies = []
        for node in way:
            if node in needed:
                inputs = tuple(stands_for.get(value, value) for value in node.inputs)
                copy = Node(node.op, inputs, tuple(r.type for r in node.results), dict(node.attributes), node.span)
                stands_for.update(zip(node.results, copy.results, strict=True))
                copies.append(copy)
        return copies


def choose(wanted: Sequence[Value], way: Sequence[Node], defined: set[Value]) -> Choice:
    """Return which of the values of a way are kept, so that all of ``wanted`` can be had."""
    here = set(way)
    kept = {value: None for value in wanted if not _is_cheap(value, here)}
    for value in wanted:
        if value in kept:
            continue
        sources, operations = _sources(value, here, defined, kept)
        more = [source for source in sources if source not in kept]
        if operations <= LONGEST and sum(map(_bytes, more)) <= _bytes(value):
            kept.update(dict.fromkeys(more))
        elif sources:
            kept[value] = None
    return Choice(list(kept))


def _is_cheap(value: Value, here: set[Node]) -> bool:
    """Return whether a value can be computed again in less time than it takes to keep it."""
    node = value.node
    if node is None or node not in here or node.regions or node.guard is not None or "symbol" in node.attributes:
        return False
    if node.op == "dim" or node.op in _CREATION:
        return True
    if node.op not in OPS or node.op in _COSTLY or node.op.startswith("math."):
        return False
    return isinstance(OPS[node.op].lowering, (Elementwise, View))


def _sources(value: Value, here: set[Node], defined: set[Value], kept: dict[Value, None]) -> tuple[list[Value], int]:
    """Return the values of the way a value is computed from, and in how many operations."""
    sources: dict[Value, None] = {}
    seen: set[Value] = set()
    pending = [value]
    operations = 0
    while pending:
        one = pending.pop()
        if one in seen or one not in defined:
            continue
        seen.add(one)
        if one in kept or not _is_cheap(one, here):
            sources[one] = None
            continue
        assert one.node is not None
        operations += 1
        pending += one.node.inputs
    return list(sources), operations


def _bytes(value: Value) -> int:
    total: Dim = value.type.size
    if isinstance(total, DimExpr):
        total = evaluate(total, dict.fromkeys(total.symbols(), TYPICAL))
    return total * value.type.numpy_dtype.itemsize
