"""Random graphs: arithmetic, views, constants, redundancy, branches, loops, guards, updates."""

from collections.abc import Sequence

from hypothesis import strategies as st

from janusjit.ir import boxes as bx
from janusjit.ir.builder import GraphBuilder
from janusjit.ir.graph import Graph, Value
from janusjit.ir.guards import ArrayLayout, InGraphGuard, ScalarTypeIs
from janusjit.ir.places import ArgumentPlace
from janusjit.ir.types import BOOL, FLOAT, INT, TensorType
from janusjit.transform.typed import infer

ARRAY = TensorType("f64", (2, 2))
UNARY = ("negative", "absolute", "exp", "log", "sqrt", "square", "positive", "transpose", "copy", "cast")
BINARY = ("add", "subtract", "multiply", "divide", "minimum", "maximum", "power", "scalar_power", "update")
CONSTANTS = (0.0, -0.0, 1.0, 2.0, 0.5, 3.0, -1.0)


class Generator:
    """Draws nodes into a builder; every array value has one type, so that any can be used anywhere."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._builder = GraphBuilder(Graph("random", ("x", "y", "n", "c")), infer)
        self._guards = 0

    def graph(self) -> Graph:
        """Return a graph of parameters ``x, y: f64[2,2]``, ``n: int``, ``c: bool`` that may write ``x``."""
        builder = self._builder
        kinds = (("x", ARRAY, "array"), ("y", ARRAY, "array"), ("n", INT, "int"), ("c", BOOL, "bool"))
        values = []
        for index, (name, type_, kind) in enumerate(kinds):
            place = ArgumentPlace(index, name)
            values.append(builder.add_input(place, type_, kind))
            builder.graph.guards.entry.append(
                ArrayLayout(place, "f64", (2, 2)) if kind == "array" else ScalarTypeIs(place, kind)
            )
        x, y, self._n, condition = values
        self._x_place = builder.graph.inputs[0].place
        arrays, conditions = [x, y], [condition]
        self.nodes(arrays, conditions, 12, 2)
        self.leave(arrays)
        return builder.graph

    def leave(self, arrays: Sequence[Value]) -> None:
        operands = [self._one(arrays), self._builder.emit("copy", (self._one(arrays),)).result]
        view = self._builder.emit("transpose", (operands[1],), {"axes": (1, 0)}).result
        base = bx.ArrayBox(1, key=1)
        result = bx.SequenceBox(tuple, (bx.ArrayBox(0), base, bx.ViewBox(2, base, key=2)))
        if not self._draw(st.booleans()):
            self._builder.exit((*operands, view), bx.ExitRecipe(result))
            return
        x = self._builder.graph.inputs[0].value
        written = self._builder.emit("update", (x, operands[0]), {"path": ()}).result
        self._builder.exit((*operands, view, written), bx.ExitRecipe(result, (bx.WriteArray(self._x_place, 3),)))

    def nodes(self, arrays: list[Value], conditions: list[Value], count: int, depth: int) -> None:
        """Append up to ``count`` nodes; what they compute is added to ``arrays`` and ``conditions``."""
        kinds = ["unary", "binary", "binary", "scaled", "compare", "where", "guard"] + ["if", "loop"] * (depth > 0)
        for kind in self._draw(st.lists(st.sampled_from(kinds), max_size=count)):
            getattr(self, f"_{kind}")(arrays, conditions, depth)

    def _one(self, values: Sequence[Value]) -> Value:
        return values[self._draw(st.integers(0, len(values) - 1))]

    def _unary(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        op = self._draw(st.sampled_from(UNARY))
        attributes = {"transpose": {"axes": (1, 0)}, "cast": {"dtype": "f64"}}.get(op, {})
        arrays.append(self._builder.emit(op, (self._one(arrays),), attributes).result)

    def _binary(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        op = self._draw(st.sampled_from(BINARY))
        first, second = self._one(arrays), self._one(arrays)
        if op == "update":  # of an array of its own: an update of an argument is written back at every exit
            first = self._builder.emit("copy", (first,)).result
        arrays.append(self._builder.emit(op, (first, second), {"path": ()} if op == "update" else {}).result)

    def _scaled(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        attributes = {"value": self._draw(st.sampled_from(CONSTANTS)), "dtype": "f64"}
        inputs = [self._one(arrays), self._builder.emit("constant", (), attributes, result_types=(FLOAT,)).result]
        op = self._draw(st.sampled_from(("add", "subtract", "multiply", "divide", "scalar_power")))
        if op != "scalar_power" and self._draw(st.booleans()):
            inputs.reverse()
        arrays.append(self._builder.emit(op, inputs).result)

    def _compare(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        axes = {"axes": (0, 1), "keepdims": False}
        totals = [self._builder.emit("max", (self._one(arrays),), axes).result for _ in range(2)]
        compared = self._builder.emit(self._draw(st.sampled_from(("less", "equal"))), totals).result
        conditions.append(compared)
        conditions.append(self._builder.emit("logical_not", (compared,)).result)

    def _where(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        inputs = (self._one(conditions), self._one(arrays), self._one(arrays))
        arrays.append(self._builder.emit("where", inputs).result)

    def _guard(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        self._guards += 1
        guard = InGraphGuard(code="branch", subject=f"guard {self._guards}", expected="True")
        self._builder.guard(self._one(conditions), guard)

    def _if(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        arms = []
        condition = self._one(conditions)
        if self._draw(st.booleans()):
            attributes = {"value": self._draw(st.booleans()), "dtype": "bool"}
            condition = self._builder.emit("constant", (), attributes).result
        for _ in range(2):
            with self._builder.nested() as arm:
                inner, inner_conditions = list(arrays), list(conditions)
                self.nodes(inner, inner_conditions, 4, depth - 1)
                if self._draw(st.integers(0, 5)) == 0:
                    self.leave(inner)
                else:
                    self._builder.terminate("yield", (self._one(inner), self._one(inner)))
            arms.append(arm)
        if all(arm.terminator.op == "exit" for arm in arms):
            arms[1].nodes[-1:] = []
            with self._builder.nested() as replacement:
                self._builder.terminate("yield", (arrays[0], arrays[1]))
            arms[1].nodes += replacement.nodes
        arrays.extend(self._builder.branch(condition, arms[0], arms[1]).results)

    def _loop(self, arrays: list[Value], conditions: list[Value], depth: int) -> None:
        """A loop of ``n`` turns that carries two arrays."""
        builder = self._builder
        started = (self._n, self._one(arrays), self._one(arrays))
        with builder.nested((INT, ARRAY, ARRAY)) as body:
            count, *carried = body.parameters
            inner, inner_conditions = [*arrays, *carried], list(conditions)
            self.nodes(inner, inner_conditions, 3, 0)
            zero = builder.emit("constant", (), {"value": 0, "dtype": "i64"}).result
            with builder.nested() as then:
                builder.terminate("break", (self._one(inner), self._one(inner)))
            with builder.nested() as otherwise:
                builder.terminate("yield")
            builder.branch(builder.emit("less_equal", (count, zero)).result, then, otherwise)
            self.nodes(inner, inner_conditions, 4, depth - 1)
            one = builder.emit("constant", (), {"value": 1, "dtype": "i64"}).result
            fewer = builder.emit("subtract", (count, one)).result
            builder.terminate("continue", (fewer, self._one(inner), self._one(inner)))
        arrays.extend(builder.loop(started, body, (ARRAY, ARRAY)).results)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return a random graph (see `Generator.graph`)."""
    return Generator(draw).graph()
