"""Verifying graphs.

Owns `verify`, which checks what `janusjit.ir.graph` promises: single definitions that dominate their uses, region
structure, types, symbols bound before use, operands of exits, guards on fallible nodes. Invariant: a graph that passes
can be printed, interpreted and compiled without a structural error.

What depends on operations (type rules, which nodes may fail) is injected, because operations are declared in a layer
above this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from janusjit.errors import JanusError
from janusjit.ir.boxes import (
    ArrayBox,
    Box,
    ConstantBox,
    EitherBox,
    ExitRecipe,
    PlaceBox,
    ScalarBox,
    ViewBox,
    WriteArray,
)
from janusjit.ir.builder import Infer
from janusjit.ir.dims import DimExpr, Symbol, symbols_of
from janusjit.ir.graph import TAPE_OPERATIONS, TERMINATORS, Graph, GraphInput, Node, Region, Value
from janusjit.ir.guards import ArrayLayout, InGraphGuard, ScalarTypeIs, TypeIs
from janusjit.ir.text import format_graph
from janusjit.ir.types import BOOL, DTYPES, FLOAT, INT, TensorType

MayFail = Callable[[str, tuple[TensorType, ...], Mapping[str, Any]], bool]
STRUCTURAL = TERMINATORS | TAPE_OPERATIONS | {"if", "loop", "guard", "bind_dim", "dim", "succeeded"}
REGION_COUNT = {"if": 2, "loop": 1}


class VerificationError(JanusError):
    """A graph breaks an invariant of the representation: a defect of what made it, not of the user's program.

    ``node`` is the offending node or None; ``graph`` the graph.
    """

    def __init__(self, message: str, graph: Graph, node: Node | None = None) -> None:
        where = f" in {node!r}" if node is not None else ""
        super().__init__("ir.invalid", f"graph {graph.name}: {message}{where}")
        self.graph = graph
        self.node = node

    def text(self) -> str:
        """Return the graph as text, as far as it can be printed."""
        return format_graph(self.graph)


def verify(graph: Graph, infer: Infer | None = None, may_fail: MayFail | None = None) -> None:
    """Check a graph.

    Parameters
    ----------
    graph : Graph
        A finished graph.
    infer : callable, optional
        ``infer(op, input types, attributes)`` gives the result types of an operation.
    may_fail : callable, optional
        Says whether a node of an operation must carry a guard.

    Raises
    ------
    VerificationError
        For the first invariant found broken.
    """
    _Verifier(graph, infer, may_fail).run()


class _Verifier:
    def __init__(self, graph: Graph, infer: Infer | None, may_fail: MayFail | None) -> None:
        self._graph = graph
        self._infer = infer
        self._may_fail = may_fail
        self._visible: set[Value] = set()
        self._defined: set[Value] = set()
        self._bound: set[Symbol] = set(graph.symbols)
        self._scope: list[Value | Symbol] = []
        self._listed = set(graph.guards.in_graph)

    def _fail(self, message: str, node: Node | None = None) -> VerificationError:
        return VerificationError(message, self._graph, node)

    def run(self) -> None:
        graph = self._graph
        if len(self._listed) != len(graph.guards.in_graph):
            raise self._fail("an in-graph guard is listed twice")
        for index, given in enumerate(graph.inputs):
            self._input(index, given)
        for symbol, (index, axis) in graph.symbols.items():
            inside = index < len(graph.inputs) and axis < graph.inputs[index].value.type.rank
            if not inside or graph.inputs[index].value.type.shape[axis] != DimExpr((((symbol,), 1),)):
                raise self._fail(f"symbol {symbol} is not axis {axis} of input {index}")
        if graph.body.parameters:
            raise self._fail("the body has parameters; inputs are in `inputs`")
        self._region(graph.body, (), ())

    def _input(self, index: int, given: GraphInput) -> None:
        value = given.value
        if value.definition is not self._graph.body or value.index != index:
            raise self._fail(f"input {index} ({given.place}) does not know its definition and index")
        self._define(value, None)
        expected = {"int": INT, "float": FLOAT, "bool": BOOL, "generator": INT, "object": INT}.get(given.kind)
        if given.kind.startswith("numpy."):
            expected = TensorType(given.kind.removeprefix("numpy."))
        if expected is not None and value.type != expected:
            raise self._fail(f"input {given.place} of kind {given.kind} has type {value.type}")
        if expected is None and given.kind != "array":
            raise self._fail(f"input {given.place} has unknown kind {given.kind!r}")
        wanted = {"array": ArrayLayout, "generator": TypeIs, "object": TypeIs}.get(given.kind, ScalarTypeIs)
        if not any(isinstance(g, wanted) and g.places[0] is given.place for g in self._graph.guards.entry):
            raise self._fail(f"no entry guard vouches for input {given.place} ({given.kind})")

    def _define(self, value: Value, node: Node | None) -> None:
        if value in self._defined:
            raise self._fail(f"{value!r} is defined twice", node)
        self._defined.add(value)
        self._visible.add(value)
        self._scope.append(value)
        if value.type.dtype not in DTYPES:
            raise self._fail(f"{value.type.dtype!r} is no element type", node)
        self._check_bound(symbols_of(value.type.shape), node)

    def _bind(self, symbol: Symbol, node: Node) -> None:
        if symbol in self._bound:
            raise self._fail(f"dimension {symbol} is bound twice", node)
        self._bound.add(symbol)
        self._scope.append(symbol)

    def _check_bound(self, symbols: frozenset[Symbol], node: Node | None) -> None:
        unbound = symbols - self._bound
        if unbound:
            raise self._fail(f"dimension {', '.join(map(str, sorted(unbound)))} is used before it is bound", node)

    def _region(self, region: Region, owners: tuple[Node, ...], results: tuple[TensorType, ...]) -> None:
        """Check a region nested in ``owners`` (outermost first), the last of which has ``results``."""
        if not region.nodes or region.nodes[-1].op not in TERMINATORS:
            raise self._fail("a region does not end with a terminator", owners[-1] if owners else None)
        scope = len(self._scope)
        for index, value in enumerate(region.parameters):
            if value.definition is not region or value.index != index:
                raise self._fail(f"region parameter {index} does not know its definition", owners[-1])
            self._define(value, owners[-1])
        closed = False
        for position, node in enumerate(region.nodes):
            last = position == len(region.nodes) - 1
            if node.op in TERMINATORS and not last:
                raise self._fail("a terminator is not the last node of its region", node)
            if closed != (node.op == "unreachable"):
                raise self._fail("unreachable stands after an if that never yields, and nowhere else", node)
            self._node(node, owners)
            closed = node.op in ("if", "loop") and not falls_through(node)
        while len(self._scope) > scope:  # what the region defined ends with it
            item = self._scope.pop()
            self._visible.discard(item) if isinstance(item, Value) else self._bound.discard(item)

    def _node(self, node: Node, owners: tuple[Node, ...]) -> None:
        for value in node.inputs:
            if value not in self._visible:
                reason = "does not dominate its use" if value in self._defined else "is not defined before its use"
                raise self._fail(f"{value!r} {reason}", node)
        if node.guard is not None and node.guard not in self._listed:
            raise self._fail("the node's guard is not listed in the graph's guards", node)
        self._check_bound(symbols_in(tuple(node.attributes.values())), node)
        if node.op in TERMINATORS:
            self._terminator(node, owners)
        elif node.op in STRUCTURAL:
            self._structural(node, owners)
        else:
            self._operation(node)
        for index, value in enumerate(node.results):
            if value.definition is not node or value.index != index:
                raise self._fail(f"result {index} does not know its definition", node)
            self._define(value, node)

    def _operation(self, node: Node) -> None:
        types = tuple(value.type for value in node.inputs)
        if node.regions:
            raise self._fail(f"{node.op} has regions", node)
        bound = node.attributes.get("symbol")
        if isinstance(bound, Symbol) and bound not in self._bound:  # the count may have been bound before
            self._bind(bound, node)
        if self._infer is not None:
            try:
                expected = self._infer(node.op, types, node.attributes)
            except (TypeError, KeyError, ValueError) as error:
                raise self._fail(f"{node.op} does not take {_show(types)}: {error}", node) from error
            self._check_types("results", tuple(value.type for value in node.results), expected, node)
        if node.guard is None and self._may_fail is not None and self._may_fail(node.op, types, node.attributes):
            raise self._fail(f"{node.op} can fail and has no guard", node)

    def _check_types(
        self, what: str, found: tuple[TensorType, ...], expected: tuple[TensorType, ...], node: Node
    ) -> None:
        if found != expected:
            raise self._fail(f"{what} are {_show(found)}, not {_show(expected)}", node)

    def _structural(self, node: Node, owners: tuple[Node, ...]) -> None:
        types = tuple(value.type for value in node.inputs)
        if len(node.regions) != REGION_COUNT.get(node.op, 0):
            raise self._fail(f"{node.op} has {len(node.regions)} regions", node)
        results = tuple(value.type for value in node.results)
        if node.op == "loop":
            self._check_types("loop parameters", tuple(p.type for p in node.regions[0].parameters), types, node)
        elif node.op in ("if", "guard"):
            self._check_types("inputs", types, (BOOL,), node)
            if any(region.parameters for region in node.regions):
                raise self._fail("an arm of an if has parameters", node)
        elif node.op == "bind_dim":
            self._check_types("inputs", types, (INT,), node)
            if not isinstance(node.attributes.get("symbol"), Symbol):
                raise self._fail("bind_dim has no attribute symbol", node)
            self._bind(node.attributes["symbol"], node)
        elif node.op in TAPE_OPERATIONS:
            self._tape(node, types, results)
        elif node.op == "succeeded":
            self._check_types("results", results, (BOOL,), node)
            if len(types) != 1:
                raise self._fail("succeeded asks about one value", node)
        else:
            self._check_types("inputs", types, (), node)
            self._check_types("results", results, (INT,), node)
            if not isinstance(node.attributes.get("dim"), (int, DimExpr)):
                raise self._fail("dim has no attribute dim", node)
        if node.op in ("guard", "bind_dim"):
            self._check_types("results", results, (), node)
        if node.op == "guard" and not isinstance(node.guard, InGraphGuard):
            raise self._fail("guard without a guard", node)
        for region in node.regions:
            self._region(region, (*owners, node), results)

    def _tape(self, node: Node, inputs: tuple[TensorType, ...], results: tuple[TensorType, ...]) -> None:
        self._check_types("inputs", inputs[:1], () if node.op == "tape_new" else (INT,), node)
        self._check_types("results", results[:1] if node.op == "tape_pop" else results, (INT,), node)
        if node.op == "tape_pop" and len(inputs) != 1:
            raise self._fail("tape_pop takes a token only", node)
        if not isinstance(node.attributes.get("tape"), int):
            raise self._fail(f"{node.op} has no attribute tape", node)

    def _terminator(self, node: Node, owners: tuple[Node, ...]) -> None:
        types = tuple(value.type for value in node.inputs)
        if node.results or node.regions:
            raise self._fail("a terminator has results or regions", node)
        if node.op == "yield":
            if not owners or owners[-1].op != "if":
                raise self._fail("yield outside an arm of an if", node)
            self._check_types("yielded values", types, tuple(v.type for v in owners[-1].results), node)
        elif node.op in ("continue", "break"):
            loop = next((owner for owner in reversed(owners) if owner.op == "loop"), None)
            if loop is None:
                raise self._fail(f"{node.op} outside a loop", node)
            expected = loop.inputs if node.op == "continue" else loop.results
            self._check_types(f"values of {node.op}", types, tuple(v.type for v in expected), node)
        elif node.op == "exit":
            self._exit(node)
        elif node.op == "fail" and not (isinstance(node.guard, InGraphGuard) and not types):
            raise self._fail("fail takes no inputs and carries a guard", node)
        elif types:
            raise self._fail(f"{node.op} takes no inputs", node)

    def _exit(self, node: Node) -> None:
        recipe = node.attributes.get("recipe")
        if not isinstance(recipe, ExitRecipe):
            raise self._fail("exit has no attribute recipe", node)
        for part in recipe_parts(recipe):
            operand = getattr(part, "operand", None)
            if isinstance(operand, int) and not 0 <= operand < len(node.inputs):
                raise self._fail(f"{type(part).__name__} refers to operand {operand} of {len(node.inputs)}", node)
            if isinstance(part, ArrayBox) and part.order:
                axes = range(node.inputs[part.operand].type.rank)
                if sorted(part.order) != list(axes):
                    raise self._fail(f"{part.order} is no order of {len(axes)} axes", node)
            if isinstance(part, ScalarBox) and node.inputs[part.operand].type.rank:
                raise self._fail(f"a scalar is made of {node.inputs[part.operand].type}", node)
            if isinstance(part, ViewBox) and not isinstance(part.base, (ArrayBox, PlaceBox)):
                raise self._fail(f"a view's base is a {type(part.base).__name__}", node)
            if isinstance(part, EitherBox):
                self._either(part, node)
            if isinstance(part, WriteArray):
                self._write(part, node)

    def _either(self, box: EitherBox, node: Node) -> None:
        which = node.inputs[box.operand].type
        self._check_types("which option an either box makes", (which,), (INT,), node)
        if not box.options or not all(isinstance(option, (ConstantBox, ScalarBox)) for _, option in box.options):
            raise self._fail("an option of an either box is neither a constant nor a scalar", node)

    def _write(self, effect: WriteArray, node: Node) -> None:
        types = [g.value.type for g in self._graph.inputs if g.place is effect.place]
        if not types:
            raise self._fail(f"{effect.place} is written but no input", node)
        written = node.inputs[effect.operand].type
        self._check_types(f"the value written to {effect.place}", (written,), (types[0],), node)


def _show(types: tuple[TensorType, ...]) -> str:
    return f"({', '.join(map(str, types))})"


def falls_through(node: Node) -> bool:
    """Whether control can reach what follows an ``if`` (an arm yields) or ``loop`` (its body breaks)."""
    return any(leaves_to(region, node.op) for region in node.regions)


def leaves_to(region: Region, owner: str) -> bool:
    """Whether a region of an ``if`` yields, or that of a ``loop`` breaks."""
    if not region.nodes:
        return True
    if owner == "if":
        return region.nodes[-1].op == "yield"
    return region.nodes[-1].op == "break" or any(
        leaves_to(inner, owner) for node in region.nodes if node.op == "if" for inner in node.regions
    )


def recipe_parts(item: Any) -> Iterator[Any]:
    """Yield every box and effect of a recipe, box or tuple of them, outer before inner."""
    if isinstance(item, tuple):
        for part in item:
            yield from recipe_parts(part)
    elif is_dataclass(item) and not isinstance(item, type):
        if not isinstance(item, ExitRecipe):
            yield item
        for field in fields(item):
            value = getattr(item, field.name)
            if isinstance(value, (Box, tuple)):
                yield from recipe_parts(value)


def symbols_in(item: Any) -> frozenset[Symbol]:
    """Return the symbols that attributes use (one under ``symbol(…)`` is defined there, not used)."""
    if isinstance(item, DimExpr):
        return item.symbols()
    if isinstance(item, tuple):
        return frozenset().union(*map(symbols_in, item))
    if is_dataclass(item) and not isinstance(item, (type, ExitRecipe, InGraphGuard, Symbol)):
        return frozenset().union(*(symbols_in(getattr(item, f.name)) for f in fields(item)))
    return frozenset()
