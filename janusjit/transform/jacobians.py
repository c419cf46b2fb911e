"""Jacobians as loops of graphs.

Owns `rows` and `columns`, which append a loop that goes back, or forward, once a turn. Invariant: straight-line code is
not computed again; branches and loops are, in every turn, with tapes of their own (`stand_ins`), so that a turn leaves
nothing behind and the loop is differentiated like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from janusjit.ir.builder import GraphBuilder, clone_region
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import TAPE_OPERATIONS, Node, Region, Value, walk
from janusjit.ir.types import INT, TensorType
from janusjit.ops import OPS
from janusjit.ops.gradient import Emit, Term
from janusjit.ops.indexing import Operand, PathStep, Pick, Range
from janusjit.ops.registry import ObjectCall
from janusjit.spans import BACKWARD
from janusjit.transform.activity import ENDS, Activity, terminators
from janusjit.transform.autodiff import needed_nodes
from janusjit.transform.autodiff_control import Reverse
from janusjit.transform.autodiff_forward import Forward
from janusjit.transform.residuals import unused_tape

OnBody = Callable[[Region, Region], None]
"""Told of the body of a loop, and of the region around it, before anything is in it."""


def can_be_repeated(builder: GraphBuilder, outputs: Sequence[Value], wrt: Sequence[Value]) -> bool:
    """Return whether the branches and loops between ``wrt`` and ``outputs`` can be computed again in every turn."""
    nodes = needed_nodes(builder, outputs, wrt)
    if any(node.op == "if" and any(True for arm in node.regions for _ in terminators(arm, ENDS)) for node in nodes):
        return False  # control may leave it for a loop around
    inner = (one for node in nodes for region in node.regions for one in walk(region))
    return not any("symbol" in node.attributes or _has_effects(node) for node in inner)


def _has_effects(node: Node) -> bool:
    return node.op in OPS and (OPS[node.op].stateful or isinstance(OPS[node.op].lowering, ObjectCall))


def rows(builder: GraphBuilder, output: Value, wrt: Sequence[Value], size: Dim, on_body: OnBody) -> list[Value]:
    """Append a loop that goes back from each element of ``output`` in turn.

    Parameters
    ----------
    builder : GraphBuilder
        Its open regions hold the nodes from ``wrt`` to ``output``, which `can_be_repeated`.
    output : Value
        What is differentiated.
    wrt : sequence of Value
        What it is differentiated by.
    size : int or DimExpr
        How many elements ``output`` has.
    on_body : callable
        Told of the loop's body.

    Returns
    -------
    list of Value
        For each of ``wrt`` an array of ``size`` times its shape.
    """
    nodes = needed_nodes(builder, [output], wrt)
    activity = Activity(wrt)
    activity.spread(nodes)

    def turn(number: Term) -> list[Term | None]:
        copies = stand_ins(builder, nodes, activity)
        activity.spread(list(copies.values()))
        reverse = Reverse(builder, activity, copies)
        reverse.cotangents.add(output, _unit(number, output.type, size))
        reverse.nodes(nodes)
        return [reverse.cotangents.get(value) for value in wrt]

    return _collected(builder, size, [value.type for value in wrt], turn, on_body)


def columns(
    builder: GraphBuilder, outputs: Sequence[Value], by: Value, size: Dim, on_body: OnBody
) -> list[Value]:
    """Append a loop that goes forward along each element of ``by``, which has ``size``, in turn; see `rows`.

    Returns
    -------
    list of Value
        For each of ``outputs`` an array of ``size`` times its shape.
    """
    nodes = needed_nodes(builder, outputs, [by])
    activity = Activity([by])
    activity.spread(nodes)

    def turn(number: Term) -> list[Term | None]:
        unit = _unit(number, by.type, size)
        copies = stand_ins(builder, nodes, activity)
        activity.spread(list(copies.values()))
        forward = Forward(builder, activity, {by: unit.value})
        forward.nodes(nodes, copies)
        found = map(forward.tangent, outputs)
        return [None if tangent is None else Term(number.emit, tangent) for tangent in found]

    return _collected(builder, size, [output.type for output in outputs], turn, on_body)


def _unit(number: Term, type_: TensorType, size: Dim) -> Term:
    """Emit an array with a one in one place."""
    hot = number.emit.positions(size).equal(number).cast(type_.dtype)
    return hot.reshape(type_.shape)


def _collected(
    builder: GraphBuilder,
    size: Dim,
    types: Sequence[TensorType],
    turn: Callable[[Term], list[Term | None]],
    on_body: OnBody,
) -> list[Value]:
    """Append a loop of ``size`` turns; return what they give, each under the other.

    The end is asked for behind the work where there is work at all, so that what is the same in every turn is known to
    be needed, and can be done in front of the loop.
    """
    before = Emit(builder, BACKWARD)
    stacked = [TensorType(type_.dtype, (size, *type_.shape)) for type_ in types]
    initial = [before.constant(0, "i64"), *map(before.zeros, stacked)]
    count = before.dim(size)
    region = Region((INT, *stacked))
    on_body(region, builder.region)
    lowest = size.lower_bound() if isinstance(size, DimExpr) else size
    with builder.inside(region):
        emit = Emit(builder, BACKWARD)
        number, *so_far = (emit.term(parameter) for parameter in region.parameters)
        if not lowest:
            _leave_if(emit, number.equal(count), so_far)
        found = [
            held if part is None else _with_row(held, part, number)
            for held, part in zip(so_far, turn(number), strict=True)
        ]
        following = number + 1
        if lowest:
            _leave_if(emit, following.equal(count), found)
        builder.terminate("continue", [term.value for term in (following, *found)], BACKWARD)
    node = builder.loop([term.value for term in initial], region, stacked, BACKWARD)
    return list(node.results)


def _with_row(held: Term, row: Term, number: Term) -> Term:
    index = (Pick(Operand(0)), *(Range(0, dim) for dim in held.shape[1:]))
    return held.emit("update", held, row, number, path=(PathStep.of("view", extras=1, index=index),))


def _leave_if(emit: Emit, condition: Term, results: Sequence[Term]) -> None:
    builder = emit.builder
    assert isinstance(builder, GraphBuilder)
    then, otherwise = Region(), Region()
    with builder.inside(then):
        builder.terminate("break", [term.value for term in results], BACKWARD)
    with builder.inside(otherwise):
        builder.terminate("yield", (), BACKWARD)
    builder.branch(condition.value, then, otherwise, BACKWARD)


def stand_ins(builder: GraphBuilder, nodes: Sequence[Node], activity: Activity) -> dict[Node, Node]:
    """Append copies of those branches, loops and tape operations among ``nodes`` that a pass has to go through.

    What a copy uses is what the node used, but for tapes and the heights of tapes, which are the copies' own.
    """
    copied = [node for node in nodes if node.op in TAPE_OPERATIONS or (node.regions and _matters(node, activity))]
    stands_for: dict[Value, Value] = {}
    copies: dict[Node, Node] = {}
    for node in copied:
        inputs = tuple(stands_for.get(value, value) for value in node.inputs)
        types = tuple(result.type for result in node.results)
        regions = tuple(clone_region(region, stands_for) for region in node.regions)
        copy = Node(node.op, inputs, types, dict(node.attributes), node.span, regions, node.guard)
        copies[node] = copy
        pairs = zip(node.results, copy.results, strict=True)
        stands_for.update(pair for pair in pairs if pair[0].type == INT)
    _rename_tapes(builder, list(copies.values()))
    for copy in copies.values():
        builder.append(copy)
    return copies


def _matters(node: Node, activity: Activity) -> bool:
    inner = [one for region in node.regions for one in walk(region)]
    return any(one.op in TAPE_OPERATIONS or any(r in activity for r in one.results) for one in (node, *inner))


def _rename_tapes(builder: GraphBuilder, nodes: Sequence[Node]) -> None:
    """Give the tapes that begin in nodes numbers of their own."""
    unused = unused_tape(builder)
    everything = [one for node in nodes for one in (node, *(n for region in node.regions for n in walk(region)))]
    begun = dict.fromkeys(node.attributes["tape"] for node in everything if node.op == "tape_new")
    names = {tape: unused + number for number, tape in enumerate(begun)}
    for node in everything:
        if node.op in TAPE_OPERATIONS:
            node.attributes["tape"] = names.get(node.attributes["tape"], node.attributes["tape"])
