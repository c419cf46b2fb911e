"""From a graph to a callable: prologue, lowered body and exits in one function."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.entry_builtin import Compiled
from janusjit.backend.llvm.entry_frame import IN_GRAPH
from janusjit.ir.boxes import (
    ArrayBox,
    Box,
    ConstantBox,
    Effect,
    PlaceBox,
    ScalarBox,
    SequenceBox,
    SetItem,
    ViewBox,
    WriteArray,
)
from janusjit.ir.dims import symbol
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ir.guards import ArrayLayout, InGraphGuard, ScalarTypeIs, TypeIs
from janusjit.ir.places import ItemPlace
from janusjit.ir.types import BOOL, TensorType
from tests.backend.entry_only import arguments, entry_graph, outcome

A, B, C = arguments(3)
N = symbol("n")
BRANCH = InGraphGuard(code="branch", subject="x > 0", expected="True")
FLAGS = InGraphGuard(code="fp.flags", subject="the call", expected="no exception")


class Body:
    """Emits nodes before the exit of a graph without computation."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        for number, input_ in enumerate(graph.inputs):
            for axis, dim in enumerate(input_.value.type.shape):
                if not isinstance(dim, int):
                    (only,) = dim.symbols()
                    graph.symbols.setdefault(only, (number, axis))
        self.inputs = [input_.value for input_ in graph.inputs]
        self._exit = graph.body.nodes.pop()

    def emit(self, op: str, *inputs: Value, type_: TensorType, guard: Any = None, **attributes: Any) -> Value:
        node = Node(op, inputs, (type_,), attributes, guard=guard)
        self.graph.body.nodes.append(node)
        return node.result

    def exit(self, *operands: Value) -> Compiled:
        self._exit.inputs = operands
        self.graph.body.nodes.append(self._exit)
        return compile_graph(self.graph)


def array_guard(place: Any, *shape: Any, writeable: bool = False) -> ArrayLayout:
    return ArrayLayout(place=place, dtype="f64", shape=shape, writeable=writeable)


def test_an_elementwise_graph_with_a_symbolic_dimension() -> None:
    body = Body(entry_graph(2, (array_guard(A, N, 3), array_guard(B, N, 3)), ArrayBox(0)))
    type_ = TensorType("f64", (N, 3))
    total = body.emit("add", *body.inputs, type_=type_)
    native = body.exit(body.emit("multiply", total, body.inputs[1], type_=type_))
    for rows in (2, 5, 100):
        left, right = np.random.default_rng(rows).normal(size=(2, rows, 3))
        made = native.entry(left, right)
        assert np.array_equal(made, (left + right) * right)
        assert sys.getrefcount(made) == 2 and made.flags.owndata
    assert native.entry(left, right[1:]) is Compiled.DEOPTIMIZED
    assert native.status.failed == 1 and native.status.hits == 3
    assert "add" in native.plan and "define" in native.llvm_ir and "entry:" in native.asm
    assert native.compile_seconds > 0


def test_an_in_graph_guard_gates_every_effect() -> None:
    effects: list[Effect] = [SetItem(PlaceBox(B), ConstantBox("out"), ArrayBox(0, key=1))]
    guards = (ScalarTypeIs(place=A, kind="float"), TypeIs(place=B, type_=dict), array_guard(ItemPlace(B, "w"), 4))
    body = Body(entry_graph(2, guards, ArrayBox(0, key=1), effects, [BRANCH]))
    rate, weights = body.inputs
    zero = body.emit("constant", type_=TensorType("f64"), value=0.0, dtype="f64")
    positive = body.emit("greater", rate, zero, type_=BOOL)
    body.graph.body.nodes.append(Node("guard", (positive,), guard=BRANCH))
    native = body.exit(body.emit("multiply", weights, rate, type_=TensorType("f64", (4,))))
    params = {"w": np.arange(4.0)}
    given = params["w"]
    held = sys.getrefcount(given)
    assert outcome(native, -1.0, params) == (Compiled.DEOPTIMIZED, IN_GRAPH)
    assert list(params) == ["w"]
    for _ in range(20):
        made = native.entry(2.0, params)
    assert params["out"] is made and made.tolist() == [0, 2, 4, 6]
    assert sys.getrefcount(made) == 3 and sys.getrefcount(given) == held


def test_updates_reach_the_callers_array_once() -> None:
    guards = (array_guard(A, 4, writeable=True), array_guard(B, 4))
    body = Body(entry_graph(2, guards, PlaceBox(A), [WriteArray(A, 0)]))
    type_ = TensorType("f64", (4,))
    quotient = body.emit("divide", *body.inputs, type_=type_)
    native = body.exit(body.emit("update", body.inputs[0], quotient, type_=type_, path=()))
    array = np.ones(4)
    assert native.entry(array, np.full(4, 2.0)) is array
    assert array.tolist() == [0.5] * 4


@pytest.mark.parametrize("size", [1, 4, 33])
def test_what_numpy_would_warn_of_in_an_array_fails_the_flags_guard(size: int) -> None:
    type_ = TensorType("f64", (size,))
    body = Body(entry_graph(2, (array_guard(A, size), array_guard(B, size)), ArrayBox(0), (), [FLAGS]))
    native = body.exit(body.emit("divide", *body.inputs, type_=type_))
    divisor = np.full(size, 2.0)
    assert native.entry(np.ones(size), divisor).tolist() == [0.5] * size
    divisor[-1] = 0
    assert outcome(native, np.ones(size), divisor) == (Compiled.DEOPTIMIZED, IN_GRAPH)
    divisor[-1] = np.nan
    assert outcome(native, np.ones(size), divisor)[1] == -1


def test_a_returned_view_lies_in_its_base() -> None:
    boxes: tuple[Box, ...] = (ViewBox(1, ArrayBox(0, key=1)), ArrayBox(0, key=1), ViewBox(2, PlaceBox(A)))
    body = Body(entry_graph(1, (array_guard(A, 3, 4),), SequenceBox(tuple, boxes)))
    (x,) = body.inputs
    double = body.emit("add", x, x, type_=TensorType("f64", (3, 4)))
    turned = body.emit("transpose", double, type_=TensorType("f64", (4, 3)), axes=(1, 0))
    native = body.exit(double, turned, body.emit("transpose", x, type_=TensorType("f64", (4, 3)), axes=(1, 0)))
    array = np.arange(12.0).reshape(3, 4).copy()
    view, base, given = native.entry(array)
    assert view.base is base and given.base is array
    assert np.array_equal(view, 2 * array.T) and np.array_equal(given, array.T)
    view[0, 0] = -1
    assert base[0, 0] == -1


def test_scalars_stay_in_registers() -> None:
    body = Body(
        entry_graph(
            2, (ScalarTypeIs(place=A, kind="float"), ScalarTypeIs(place=B, kind="float")), ScalarBox(0, "float")
        )
    )
    native = body.exit(body.emit("multiply", *body.inputs, type_=TensorType("f64")))
    assert native.entry(1.5, 3.0) == 4.5
    assert native.entry(1, 3.0) is Compiled.DEOPTIMIZED
