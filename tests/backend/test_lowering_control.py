"""Branches and loops compiled against the reference interpreter, and what they copy."""

from __future__ import annotations

import numpy as np
import pytest

from janusjit.backend.buffers import assign
from janusjit.backend.fuse import make_plan
from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.entry_builtin import Compiled
from janusjit.ir.boxes import ArrayBox, ExitRecipe, ScalarBox
from janusjit.ir.graph import Graph, Value
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import Operand, Pick, Range
from tests.backend.lowering import Program, check, path, run_both, same
from tests.backend.random_graphs import random_control_flow

NUMBERS = np.random.default_rng(11)
INT = TensorType("i64")


def normal(*shape: int) -> np.ndarray:
    return NUMBERS.normal(size=shape)


def copies(graph: Graph) -> int:
    """How many arrays the plan copies where values flow, or because an update is not in place."""
    placement = assign(make_plan(graph))
    return sum(map(len, placement.transfers.values())) + len(placement.copied)


@pytest.mark.parametrize("seed", range(40))
def test_random_control_flow(seed: int) -> None:
    graph, arguments = random_control_flow(seed)
    check(graph, *arguments)


def counted(program: Program, count: Value, start: list[Value], body: object) -> tuple[Value, ...]:
    """Emit ``for i in range(count)`` over carried values; ``body(i, *values)`` returns the next ones."""

    def turn(i: Value, *values: Value) -> None:
        def go_on() -> None:
            program.end("continue", program.add(i, 1), *body(i, *values))  # type: ignore[operator]

        program.branch(program.less(i, count), go_on, lambda: program.end("break", *values))
        program.end("unreachable")

    return program.loop([program.constant(0, "i64"), *start], turn, [value.type for value in start])


def test_both_arms() -> None:
    x = normal(4, 3)
    program = Program()
    a, limit = program.input(x), program.input(0.5)

    def then() -> None:
        program.end("yield", program.multiply(a, a), program.constant(1.0))

    def otherwise() -> None:
        program.end("yield", a, limit)

    array, scalar = program.branch(program.greater(program.reduce("sum", a), limit), then, otherwise)
    graph = program.finish(array, scalar, program.reduce("max", array, 0))
    for bound in (-1e9, 1e9):
        check(graph, x, bound)


def test_an_array_changed_in_one_arm_only_is_not_copied_in_the_other() -> None:
    x = normal(50)
    program = Program()
    a, limit = program.input(x, writeable=True), program.input(0.5)

    def then() -> None:
        program.end("yield", program.update(a, program.multiply(a, 0.5), path=()))

    (array,) = program.branch(program.greater(limit, 0.0), then, lambda: program.end("yield", a))
    graph = program.finish(writes={0: array})
    assert copies(graph) == 0
    for bound in (-1.0, 1.0):
        check(graph, x, bound)


def test_exits_in_arms() -> None:
    x = normal(5)
    program = Program()
    a, limit = program.input(x), program.input(0.5)

    def leave() -> None:
        program.builder.exit((program.multiply(a, 2.0),), ExitRecipe(ArrayBox(0)))

    program.branch(program.greater(limit, 0.0), leave, lambda: program.end("yield"))
    program.builder.exit((program.reduce("sum", a),), ExitRecipe(ScalarBox(0, "numpy.f64")))
    for bound in (-1.0, 1.0):
        check(program.graph, x, bound)


def test_a_loop_updates_the_callers_array_in_place() -> None:
    x = normal(6, 4)
    program = Program()
    a, count = program.input(x, writeable=True), program.input(5)

    def body(i: Value, array: Value) -> tuple[Value]:
        row = program.view(array, i, index=(Pick(Operand(0)), Range(0, 4)))
        value = program.add(row, program.int_to_float(i))
        return (program.update(array, value, i, path=path(Pick(Operand(0)), Range(0, 4), extras=1)),)

    (result,) = counted(program, count, [a], body)
    graph = program.finish(program.reduce("sum", result), writes={0: result})
    assert copies(graph) == 0
    for turns in (0, 1, 6):
        check(graph, x, turns)


def test_fresh_values_are_carried_without_copies() -> None:
    x, y = normal(20, 20), normal(20)
    program = Program()
    a, b, count = program.input(x), program.input(y), program.input(5)

    def body(i: Value, u: Value, v: Value) -> tuple[Value, Value]:
        w = program.matmul(a, v)
        following = program.add(u, program.multiply(w, 0.01))
        return following, program.subtract(v, program.multiply(following, 0.1))

    u, v = counted(program, count, [program.multiply(b, 1.0), program.add(b, 0.0)], body)
    graph = program.finish(u, v)
    assert copies(graph) == 0
    for turns in (0, 1, 7):
        got, wanted, *_ = run_both(graph, x, y, turns)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


def test_values_that_swap() -> None:
    x, y, z = normal(5), normal(5), normal(5)
    program = Program()
    inputs = [program.input(v, writeable=True) for v in (x, y, z)]
    results = counted(program, program.input(4), inputs, lambda i, a, b, c: (b, c, a))
    graph = program.finish(*results)
    for turns in range(5):
        check(graph, x, y, z, turns)


def test_a_name_bound_to_an_argument_does_not_write_to_it() -> None:
    x = normal(5)
    program = Program()
    a = program.input(x, writeable=True)
    (result,) = counted(program, program.input(3), [a], lambda i, v: (program.multiply(v, 2.0),))
    changed = program.update(a, 7.0, path=path(Range(0, 2)))
    check(program.finish(result, writes={0: changed}), x, 3)


