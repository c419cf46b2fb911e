"""Parsing graphs.

Owns `parse_graph`, the inverse of `janusjit.ir.text.format_graph`. Invariant: what it returns is built by
`GraphBuilder`; it is not verified.

Texts written by hand may be shorter than printed ones:

* a parameter with a type, ``graph f(x: f32[n,3], lr: float)``, declares an input and its entry guard;
* result types may be left out where an ``infer`` is given, and on ``if`` and ``loop``;
* a literal among the inputs is a constant of the dtype of the node's first value input: ``multiply(x, 2.0)``;
* guard numbers, spans and operands of ``exit`` that its boxes name may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from janusjit.ir import places as pl
from janusjit.ir.builder import GraphBuilder, Infer
from janusjit.ir.dims import Symbol
from janusjit.ir.floating_point import FLAGS_CODE, FlagsGuard
from janusjit.ir.graph import TERMINATORS, Graph, Node, Region, Value
from janusjit.ir.guards import ArrayLayout, EntryGuard, InGraphGuard, ScalarTypeIs, scalar_type
from janusjit.ir.parse_recipe import RecipeParser
from janusjit.ir.parse_tokens import DataParser, GraphSyntaxError, Tokens
from janusjit.ir.types import BOOL, FLOAT, INT, TensorType
from janusjit.spans import UNKNOWN_SPAN, Span

__all__ = ["GraphSyntaxError", "parse_graph"]

PYTHON_SCALARS = {"int": INT, "float": FLOAT, "bool": BOOL}
WITHOUT_RESULTS = TERMINATORS | {"guard", "bind_dim"}


def parse_graph(text: str, namespace: Mapping[str, Any] | None = None, infer: Infer | None = None) -> Graph:
    """Return the graph a text describes.

    Parameters
    ----------
    text : str
        As printed by `janusjit.ir.text.format_graph`, or shorter (see the module's docstring).
    namespace : mapping, optional
        The Python objects that ``&name`` refers to, and the classes of records (entry guards are known).
    infer : callable, optional
        Gives result types that the text leaves out.

    Raises
    ------
    GraphSyntaxError
        With line and column.
    """
    known: dict[str, Any] = {class_.__name__: class_ for class_ in _subclasses(EntryGuard)}
    return _GraphParser(Tokens(text), {**known, **(namespace or {})}, infer).graph()


def _subclasses(class_: type) -> list[type]:
    found: list[type] = [class_]
    children: list[type] = class_.__subclasses__()
    for child in children:
        found += _subclasses(child)
    return found


class _GraphParser:
    def __init__(self, tokens: Tokens, namespace: Mapping[str, Any], infer: Infer | None) -> None:
        self._tokens = tokens
        self._data = DataParser(tokens, namespace)
        self._infer = infer
        self._start = tokens.peek  # of the line that is being read
        self._values: dict[str, Value] = {}
        self._guards: dict[int, InGraphGuard] = {}
        self._declared: list[tuple[str, str, TensorType, Span]] = []

    def graph(self) -> Graph:
        tokens = self._tokens
        tokens.expect("graph")
        name = tokens.string() if tokens.peek.kind == "string" else tokens.expect_kind("name")
        tokens.expect("(")
        parameters = tuple(tokens.comma_separated(")", self._parameter))
        for index, parameter in enumerate(parameters):
            self._data.roots[parameter] = pl.ArgumentPlace(index, parameter)
        self._builder = GraphBuilder(Graph(name, parameters, span=tokens.span()), self._infer)
        tokens.expect("{")
        for parameter, kind, type_, span in self._declared:
            self._declare(parameter, kind, type_, span)
        self._header()
        self._nodes()
        if tokens.peek.kind != "end":
            raise tokens.error(f"expected the end, found {tokens.peek.text!r}")
        graph = self._builder.graph
        numbers = {guard: number for number, guard in self._guards.items()}
        graph.guards.in_graph.sort(key=lambda guard: numbers.get(guard, len(graph.guards.in_graph)))
        return graph

    def _parameter(self) -> str:
        name = self._tokens.expect_kind("name")
        if self._tokens.accept(":"):
            kind, type_ = self._kind_and_type()
            self._declared.append((name, kind, type_, self._tokens.span()))
        return name

    def _kind_and_type(self) -> tuple[str, TensorType]:
        tokens = self._tokens
        text = tokens.peek.text
        if text in PYTHON_SCALARS and tokens.following().text != "[":
            tokens.take()
            return text, PYTHON_SCALARS[text]
        if tokens.accept("numpy", "."):
            dtype = tokens.expect_kind("name")
            return f"numpy.{dtype}", TensorType(dtype)
        return "array", self._data.type()

    def _declare(self, name: str, kind: str, type_: TensorType, span: Span) -> None:
        place = self._data.roots[name]
        self._values[name] = self._builder.add_input(place, type_, kind, span=span)
        guard: EntryGuard = (
            ArrayLayout(place, type_.dtype, type_.shape, span=span)
            if kind == "array"
            else ScalarTypeIs(place, kind, span=span)
        )
        self._builder.graph.guards.entry.append(guard)

    def _header(self) -> None:
        tokens = self._tokens
        bindings: list[tuple[Symbol, str, int]] = []
        while tokens.peek.text in ("symbol", "place", "input", "require", "check") and tokens.following().text != "(":
            keyword = tokens.take().text
            if keyword == "symbol":
                bindings += self._symbol()
            elif keyword == "place":
                self._root()
            elif keyword == "input":
                self._input()
            elif keyword == "require":
                self._requirement()
            else:
                guard = self._shared(self._guard(), tokens.span())
                self._builder.graph.guards.in_graph += [guard] if guard is not None else []
        for symbol, name, axis in bindings:
            self._builder.graph.symbols[symbol] = (self._use(name).index, axis)

    def _symbol(self) -> list[tuple[Symbol, str, int]]:
        tokens = self._tokens
        name = tokens.expect_kind("name")
        tokens.expect(">=")
        symbol = self._data.symbols[name] = Symbol(name, tokens.integer())
        if not tokens.accept("="):
            return []
        given = tokens.take().text
        tokens.expect("axis")
        return [(symbol, given, tokens.integer())]

    def _root(self) -> None:
        tokens = self._tokens
        name = tokens.expect_kind("name")
        tokens.expect("=")
        kind = tokens.expect_kind("name")
        tokens.expect("(")
        item = self._data.reference()
        tokens.expect(",")
        kinds = {"constant": pl.ConstantPlace, "global": pl.GlobalPlace, "cell": pl.CellPlace}
        if kind not in kinds:
            raise tokens.error(f"{kind} is no kind of place")
        self._data.roots[name] = kinds[kind](item, tokens.string())
        tokens.expect(")")

    def _input(self) -> None:
        tokens = self._tokens
        name = tokens.take().text
        tokens.expect(":")
        type_ = self._data.type()
        tokens.expect("=")
        place = self._data.place()
        kind = tokens.dotted_name()
        if kind not in ("array", "generator", "object"):
            self._check_kind(kind)
        layout = tokens.take().text if tokens.peek.text in ("C", "F", "any") else "C"
        self._define(name, self._builder.add_input(place, type_, kind, layout, tokens.span()))

    def _check_kind(self, kind: str) -> None:
        try:
            scalar_type(kind)
        except KeyError as error:
            raise self._tokens.error(f"{kind} is no kind of input") from error

    def _requirement(self) -> None:
        tokens = self._tokens
        name = tokens.dotted_name()
        tokens.expect("(")
        guard = self._data.record(name)
        if not isinstance(guard, EntryGuard):
            raise tokens.error(f"{name} is no entry guard")
        evidence = tokens.string() if tokens.accept("evidence") else ""
        relaxation = self._data.data() if tokens.accept("relaxation") else None
        knowledge = {"span": tokens.span(), "evidence": evidence, "relaxation": relaxation}
        for field, value in knowledge.items():
            object.__setattr__(guard, field, value)  # the guard is not shared yet
        self._builder.graph.guards.entry.append(guard)

    def _nodes(self) -> None:
        """Read nodes up to the closing brace of the region."""
        while not self._tokens.accept("}"):
            self._node()

    def _node(self) -> None:
        tokens = self._tokens
        start = self._start = tokens.peek
        results: list[tuple[str, TensorType | None]] = []
        if tokens.peek.kind == "value":
            results.append(self._result())
            while tokens.accept(","):
                results.append(self._result())
            tokens.expect("=")
        op = tokens.dotted_name()
        names, attributes = self._arguments() if tokens.accept("(") else ([], {})
        if op == "exit":
            self._exit(names, attributes)
            return
        regions: list[Region] = []
        while tokens.peek.text in ("as", "{"):
            regions.append(self._region())
            if not (tokens.following().text in ("as", "{") and tokens.accept("else")):
                break
        parsed = self._guard() if tokens.accept("else") else None
        span = tokens.span()
        guard = self._shared(parsed, span)
        self._start = start
        if op == "fail":
            attributes["guard"] = guard
        inputs = self._operands(names)
        types = self._types(op, results, regions)
        try:
            node = self._builder.emit(
                op, inputs, attributes, span=span, guard=guard, regions=regions, result_types=types
            )
        except (TypeError, ValueError) as error:
            raise tokens.error(str(error), start) from error
        if results:
            if len(node.results) != len(results):
                raise tokens.error(f"{op} has {len(node.results)} results, not {len(results)}", start)
            for (name, _), value in zip(results, node.results, strict=True):
                self._define(name, value)

    def _result(self) -> tuple[str, TensorType | None]:
        name = self._tokens.expect_kind("value")
        return name, self._data.type() if self._tokens.accept(":") else None

    def _types(
        self, op: str, results: list[tuple[str, TensorType | None]], regions: list[Region]
    ) -> tuple[TensorType, ...] | None:
        given = tuple(type_ for _, type_ in results if type_ is not None)
        if len(given) == len(results) and (results or self._infer is None or op in WITHOUT_RESULTS):
            return given
        if op not in ("if", "loop"):
            return None
        leaving = [node for region in regions for node in leaving_nodes(region, "yield" if op == "if" else "break")]
        return tuple(value.type for value in leaving[0].inputs) if leaving else ()

    def _arguments(self) -> tuple[list[str | int | float], dict[str, Any]]:
        names: list[str | int | float] = []
        attributes: dict[str, Any] = {}

        def argument() -> None:
            token = self._tokens.peek
            if token.kind == "name" and self._tokens.following().text == "=":
                self._tokens.take()
                self._tokens.take()
                attributes[token.text] = self._data.data()
            elif token.kind == "value" or (token.kind == "name" and token.text not in ("True", "False")):
                names.append(self._tokens.take().text)
            else:
                names.append(self._data.data())

        self._tokens.comma_separated(")", argument)
        return names, attributes

    def _operands(self, names: list[str | int | float]) -> list[Value]:
        values = [self._use(name) if isinstance(name, str) else None for name in names]
        first = next((value for value in values if value is not None), None)
        if first is None and names:
            raise self._tokens.error("a literal needs a value input beside it to take the dtype from", self._start)
        return [
            value if value is not None else self._literal(name, first.type.dtype)  # type: ignore[union-attr,arg-type]
            for value, name in zip(values, names, strict=True)
        ]

    def _literal(self, value: int | float, dtype: str) -> Value:
        attributes = {"value": value, "dtype": dtype}
        return self._builder.emit("constant", (), attributes, result_types=(TensorType(dtype),)).result

    def _exit(self, names: list[str | int | float], attributes: dict[str, Any]) -> None:
        self._tokens.expect("{")
        operands = [str(name) for name in names]
        attributes["recipe"] = RecipeParser(self._tokens, self._data, operands).recipe()
        values = [self._use(name) for name in operands]
        self._builder.emit("exit", values, attributes, span=self._tokens.span(), result_types=())

    def _region(self) -> Region:
        tokens = self._tokens
        parameters: list[tuple[str, TensorType]] = []
        if tokens.accept("as"):
            tokens.expect("(")
            parameters = tokens.comma_separated(")", self._region_parameter)
        tokens.expect("{")
        region = self._builder.open_region([type_ for _, type_ in parameters])
        for (name, _), value in zip(parameters, region.parameters, strict=True):
            self._define(name, value)
        self._nodes()
        try:
            return self._builder.close_region()
        except ValueError as error:
            raise tokens.error(str(error)) from error

    def _region_parameter(self) -> tuple[str, TensorType]:
        name, type_ = self._result()
        if type_ is None:
            raise self._tokens.error(f"the type of {name} is missing")
        return name, type_

    def _guard(self) -> tuple[int | None, dict[str, Any]]:
        tokens = self._tokens
        number = int(tokens.take().text[1:]) if tokens.peek.kind == "key" else None
        fields: dict[str, Any] = {"code": tokens.dotted_name()}
        tokens.expect("(")
        fields["subject"] = tokens.string()
        tokens.expect(",")
        fields["expected"] = tokens.string()
        while tokens.accept(","):
            name = tokens.expect_kind("name")
            tokens.expect("=")
            fields[name] = self._guard_field(name)
        tokens.expect(")")
        return number, fields

    def _guard_field(self, name: str) -> Any:
        if name == "at":
            return UNKNOWN_SPAN if self._tokens.accept("unknown") else self._tokens.span()
        if name not in ("site", "evidence", "relaxation"):
            raise self._tokens.error(f"a guard has no {name}")
        return self._data.data()

    def _shared(self, parsed: tuple[int | None, dict[str, Any]] | None, span: Span) -> InGraphGuard | None:
        """Return the guard of a node: the one with its number if there is one already."""
        if parsed is None:
            return None
        number, fields = parsed
        if number is not None and number in self._guards:
            return self._guards[number]
        kind = FlagsGuard if fields["code"] == FLAGS_CODE else InGraphGuard
        guard = kind(span=fields.pop("at", span), **fields)
        if number is not None:
            self._guards[number] = guard
        return guard

    def _define(self, name: str, value: Value) -> None:
        if name in self._values:
            raise self._tokens.error(f"{name} is defined twice", self._start)
        self._values[name] = value

    def _use(self, name: str | int | float) -> Value:
        value = self._values.get(str(name))
        if value is None:
            raise self._tokens.error(f"{name} is not defined", self._start)
        return value


def leaving_nodes(region: Region, terminator: str) -> list[Node]:
    """Return the ``yield`` or ``break`` terminators that leave the node ``region`` belongs to."""
    found: list[Node] = []
    for node in region.nodes:
        if node.op == terminator:
            found.append(node)
        elif terminator == "break" and node.op == "if":
            found += [leaving for inner in node.regions for leaving in leaving_nodes(inner, terminator)]
    return found
