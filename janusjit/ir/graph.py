"""The dataflow graph.

Owns `Graph`, `Region`, `Node` and `Value`. Invariants: SSA (a value has one definition, and a use lies in the
defining region after the definition, or in a region nested there); nodes stand in program order, which is the order in
which eager Python would have run them; every region ends with exactly one terminator.

Structured control flow, in the manner of WebAssembly:

* ``if`` has one input (``bool[]``), two regions without parameters, and as many results as its regions yield.
* ``loop`` has as many inputs as its one region has parameters: the carried values. The region's terminator
  ``continue`` gives the next values, ``break`` the loop's results.
* ``succeeded`` has one input, the first result of an operation that can fail, and gives ``bool[]``: whether that could
  be done. Right behind the operation it takes the place of its guard: control goes on if it could not, to an ``if``
  that leaves, and what the results are then is anybody's guess. Anywhere else the guard has held.
* Terminators: ``yield`` (leaves the innermost region: an ``if`` arm), ``continue`` and ``break`` (the innermost
  enclosing ``loop``, out of any ``if`` arms between), ``exit`` (leaves the graph: attribute ``recipe``, an
  `ExitRecipe`; inputs are its operands), ``fail`` (an unconditional deoptimization: attribute ``guard``). An ``if``
  both of whose arms end otherwise than with ``yield`` is followed by nothing but ``unreachable``.

Tapes are what a loop's backward pass finds again of each turn: stacks of values beside the SSA values. A *token*
(``i64[]``) is the height of a tape, and orders what is done with it; each has one use, but for one that is popped from
after what was pushed on it is gone.

* ``tape_new`` gives the token of an empty tape, which is told from others by the attribute ``tape``, a number, of all
  operations on it. Made again in the next turn of a loop, the tape is empty again.
* ``tape_push`` takes a token and values, puts the values on top, and gives the new token.
* ``tape_pop`` takes a token and gives the one before, and the values of the push in between. With the attribute
  ``copied``, other values may be pushed while these are in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from janusjit.ir.dims import Symbol
from janusjit.ir.guards import GuardSet
from janusjit.ir.places import Place
from janusjit.ir.types import TensorType
from janusjit.pacing import pause
from janusjit.spans import UNKNOWN_SPAN, Span

TERMINATORS = frozenset({"yield", "continue", "break", "exit", "fail", "unreachable"})
#: how many nodes are walked at a time before the program may have the interpreter
_NODES_A_PAUSE = 16
TAPE_OPERATIONS = frozenset({"tape_new", "tape_push", "tape_pop"})


class Value:
    """One SSA value. Compared by identity."""

    __slots__ = ("definition", "index", "type")

    def __init__(self, type_: TensorType, definition: Node | Region | None = None, index: int = 0) -> None:
        self.type = type_
        self.definition = definition
        self.index = index

    @property
    def node(self) -> Node | None:
        """The node that defines the value; None for region parameters and graph inputs."""
        return self.definition if isinstance(self.definition, Node) else None

    def __repr__(self) -> str:
        origin = self.definition.op if isinstance(self.definition, Node) else "parameter"
        return f"<value {self.type} of {origin}>"


class Node:
    """An operation: ``op`` names a declaration of `janusjit.ops` or a structural op.

    ``guard`` is set on fallible nodes: the in-graph guard that fails when the operation cannot be done.
    """

    __slots__ = ("attributes", "guard", "inputs", "op", "regions", "results", "span")

    def __init__(
        self,
        op: str,
        inputs: tuple[Value, ...] = (),
        result_types: tuple[TensorType, ...] = (),
        attributes: dict[str, Any] | None = None,
        span: Span = UNKNOWN_SPAN,
        regions: tuple[Region, ...] = (),
        guard: Any = None,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attributes: dict[str, Any] = attributes or {}
        self.span = span
        self.regions = regions
        self.guard = guard
        self.results = tuple(Value(t, self, i) for i, t in enumerate(result_types))

    @property
    def result(self) -> Value:
        """The only result."""
        (only,) = self.results
        return only

    def __repr__(self) -> str:
        return f"<node {self.op} @{self.span}>"


class Region:
    """Parameters and a list of nodes, the last of which is a terminator once the region is finished."""

    __slots__ = ("nodes", "parameters")

    def __init__(self, parameter_types: tuple[TensorType, ...] = ()) -> None:
        self.parameters = tuple(Value(t, self, i) for i, t in enumerate(parameter_types))
        self.nodes: list[Node] = []

    @property
    def terminator(self) -> Node:
        return self.nodes[-1]


@dataclass(eq=False)
class GraphInput:
    """A value read from a place at every call.

    ``kind`` is ``"array"``, a scalar kind (``"int"``, ``"float"``, ``"bool"``, ``"numpy.f64"``), ``"generator"``, a
    random number generator, as the address of the object, or ``"object"``, the address of any object. An entry guard
    on the same place (`ArrayLayout`, `ScalarTypeIs`, `TypeIs`) vouches for it. ``layout`` as in `ArrayLayout`.
    """

    place: Place
    value: Value
    kind: str
    layout: str = "C"
    span: Span = UNKNOWN_SPAN


@dataclass(eq=False)
class Graph:
    """A captured function: inputs, body region, entry guards and in-graph guards.

    ``symbols`` says which input dimension binds each symbol: (index of the input, axis). Symbols bound by ``bind_dim``
    nodes are not in it. ``memory_limit`` is how many bytes of intermediate arrays should be alive at a time; None: as
    many as is fastest. ``threads`` is how many threads its kernels may run on, and ``measured`` whether it times
    them.
    """

    name: str
    parameters: tuple[str, ...] = ()
    inputs: list[GraphInput] = field(default_factory=list)
    body: Region = field(default_factory=Region)
    guards: GuardSet = field(default_factory=GuardSet)
    symbols: dict[Symbol, tuple[int, int]] = field(default_factory=dict)
    span: Span = UNKNOWN_SPAN
    memory_limit: int | None = None
    threads: int = 1
    measured: bool = False

    def walk(self) -> Iterator[Node]:
        """Yield every node, outer before inner, in program order."""
        return walk(self.body)


def attempts(region: Region) -> set[Node]:
    """Return the nodes that are asked, right behind them, whether they succeeded."""
    regions = [region, *(inner for node in walk(region) for inner in node.regions)]
    pairs = (pair for one in regions for pair in zip(one.nodes, one.nodes[1:], strict=False))
    return {node for node, asking in pairs if asking.op == "succeeded" and asking.inputs[0].node is node}


def walk(region: Region) -> Iterator[Node]:
    """Yield every node of a region and of the regions nested in it, in program order."""
    pending = [iter(region.nodes)]  # one generator, not one a level: deep nests are walked in linear time
    walked = 0
    while pending:
        for node in pending[-1]:
            yield node
            walked += 1
            if not walked % _NODES_A_PAUSE:
                pause()
            if node.regions:
                pending += [iter(inner.nodes) for inner in reversed(node.regions)]
                break
        else:
            pending.pop()
