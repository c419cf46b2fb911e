"""Printing graphs.

Owns `GraphPrinter` and `format_graph`: the textual IR of dumps, tests and error messages, whose grammar
`janusjit.ir.parse` reads. Invariant: parsing the text with the printer's ``namespace`` gives a structurally equal graph
(of a span, file name, line and column are kept).

Shape of the text::

    graph step(x, self) @train.py:11:1 {
      symbol n >= 2 = x axis 0                       ; bound by axis 0 of input x
      place params = global(&train, "params")        ; roots of places that are not arguments
      input x: f32[n,3] = x array C
      input W: f32[3,2] = self.W array C
      require TypeIs(self, &Net)                     ; an entry guard: kind and fields
      check #1 fp.flags("floating-point flags", "clear")   ; an in-graph guard that speaks of the whole graph
      %0: f32[n,2] = matmul(x, W) @train.py:12:9
      %1: f32[] = sum(%0, axes=(0, 1), keepdims=False) @train.py:13:8
      %2: bool[] = isfinite(%1)
      guard(%2) else #0 branch("isfinite(loss)", "True", site=3) @train.py:13:5
      exit(%0, %1) {
        commit self.last = array(%0)#1               ; #1: every box with this key is one object
        return tuple(array(%0)#1, numpy.f32(%1))
      }
    }

``&name`` refers to a Python object in the namespace, ``%k`` and input names to values, ``$k`` to operand ``k`` of an
exit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from janusjit.ir import boxes as bx
from janusjit.ir import places as pl
from janusjit.ir.builder import carried_guards
from janusjit.ir.graph import Graph, GraphInput, Node, Region, Value
from janusjit.ir.guards import ArrayLayout, EntryGuard, InGraphGuard, ScalarTypeIs
from janusjit.ir.text_data import DataPrinter, Names, all_symbols, format_span, identifier, quote

INDENT = "  "
SCALAR_KINDS = ("int", "float", "bool")
#: effect kinds printed as ``name(fields)``, by name
EFFECT_NAMES: dict[str, type[bx.Effect]] = {
    "append": bx.ListAppend,
    "replace": bx.ReplaceContents,
    "set_global": bx.SetGlobal,
    "delete_global": bx.DeleteGlobal,
    "set_cell": bx.SetCell,
    "invoke": bx.CallFunction,
}


def format_graph(graph: Graph) -> str:
    """Return a graph as text (see the module's docstring)."""
    return GraphPrinter(graph).text()


class RecipePrinter:
    """Prints the commit list and the result of one exit."""

    def __init__(self, data: DataPrinter, operands: tuple[str, ...]) -> None:
        self._data = data
        self._operands = operands
        self._printed: set[int] = set()

    def lines(self, recipe: bx.ExitRecipe) -> Iterator[str]:
        """Yield a line an effect, then the result's."""
        for effect in recipe.effects:
            yield f"commit {self.effect(effect)}"
        yield f"return {self.box(recipe.result)}"

    def operand(self, number: int) -> str:
        """Return the operand's value name, or ``$number`` where that would be ambiguous."""
        inside = 0 <= number < len(self._operands)
        unique = inside and self._operands.count(self._operands[number]) == 1
        return self._operands[number] if unique else f"${number}"

    def box(self, box: bx.Box) -> str:
        """Return a box as text; a second box with a key already printed is ``#key`` only."""
        if isinstance(box, bx.ConstantBox):
            plain = box.value is None or type(box.value) in (bool, int, float, str, bytes)
            text = self._data.data(box.value)
            return text if plain or text.startswith("&") else f"const({text})"
        if isinstance(box, bx.PlaceBox):
            return self._data.place(box.place)
        if isinstance(box, bx.ChoiceBox):
            objects = [self._data.data(item) for item in box.objects]
            return f"choice({', '.join([self.operand(box.operand), *objects])})"
        if isinstance(box, bx.EitherBox):
            options = [f"{number}: {self.box(option)}" for number, option in box.options]
            return f"either({', '.join([self.operand(box.operand), *options])})"
        if isinstance(box, bx.ScalarBox):
            plain = box.kind in SCALAR_KINDS or box.kind.startswith("numpy.")
            operand = self.operand(box.operand)
            return f"{box.kind}({operand})" if plain else f"scalar({operand}, {quote(box.kind)})"
        key = getattr(box, "key", -1)
        if key in self._printed:
            return f"#{key}"
        text = self._made(box)
        if key < 0:
            return text
        self._printed.add(key)
        return f"{text}#{key}"

    def _made(self, box: bx.Box) -> str:
        if isinstance(box, bx.ArrayBox):
            return f"array({', '.join([self.operand(box.operand), *map(str, box.order)])})"
        if isinstance(box, bx.ViewBox):
            return f"view({self.operand(box.operand)}, {self.box(box.base)})"
        if isinstance(box, bx.SequenceBox):
            items = [self.box(item) for item in box.items]
            if box.type_ in (tuple, list, set, frozenset):
                return f"{box.type_.__name__}({', '.join(items)})"
            return f"sequence({', '.join([self._data.reference(box.type_), *items])})"
        if isinstance(box, bx.DictBox):
            return f"dict({', '.join(f'{self.box(key)}: {self.box(value)}' for key, value in box.items)})"
        if isinstance(box, bx.ObjectBox):
            attributes = [f"{name}={self.box(value)}" for name, value in box.attributes]
            return f"object({', '.join([self._data.reference(box.type_), *attributes])})"
        if isinstance(box, bx.CallBox):
            arguments = [self.box(item) for item in box.arguments]
            return f"call({', '.join([self._data.reference(box.function), *arguments])})"
        raise TypeError(f"{type(box).__name__} has no text")

    def effect(self, effect: bx.Effect) -> str:
        """Return one line of the commit list."""
        if isinstance(effect, bx.SetAttribute):
            return f"{self.box(effect.owner)}.{effect.name} = {self.box(effect.value)}"
        if isinstance(effect, bx.DeleteAttribute):
            return f"del {self.box(effect.owner)}.{effect.name}"
        if isinstance(effect, bx.SetItem):
            return f"{self.box(effect.owner)}[{self.box(effect.key)}] = {self.box(effect.value)}"
        if isinstance(effect, bx.DeleteItem):
            return f"del {self.box(effect.owner)}[{self.box(effect.key)}]"
        if isinstance(effect, bx.WriteArray):
            return f"write {self._data.place(effect.place)} = {self.operand(effect.operand)}"
        for name, kind in EFFECT_NAMES.items():
            if type(effect) is kind:
                return f"{name}({', '.join(self._effect_fields(effect))})"
        raise TypeError(f"{type(effect).__name__} has no text")

    def _effect_fields(self, effect: bx.Effect) -> Iterator[str]:
        for field in fields(effect):
            value = getattr(effect, field.name)
            if isinstance(value, bx.Box):
                yield self.box(value)
            elif field.name == "keywords":
                yield from (f"{name}={self.box(item)}" for name, item in value)
            elif isinstance(value, tuple):
                yield from map(self.box, value)
            else:
                yield quote(value) if isinstance(value, str) else self._data.reference(value)


class GraphPrinter:
    """Prints one graph.

    Attributes
    ----------
    namespace : dict
        After `text`: the Python objects its ``&names`` refer to; give it to `janusjit.ir.parse.parse_graph`.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._data = DataPrinter(graph.parameters)
        self._names: dict[Value, str] = {}
        self._guards = {guard: number for number, guard in enumerate(graph.guards.in_graph)}

    @property
    def namespace(self) -> Mapping[str, Any]:
        return self._data.namespace

    def text(self) -> str:
        """Return the text of the graph."""
        graph = self._graph
        taken = Names()
        for given in graph.inputs:
            self._names[given.value] = taken.of(given, _input_name(given.place))
        short = short_inputs(graph)
        annotations = {given.place.name: self._annotation(given) for given in graph.inputs[:short]}  # type: ignore[attr-defined]
        inputs = [self._input(given) for given in graph.inputs[short:]]
        requirements = [self._requirement(guard) for guard in graph.guards.entry[short:]]
        carried = carried_guards(graph)
        checks = [self._check(guard) for guard in graph.guards.in_graph if guard not in carried]
        body = list(self._region(graph.body, INDENT))
        roots = [f"place {name} = {text}" for name, text in self._data.roots.items()]
        header = [*self._symbols(), *roots, *inputs, *requirements, *checks]
        name = graph.name if re.fullmatch(r"[^\W\d]\w*", graph.name) else quote(graph.name)
        parameters = ", ".join(parameter + annotations.get(parameter, "") for parameter in graph.parameters)
        first = f"graph {name}({parameters}){format_span(graph.span)} {{"
        return "\n".join([first, *(INDENT + line for line in header), *body, "}"]) + "\n"

    def _symbols(self) -> Iterator[str]:
        for found in sorted(all_symbols(self._graph)):
            line = f"symbol {found.name} >= {found.minimum}"
            if found in self._graph.symbols:
                index, axis = self._graph.symbols[found]
                line += f" = {self._names[self._graph.inputs[index].value]} axis {axis}"
            yield line

    def _input(self, given: GraphInput) -> str:
        layout = f" {given.layout}" if given.kind == "array" or given.layout != "C" else ""
        return f"input {self._define(given.value)} = {self._data.place(given.place)} {given.kind}{layout}" + (
            format_span(given.span)
        )

    def _annotation(self, given: GraphInput) -> str:
        return f": {given.value.type if given.kind == 'array' else given.kind}{format_span(given.span)}"

    def _requirement(self, guard: EntryGuard) -> str:
        text = f"require {self._data.record(guard)}"
        if guard.evidence:
            text += f" evidence {quote(guard.evidence)}"
        if guard.relaxation is not None:
            text += f" relaxation {self._data.data(guard.relaxation)}"
        return text + format_span(guard.span)

    def _define(self, value: Value) -> str:
        name = self._names.get(value)
        if name is None:
            name = self._names[value] = f"%{len(self._names) - len(self._graph.inputs)}"
        return f"{name}: {value.type}"

    def _use(self, value: Value) -> str:
        return self._names.get(value, "%undefined")

    def _region(self, region: Region, indent: str) -> Iterator[str]:
        for node in region.nodes:
            yield from self._node(node, indent)

    def _node(self, node: Node, indent: str) -> Iterator[str]:
        inputs = tuple(map(self._use, node.inputs))
        ending = self._guard(node) + format_span(node.span)
        attributes = [f"{k}={self._data.data(v)}" for k, v in node.attributes.items() if k not in ("recipe", "guard")]
        arguments = ", ".join([*inputs, *attributes])
        results = ", ".join(map(self._define, node.results))
        head = (f"{results} = " if results else "") + node.op + (f"({arguments})" if arguments else "")
        if isinstance(recipe := node.attributes.get("recipe"), bx.ExitRecipe):
            yield f"{indent}{head} {{"
            yield from (f"{indent}{INDENT}{line}" for line in RecipePrinter(self._data, inputs).lines(recipe))
            head = "}"
        for region in node.regions:
            yield f"{indent}{head}{self._parameters(region)} {{"
            yield from self._region(region, indent + INDENT)
            head = "} else"
        yield f"{indent}{'}' if node.regions else head}{ending}"

    def _parameters(self, region: Region) -> str:
        return f" as ({', '.join(map(self._define, region.parameters))})" if region.parameters else ""

    def _guard(self, node: Node) -> str:
        if not isinstance(node.guard, InGraphGuard):
            return ""
        at = ""
        if format_span(node.guard.span) != format_span(node.span):
            at = f"at={format_span(node.guard.span).strip() or 'unknown'}"
        return f" else {self._in_graph(node.guard, at)}"

    def _check(self, guard: InGraphGuard) -> str:
        return f"check {self._in_graph(guard)}{format_span(guard.span)}"

    def _in_graph(self, guard: InGraphGuard, at: str = "") -> str:
        parts = [quote(guard.subject), quote(guard.expected)]
        if guard.site != -1:
            parts.append(f"site={guard.site}")
        if guard.evidence:
            parts.append(f"evidence={quote(guard.evidence)}")
        if guard.relaxation is not None:
            parts.append(f"relaxation={self._data.data(guard.relaxation)}")
        number = self._guards.get(guard)
        arguments = ", ".join([*parts, at] if at else parts)
        return f"{'' if number is None else f'#{number} '}{guard.code}({arguments})"


def _input_name(place: pl.Place) -> str:
    if isinstance(place, pl.ItemPlace):
        key = place.key if isinstance(place.key, str) else f"{_input_name(place.owner)}_{place.key}"
        return identifier(key, "item_").replace(".", "_")
    name = place.name if hasattr(place, "name") else "input"
    return identifier(name, "input_").replace(".", "_")


def short_inputs(graph: Graph) -> int:
    """Return how many leading inputs are arguments that the type in the parameter list tells all of, guard included."""
    count, before = 0, -1
    for given, guard in zip(graph.inputs, graph.guards.entry, strict=False):
        place = given.place
        if not isinstance(place, pl.ArgumentPlace) or place.index <= before or not _is_implied(guard, given):
            break
        count, before = count + 1, place.index
    return count


def _is_implied(guard: EntryGuard, given: GraphInput) -> bool:
    implied: EntryGuard
    if given.kind in ("generator", "object"):
        return False
    if given.kind == "array":
        implied = ArrayLayout(given.place, given.value.type.dtype, given.value.type.shape, span=given.span)
    else:
        implied = ScalarTypeIs(given.place, given.kind, span=given.span)
    same = type(guard) is type(implied) and given.layout == "C"
    return same and all(getattr(guard, f.name) == getattr(implied, f.name) for f in fields(implied))
