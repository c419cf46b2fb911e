"""Keep or compute again: what a backward region does to have the values of the forward region.

Owns `choose`, and `computed_again`, which does what the user asks for with a checkpoint. A value is computed again if
that is cheap, and what it is computed from takes no more memory than the value itself. Invariant: what is computed
again has the bits it had, because the same operations are done on the same values; of what can fail, only what a
checkpoint holds is done again, on what it did not fail on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from janusjit.ir.builder import GraphBuilder, clone_region
from janusjit.ir.dims import Dim, DimExpr, evaluate
from janusjit.ir.graph import Node, Value, walk
from janusjit.ops import OPS
from janusjit.ops.registry import Elementwise, ObjectCall, View
from janusjit.spans import BackwardSpan
from janusjit.transform.autodiff_errors import AutodiffError
from janusjit.transform.facts import reads_object

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
                span = BackwardSpan.of(node.span)
                copy = Node(node.op, inputs, tuple(r.type for r in node.results), dict(node.attributes), span)
                stands_for.update(zip(node.results, copy.results, strict=True))
                copies.append(copy)
        return copies


def choose(wanted: Sequence[Value], way: Sequence[Node], defined: set[Value], saving: bool = False) -> Choice:
    """Return which of the values of a way are kept, so that all of ``wanted`` can be had.

    With ``saving``, whatever can be computed again without effects is, if that takes less memory.
    """
    here = set(way)
    can_be = _is_repeatable if saving else _is_cheap
    kept = {value: None for value in wanted if not can_be(value, here)}
    for value in wanted:
        if value in kept:
            continue
        sources, operations = _sources(value, here, defined, kept, can_be)
        more = [source for source in sources if source not in kept]
        if (saving or operations <= LONGEST) and sum(map(_bytes, more)) <= _bytes(value):
            kept.update(dict.fromkeys(more))
        elif sources:
            kept[value] = None
    return Choice(list(kept))


def _is_repeatable(value: Value, here: set[Node]) -> bool:
    """Return whether a value can be computed again and nobody notices."""
    node = value.node
    if node is None or node not in here or node.regions or node.guard is not None or "symbol" in node.attributes:
        return False
    return node.op == "dim" or (node.op in OPS and not OPS[node.op].stateful and not reads_object(node))


def _is_cheap(value: Value, here: set[Node]) -> bool:
    """Return whether a value can be computed again in less time than it takes to keep it."""
    node = value.node
    if node is None or not _is_repeatable(value, here):
        return False
    if node.op == "dim" or node.op in _CREATION:
        return True
    if node.op not in OPS or node.op in _COSTLY or node.op.startswith("math."):
        return False
    return isinstance(OPS[node.op].lowering, (Elementwise, View))


def _sources(
    value: Value,
    here: set[Node],
    defined: set[Value],
    kept: dict[Value, None],
    can_be: Callable[[Value, set[Node]], bool],
) -> tuple[list[Value], int]:
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
        if one in kept or not can_be(one, here):
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


def computed_again(builder: GraphBuilder, nodes: Sequence[Node]) -> dict[Node, Node]:
    """Append copies of the nodes of a checkpoint, its marks included, behind barriers.

    Returns
    -------
    dict
        The copy of each node. Calls of Python objects, which may not give the same twice, have none: their results are
        kept.

    Raises
    ------
    AutodiffError
        There is such a call inside a branch or loop.
    """
    number = nodes[0].attributes["number"]
    next_barrier = _barriers(builder)
    stands_for: dict[Value, Value] = {}
    copies: dict[Node, Node] = {}
    for node in nodes:
        if any(map(_calls_object, (inner for region in node.regions for inner in walk(region)))):
            what = "a checkpoint holds a call that cannot be made again inside a branch or loop"
            raise AutodiffError("autodiff.checkpoint", what, node)
        if _calls_object(node):
            continue
        inputs = tuple(stands_for.get(value, value) for value in node.inputs)
        types = tuple(result.type for result in node.results)
        op, attributes = node.op, dict(node.attributes)
        if op in ("checkpoint_enter", "checkpoint_leave") and attributes["number"] == number:
            op, attributes = "barrier", {"number": next_barrier}
            next_barrier += 1
        regions = tuple(clone_region(region, stands_for) for region in node.regions)
        copy = copies[node] = Node(op, inputs, types, attributes, node.span, regions, node.guard)
        stands_for.update(zip(node.results, copy.results, strict=True))
        builder.append(copy)
    return copies


def _calls_object(node: Node) -> bool:
    return node.op in OPS and isinstance(OPS[node.op].lowering, ObjectCall)


def _barriers(builder: GraphBuilder) -> int:
    """Return a number above those of all barriers so far."""
    nodes = (node for region in builder.open_regions for node in walk(region) if node.op == "barrier")
    return max((node.attributes["number"] for node in nodes), default=0) + 1
