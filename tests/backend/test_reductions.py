"""Reductions of rows of every length: sums are NumPy's bits, extrema heed NaN, and the first of equal ones counts."""

from __future__ import annotations

import numpy as np
import pytest
from llvmlite import ir

from janusjit.backend.llvm import reduce
from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.values import item_size
from janusjit.ir.dims import symbol
from tests.backend.lowering import Program, run_both, same

NUMBERS = np.random.default_rng(11)
#: around the sizes at which rows are halved, and where halves differ
LENGTHS = [*range(1, 300), *range(500, 545), 1000, 1023, 1024, 1040, 2049, 4095, 10_000]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_any_length_are_those_of_numpy_bit_for_bit(dtype: str) -> None:
    program = Program()
    x = program.input(np.ones(3, dtype), (symbol("n", 0),))
    square = program.multiply(x, x)
    largest = program.reduce("max", square)
    compiled = compile_graph(program.finish(program.reduce("sum", x), program.reduce("sum", square), largest))
    for length in LENGTHS:
        values = NUMBERS.normal(size=length).astype(dtype) * NUMBERS.choice([1, 1e-4, 1e4], length).astype(dtype)
        got = compiled.entry(values)
        assert got == (values.sum(), (values * values).sum(), (values * values).max()), length


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_known_lengths(dtype: str) -> None:
    lengths = [*range(1, 41), 56, 63, 64, 65, 127, 128, 129, 200, 511, 512, 513]
    for part in range(0, len(lengths), 8):
        arrays = [NUMBERS.normal(size=(4, length)).astype(dtype) for length in lengths[part : part + 8]]
        program = Program()
        inputs = [program.input(array) for array in arrays]
        found = []
        for x in inputs:
            y = program.add(x, x)
            found += [program.reduce("sum", x, 1), program.reduce("sum", y, 1), program.reduce("prod", y, 1)]
            found += [program.reduce(kind, z, 1) for kind in ("max", "min") for z in (x, y)]
        got, *_ = run_both(program.finish(*found), *arrays)
        expected = [
            value
            for x in arrays
            for value in (x.sum(1), (x + x).sum(1), (x + x).prod(1), x.max(1), (x + x).max(1), x.min(1), (x + x).min(1))
        ]
        products = list(range(2, len(expected), 7))
        same(tuple(g for n, g in enumerate(got) if n not in products), tuple(np.delete(expected, products, axis=0)))
        for n in products:
            np.testing.assert_allclose(got[n], expected[n], rtol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_nan_anywhere_is_the_extremum(dtype: str) -> None:
    for length in (3, 8, 10, 24, 60, 64, 70):
        x = NUMBERS.normal(size=(length + 1, length)).astype(dtype)
        x[np.arange(length), np.arange(length)] = np.nan
        x[length, 0] = np.inf
        program = Program()
        a = program.input(x)
        computed = program.negative(a)
        both = [program.reduce(kind, value, 1) for kind in ("max", "min") for value in (a, computed)]
        got, *_ = run_both(program.finish(*both), x)
        same(got, (x.max(1), (-x).max(1), x.min(1), (-x).min(1)))
        assert np.isnan(got[0][:length]).all() and not np.isnan(got[0][length])


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int8", "uint8", "uint64", "bool"])
def test_positions_in_rows_of_any_length(op: str, dtype: str) -> None:
    program = Program()
    x = program.input(np.ones(3, dtype), (symbol("n", 0),))
    compiled = compile_graph(program.finish(program.emit(op, x, axis=0, keepdims=False)))
    find = getattr(np, op)
    for length in LENGTHS:
        few = NUMBERS.integers(0, 3, length)
        for values in (few.astype(dtype), (few > 1).astype(dtype), NUMBERS.integers(0, 200, length).astype(dtype)):
            assert compiled.entry(values) == (find(values),), length
        if dtype.startswith("float"):
            values = NUMBERS.normal(size=length).astype(dtype)
            assert compiled.entry(values) == (find(values),)
            values[NUMBERS.integers(0, length, 2)] = np.nan
            assert compiled.entry(values) == (find(values),)
            for same_everywhere in (np.inf, -np.inf, np.nan):
                assert compiled.entry(np.full(length, same_everywhere, dtype)) == (0,)


@pytest.mark.parametrize("dtype", ["i64", "i32", "u8", "u64", "f32"])
def test_rows_are_searched_by_vectors(dtype: str) -> None:
    module = ir.Module()
    reduce.block_function(module, None, "max", dtype)  # type: ignore[arg-type]
    lanes = reduce.EXTREMUM_BYTES // item_size(dtype)
    assert f"load <{lanes} x " in str(module) and f"load <{reduce.LANES} x " in str(module)


def test_integers_at_the_limits_of_their_type() -> None:
    for dtype in ("int8", "uint8", "int64", "uint64"):
        limits = np.iinfo(dtype)
        program = Program()
        x = program.input(np.ones(3, dtype), (symbol("n", 0),))
        found = [program.emit(op, x, axis=0, keepdims=False) for op in ("argmax", "argmin")]
        compiled = compile_graph(program.finish(*found))
        for length in (1, 7, 8, 9, 300, 5000, 9000):
            for first, other in ((limits.min, limits.max), (limits.max, limits.min), (limits.min, limits.min)):
                values = np.full(length, first, dtype)
                values[length // 2] = other
                assert compiled.entry(values) == (np.argmax(values), np.argmin(values))


@pytest.mark.parametrize("layout", ["C", "F", "reversed"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "bool"])
def test_positions_along_every_axis(dtype: str, layout: str) -> None:
    shapes = [(5, 1), (1, 8), (2, 11), (9, 70), (70, 150), (40, 64), (3, 4, 90), (6, 20, 2), (2, 7, 8, 3)]
    arrays = [NUMBERS.integers(0, 5, shape).astype(dtype) for shape in shapes]
    for x in arrays:
        if dtype.startswith("float"):
            x[NUMBERS.random(x.shape) < 0.02] = np.nan
    if layout == "F":
        arrays = [np.asfortranarray(x) for x in arrays]
    if layout == "reversed":
        arrays = [x[::-1, ..., ::-1] for x in arrays]
    program = Program()
    inputs = [program.input(x) for x in arrays]
    ops = ("argmax", "argmin")
    cases = [(n, op, axis) for n, x in enumerate(arrays) for op in ops for axis in (None, *range(x.ndim))]
    found = [program.emit(op, inputs[n], axis=axis, keepdims=n % 2 == 0) for n, op, axis in cases]
    got, *_ = run_both(program.finish(*found), *arrays)
    same(got, tuple(getattr(np, op)(arrays[n], axis=axis, keepdims=n % 2 == 0) for n, op, axis in cases))
