"""Powers: accuracy where the exponent magnifies the logarithm's error, bases of every kind, and narrow vectors."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.values import POINTER, VOID
from janusjit.backend.llvm.vector_math import PRECAUTIONS, SHARED
from janusjit.backend.llvm.vector_math_library import SharedMath
from janusjit.ir.types import DTYPES
from tests.backend.test_vector_math import assert_accurate, kernel, special_values

pytestmark = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="needs an extended-precision reference")


def bases(dtype: str, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return positive numbers of the whole range, subnormal ones too, and such around 1."""
    limits = np.finfo(DTYPES[dtype])
    spread = np.exp2(generator.uniform(np.log2(limits.smallest_subnormal), limits.maxexp - 1, count))
    around = [1 + generator.uniform(-width, width, count) for width in (0.3, 0.04, 0.001)]
    return np.concatenate([spread, *around]).astype(DTYPES[dtype])


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_powers_of_every_size(dtype: str) -> None:
    generator = np.random.default_rng(5)
    x = bases(dtype, 100_000, generator)
    largest = np.log(np.finfo(x.dtype).max)
    logarithm = np.log(x.astype(np.longdouble))
    wanted = generator.uniform(-1.1 * largest, largest, x.size)
    y = np.divide(wanted, logarithm, out=wanted.astype(np.longdouble), where=logarithm != 0).astype(x.dtype)
    assert_accurate("pow", [x, y], kernel("pow", dtype)(x, y), 1.5)


@pytest.mark.parametrize("exponent", [-2.5, -1.0, 0.3, 1 / 3, 0.5, 1.7, 3.0])
def test_every_so_many_bases_of_32_bits(exponent: float) -> None:
    patterns = np.arange(np.random.default_rng(1).integers(9973), 2**32, 9973, dtype=np.uint64).astype(np.uint32)
    x = patterns.view(np.float32)
    y = np.full_like(x, exponent)
    assert_accurate("pow", [x, y], kernel("pow", "f32")(x, y), 1.0)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_whole_powers_of_small_integers_are_exact(dtype: str) -> None:
    x, y = (a.ravel().astype(DTYPES[dtype]) for a in np.meshgrid(np.arange(-60, 61), np.arange(0, 7)))
    exact = x.astype(np.longdouble) ** y
    whole = np.abs(exact) < 2.0 ** np.finfo(x.dtype).nmant
    np.testing.assert_array_equal(kernel("pow", dtype)(x, y)[whole], exact[whole])


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_an_unusual_base_does_not_change_its_neighbours(dtype: str) -> None:
    generator = np.random.default_rng(6)
    x = bases(dtype, 40, generator)
    y = generator.uniform(-3, 3, x.size).astype(x.dtype)
    run = kernel("pow", dtype)
    alone = run(x, y)
    for unusual in special_values(dtype):
        mixed = x.copy()
        mixed[::16] = unusual
        kept = np.arange(x.size) % 16 != 0
        np.testing.assert_array_equal(run(mixed, y)[kept], alone[kept])


@pytest.mark.parametrize(("dtype", "lanes"), [("f32", 8), ("f32", 4), ("f64", 4), ("f64", 2)])
def test_narrow_vectors_give_the_same_bits(dtype: str, lanes: int) -> None:
    generator = np.random.default_rng(8)
    x = generator.permutation(np.concatenate([bases(dtype, 100, generator), special_values(dtype)]))
    y = generator.permutation(np.resize(np.concatenate([generator.uniform(-9, 9, 100), [-2, 0.5, 3]]), x.size))
    x, y = x[: x.size // lanes * lanes], y[: x.size // lanes * lanes].astype(x.dtype)
    c_name = "powf" if dtype == "f32" else "pow"
    shared = SharedMath("pow", dtype, 2, *SHARED["pow"], c_name, precautions=PRECAUTIONS["pow"])
    module = engine.create_module("narrow")
    vector = shared._declare(module, "narrow_power", lanes)
    shared._emit_body(vector, lanes)
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER] * 3), "run")
    builder = ir.IRBuilder(function.append_basic_block())
    operands = [builder.load(place, typ=vector.args[0].type, align=4) for place in function.args[:2]]
    builder.store(builder.call(vector, operands), function.args[2], align=4)
    builder.ret_void()
    loaded = engine.load(module)
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(loaded.function_address("run"))
    got = np.empty_like(x)
    for start in range(0, x.size, lanes):
        run(*(a[start:].ctypes.data for a in (x, y, got)))
    np.testing.assert_array_equal(got, kernel("pow", dtype)(x, y))
