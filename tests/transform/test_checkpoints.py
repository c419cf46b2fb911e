"""Identities that say something about gradients: checkpoints, stopped gradients, gradients of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.reference import interpret
from janusjit.ir.graph import Graph, Value
from janusjit.ops.gradient import Cotangent, Pullback
from janusjit.transform.autodiff import AutodiffError, gradients
from janusjit.transform.passes import optimize
from janusjit.transform.typed import verify_graph
from tests.backend.lowering import Program
from tests.transform.random_differentiable import SHAPE, Generator

Body = Callable[[Program, Value, Value], Value]


def marked(program: Program, body: Body, x: Value, w: Value, number: int = 1) -> Value:
    entered = program.emit("checkpoint_enter", x, number=number)
    return program.emit("checkpoint_leave", body(program, entered, w), number=number)


def layer(program: Program, x: Value, w: Value) -> Value:
    return program.sin(program.tanh(program.matmul(x, w)))


def in_loop(program: Program, x: Value, w: Value) -> Value:
    """Three turns of a loop, itself in the checkpoint."""

    def turn(i: Value, h: Value) -> None:
        program.branch(program.equal(i, 0), lambda: program.end("break", h), lambda: program.end("yield"))
        program.end("continue", program.subtract(i, 1), layer(program, h, w))

    (result,) = program.loop([program.constant(3, "i64"), x], turn, [x.type])
    return result


def looped(body: Body, checkpoint: bool) -> Graph:
    """Gradients of four turns of a loop around the body."""
    program = Program()
    x, w = program.input(np.zeros((2, 2))), program.input(np.zeros((2, 2)))

    def turn(i: Value, h: Value) -> None:
        program.branch(program.equal(i, 0), lambda: program.end("break", h), lambda: program.end("yield"))
        following = marked(program, body, h, w) if checkpoint else body(program, h, w)
        program.end("continue", program.subtract(i, 1), following)

    (result,) = program.loop([program.constant(4, "i64"), x], turn, [x.type])
    return gradients_of(program, program.reduce("sum", result), [x, w])


def straight(body: Body, checkpoint: bool) -> Graph:
    program = Program()
    x, w = program.input(np.zeros((2, 2))), program.input(np.zeros((2, 2)))
    for number in (1, 2):
        x = marked(program, body, x, w, number) if checkpoint else body(program, x, w)
    return gradients_of(program, program.reduce("sum", x), [program.graph.inputs[0].value, w])


def gradients_of(program: Program, result: Value, wrt: list[Value]) -> Graph:
    found = gradients(program.builder, [result], [program.constant(1.0)], wrt)
    graph = program.finish(result, *[g for g in found if g is not None])
    verify_graph(graph)
    return graph


def same_results(graphs: list[Graph]) -> list[Graph]:
    """Assert that graphs give the same, interpreted and compiled; return them optimized."""
    random = np.random.default_rng(0)
    arguments = random.normal(size=(2, 2)), random.normal(size=(2, 2))
    wanted = interpret(graphs[0], arguments)
    optimized = [optimize(graph).graph for graph in graphs]
    for graph in optimized:
        for found in (interpret(graph, arguments), compile_graph(graph).entry(*arguments)):
            for got, expected in zip(found, wanted, strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-12)
    return optimized


def operations(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.walk())


@pytest.mark.parametrize("body", [layer, in_loop])
@pytest.mark.parametrize("around", [straight, looped])
def test_a_checkpoint_is_computed_again(body: Body, around: Callable[[Body, bool], Graph]) -> None:
    kept, again = same_results([around(body, False), around(body, True)])
    assert operations(again)["tanh"] == 2 * operations(kept)["tanh"]
    assert not {"barrier", "checkpoint_enter", "checkpoint_leave"} & set(operations(again))


def test_a_checkpoint_in_a_loop_keeps_what_it_begins_with() -> None:
    _, again = same_results([looped(in_loop, False), looped(in_loop, True)])
    loop = next(node for node in again.body.nodes if node.op == "loop")
    (push,) = [node for node in loop.regions[0].nodes if node.op == "tape_push"]
    assert [value.type.shape for value in push.inputs] == [(), (2, 2)]


def test_checkpoints_nest() -> None:
    def outer(program: Program, x: Value, w: Value) -> Value:
        return program.cos(marked(program, layer, x, w, 7))

    def plain(program: Program, x: Value, w: Value) -> Value:
        return program.cos(layer(program, x, w))

    same_results([straight(plain, False), straight(outer, False)])
    program = Program()
    x, w = program.input(np.zeros((2, 2))), program.input(np.zeros((2, 2)))
    y = marked(program, outer, x, w, 3)
    nested = gradients_of(program, program.reduce("sum", y), [x, w])
    program = Program()
    x, w = program.input(np.zeros((2, 2))), program.input(np.zeros((2, 2)))
    same_results([gradients_of(program, program.reduce("sum", plain(program, x, w)), [x, w]), nested])


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_in_a_checkpoint(seed: int) -> None:
    def graph(checkpoint: bool) -> Graph:
        generator = Generator(seed)
        program = generator.program
        inputs = [program.input(np.zeros(SHAPE)) for _ in range(2)]
        generator.n = program.input(3)
        begun = [program.emit("checkpoint_enter", x, number=1) for x in inputs] if checkpoint else inputs
        arrays = generator.nodes(begun, 8, 2)
        result = program.multiply(arrays[-1], arrays[-2])
        result = program.emit("checkpoint_leave", result, number=1) if checkpoint else result
        return gradients_of(program, program.reduce("sum", result), inputs)

    random = np.random.default_rng(seed)
    arguments = (*random.uniform(-1, 1, (2, *SHAPE)), 3)
    kept, again = graph(False), graph(True)
    wanted = interpret(kept, arguments)
    for found in (interpret(again, arguments), compile_graph(optimize(again).graph).entry(*arguments)):
        for got, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


def test_a_stopped_gradient_is_none() -> None:
    program = Program()
    x = program.input(np.zeros((2, 2)))
    stopped = program.emit("stop_gradient", x)
    assert gradients(program.builder, [program.sin(stopped)], [x], [x]) == [None]
    (found,) = gradients(program.builder, [program.multiply(x, stopped)], [x], [x])
    assert found is not None
    graph = optimize(program.finish(found)).graph
    assert set(operations(graph)) == {"multiply", "exit"}


def test_a_gradient_of_ones_own() -> None:
    def clipped(pullback: Pullback) -> list[Cotangent]:
        g, x = pullback.cotangent, pullback.inputs[1]
        return [None, pullback.emit("clip", g, -1.0, 1.0) * x]

    program = Program()
    x = program.input(np.zeros(3))
    y = program.emit("custom_gradient", program.exp(x), x, rule=clipped, outputs=1)
    (found,) = gradients(program.builder, [y], [program.multiply(x, 10.0)], [x])
    assert found is not None
    graph = program.finish(y, found)
    verify_graph(graph)
    given = np.array([-1.0, 0.05, 2.0])
    for result in (interpret(graph, (given,)), compile_graph(optimize(graph).graph).entry(given)):
        np.testing.assert_allclose(result[0], np.exp(given))
        np.testing.assert_allclose(result[1], np.clip(10 * given, -1, 1) * given)


def test_what_a_checkpoint_does_not_hold_is_refused() -> None:
    program = Program()
    x = program.input(np.zeros(3))
    left = program.emit("checkpoint_leave", program.sin(x), number=1)
    with pytest.raises(AutodiffError, match="not been entered"):
        gradients(program.builder, [left], [x], [x])
