"""Reverse-mode differentiation of graphs.

Owns `gradients`, which appends the backward pass of nodes that are there already. Invariants: zero cotangents stay
symbolic (None) until something has to be added to them; what is emitted consists of ops that have gradients
themselves; of the forward nodes nothing is computed again, and what nobody needs any more is left to dead code
elimination.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from janusjit.errors import JanusError
from janusjit.ir.builder import GraphBuilder
from janusjit.ir.graph import Node, Region, Value, walk
from janusjit.ops import OPS
from janusjit.ops.gradient import Cotangent, Emit, Part, Pullback, Term, fitted
from janusjit.ops.registry import NotDifferentiable, NotDifferentiableError, ZeroGradient
from janusjit.transform.activity import Activity


class AutodiffError(JanusError):
    """The values asked for cannot be differentiated. ``node`` is the operation in the way, if it is one."""

    def __init__(self, code: str, message: str, node: Node | None = None) -> None:
        where = f"{node.span}: " if node is not None and node.span.line else ""
        super().__init__(code, where + message)
        self.node = node


def gradients(
    builder: GraphBuilder, outputs: Sequence[Value], cotangents: Sequence[Value | None], wrt: Sequence[Value]
) -> list[Value | None]:
    """Append the backward pass from ``outputs`` to ``wrt`` to the open region.

    Parameters
    ----------
    builder : GraphBuilder
        Its open regions hold the nodes from ``wrt`` to ``outputs``, and nothing else is differentiated: a path through
        anything that is not a function of one of ``wrt`` is constant.
    outputs : sequence of Value
        What is differentiated.
    cotangents : sequence of Value or None
        One for each output, of its type; None is zero.
    wrt : sequence of Value
        What it is differentiated by. For ``x`` to be an argument of its own, apart from other uses of the same value,
        differentiate by the result of ``emit("copy", (x,))`` and use that.

    Returns
    -------
    list of Value or None
        The gradients, each of the type of its ``wrt``; None where no output depends on it.

    Raises
    ------
    AutodiffError
        An op on the way has no gradient, or the way leads through a loop that is still open.
    """
    nodes = _needed(builder, outputs, wrt)
    activity = Activity(wrt)
    activity.spread(nodes)
    reverse = Reverse(builder, activity)
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output in activity:
            reverse.cotangents.add(output, Term(Emit(builder), cotangent))
    reverse.nodes(nodes)
    found = [reverse.cotangents.get(value) for value in wrt]
    return [None if term is None else term.value for term in found]


def _needed(builder: GraphBuilder, outputs: Iterable[Value], wrt: Sequence[Value]) -> list[Node]:
    """Return the nodes of the open regions that outputs depend on, in program order."""
    here = [node for region in builder.open_regions for node in region.nodes]
    needed: set[Value] = set(outputs)
    kept: list[Node] = []
    stop = set(wrt)
    for node in reversed(here):
        if any(result in needed for result in node.results):
            kept.append(node)
            if not stop.issuperset(node.results):
                needed.update(node.inputs)
                needed.update(value for region in node.regions for inner in walk(region) for value in inner.inputs)
    _check_parameters(builder, needed, stop)
    return kept[::-1]


def _check_parameters(builder: GraphBuilder, needed: set[Value], wrt: set[Value]) -> None:
    """Raise if outputs depend on what an open loop carries, which may depend on a value from before the loop."""
    outside: set[Value] = {given.value for given in builder.graph.inputs}
    for region in builder.open_regions:
        if wrt & outside and any(parameter in needed and parameter not in wrt for parameter in region.parameters):
            raise AutodiffError("autodiff.open_loop", "a gradient by a value from outside the loop is taken inside it")
        outside.update(region.parameters)
        outside.update(result for node in region.nodes for result in node.results)


class Cotangents:
    """The cotangents of values so far."""

    def __init__(self) -> None:
        self._terms: dict[Value, Term] = {}

    def get(self, value: Value) -> Term | None:
        """Return the cotangent of a value; None if it is zero."""
        return self._terms.get(value)

    def set(self, value: Value, term: Term) -> None:
        """Let a value have a cotangent, instead of the one it has."""
        self._terms[value] = term

    def add(self, value: Value, contribution: Term | Part) -> None:
        """Add to the cotangent of a value."""
        self.set(value, added(self.get(value), contribution, value))


def added(so_far: Term | None, contribution: Term | Part, value: Value) -> Term:
    """Return the sum of cotangents of ``value``."""
    if isinstance(contribution, Part):
        return contribution.add_to(so_far)
    contribution = fitted(contribution, value.type)
    return contribution if so_far is None else so_far + contribution


class Reverse:
    """One backward pass: goes back through nodes and adds to cotangents.

    Attributes
    ----------
    cotangents : Cotangents
        Of the values of the nodes gone through, and of those they depend on.
    """

    def __init__(self, builder: GraphBuilder, activity: Activity) -> None:
        self.builder, self.activity = builder, activity
        self.cotangents = Cotangents()

    def nodes(self, nodes: Sequence[Node]) -> None:
        """Go back through nodes that stand in program order."""
        for node in reversed(nodes):
            if any(value in self.activity for value in node.results):
                self.node(node)

    def node(self, node: Node) -> None:
        """Go back through a node."""
        cotangents = tuple(self.cotangents.get(result) for result in node.results)
        if all(cotangent is None for cotangent in cotangents):
            return
        if node.op not in OPS:
            raise AutodiffError("autodiff.control_flow", f"{node.op} is not differentiated yet", node)
        for value, contribution in zip(node.inputs, self._pulled_back(node, cotangents), strict=True):
            if contribution is not None and value in self.activity:
                self.cotangents.add(value, contribution)

    def _pulled_back(self, node: Node, cotangents: tuple[Term | None, ...]) -> Sequence[Cotangent]:
        gradient = OPS[node.op].gradient
        if isinstance(gradient, NotDifferentiable):
            raise AutodiffError("autodiff.not_differentiable", f"{node.op} has no gradient: {gradient.reason}", node)
        if isinstance(gradient, ZeroGradient):
            return [None] * len(node.inputs)
        emit = Emit(self.builder, node.span, node.guard)
        inputs, results = (tuple(map(emit.term, values)) for values in (node.inputs, node.results))
        wanted = tuple(value in self.activity for value in node.inputs)
        try:
            found: Sequence[Cotangent] = gradient(Pullback(emit, node, inputs, results, cotangents, wanted))
        except NotDifferentiableError as error:
            raise AutodiffError("autodiff.not_differentiable", f"{error} has no gradient", node) from error
        return found


def defined_in(region: Region) -> set[Value]:
    """Return the values that nodes of a region, but not of nested ones, define, and its parameters."""
    return {*region.parameters, *(result for node in region.nodes for result in node.results)}
