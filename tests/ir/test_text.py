"""The textual representation: printing, parsing, round trips, errors."""

import math
import struct
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from janusjit.ir import boxes as bx
from janusjit.ir import places as pl
from janusjit.ir.builder import GraphBuilder, clone
from janusjit.ir.dims import Symbol, symbol
from janusjit.ir.equality import difference
from janusjit.ir.floating_point import FLAGS_CODE, FlagsGuard
from janusjit.ir.graph import Graph, Node
from janusjit.ir.guards import ArrayLayout, DictKeysAre, InGraphGuard, SameObject, TypeIs, ValueEquals
from janusjit.ir.parse import GraphSyntaxError, parse_graph
from janusjit.ir.text import GraphPrinter, format_graph
from janusjit.ir.types import BOOL, FLOAT, INT, TensorType
from janusjit.spans import Span

GOLDEN = Path(__file__).parent / "golden"


class Net:
    pass


@dataclass(frozen=True)
class Record:
    start: object
    step: int


def guard(subject: str = "loss > 0", code: str = "branch", **rest: object) -> InGraphGuard:
    return InGraphGuard(code=code, subject=subject, expected="True", **rest)


def span(line: int, column: int = 1) -> Span:
    return Span("/home/user/train.py", line, column)


def training_step() -> Graph:
    """A graph with every kind of header line, a branch, a loop, guards and a full commit list."""
    graph = Graph("Net.step", ("x", "self"), span=span(10))
    builder = GraphBuilder(graph)
    n = symbol("n")
    x_place, self_place = pl.ArgumentPlace(0, "x"), pl.ArgumentPlace(1, "self")
    weight_place = pl.AttributePlace(pl.ItemPlace(pl.AttributePlace(self_place, "layers"), 0), "W")
    rate_place = pl.ItemPlace(pl.GlobalPlace({"__name__": "train"}, "config"), "lr")
    x = builder.add_input(x_place, TensorType("f32", (n, 3)), span=span(10, 10))
    weight = builder.add_input(weight_place, TensorType("f32", (3, 2)), layout="F")
    rate = builder.add_input(rate_place, FLOAT, "float")
    graph.guards.entry += [
        ArrayLayout(x_place, "f32", (n, 3), span=span(10, 10)),
        TypeIs(self_place, Net, evidence='always "Net"', relaxation=("type", 3, Net)),
        ValueEquals(pl.CellPlace(types.CellType(2), "k"), -0.0),
        DictKeysAre(pl.ConstantPlace({}, "params"), ("a", b"b", 1, (True, None))),
        SameObject(x_place, x_place),
    ]
    flags = FlagsGuard(code=FLAGS_CODE, subject="floating-point flags", expected="True", span=span(10))
    graph.guards.in_graph.append(flags)
    product = builder.emit("matmul", (x, weight), span=span(11, 9), result_types=(TensorType("f32", (n, 2)),)).result
    loss = builder.emit(
        "sum", (product,), {"axes": (0, 1), "keepdims": False}, result_types=(TensorType("f32"),)
    ).result
    ok = builder.emit("isfinite", (loss,), result_types=(BOOL,)).result
    builder.guard(ok, guard(site=3, evidence="always true, 40 of 40", span=span(12, 5)))
    count = builder.emit("size", (), result_types=(INT,)).result
    builder.bind_dim(count, Symbol("m", 0), span(13))
    rows = builder.dim(2 * symbol("m", 0) - (n + 1) // 2)
    with builder.nested() as then:
        builder.terminate("yield", (loss, rows))
    with builder.nested() as otherwise:
        builder.fail(guard("not ok", span=span(15)), span(16))
    branch = builder.branch(ok, then, otherwise, span(14))
    with builder.nested((TensorType("f32"), INT)) as body:
        carried, index = body.parameters
        stop = builder.emit("less", (index, rows), result_types=(BOOL,)).result
        with builder.nested() as leave:
            builder.terminate("break", (carried,))
        with builder.nested() as go_on:
            builder.terminate("continue", (carried, index))
        builder.branch(stop, leave, go_on)
        builder.terminate("unreachable")
    last = builder.loop(branch.results, body, (TensorType("f32"),), span(18)).result
    array = bx.ArrayBox(0, key=1, order=(1, 0))
    builder.exit(
        (product, last, rate, weight, rate),
        bx.ExitRecipe(
            bx.SequenceBox(tuple, (array, bx.ScalarBox(1, "numpy.f32"), bx.PlaceBox(x_place)), key=2),
            (
                bx.SetAttribute(bx.PlaceBox(self_place), "last", array),
                bx.DeleteAttribute(bx.PlaceBox(pl.AttributePlace(self_place, "layers")), "gone"),
                bx.SetItem(
                    bx.PlaceBox(pl.AttributePlace(self_place, "cache")), bx.ConstantBox("k"), bx.ScalarBox(2, "float")
                ),
                bx.SetItem(
                    bx.ObjectBox(Net, (("w", array),), key=4), bx.ScalarBox(4, "int"), bx.ConstantBox((1, math.nan))
                ),
                bx.DeleteItem(bx.PlaceBox(self_place), bx.ConstantBox(None)),
                bx.DeleteItem(bx.PlaceBox(self_place), bx.ChoiceBox(4, (1, "two"))),
                bx.DeleteItem(
                    bx.PlaceBox(self_place),
                    bx.EitherBox(4, ((0, bx.ConstantBox(None)), (-2, bx.ScalarBox(2, "float")))),
                ),
                bx.ListAppend(bx.PlaceBox(self_place), bx.ViewBox(0, array, key=7)),
                bx.ReplaceContents(
                    bx.PlaceBox(self_place), (bx.ConstantBox(1.5), bx.DictBox(((bx.ConstantBox("a"), array),)))
                ),
                bx.SetGlobal(rate_place.owner.namespace, "seen", bx.CallBox(slice, (bx.ConstantBox(Net),))),
                bx.DeleteGlobal(rate_place.owner.namespace, "old"),
                bx.SetCell(types.CellType(1), bx.SequenceBox(list, ())),
                bx.WriteArray(weight_place, 3),
                bx.CallFunction(bx.ConstantBox(print), (bx.ConstantBox("a\n"),), (("sep", bx.ConstantBox('"')),)),
            ),
        ),
        span(20),
    )
    return graph


def round_trip(graph: Graph) -> Graph:
    printer = GraphPrinter(graph)
    text = printer.text()
    return parse_graph(text, printer.namespace)


def test_golden_text(update_golden: bool) -> None:
    text = format_graph(training_step())
    path = GOLDEN / "training_step.ir"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_everything_round_trips() -> None:
    graph = training_step()
    assert difference(graph, round_trip(graph)) is None
    assert format_graph(round_trip(graph)) == format_graph(graph)


def test_a_clone_is_equal_and_shares_no_node() -> None:
    graph = training_step()
    copy = clone(graph)
    assert difference(graph, copy) is None
    assert not set(graph.walk()) & set(copy.walk())


def test_objects_come_back_as_the_same_objects() -> None:
    graph = training_step()
    parsed = round_trip(graph)
    assert parsed.guards.entry[1].type_ is Net
    assert parsed.guards.entry[2].place.cell is graph.guards.entry[2].place.cell
    assert parsed.inputs[2].place.owner.namespace is graph.inputs[2].place.owner.namespace


def test_one_place_and_one_box_key_are_one_object() -> None:
    parsed = round_trip(training_step())
    assert parsed.inputs[0].place is parsed.guards.entry[0].place
    recipe = parsed.body.terminator.attributes["recipe"]
    assert recipe.effects[0].value is recipe.result.items[0]


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**64, True, False, None, "", 'a"b', "a'\n\\", "é", b"\0x"),
        *(0.0, -0.0, 1e-320, 1.5e300, math.inf, -math.inf, math.nan, (), (1,), (1, ("a", -2.5))),
        *(
            symbol("n"),
            2 * symbol("n") * symbol("n") - 3,
            (symbol("n") + 1) // 2 + 1,
            Symbol("n"),
            TensorType("f32", (3,)),
        ),
        Record((Record(symbol("n"), 1),), -2),
    ],
)
def test_attribute_values(value: object) -> None:
    graph = Graph("g")
    builder = GraphBuilder(graph)
    builder.emit("op", (), {"value": value}, result_types=())
    builder.terminate("unreachable")
    (node, _) = round_trip(graph).body.nodes
    found = node.attributes["value"]
    assert type(found) is type(value)
    assert found == value or value != value
    if isinstance(value, float):
        assert struct.pack("d", found) == struct.pack("d", value)


