"""Forward-mode differentiation of graphs.

Owns `tangents`, which puts behind every node what computes the tangents of its results. Ops need no rules of their own
for that: a gradient rule is linear in the cotangents, and its transpose takes tangents of inputs to those of results.
Invariant: as in `janusjit.transform.autodiff`; zero tangents stay symbolic (None) where control flow does not join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from janusjit.ir.builder import GraphBuilder
from janusjit.ir.graph import TAPE_OPERATIONS, Node, Region, Value, walk
from janusjit.ir.types import INT
from janusjit.ops import OPS
from janusjit.ops.gradient import Emit, Pointwise, Pullback, Term
from janusjit.transform.activity import ENDS, Activity
from janusjit.transform.autodiff import needed_nodes
from janusjit.transform.autodiff_control import Reverse, pull_back
from janusjit.transform.cotangents import added
from janusjit.transform.residuals import unused_tape


def tangents(
    builder: GraphBuilder, outputs: Sequence[Value], wrt: Sequence[Value], directions: Sequence[Value | None]
) -> list[Value | None]:
    """Add the computation of the derivatives of ``outputs`` in a direction.

    Parameters
    ----------
    builder : GraphBuilder
        Its open regions hold the nodes from ``wrt`` to ``outputs``. Loops and branches among them get further carried
        values and results.
    outputs : sequence of Value
        What is differentiated.
    wrt : sequence of Value
        What it is differentiated by.
    directions : sequence of Value or None
        One for each of ``wrt``, of its type, defined before anything is made of any of them; None is zero.

    Returns
    -------
    list of Value or None
        The tangents, each of the type of its output; None where it depends on none of ``wrt``.

    Raises
    ------
    AutodiffError
        An op on the way has no gradient, or the way leads through a loop that is still open.
    """
    given = {value: direction for value, direction in zip(wrt, directions, strict=True) if direction is not None}
    nodes = needed_nodes(builder, outputs, list(given))
    activity = Activity(given)
    activity.spread(nodes)
    forward = Forward(builder, activity, given)
    wanted = set(nodes)
    for region in builder.open_regions:
        forward.region(region, wanted)
    return [forward.tangent(output) for output in outputs]


class Forward:
    """One pass that adds tangents to regions.

    Parameters
    ----------
    builder : GraphBuilder
        Appends nodes.
    activity : Activity
        The values that have a tangent.
    known : dict
        The tangents of what everything is differentiated by.
    """

    def __init__(self, builder: GraphBuilder, activity: Activity, known: dict[Value, Value]) -> None:
        self._builder, self._activity = builder, activity
        self._tangents: dict[Value, Value] = dict(known)
        self._sources = frozenset(known)
        self._tapes: dict[int, int] = {}
        self._unused = unused_tape(builder)

    def tangent(self, value: Value) -> Value | None:
        """Return the tangent of a value; None if it is zero."""
        return self._tangents.get(value)

    def region(self, region: Region, wanted: set[Node] | None = None) -> None:
        """Add tangents behind the nodes of a region: all that are active, or those ``wanted`` of them."""
        nodes, region.nodes = region.nodes, []
        with self._builder.inside(region):
            for node in nodes:
                if not self._is_active(node) or (wanted is not None and node not in wanted):
                    region.nodes.append(node)
                else:
                    self._node(node)

    def nodes(self, nodes: Sequence[Node], stand_ins: Mapping[Node, Node]) -> None:
        """Append the tangents of nodes to the open region.

        ``stand_ins`` are copies of nodes, at hand in that region: they get the tangents instead of the nodes.
        """
        here = self._builder.region.nodes
        for node in nodes:
            copy = stand_ins.get(node)
            if copy is None:
                if self._is_active(node):
                    self._operation(node)
                continue
            here.remove(copy)  # what the tangents of branches and loops begin with comes before
            if not self._is_active(copy):
                here.append(copy)
                continue
            self._node(copy)
            pairs = zip(node.results, copy.results, strict=False)
            self._tangents.update((old, self._tangents[new]) for old, new in pairs if new in self._tangents)

    def _node(self, node: Node) -> None:
        """Append a node and its tangents to the open region."""
        if node.op == "if":
            self._branch(node)
        elif node.op == "loop":
            self._loop(node)  # what the tangents begin with comes before it
        self._builder.region.nodes.append(node)
        if not node.regions:
            self._operation(node)

    def _is_active(self, node: Node) -> bool:
        """Whether a node, or one in its regions, has results with tangents; arms that end a turn give none outside."""
        inner = (one for region in node.regions for one in walk(region))
        return any(v in self._activity and v not in self._sources for one in (node, *inner) for v in one.results)

    def _operation(self, node: Node) -> None:
        if node.op in TAPE_OPERATIONS:
            self._tape(node)
            return
        given = [self._tangents.get(value) for value in node.inputs]
        if any(tangent is not None for tangent in given):
            found = push_forward(self._builder, node, given)
            self._tangents.update((r, t) for r, t in zip(node.results, found, strict=True) if t is not None)

    def _zero(self, value: Value) -> Value:
        if value in self._activity.tapes:
            tape = {"tape": self._twin(self._activity.tapes[value])}
            return self._builder.emit("tape_new", (), tape, result_types=(INT,)).result
        return Emit(self._builder).zeros(value.type).value

    def _or_zero(self, value: Value, becomes: Value | None = None) -> Value:
        """Return the tangent of a value, or the zero tangent of what it ``becomes``."""
        return self._tangents.get(value) or self._zero(value if becomes is None else becomes)

    # -- tapes: the tangents of what is on one are on another

    def _twin(self, tape: int) -> int:
        if tape not in self._tapes:
            self._tapes[tape] = self._unused + len(self._tapes)
        return self._tapes[tape]

    def _tape(self, node: Node) -> None:
        tape = {"tape": self._twin(node.attributes["tape"])}
        token = self._or_zero(node.inputs[0])
        if node.op == "tape_push":
            pushed = [self._or_zero(value) for value in node.inputs[1:] if value.type.is_float]
            made = self._builder.emit("tape_push", (token, *pushed), tape, result_types=(INT,))
            self._tangents[node.results[0]] = made.results[0]
            return
        floats = [value for value in node.results[1:] if value.type.is_float]
        types = (INT, *(value.type for value in floats))
        made = self._builder.emit("tape_pop", (token,), tape, result_types=types)
        self._tangents.update(zip((node.results[0], *floats), made.results, strict=True))

    # -- structured control flow

    def _branch(self, node: Node) -> None:
        active = [result for result in node.results if result in self._activity]
        for arm in node.regions:
            end = arm.terminator
            self.region(arm)
            if end.op == "yield":
                self._extend(arm, end, active)
        self._add_results(node, active)

    def _loop(self, node: Node) -> None:
        (body,) = node.regions
        active = [parameter for parameter in body.parameters if parameter in self._activity]
        results = [result for result in node.results if result in self._activity]
        node.inputs += tuple(self._or_zero(node.inputs[p.index], p) for p in active)
        for parameter in active:
            added_one = Value(parameter.type, body, len(body.parameters))
            body.parameters += (added_one,)
            self._tangents[parameter] = added_one
        self.region(body)
        for end, region in _ends_in(body):
            self._extend(region, end, results if end.op == "break" else active)
        self._add_results(node, results)

    def _extend(self, region: Region, end: Node, targets: Sequence[Value]) -> None:
        """Let a terminator give the tangents of ``targets``, too."""
        assert region.nodes[-1] is end
        del region.nodes[-1]
        with self._builder.inside(region):
            extra = tuple(self._or_zero(end.inputs[target.index], target) for target in targets)
        end.inputs += extra
        region.nodes.append(end)

    def _add_results(self, node: Node, values: Sequence[Value]) -> None:
        for value in values:
            result = Value(value.type, node, len(node.results))
            node.results += (result,)
            self._tangents[value] = result


def _ends_in(region: Region) -> list[tuple[Node, Region]]:
    """Return the terminators that end a turn of the loop a region is the body of, with their regions."""
    found = []
    for node in region.nodes:
        if node.op in ENDS:
            found.append((node, region))
        elif node.op == "if":
            found += [pair for arm in node.regions for pair in _ends_in(arm)]
    return found


#: linear in each input of floats: what they do to an input they do to its tangent
_MULTILINEAR = frozenset(
    {"matmul", "sum", "reshape", "transpose", "broadcast", "view"}
    | {"convolution", "convolution_by_input", "convolution_by_kernel"}
)


def push_forward(builder: GraphBuilder, node: Node, given: Sequence[Value | None]) -> list[Value | None]:
    """Append what computes the tangents of a node's results from those of its inputs."""
    gradient = OPS[node.op].gradient
    if isinstance(gradient, Pointwise):
        return [_pointwise(builder, node, gradient, given)]
    if node.op in _MULTILINEAR:
        return [_multilinear(builder, node, given)]
    return _transposed(builder, node, given)


