"""The leaves that gradients in a graph are taken by.

Owns the copies that recorded operations take of a leaf's data, and `Reached`, what led to a result. Invariant: every
way from a leaf to a recorded result leads through a copy, which stands as far out as the data does; and what leaves the
world of variables (data, gradients, numbers) is detached, so there is no other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from janusjit.analysis.capture.arrays import read
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import Storage
from janusjit.analysis.capture.values import ArrayValue, Reference
from janusjit.ir.graph import TERMINATORS, Node, Region, Value, walk
from janusjit.ops.identities import ENDS_OF_RECORDS
from janusjit.transform.activity import Activity

_ENDS = ENDS_OF_RECORDS | {"stop_gradient"}


def copy_of(machine: Machine, leaf: Reference, data: ArrayValue) -> Value:
    """Return the copy that stands for a leaf's data, as they are now, in recorded operations."""
    storage: Storage = machine.state.at(data.storage)
    plain = not data.path and storage.mirrors is None
    value = storage.version if plain else read(machine, data)
    for known, region in machine.recorded.copies.get((leaf.index, value), ()):
        if known in region.nodes and region in open_regions(machine):  # what was captured in vain is gone
            return known.result
    region = _outermost(machine, value)
    node = Node("copy", (value,), (value.type,), {}, machine.span)
    region.nodes.append(node)
    machine.effort.node(machine)
    machine.births[node.result] = machine.births.get(value, -1)
    machine.recorded.leaves[node.result] = leaf.index
    machine.recorded.copies.setdefault((leaf.index, value), []).append((node, region))
    return node.result


def open_regions(machine: Machine) -> list[Region]:
    """Return the regions that nodes can be appended to, innermost first."""
    regions = [machine.region]
    while regions[-1] is not machine.graph.body:
        regions.append(machine.recorded.around[regions[-1]][0])
    return regions


def _outermost(machine: Machine, value: Value) -> Region:
    """Return the outermost open region in which a value is there."""
    region = machine.region
    while region is not machine.graph.body:
        outer, mark = machine.recorded.around[region]
        finished = bool(outer.nodes) and outer.nodes[-1].op in TERMINATORS
        if finished or machine.born_since(value, mark):
            break
        region = outer
    return region


class Reached:
    """What led to results: nodes of the open regions, back to copies of leaves.

    Parameters
    ----------
    machine : Machine
        The machine.
    outputs : iterable of Value
        The results.
    seen : callable, optional
        Says of a result whether the operation counts: one that does not is a constant.

    Attributes
    ----------
    copies : list of Value
        The copies of leaves among it.
    active : set of Value
        What gradients flow through on the way from them.
    constants : list of Value
        The results of operations that do not count.

    Raises
    ------
    CaptureFailure
        If a leaf has been copied in a loop or branch that is over, where no gradient can be taken by it.
    """

    def __init__(
        self, machine: Machine, outputs: Iterable[Value], seen: Callable[[Value], bool] = lambda value: True
    ) -> None:
        outputs = set(outputs)
        nodes = [node for region in open_regions(machine)[::-1] for node in region.nodes]
        self.constants: list[Value] = []
        kept, copies = self._needed(machine, nodes, outputs, seen)
        activity = Activity(copies, ENDS_OF_RECORDS)
        activity.spread(kept)
        on_the_way = {value for value in outputs if value in activity}
        for node in reversed(kept):
            if any(result in on_the_way for result in node.results):
                on_the_way.update(value for value in _inputs(node) if value in activity)
        self.copies = [copy for copy in copies if copy in on_the_way]
        self.active = on_the_way.difference(copies)

    def _needed(
        self, machine: Machine, nodes: Sequence[Node], outputs: Iterable[Value], seen: Callable[[Value], bool]
    ) -> tuple[list[Node], list[Value]]:
        """Return the nodes that led to results, and the copies of leaves where they begin, in program order."""
        needed = set(outputs)
        kept: list[Node] = []
        copies: list[Value] = []
        for node in reversed(nodes):
            if not any(result in needed for result in node.results) or node.op in _ENDS:
                continue
            if node.results[0] in machine.recorded.leaves:
                copies.append(node.results[0])
                continue
            if not all(map(seen, node.results)):
                self.constants += (result for result in node.results if result.type.is_float)
                continue
            kept.append(node)
            needed.update(_inputs(node))
            if any(
                result in machine.recorded.leaves
                for region in node.regions
                for inner in walk(region)
                for result in inner.results
            ):
                raise machine.unsupported(
                    "gradient.region", "Variable", "it is used in a loop or branch that makes or writes it"
                )
        return kept[::-1], copies[::-1]


def _inputs(node: Node) -> Iterator[Value]:
    """Yield what a node, and the nodes in its regions, take."""
    yield from node.inputs
    for region in node.regions:
        for inner in walk(region):
            yield from inner.inputs
