"""The plan of a graph: which steps run, in which order, and what each computes.

Owns the step kinds and `Plan`. Invariants: steps stand in execution order; every array a step reads is in memory, or
computed by a `FusedStep` inside itself; views are no steps, since they only say how memory is addressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from janusjit.ir.dims import Dim
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ir.graph import walk as walk_region
from janusjit.ops.indexing import Range
from janusjit.ops.registry import OPS, Elementwise, Library, Lowering, ObjectCall, Reduce, View
from janusjit.ops.updates import part_type
from janusjit.pacing import pause

UPDATES = frozenset({"update", "update_take", "update_mask"})
_DIVIDED = ", on threads: "
#: how the text of a step ends that is divided only if there are elements enough
IF_LARGE = " elements on"
VIEW_OPS = frozenset({"view", "transpose", "reshape", "broadcast"})


class Step:
    """Base of the steps. ``time`` numbers all steps of a plan in execution order, nested ones after their owner."""

    time: int = -1


@dataclass(eq=False)
class NodeStep(Step):
    """One node by itself: a scalar operation, a library call, a guard, a terminator."""

    node: Node


@dataclass(eq=False)
class FusedStep(Step):
    """One loop nest over ``shape`` that computes elementwise ``nodes``, and reductions of them over common ``axes``.

    ``stores`` are the results that have to be in memory afterwards; other results exist in registers only.
    """

    shape: tuple[Dim, ...]
    nodes: list[Node] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)
    stores: list[Value] = field(default_factory=list)
    values: set[Value] = field(default_factory=set)

    @property
    def axes(self) -> tuple[int, ...] | None:
        """The axes reduced over; None if nothing is reduced."""
        return reduced_axes(self.reductions[0]) if self.reductions else None


@dataclass(eq=False)
class RegionStep(Step):
    """An ``if`` or a ``loop`` with a plan for each region; ``end`` is the time of the last step inside."""

    node: Node
    bodies: list[list[Step]]
    end: int = -1

    def walk_nodes(self) -> Iterator[Node]:
        """Yield every node of the regions."""
        for region in self.node.regions:
            yield from walk_region(region)


@dataclass
class Plan:
    """The steps of a graph's body; ``backups`` are the copies of inputs that `janusjit.backend.flag_checks` keeps.

    Of the inputs ``written_again`` there need be none: plain Python, doing the call again, writes the same in them.
    """

    graph: Graph
    steps: list[Step]
    backups: dict[int, Value] = field(default_factory=dict)
    written_again: frozenset[int] = frozenset()

    @property
    def recoverable(self) -> frozenset[int]:
        """The inputs that may be written while the call can still be given up."""
        return self.written_again.union(self.backups)

    def walk(self) -> Iterator[Step]:
        """Yield every step, outer before inner, in execution order."""
        yield from walk(self.steps)

    def text(self, chosen: Mapping[Node, str], divided: Mapping[Step, str]) -> str:
        """Return the steps as text, with how nodes are computed where there was a choice.

        ``divided`` says of the steps on several threads how they are divided.
        """
        return "\n".join(_lines(self.steps, "", chosen, divided))

    def __str__(self) -> str:
        return self.text({}, {})


def divided_steps(text: str) -> list[str]:
    """Return the lines of the text of a plan that tell of steps on several threads, without their numbers.

    Steps whose size is known at run time only, and may be too small for it, are not among them.
    """
    divided = (line for line in text.splitlines() if _DIVIDED in line and not line.endswith(IF_LARGE))
    return [line.partition(": ")[2] for line in divided]


def walk(steps: list[Step]) -> Iterator[Step]:
    """Yield every step of a list and of the steps nested in it, in execution order."""
    for step in steps:
        pause()
        yield step
        if isinstance(step, RegionStep):
            for body in step.bodies:
                yield from walk(body)


def number(steps: list[Step], time: int = 0) -> int:
    """Give every step its time; return the first time after them."""
    for step in steps:
        step.time = time
        time += 1
        if isinstance(step, RegionStep):
            for body in step.bodies:
                time = number(body, time)
            step.end = time
            time += 1
    return time


def lowering_of(node: Node) -> Lowering | None:
    """Return how an operation is lowered; None for structural ones."""
    pause()
    op = OPS.get(node.op)
    return None if op is None else op.lowering


def nodes_of(step: Step) -> list[Node]:
    """Return the nodes a step computes, those of nested steps not included."""
    pause()
    if isinstance(step, FusedStep):
        return [*step.nodes, *step.reductions]
    assert isinstance(step, (NodeStep, RegionStep))
    return [step.node]


def may_fail(node: Node) -> bool:
    """Return whether a node can deoptimize; calls of Python and tapes may, for want of memory."""
    if node.guard is not None or node.op in ("fail", "tape_push"):
        return True
    return isinstance(lowering_of(node), (Library, ObjectCall))


def brought_arrays(node: Node) -> list[Value]:
    """Return the results of a node that come in ndarrays of their own, which a call of Python returns."""
    lowering = lowering_of(node)
    values = isinstance(lowering, Library) or (isinstance(lowering, ObjectCall) and lowering.returns == "value")
    return [result for result in node.results if result.type.rank > 0] if values else []


def makes_object(node: Node) -> bool:
    """Return whether a node's second result is the address of a new Python object."""
    lowering = lowering_of(node)
    return isinstance(lowering, ObjectCall) and lowering.returns == "object"