def test_nan_payload_is_kept() -> None:
    (payload,) = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))
    graph = Graph("g")
    GraphBuilder(graph).emit("op", (), {"value": payload}, result_types=())
    GraphBuilder(graph).terminate("unreachable")
    found = round_trip(graph).body.nodes[0].attributes["value"]
    assert struct.pack("d", found) == struct.pack("d", payload)


def test_a_short_text_declares_inputs_and_guards() -> None:
    graph = parse_graph("graph f(x: f32[n,3], lr: float, k: numpy.i32, self) { exit(x) { return array(x) } }")
    assert [given.kind for given in graph.inputs] == ["array", "float", "numpy.i32"]
    assert graph.inputs[1].value.type == FLOAT
    assert graph.symbols == {Symbol("n"): (0, 0)}
    assert isinstance(graph.guards.entry[0], ArrayLayout)
    assert graph.guards.entry[1].kind == "float"
    assert format_graph(graph).startswith("graph f(x: f32[n,3], lr: float, k: numpy.i32, self) {")


def test_literals_become_constants_of_the_other_operand() -> None:
    graph = parse_graph("graph f(x: f32[]) { %0: f32[] = add(x, 2.0) exit { return numpy.f32(%0) } }")
    constant, add, leave = graph.body.nodes
    assert constant.attributes == {"value": 2.0, "dtype": "f32"}
    assert add.inputs == (graph.inputs[0].value, constant.result)
    assert leave.inputs == (add.result,)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("graph f() { ? }", "1:13", "unexpected '?'"),
        ("graph f() {\n  yield(%0)\n}", "2:", "%0 is not defined"),
        ("graph f(x: f32[]) {\n  %0: f33[] = exp(x)\n}", "2:", "f33 is no element type"),
        ("graph f(x: f32[]) {\n  %0 = exp(x)\n}", "2:", "neither given nor inferable"),
        ("graph f(x: f32[]) {\n  %0: f32[] = exp(x)\n  %0: f32[] = exp(x)\n}", "3:", "%0 is defined twice"),
        ("graph f(x) {\n  require TypeIs(x, &Missing)\n}", "2:", "Missing is not in the namespace"),
        ("graph f(x) {\n  require TypeIs(y, &int)\n}", "2:", "y is neither a parameter nor a declared place"),
        ("graph f() { exit { return nonsense(1) } }", "1:", "expected a value"),
        ("graph f() { exit { return #3 } }", "1:", "no box with key 3"),
        ("graph f(x: bool[]) { if(x) { fail else branch('a','b') } else { } }", "1:", "before its terminator"),
        ("graph f() { unreachable unreachable }", "1:", "after the terminator"),
    ],
)
def test_syntax_errors_say_where(text: str, where: str, message: str) -> None:
    with pytest.raises(GraphSyntaxError) as caught:
        parse_graph(text)
    assert caught.value.code == "ir.syntax"
    assert str(caught.value).startswith(where)
    assert message in str(caught.value)


def test_difference_sees_every_change() -> None:
    def changed(change: object) -> str | None:
        copy = clone(training_step())
        change(copy)
        return difference(training_step(), copy)

    def with_attribute(graph: Graph) -> None:
        graph.body.nodes[1].attributes["keepdims"] = True

    def with_inputs(graph: Graph) -> None:
        graph.body.nodes[0].inputs = graph.body.nodes[0].inputs[::-1]

    def with_node(graph: Graph) -> None:
        graph.body.nodes.insert(0, Node("size", (), (INT,)))

    def with_guard(graph: Graph) -> None:
        graph.guards.entry.pop()

    def with_span(graph: Graph) -> None:
        graph.body.nodes[0].span = span(99)

    for change in (with_attribute, with_inputs, with_node, with_guard, with_span):
        assert changed(change) is not None, change


def test_numpy_scalars_in_guards_stay_what_they_are() -> None:
    place = pl.ArgumentPlace(0, "x")
    graph = Graph("f", ("x",))
    graph.guards.entry.append(ValueEquals(place, np.float32(0.1)))
    GraphBuilder(graph).terminate("unreachable")
    assert type(round_trip(graph).guards.entry[0].value) is np.float32
