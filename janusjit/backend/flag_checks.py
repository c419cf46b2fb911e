"""Where a graph looks at the floating-point flags, and what it keeps so that it can still be given up then.

Owns the node ``check_flags``, which stands before every exit of a graph that promises to deoptimize where NumPy would
act on a floating-point error. Its inputs are *backups* of the caller's arrays that are written in place before it, from
which they are put back, and the numbers that the exit hands over, which have to be computed by then. Invariant: where
an error may come to an exception, an array of the caller's is written in place only if it has a backup, or if no check
follows.

A backup is a copy made in the very loop that overwrites the array, as a rule: one store more for each element. That of
large arrays would be felt: there are none of them, and where errors only come to warnings, steps from the first write
on are looked at one by one (`janusjit.backend.tracking`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from janusjit.backend.element_updates import gone_over
from janusjit.backend.plan import UPDATES, root
from janusjit.ir.boxes import ExitRecipe, WriteArray
from janusjit.ir.floating_point import may_be_backed_up
from janusjit.ir.graph import Graph, Node, Region, Value, walk
from janusjit.transform.facts import errors_watched

CHECK = "check_flags"


def insert_checks(graph: Graph, unwanted: Collection[int] = ()) -> dict[int, Value]:
    """Put a check before every exit, if the graph has the guard; return the backup of each input that has one.

    Parameters
    ----------
    graph : Graph
        The graph; it is changed.
    unwanted : collection of int
        Inputs that need no backup.
    """
    if not errors_watched(graph):
        return {}
    written = [index for index in _written_inputs(graph) if index not in unwanted]
    worthwhile = gone_over(graph)
    if not may_be_backed_up(graph.inputs[index].value.type for index in written if index not in worthwhile):
        written = [index for index in written if index in worthwhile]
    backups: dict[int, Value] = {}
    nodes, graph.body.nodes = graph.body.nodes, []
    for node in nodes:
        for index in written:
            value = graph.inputs[index].value
            if index not in backups and _may_overwrite(node, value):
                copy = Node("copy", (value,), (value.type,), span=node.span)
                graph.body.nodes.append(copy)
                backups[index] = copy.result
        for region in node.regions:
            _check_exits(region, tuple(backups.values()))
        if node.op == "exit":
            graph.body.nodes.append(_check(node, tuple(backups.values())))
        graph.body.nodes.append(node)
    return backups


def _written_inputs(graph: Graph) -> Iterator[int]:
    places = {
        id(effect.place)
        for recipe in _recipes(graph)
        for effect in recipe.effects
        if isinstance(effect, WriteArray)
    }
    return (i for i, given in enumerate(graph.inputs) if given.value.type.rank > 0 and id(given.place) in places)


def _recipes(graph: Graph) -> Iterator[ExitRecipe]:
    return (node.attributes["recipe"] for node in graph.walk() if node.op == "exit")


def _may_overwrite(node: Node, value: Value) -> bool:
    """Return whether a node, or one in its regions, may update the array ``value`` in its own memory."""
    if node.op in UPDATES:
        return root(node.inputs[0]) is value
    if node.op == "loop" and value in node.inputs:
        return True
    inside = (inner for region in node.regions for inner in walk(region))
    return any(_may_overwrite(inner, value) for inner in inside if not inner.regions or inner.op == "loop")


def _check_exits(region: Region, backups: tuple[Value, ...]) -> None:
    if not region.nodes:
        return
    for node in region.nodes:
        for inner in node.regions:
            _check_exits(inner, backups)
    if region.terminator.op == "exit":
        region.nodes.insert(-1, _check(region.terminator, backups))


def _check(leaving: Node, backups: tuple[Value, ...]) -> Node:
    numbers = (value for value in dict.fromkeys(leaving.inputs) if value.type.rank == 0)
    return Node(CHECK, (*backups, *numbers), span=leaving.span)