def test_a_guard_in_a_loop_leaves_the_callers_array_alone() -> None:
    x = np.ones(5)
    program = Program()
    a, limit, count = program.input(x, writeable=True), program.input(10.0), program.input(3)

    def body(i: Value, array: Value) -> tuple[Value]:
        doubled = program.update(array, program.multiply(array, 2.0), path=())
        program.guard(program.less(program.reduce("max", doubled), limit))
        return (doubled,)

    (result,) = counted(program, count, [a], body)
    compiled = compile_graph(program.finish(writes={0: result}))
    for bound, turns, wanted in ((10.0, 3, 8.0), (10.0, 4, None), (1e9, 4, 16.0)):
        mine = x.copy()
        got = compiled.entry(mine, bound, turns)
        assert (got is Compiled.DEOPTIMIZED) is (wanted is None)
        same(mine, x * (wanted or 1.0))


def test_an_unconditional_failure() -> None:
    program = Program()
    a = program.input(1.0)

    def fail() -> None:
        program.builder.fail(InGraphGuard(code="branch", subject="a > 0", expected="True"))

    program.branch(program.greater(a, 0.0), lambda: program.end("yield"), fail)
    graph = program.finish(a)
    check(graph, 1.0)
    assert run_both(graph, -1.0)[0] is Compiled.DEOPTIMIZED


def test_nested_loops_with_early_ends() -> None:
    program = Program()
    n = program.input(6)

    def outer(i: Value, total: Value) -> None:
        def inside() -> None:
            def inner(j: Value, s: Value) -> None:
                stop = program.greater(program.multiply(i, j), 10)
                program.branch(stop, lambda: program.end("break", s), lambda: program.end("yield"))
                program.branch(
                    program.less(j, n),
                    lambda: program.end("continue", program.add(j, 1), program.add(s, j)),
                    lambda: program.end("break", s),
                )
                program.end("unreachable")

            (s,) = program.loop([program.constant(0, "i64"), total], inner, [INT])
            program.end("continue", program.add(i, 1), s)

        program.branch(program.less(i, n), inside, lambda: program.end("break", total))
        program.end("unreachable")

    (total,) = program.loop([program.constant(0, "i64"), program.constant(0, "i64")], outer, [INT])
    graph = program.finish(total)
    for turns in (0, 1, 9):
        check(graph, turns)


def test_an_update_of_a_part_elsewhere_does_not_overwrite_what_its_value_is_made_of() -> None:
    program = Program()
    x, count = program.input(normal(3, 2)), program.input(3)
    zeros = program.emit("full", program.constant(0.0), shape=(3, 2))

    def body(i: Value, a: Value) -> None:
        program.branch(program.equal(i, 0), lambda: program.end("break", a), lambda: program.end("yield"))
        value = program.multiply(a, 2.0)
        turned = program.update(zeros, value, path=path(Range(2, 3, -1), Range(0, 2)))
        program.end("continue", program.subtract(i, 1), turned)

    (result,) = program.loop([count, x], body, [x.type])
    check(program.finish(result), normal(3, 2), 3)


def test_what_one_arm_still_reads_is_not_forgotten_in_the_other() -> None:
    """Both arms go on in one storage; the first overwrites it only when its last reader is through."""
    program = Program()
    x, y = program.input(normal(3, 2)), program.input(normal(3, 2))
    count, chosen = program.input(3), program.input(True)
    start = program.multiply(x, 2.0)

    def turned() -> Value:
        def body(i: Value, a: Value) -> None:
            program.branch(program.equal(i, 0), lambda: program.end("break", a), lambda: program.end("yield"))
            program.end("continue", program.subtract(i, 1), program.sin(a))

        return program.loop([count, start], body, [x.type])[0]

    def first() -> None:
        result = turned()
        following = program.add(program.cos(result), y)
        total = program.reduce("sum", following)
        read = program.emit("cumsum", result, axis=0)  # after what is computed of `result` element by element
        program.end("yield", following, program.add(read, total))

    def second() -> None:
        result = turned()
        program.end("yield", result, program.cos(result))

    graph = program.finish(*program.branch(chosen, first, second))
    for condition in (True, False):
        check(graph, normal(3, 2), normal(3, 2), 2, condition, ulp=4)


@pytest.mark.parametrize("op", ["linalg.solve", "linalg.cholesky", "linalg.svd"])
def test_an_operation_that_is_asked_whether_it_succeeded(op: str) -> None:
    """Its guard does not fail; the arm that leaves is taken. Asked again later, one that succeeded says so."""
    x, y = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    program = Program()
    inputs = [program.input(x), program.input(y)]
    attributes = {"full_matrices": True} if op == "linalg.svd" else {}
    found = program.emit(op, *inputs[: 2 if op == "linalg.solve" else 1], **attributes)
    first = found[0] if isinstance(found, tuple) else found

    def asked() -> Value:
        return program.builder.emit("succeeded", (first,), result_types=(TensorType("bool"),)).result

    def leave() -> None:
        program.builder.exit([program.constant(-1.0)], ExitRecipe(ScalarBox(0, "float"), ()))

    program.branch(asked(), lambda: program.end("yield"), leave)
    graph = program.finish(program.reduce("sum", first), asked())
    singular = np.full((2, 2), np.nan if op == "linalg.svd" else 0.0)
    for matrix in (x, singular, x):
        check(graph, matrix.copy(), y.copy())
    assert compile_graph(graph).entry(singular, y) == -1.0
