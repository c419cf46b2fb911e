"""Straight-line graphs compiled against the reference interpreter: fusion, reductions, views, in-place updates."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from janusjit.backend.fuse import make_plan
from janusjit.backend.llvm import process_code
from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.entry_builtin import Compiled
from janusjit.backend.plan import FusedStep
from janusjit.ir.boxes import ArrayBox, ExitRecipe, PlaceBox, SequenceBox, ViewBox
from janusjit.ir.dims import Symbol, symbol
from janusjit.ir.graph import Graph
from janusjit.ops.indexing import FrozenArray, NewAxis, Operand, PathStep, Pick, Range
from tests.backend.lowering import Program, check, path, run_both, same
from tests.backend.random_graphs import random_array, random_program

NUMBERS = np.random.default_rng(7)


def normal(*shape: int, dtype: str = "float64") -> np.ndarray:
    return (NUMBERS.normal(size=shape) * np.exp(NUMBERS.normal(size=shape))).astype(dtype)


def fused_steps(graph: Graph) -> list[FusedStep]:
    return [step for step in make_plan(graph).walk() if isinstance(step, FusedStep)]


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    graph, arguments = random_program(seed)
    check(graph, *arguments)


# ---- fusion


def test_a_chain_is_one_kernel_and_stores_only_its_end() -> None:
    x, y, b = normal(5, 7), normal(5, 7), normal(7)
    program = Program()
    a, c, d = program.input(x), program.input(y), program.input(b)
    end = program.negative(program.maximum(program.add(program.multiply(a, c), d), 0.0))
    graph = program.finish(end)
    (step,) = fused_steps(graph)
    assert len(step.nodes) == 4
    assert step.stores == [step.nodes[-1].result]
    check(graph, x, y, b)


def test_a_reduction_is_fused_with_what_it_reduces() -> None:
    x = normal(6, 9)
    program = Program()
    a = program.input(x)
    graph = program.finish(program.reduce("sum", program.multiply(a, a), 1))
    (step,) = fused_steps(graph)
    assert not step.stores
    check(graph, x)


def test_cheap_work_is_done_again_rather_than_stored() -> None:
    x, w = normal(8, 8), normal(8, 8)
    program = Program()
    a, b = program.input(x), program.input(w)
    shifted = program.add(a, 1.0)
    product_ = program.matmul(program.exp(a), b)
    graph = program.finish(program.multiply(shifted, product_), program.reduce("sum", shifted, 0))
    stored = [value.node.op for step in fused_steps(graph) for value in step.stores if value.node]
    assert "add" not in stored
    check(graph, x / 8, abs(w), ulp=64)  # nothing cancels in the product


def test_identical_kernels_share_a_function() -> None:
    x = normal(12)
    program = Program()
    value = program.input(x)
    for _ in range(6):
        value = program.cumsum(program.exp(program.multiply(value, 0.125)), axis=0)
    graph = program.finish(value)
    compiled = check(graph, x, ulp=8)
    kernels = set(re.findall(r"@(fused\.\d+)\(", compiled.llvm_ir))
    assert len(fused_steps(graph)) == 6
    assert len(kernels) == 1


def test_elementwise_code_is_vectorised() -> None:
    x, y = normal(1000, dtype="float32"), normal(1000, dtype="float32")
    program = Program()
    a, b = program.input(x), program.input(y)
    compiled = check(program.finish(program.add(program.multiply(a, b), a)), x, y)
    assert re.search(r"vmulps\s.*%[yz]mm", compiled.asm)
    assert re.search(r"vaddps\s.*%[yz]mm", compiled.asm)
    assert "fmadd" not in compiled.asm  # contraction would change bits


def test_sums_are_vectorised() -> None:
    x = normal(1000)
    program = Program()
    compiled = check(program.finish(program.reduce("sum", program.multiply(program.input(x), 3.0))), x)
    assert "janusjit_handwritten.sum_f64" in compiled.asm
    assert re.search(r"vaddpd\s.*%[yz]mm", process_code._LOADED["janusjit_handwritten.sum_f64"].assembly)


# ---- reductions


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (8,), (129,), (1000,), (9000,), (7, 130), (40, 5), (3, 4, 50), (0,), (3, 0)])
def test_sums_are_those_of_numpy_bit_for_bit(shape: tuple[int, ...], dtype: str) -> None:
    x = normal(*shape, dtype=dtype)
    program = Program()
    a = program.input(x)
    axes = [
        axes
        for n in range(1, x.ndim + 1)
        for axes in product(range(x.ndim), repeat=n)
        if sorted(set(axes)) == list(axes)
    ]
    plain = [program.reduce("sum", a, *some) for some in axes]
    fused = [program.reduce("sum", program.multiply(a, a), *some) for some in axes]
    got, *_ = run_both(program.finish(*plain, *fused), x)
    same(got, tuple(f(x).sum(axis=some) for f in (lambda v: v, np.square) for some in axes))


@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min", "any", "all", "count_nonzero"])
@pytest.mark.parametrize("dtype", ["f64", "f32", "i64", "i8", "u16", "bool"])
def test_reductions_of_every_layout(kind: str, dtype: str) -> None:
    if dtype == "bool" and kind in ("sum", "prod"):
        pytest.skip("capture casts bool first")
    import random

    rng = random.Random(3)
    for shape in ((5,), (300,), (4, 6), (70, 3), (3, 4, 5)):
        x = np.abs(random_array(rng, shape, dtype)) if dtype != "bool" else random_array(rng, shape, dtype)
        program = Program()
        a = program.input(x)
        axes = [(), tuple(range(x.ndim)), (0,), (x.ndim - 1,)]
        values = [program.emit(kind, a, axes=some, keepdims=keep) for some in axes for keep in (False, True)]
        check(program.finish(*values), x, ulp=64 if kind == "prod" else 8)


@pytest.mark.parametrize("op", ["argmax", "argmin", "max", "min"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nan_wins(op: str, dtype: str) -> None:
    for size, place in product((1, 7, 33, 200), (0.0, 0.5, 1.0)):
        x = normal(3, size, dtype=dtype)
        x[1, int(place * (size - 1))] = np.nan
        program = Program()
        a = program.input(x)
        attributes = {"axis": 1} if op.startswith("arg") else {"axes": (1,)}
        check(program.finish(program.emit(op, a, keepdims=False, **attributes)), x)


def test_the_first_of_equal_extrema_counts() -> None:
    x = NUMBERS.integers(0, 4, size=(20, 100))
    for array in (x, x.astype("float32"), x.astype(bool), x[:, ::2]):
        program = Program()
        a = program.input(array)
        found = [program.emit(op, a, axis=axis, keepdims=False) for op in ("argmax", "argmin") for axis in (None, 0, 1)]
        check(program.finish(*found), array)


def test_an_extremum_of_nothing_fails_its_guard() -> None:
    n = symbol("n", 0)
    program = Program()
    a = program.input(np.ones(3), (n,))
    graph = program.finish(program.reduce("max", a))
    compiled = compile_graph(graph)
    assert compiled.entry(np.array([1.0, 5.0])) == (5.0,)
    assert compiled.entry(np.array([])) is Compiled.DEOPTIMIZED


# ---- views


def test_views_cost_no_step() -> None:
    x = normal(4, 6)
    program = Program()
    a = program.input(x)
    part = program.view(program.transpose(a, axes=(1, 0)), index=(Range(5, 3, -2), NewAxis(), Range(1, 2)))
    graph = program.finish(program.add(part, 1.0))
    assert len(fused_steps(graph)) == 1
    check(graph, x)


def test_starts_known_at_run_time() -> None:
    x = normal(6, 5)
    program = Program()
    a, i = program.input(x, writeable=True), program.input(2)
    row = program.view(a, i, index=(Pick(Operand(0)), Range(0, 5)))
    element = program.view(a, i, index=(Pick(Operand(0)), Pick(3)))
    changed = program.update(a, program.multiply(row, element), i, path=path(Pick(Operand(0)), Range(0, 5), extras=1))
    graph = program.finish(row, element, writes={0: changed})
    for start in range(6):
        check(graph, x, start)


def test_reshape_copies_where_strides_cannot_express_it() -> None:
    x = np.asfortranarray(normal(4, 6))
    program = Program()
    a = program.input(x)
    flat = program.reshape(a, shape=(24,))
    back = program.reshape(program.transpose(program.add(a, 1.0), axes=(1, 0)), shape=(3, 8))
    check(program.finish(flat, back, program.reshape(program.view(a, index=(Pick(0), Range(0, 6))), shape=(2, 3))), x)


def test_a_returned_view_lies_in_its_base() -> None:
    x = normal(4, 6)
    program = Program()
    a = program.input(x, writeable=True)
    doubled = program.multiply(a, 2.0)
    view = program.transpose(doubled, axes=(1, 0))
    mine = program.view(a, index=(Range(1, 2), Range(0, 6)))
    base = ArrayBox(0, 0)
    place = program.graph.inputs[0].place
    boxes = (base, ViewBox(1, base, 1), ViewBox(2, PlaceBox(place), 2))
    program.builder.exit((doubled, view, mine), ExitRecipe(SequenceBox(tuple, boxes)))
    first, second, third = compile_graph(program.graph).entry(x)
    same((first, second, third), (2 * x, 2 * x.T, x[1:3]))
    assert second.base is first
    assert third.base is x


# ---- updates


def written_in_place(compiled: Compiled, *arguments: np.ndarray) -> bool:
    """Whether no copy of the first argument is made: no array of its size is allocated and none copied back."""
    return "PyArray_CopyInto" not in compiled.llvm_ir


def test_a_parameter_is_updated_in_the_callers_memory_by_one_kernel() -> None:
    w, m, g = normal(30, 4), normal(30, 4), normal(30, 4)
    program = Program()
    a, b, c = program.input(w, writeable=True), program.input(m, writeable=True), program.input(g)
    first = program.update(b, program.multiply(b, 0.9), path=())
    momentum = program.update(first, program.add(first, program.multiply(c, 0.1)), path=())
    weights = program.update(a, program.subtract(a, program.multiply(momentum, 0.01)), path=())
    graph = program.finish(writes={0: weights, 1: momentum})
    (step,) = fused_steps(graph)
    assert len(step.stores) == 2  # the first version of the momentum is never stored
    assert written_in_place(check(graph, w, m, g))


def test_an_update_before_a_guard_waits_for_the_exit() -> None:
    x = normal(5)
    for bound, held in ((1e300, True), (-1e300, False)):
        program = Program()
        a = program.input(x, writeable=True)
        changed = program.update(a, program.multiply(a, 2.0), path=())
        program.guard(program.less(program.reduce("sum", changed), bound))
        graph = program.finish(writes={0: changed})
        mine = x.copy()
        result = compile_graph(graph).entry(mine)
        assert (result is Compiled.DEOPTIMIZED) is not held
        same(mine, 2 * x if held else x)


def test_readers_of_the_old_version_see_it() -> None:
    x = normal(6)
    program = Program()
    a = program.input(x, writeable=True)
    part = (PathStep.of("view", index=(Range(1, 5),)),)
    shifted = program.update(a, program.view(a, index=(Range(0, 5),)), path=part)  # x[1:] = x[:-1]
    late = program.add(a, shifted)
    check(program.finish(late, program.cumsum(a, axis=0), writes={0: shifted}), x)


def test_an_input_that_is_not_written_is_never_overwritten() -> None:
    x = normal(6)
    program = Program()
    a = program.input(x)
    changed = program.update(a, 0.0, path=path(Range(0, 3)))
    check(program.finish(changed, program.reduce("sum", changed)), x)


def test_updates_through_integers_and_masks() -> None:
    x, i, mask = normal(6, 3), np.array([0, -1, 2, 0]), np.array([True, False] * 3)
    program = Program()
    a, b, c = program.input(x, writeable=True), program.input(i), program.input(mask)
    added = program.update_take(a, 1.0, b, axes=(0,), accumulate=True)
    graph = program.finish(program.add(a, 0.0), writes={0: program.update_mask(added, c, 0.0)})
    check(graph, x, i, mask)
    assert run_both(graph, x, np.array([0, 9, 0, 0]), mask)[0] is Compiled.DEOPTIMIZED


# ---- results


def test_a_value_boxed_twice_is_two_arrays() -> None:
    x = normal(5)
    program = Program()
    value = program.add(program.input(x), 1.0)
    first, second = compile_graph(program.finish(value, value)).entry(x)
    same(first, second)
    assert not np.shares_memory(first, second)


def test_results_of_two_calls_share_nothing() -> None:
    x = normal(500)
    program = Program()
    a = program.input(x)
    entry = compile_graph(program.finish(program.exp(a), program.cumsum(a, axis=0))).entry
    first = entry(x)
    kept = [array.copy() for array in first]
    second = entry(x + 1)
    same(list(first), kept)
    assert not any(np.shares_memory(a, b) for a in first for b in second)


def test_constants() -> None:
    x = normal(2, 3)
    program = Program()
    a = program.input(x)
    table = program.constant_array(value=FrozenArray(np.arange(6.0).reshape(2, 3)))
    changed = program.update(table, 0.5, path=path(Pick(0), Range(0, 3)))
    check(program.finish(program.add(a, table), changed, program.constant_array(value=FrozenArray(3.5))), x)


# ---- symbolic dimensions


def test_symbolic_dimensions() -> None:
    n = symbol("n")
    w = normal(7, 3)
    program = Program()
    a, b, c = program.input(normal(5, 7), (n, 7)), program.input(w, writeable=True), program.input(normal(5, 3), (n, 3))
    d = program.subtract(program.tanh(program.matmul(a, b)), c)
    weights = program.update(b, program.subtract(b, program.matmul(program.transpose(a, axes=(1, 0)), d)), path=())
    flat = program.reshape(d, shape=(n * 3,))
    sums = [
        program.reduce("sum", d),
        program.reduce("sum", d, 0),
        program.reduce("max", d, 1),
        program.reduce("sum", flat),
    ]
    graph = program.finish(d, flat, *sums, writes={1: weights})
    compiled = compile_graph(graph)
    for size in (2, 3, 64, 500):
        x, y, mine = normal(size, 7), normal(size, 3), w.copy()
        got = compiled.entry(x, mine, y)
        d_ = np.tanh(x @ w) - y
        wanted = (d_, d_.ravel(), d_.sum(), d_.sum(0), d_.max(1), d_.sum())
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(mine, w - x.T @ d_, rtol=1e-9, atol=1e-9)


def test_dimensions_that_depend_on_the_data() -> None:
    program = Program()
    a = program.input(normal(9))
    positive = program.compress(a, program.greater(a, 0.0), symbol=Symbol("count", 0))
    squares = program.multiply(positive, positive)
    graph = program.finish(positive, squares, program.reduce("sum", squares), program.unique(a, symbol=Symbol("u", 0)))
    for x in (normal(9), -np.abs(normal(9)), np.zeros(9)):
        check(graph, x)


def test_strided_inputs_of_symbolic_shape() -> None:
    n, m = symbol("n"), symbol("m")
    x = normal(8, 12)[::2, ::-3]
    program = Program()
    a = program.input(x, (n, m), writeable=True)
    changed = program.update(a, program.multiply(a, 2.0), path=())
    check(program.finish(program.reduce("max", a, 0), program.reshape(changed, shape=(n * m,)), writes={0: changed}), x)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0), (2, 0, 3)])
def test_reductions_of_no_elements(shape: tuple[int, ...]) -> None:
    x, row = np.ones(shape), np.ones(shape[-1])
    program = Program()
    a, b = program.input(x), program.input(row)
    scaled = program.multiply(a, b)
    values = [program.reduce(kind, scaled, *axes) for kind in ("sum", "prod", "any") for axes in ((), (0,), (1,))]
    check(program.finish(*values), x, row)
    n, m = symbol("n", 0), symbol("m", 0)
    program = Program()
    a, b = program.input(np.ones((2, 3)), (n, m)), program.input(np.ones(3), (m,))
    total = program.reduce("sum", program.multiply(a, b))
    compiled = compile_graph(program.finish(total))
    for size in ((0, 4), (4, 0), (0, 0), (5, 30)):
        assert compiled.entry(np.ones(size), np.ones(size[1])) == (float(size[0] * size[1]),)
