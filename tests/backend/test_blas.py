"""``emit_matmul`` against NumPy: every rank, layout, element type and degenerate size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from llvmlite import ir

import janusjit
from janusjit.backend.llvm import blas_library, gemm_estimates
from janusjit.backend.llvm.blas import emit_matmul
from janusjit.backend.llvm.blas_library import blas_routine
from janusjit.ir.types import DTYPES
from tests.backend.kernel_harness import ArrayKernel

SHAPES = [
    ((3,), (3,)),
    ((300,), (300,)),
    ((1,), (1,)),
    ((2, 3), (3,)),
    ((40, 50), (50,)),
    ((3,), (3, 4)),
    ((70,), (70, 40)),
    ((2, 3), (3, 4)),
    ((33, 47), (47, 21)),
    ((1, 80), (80, 90)),
    ((80, 90), (90, 1)),
    ((1, 5000), (5000, 1)),
    ((60, 1), (1, 70)),
    ((4, 33, 17), (17, 29)),
    ((3, 2, 5, 7), (2, 7, 4)),
    ((5, 30, 7), (5, 7, 30)),
    ((5, 40), (6, 40, 20)),
    ((6, 20, 40), (40,)),
    ((40,), (6, 40, 20)),
    ((1, 30, 30), (4, 30, 30)),
    ((0, 3), (3, 4)),
    ((3, 0), (0, 4)),
    ((3, 4), (4, 0)),
    ((0,), (0,)),
    ((3, 0), (0,)),
    ((0, 5, 6), (6, 7)),
]

LAYOUTS = ["contiguous", "transposed", "stepped", "backwards", "broadcast"]


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """Return equal values in another memory layout (``broadcast``: the first of the last axis, everywhere)."""
    if layout == "transposed":
        return np.ascontiguousarray(array.T).T
    if layout == "stepped":
        spread = np.zeros([2 * n + 1 for n in array.shape])
        every_second = (slice(0, -1, 2),) * array.ndim
        spread[every_second] = array
        return spread[every_second]
    if layout == "backwards":
        reverse = (slice(None, None, -1),) * array.ndim
        return np.ascontiguousarray(array[reverse])[reverse]
    if layout == "broadcast" and array.size:
        return np.broadcast_to(array[..., :1], array.shape)
    return np.ascontiguousarray(array)


def random_operands(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: str) -> list[np.ndarray]:
    generator = np.random.default_rng(len(str(shapes)))
    if dtype in ("f32", "f64"):
        return [generator.standard_normal(shape).astype(DTYPES[dtype]) for shape in shapes]
    if dtype == "bool":
        return [generator.random(shape) < 0.2 for shape in shapes]
    return [generator.integers(0, 1 << 62, shape).astype(DTYPES[dtype]) for shape in shapes]


def assert_as_good_as_numpy(got: np.ndarray, a: np.ndarray, b: np.ndarray, start: np.ndarray | float = 0.0) -> None:
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, np.matmul(a, b))
        return
    exact = np.matmul(a.astype(np.longdouble), b.astype(np.longdouble)) + start
    numpy_error = np.abs(np.matmul(a, b).astype(np.longdouble) + start - exact).max(initial=0)
    scale = (np.matmul(np.abs(a), np.abs(b)) + np.abs(start)).max(initial=0)
    assert np.abs(got - exact).max(initial=0) <= 2 * numpy_error + 4 * np.finfo(got.dtype).eps * scale


def multiply(a: np.ndarray, b: np.ndarray, dynamic: bool = False) -> np.ndarray:
    out = np.full(np.matmul(a, b).shape, np.nan if a.dtype.kind == "f" else 1).astype(a.dtype)
    assert ArrayKernel(emit_matmul, (a, b, out), dynamic)(a, b, out)
    return out


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dtype", ["f32", "f64", "i64"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: str, dynamic: bool) -> None:
    a, b = random_operands(shapes, dtype)
    assert_as_good_as_numpy(multiply(a, b, dynamic), a, b)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name not in ("f32", "f64", "i64")])
def test_small_integers_wrap_and_bools_are_logical(dtype: str) -> None:
    a, b = random_operands(((7, 33), (33, 5)), dtype)
    assert_as_good_as_numpy(multiply(a, b), a, b)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    "shapes", [((31, 17), (17, 23)), ((90,), (90,)), ((20, 50), (50,)), ((4, 9, 8), (8, 5))], ids=str
)
def test_layouts(shapes: tuple[tuple[int, ...], tuple[int, ...]], dynamic: bool) -> None:
    operands = random_operands(shapes, "f64")
    for left, right in itertools.product(LAYOUTS, LAYOUTS):
        a, b = laid_out(operands[0], left), laid_out(operands[1], right)
        assert_as_good_as_numpy(multiply(a, b, dynamic), a, b)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS[:-1])
@pytest.mark.parametrize(
    "shapes", [((31, 17), (17, 23)), ((20, 50), (50,)), ((50,), (50, 20)), ((3, 2), (2, 4))], ids=str
)
def test_accumulates_into_any_layout(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], layout: str, dynamic: bool
) -> None:
    a, b = random_operands(shapes, "f64")
    start = np.random.default_rng(0).standard_normal(np.matmul(a, b).shape)
    out = laid_out(start.copy(), layout)

    def emit(context, *operands):  # type: ignore[no-untyped-def]
        emit_matmul(context, *operands, accumulate=True)

    ArrayKernel(emit, (a, b, out), dynamic)(a, b, out)
    assert_as_good_as_numpy(out, a, b, start)


def test_special_values_spread_as_in_numpy() -> None:
    a, b = random_operands(((40, 40), (40, 40)), "f64")
    a[3, 4], b[5, 6], b[7, 8] = np.nan, np.inf, 0
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.isnan(multiply(a, b)), np.isnan(a @ b))


def test_large_products_call_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it has several threads; where it has one, they are packed, or tiles."""
    monkeypatch.setattr(gemm_estimates, "library_threads", lambda: 2)
    a, b = random_operands(((256, 256), (256, 256)), "f32")
    out = np.empty((256, 256), np.float32)
    assert "janusjit_gemm_f32" in ArrayKernel(emit_matmul, (a, b, out)).module.assembly
    assert blas_routine(ir.Module(), "gemm", "f32") is not None


def test_products_are_those_of_numpys_own_blas():
    if blas_library._address_in_numpy("gemm", "f64") is None:
        pytest.skip("NumPy is not linked to the OpenBLAS of its wheels")
    step = janusjit.jit(background=False)(_product)
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        a, b = rng.normal(size=(265, 130)).astype(dtype), rng.normal(size=(130, 233)).astype(dtype)
        for _ in range(4):
            result = step(a, b)
        np.testing.assert_array_equal(result, a @ b)
    assert step.stats.graph_calls >= 4


def _product(a, b):
    return a @ b
