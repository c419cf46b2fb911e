"""The LLVM scalar emitter gives NumPy's bits, for every dtype and every special value."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform

import numpy as np
import pytest

from janusjit.ir.types import DTYPES
from janusjit.ops import OPS
from janusjit.ops.registry import Elementwise
from tests.backend.kernel_harness import ElementwiseKernel, elementwise

FLOATS = ("f32", "f64")
INTEGERS = tuple(name for name in DTYPES if name[0] in "iu")


def special_values(dtype: str) -> np.ndarray:
    """Return a dtype's corner cases."""
    numpy_dtype = DTYPES[dtype]
    if dtype == "bool":
        return np.array([False, True])
    if dtype in INTEGERS:
        limits = np.iinfo(numpy_dtype)
        near = [limits.min, limits.min + 1, limits.max, limits.max - 1, limits.max // 2]
        small = [0, 1, 2, 3, 7, 10, 31, 32, 63, 64, *([-1, -2, -3, -7, -64] if limits.min else [])]
        return np.array(near + small, numpy_dtype)
    limits = np.finfo(numpy_dtype)
    positive = [0.0, limits.smallest_subnormal, limits.tiny, limits.eps, limits.max, np.inf]
    positive += [0.3, 0.5, 1, 1.5, 2, 2.5, 3, 7, 1e5]
    return np.array([*positive, *(-x for x in positive), np.nan], numpy_dtype)


def assert_same_bits(got: np.ndarray, want: np.ndarray) -> None:
    assert got.dtype == want.dtype
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    nan = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), nan)
    bits = f"u{got.dtype.itemsize}"
    np.testing.assert_array_equal(got.view(bits)[~nan], want.view(bits)[~nan])


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_cast_is_astype(source: str, target: str) -> None:
    values = special_values(source)
    if source in FLOATS:
        edges = [sign * (2.0**power + shift) for power in (7, 8, 15, 16, 31, 32, 63, 64) for shift in (-1, 0, 1, 0.5)
                 for sign in (1, -1)]
        values = np.concatenate([values, np.array(edges, DTYPES[source])])
    got = elementwise(lambda e, x: e.cast(x, target), values)
    with np.errstate(all="ignore"):
        # one at a time: NumPy's vector code and its remainder loop convert out-of-range floats to uint32 differently
        want = np.array([x.astype(DTYPES[target]) for x in values])
    assert_same_bits(got, want)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86's flags")
@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("target", [name for name in INTEGERS if name != "u32"])
def test_casts_raise_the_flag_numpy_warns_of(source: str, target: str, count: int) -> None:
    c_library, invalid = ctypes.CDLL(ctypes.util.find_library("m")), 0x01
    kernel = ElementwiseKernel(lambda e, x: e.cast(x, target), (source,))
    out = np.empty(count, DTYPES[target])
    for value in [*special_values(source), *(DTYPES[source].type(s * 2.0**p) for s in (1, -1) for p in (31, 63, 64))]:
        x = np.full(count, value)
        try:
            with np.errstate(invalid="raise"):
                x.astype(DTYPES[target])
            wanted = 0
        except FloatingPointError:
            wanted = invalid
        c_library.feclearexcept(0x3F)
        kernel.run(x, out)
        raised = c_library.fetestexcept(invalid)
        c_library.feclearexcept(0x3F)
        assert raised == wanted, value


EXACT = [
    (op.name, dtype)
    for op in OPS.values()
    if isinstance(op.lowering, Elementwise) and isinstance(op.eager, np.ufunc) and op.ulp == 0
    for dtype in DTYPES
    if any(all(t == DTYPES[dtype].char for t in loop.split("->")[0]) for loop in op.eager.types)
]


@pytest.mark.parametrize(("name", "dtype"), [case for case in EXACT if OPS[case[0]].eager.nin < 3])
def test_every_exact_op_gives_eager_bits(name: str, dtype: str) -> None:
    op = OPS[name]
    assert isinstance(op.lowering, Elementwise)
    values = special_values(dtype)
    grid = np.meshgrid(values, values) if op.eager.nin == 2 else [values]
    operands = [np.ascontiguousarray(g.reshape(-1)) for g in grid]
    got = elementwise(op.lowering.scalar, *operands)
    with np.errstate(all="ignore"):
        want = np.asarray(op.eager(*operands))
    if name in ("fmax", "fmin"):
        got, want = got + 0, want + 0  # which of two zeros NumPy returns depends on its position in the array
    if name == "reciprocal" and dtype in INTEGERS:
        got, want = got[operands[0] != 0], want[operands[0] != 0]  # undefined in NumPy
    assert_same_bits(got, want)


@pytest.mark.parametrize("dtype", [dtype for name, dtype in EXACT if name == "clip"])
def test_clip_between_scalars_gives_eager_bits(dtype: str) -> None:
    op = OPS["clip"]
    assert isinstance(op.lowering, Elementwise)
    values = special_values(dtype)
    kernel = ElementwiseKernel(op.lowering.scalar, (dtype,) * 3)
    for low in values:
        for high in values:
            with np.errstate(all="ignore"):
                assert_same_bits(kernel(values, low, high), op.eager(values, low, high))