def _pointwise(builder: GraphBuilder, node: Node, gradient: Pointwise, given: Sequence[Value | None]) -> Value | None:
    emit = Emit(builder, node.span, node.guard)
    inputs, result = tuple(map(emit.term, node.inputs)), node.result
    total: Term | None = None
    for partial, tangent in zip(gradient.partials, given, strict=True):
        if partial is not None and tangent is not None:
            term = partial(emit.term(tangent).cast(result.type.dtype), emit.term(result), *inputs)
            term = term.cast(result.type.dtype)
            total = term if total is None else total + term
    return None if total is None else total.broadcast(result.type.shape).value


def _multilinear(builder: GraphBuilder, node: Node, given: Sequence[Value | None]) -> Value | None:
    emit = Emit(builder, node.span, node.guard)
    total: Term | None = None
    for position, tangent in enumerate(given):
        if tangent is not None:
            inputs = [*map(emit.term, node.inputs)]
            inputs[position] = emit.term(tangent)
            term = emit(node.op, *inputs, **node.attributes)
            total = term if total is None else total + term
    return None if total is None else total.value


def _transposed(builder: GraphBuilder, node: Node, given: Sequence[Value | None]) -> list[Value | None]:
    """Pull back cotangents that mean nothing, and pull the tangents back through what did that."""
    region = builder.region
    begin = len(region.nodes)
    emit = Emit(builder, node.span, node.guard)
    floats = [result for result in node.results if result.type.is_float]
    dummies = {result: emit("copy", emit.zeros(result.type)) for result in floats}
    cotangents = tuple(dummies.get(result) for result in node.results)
    inputs, results = (tuple(map(emit.term, values)) for values in (node.inputs, node.results))
    wanted = tuple(tangent is not None for tangent in given)
    pulled = pull_back(Pullback(emit, node, inputs, results, cotangents, wanted))
    gradients = [
        (added(None, contribution, value), tangent)
        for value, contribution, tangent in zip(node.inputs, pulled, given, strict=True)
        if contribution is not None and tangent is not None
    ]
    made = region.nodes[begin:]
    activity = Activity([dummy.value for dummy in dummies.values()])
    activity.spread(made)
    reverse = Reverse(builder, activity)
    for term, tangent in gradients:
        if term.value in activity:
            reverse.cotangents.add(term.value, emit.term(tangent))
    reverse.nodes(made)
    found = [None if dummy is None else reverse.cotangents.get(dummy.value) for dummy in cotangents]
    values = [None if term is None else term.value for term in found]
    region.nodes[begin:] = _used(region.nodes[begin:], values)
    return values


def _used(nodes: Sequence[Node], values: Sequence[Value | None]) -> list[Node]:
    """Return the nodes that ``values`` are made of."""
    needed = {value for value in values if value is not None}
    kept: list[Node] = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.results):
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1]
