"""Reverse-mode differentiation of graphs.

Owns `gradients`, which appends the backward pass of nodes that are there already. Invariants: zero cotangents stay
symbolic (None) until something has to be added to them; what is emitted consists of operations that have gradients
themselves; of straight-line forward code nothing is computed again, and what nobody needs any more is left to dead code
elimination. Control flow is in `janusjit.transform.autodiff_control`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from janusjit.ir.builder import GraphBuilder
from janusjit.ir.graph import Node, Value, walk
from janusjit.ops.gradient import Emit, Term
from janusjit.spans import BACKWARD
from janusjit.transform.activity import Activity
from janusjit.transform.autodiff_control import Reverse
from janusjit.transform.autodiff_errors import AutodiffError

__all__ = ["AutodiffError", "gradients"]


def gradients(
    builder: GraphBuilder,
    outputs: Sequence[Value],
    cotangents: Sequence[Value | None],
    wrt: Sequence[Value],
    ends: frozenset[str] = frozenset(),
) -> list[Value | None]:
    """Append the backward pass from ``outputs`` to ``wrt`` to the open region.

    Parameters
    ----------
    builder : GraphBuilder
        Its open regions hold the nodes from ``wrt`` to ``outputs``. Loops and branches among them get further carried
        values and results: what the backward pass finds again on a tape.
    outputs : sequence of Value
        What is differentiated.
    cotangents : sequence of Value or None
        One for each output, of its type; None is zero.
    wrt : sequence of Value
        What it is differentiated by. For ``x`` to be an argument of its own, apart from other uses of the same value,
        differentiate by the result of ``emit("copy", (x,))`` and use that.
    ends : frozenset of str
        Ops that this pass does not go back through.

    Returns
    -------
    list of Value or None
        The gradients, each of the type of its ``wrt``; None where no output depends on it.

    Raises
    ------
    AutodiffError
        An op on the way has no gradient, or the way leads through a loop that is still open.
    """
    nodes = needed_nodes(builder, outputs, wrt, ends)
    activity = Activity(wrt, ends)
    activity.spread(nodes)
    reverse = Reverse(builder, activity)
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output in activity:
            reverse.cotangents.add(output, Term(Emit(builder, BACKWARD), cotangent))
    reverse.nodes(nodes)
    found = [reverse.cotangents.get(value) for value in wrt]
    return [None if term is None else term.value for term in found]


def needed_nodes(
    builder: GraphBuilder, outputs: Iterable[Value], wrt: Sequence[Value], ends: frozenset[str] = frozenset()
) -> list[Node]:
    """Return the nodes of the open regions that outputs depend on, in program order, but for what is behind ``ends``.

    Where a tape is read, all that reads it is among them: the backward pass goes through the whole tape.
    """
    here = [node for region in builder.open_regions for node in region.nodes]
    needed: set[Value] = set(outputs)
    kept = _kept(here, needed, set(wrt), ends)
    read: set[int] = set()
    while (tapes := {tape for node in kept for tape in _tapes_read(node)}) != read:
        read = tapes
        needed.update(result for node in here if not read.isdisjoint(_tapes_read(node)) for result in node.results)
        kept = _kept(here, needed, set(wrt), ends)
    _check_parameters(builder, needed, set(wrt))
    return kept


def _kept(here: Sequence[Node], needed: set[Value], stop: set[Value], ends: frozenset[str]) -> list[Node]:
    """Return the nodes on which ``needed`` depend, but for what is behind ``stop`` or ``ends``.

    What they use is added to ``needed``.
    """
    kept: list[Node] = []
    entered: set[int] = set()
    for node in reversed(here):
        if any(result in needed for result in node.results):
            kept.append(node)
            if node.op == "checkpoint_leave":
                entered.add(node.attributes["number"])
            if node.op not in ends and not stop.issuperset(node.results):
                needed.update(node.inputs)
                needed.update(value for region in node.regions for inner in walk(region) for value in inner.inputs)
        elif node.op == "checkpoint_enter" and node.attributes["number"] in entered:
            kept.append(node)  # the first of them tells where the checkpoint begins
    return kept[::-1]


def _tapes_read(node: Node) -> Iterable[int]:
    """Yield the tapes that a node, or one nested in it, pops from."""
    for one in (node, *(inner for region in node.regions for inner in walk(region))):
        if one.op == "tape_pop":
            yield one.attributes["tape"]


def _check_parameters(builder: GraphBuilder, needed: set[Value], wrt: set[Value]) -> None:
    """Raise if outputs depend on what an open loop carries, which may depend on a value from before the loop."""
    outside: set[Value] = {given.value for given in builder.graph.inputs}
    for region in builder.open_regions:
        carried = [p for p in region.parameters if p in needed and p not in wrt and p.type.is_float]
        if carried and wrt & outside:
            raise AutodiffError("autodiff.open_loop", "a gradient by a value from outside the loop is taken inside it")
        outside.update(region.parameters)
        outside.update(result for node in region.nodes for result in node.results)