def is_view(node: Node) -> bool:
    """Return whether a node only addresses the memory of its first input, which is an array."""
    return node.op in VIEW_OPS and node.inputs[0].type.rank > 0 and node.result.type.rank > 0


def picks_element(node: Node) -> bool:
    """Return whether a node picks one element of an array."""
    return node.op in ("view", "reshape") and node.result.type.rank == 0 and node.inputs[0].type.rank > 0


def is_splat(node: Node) -> bool:
    """Return whether a node makes an array all of whose elements are its first input, a scalar."""
    shaped = node.op == "full" or isinstance(lowering_of(node), View)
    return shaped and node.inputs[0].type.rank == 0 and node.result.type.rank > 0


def is_identity(node: Node) -> bool:
    """Return whether each element of the result is the element of one input: see `element_source`."""
    whole_update = node.op == "update" and node.attributes["path"] == ()
    return is_splat(node) or ((node.op == "copy" or whole_update) and node.result.type.rank > 0)


def element_source(node: Node) -> Value:
    """Return the input an identity passes on, broadcast."""
    return node.inputs[1] if node.op == "update" else node.inputs[0]


def is_elementwise(node: Node) -> bool:
    """Return whether a node's result is an array whose elements a fused loop computes one by one."""
    if len(node.results) != 1 or node.result.type.rank == 0:
        return False
    return isinstance(lowering_of(node), Elementwise) or is_identity(node)


def is_reduction(node: Node) -> bool:
    """Return whether a node combines elements of an array by an associative operation."""
    kinds = isinstance(lowering_of(node), Reduce) and node.op not in ("argmax", "argmin")
    return kinds and node.inputs[0].type.rank > 0


def element_inputs(node: Node) -> tuple[Value, ...]:
    """Return the inputs a fused loop reads for one element of ``node``'s result."""
    if node.op == "update" or is_identity(node):
        return (element_source(node),)
    return node.inputs


def updated_shape(node: Node) -> tuple[Dim, ...]:
    """Return the shape of the part that an ``update`` sets."""
    base, _, *extras = node.inputs
    return part_type(base.type, node.attributes["path"], [extra.type for extra in extras]).shape


def is_in_place(update: Node) -> bool:
    """Return whether an ``update`` sets each element where the loop over the part finds it in the whole array."""
    shape = update.inputs[0].type.shape
    whole = tuple(Range(0, size, 1) for size in shape)
    return all(step.op == "view" and dict(step.attributes)["index"] == whole for step in update.attributes["path"])


def reduced_axes(node: Node) -> tuple[int, ...]:
    """Return the axes a reduction is over, in increasing order."""
    return tuple(sorted(node.attributes["axes"]))


def root(value: Value) -> Value:
    """Return the value whose memory ``value`` addresses: itself, unless it is a view."""
    while (node := value.node) is not None and is_view(node):
        value = node.inputs[0]
    return value


def _lines(
    steps: list[Step], indent: str, chosen: Mapping[Node, str], divided: Mapping[Step, str]
) -> Iterator[str]:
    for step in steps:
        yield f"{indent}{step.time}: {line_of(step, chosen, divided)}"
        if isinstance(step, RegionStep):
            for body in step.bodies:
                yield f"{indent}  region"
                yield from _lines(body, indent + "    ", chosen, divided)


def with_threads(text: str, divided: str | None) -> str:
    """Return the text of a step with how it is divided among threads, if it is."""
    return text if divided is None else text + _DIVIDED + divided


def line_of(step: Step, chosen: Mapping[Node, str], divided: Mapping[Step, str]) -> str:
    """Return a step as text, without its number and the steps inside; see `Plan.text`."""
    if isinstance(step, FusedStep):
        shape = ",".join(map(str, step.shape))
        work = ", ".join(node.op for node in nodes_of(step))
        return with_threads(f"fused [{shape}] {work} -> {len(step.stores)} stored", divided.get(step))
    (node,) = nodes_of(step)
    return node.op + (f" by {chosen[node]}" if node in chosen else "")
