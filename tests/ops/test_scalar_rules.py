"""Every scalar rule, run by the NumPy emitter over special values of every dtype, against eager: bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from janusjit.ir.types import DTYPES, TensorType
from janusjit.ops import OPS, Op
from janusjit.ops.emitter import NumPyEmitter
from janusjit.ops.registry import Elementwise
from janusjit.ops.type_rules import TypeRuleError

ELEMENTWISE = [op for op in OPS.values() if isinstance(op.lowering, Elementwise) and op.samples[0].inputs]
EXACT = [op for op in ELEMENTWISE if op.ulp == 0 and op.name not in ("cast", "clip", "int_to_float")]


def special_values(dtype: str) -> np.ndarray:
    """Zeros, ones, extremes, NaN and infinities, subnormals, ties, shift widths."""
    numpy_dtype = DTYPES[dtype]
    if dtype == "bool":
        return np.array([False, True])
    if numpy_dtype.kind == "f":
        limits = np.finfo(numpy_dtype)
        positive = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.3, 1e10, np.inf, float(limits.max), float(limits.tiny)]
        values = np.array([*positive, float(limits.smallest_subnormal)], numpy_dtype)
        return np.concatenate([values, -values, np.array([np.nan], numpy_dtype)])
    bounds = np.iinfo(numpy_dtype)
    width = bounds.bits
    candidates = {0, 1, 2, 3, 7, width - 1, width, width + 1, bounds.max, bounds.max - 1, bounds.min, bounds.min + 1}
    candidates |= {-1, -2, -7, -width}
    return np.array(sorted(v for v in candidates if bounds.min <= v <= bounds.max), numpy_dtype)


def loops(op: Op) -> Iterator[tuple[str, ...]]:
    """The input dtypes for which the op is defined on scalars."""
    count = len(op.samples[0].inputs)
    for dtypes in itertools.product(DTYPES, repeat=count):
        try:
            op.infer(tuple(TensorType(dtype) for dtype in dtypes), op.samples[0].attributes)
        except TypeRuleError:
            continue
        yield dtypes


def undefined(op: Op, operands: tuple[np.ndarray, ...]) -> np.ndarray:
    """Where NumPy itself has no one answer."""
    if op.name == "reciprocal" and operands[0].dtype.kind in "iu":
        return np.asarray(operands[0] == 0)
    if op.name in ("fmax", "fmin") and operands[0].dtype.kind == "f":
        return np.asarray((operands[0] == 0) & (operands[1] == 0))
    return np.zeros(operands[0].shape, bool)


def bits(values: np.ndarray) -> np.ndarray:
    """The values as integers, all NaNs as one."""
    if values.dtype.kind != "f":
        return values
    return np.where(np.isnan(values), np.array(np.nan, values.dtype), values).view(f"i{values.dtype.itemsize}")


def both(op: Op, operands: tuple[np.ndarray, ...], attributes: dict[str, object]) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(op.lowering, Elementwise)
    with np.errstate(all="ignore"):
        eager = np.asarray(op.eager(*operands, **attributes))
        rule = np.asarray(op.lowering.scalar(NumPyEmitter(), *operands, **attributes))
    assert rule.dtype == eager.dtype
    return np.broadcast_to(rule, eager.shape).copy(), eager


@pytest.mark.parametrize("op", EXACT, ids=lambda op: op.name)
def test_rule_gives_eager_bits(op: Op) -> None:
    found = list(loops(op))
    assert found
    for dtypes in found:
        operands = tuple(x.ravel() for x in np.meshgrid(*map(special_values, dtypes)))
        rule, eager = both(op, operands, dict(op.samples[0].attributes))
        wrong = np.flatnonzero((bits(rule) != bits(eager)) & ~undefined(op, operands))
        assert not wrong.size, [(dtypes, *(x[i] for x in operands), rule[i], eager[i]) for i in wrong[:5]]


@pytest.mark.parametrize("dtype", ["f32", "f64", "i64", "u8"])
def test_clip_gives_eager_bits(dtype: str) -> None:
    values = special_values(dtype)
    for low, high in itertools.product(values, repeat=2):
        for x in (values, values[1:2]):
            rule, eager = both(OPS["clip"], (x, low, high), {})
            assert np.array_equal(bits(rule), bits(eager)), (x, low, high, rule, eager)
            assert np.array_equal(bits(eager), bits(np.clip(x, low, high)))


@pytest.mark.parametrize("source", DTYPES)
def test_cast_gives_eager_bits(source: str) -> None:
    for target in DTYPES:
        values = special_values(source)
        if DTYPES[source].kind == "f" and DTYPES[target].kind in "iu":
            bounds = np.iinfo(DTYPES[target])
            values = values[np.isfinite(values)]
            values = values[(values > bounds.min - 1.0) & (values < 2.0 ** (bounds.bits - (bounds.min < 0)))]
        rule, eager = both(OPS["cast"], (values,), {"dtype": target})
        assert np.array_equal(bits(rule), bits(eager)), target


@pytest.mark.parametrize("op", [op for op in ELEMENTWISE if op.ulp], ids=lambda op: op.name)
def test_inexact_rule_is_within_its_ulp_of_eager(op: Op) -> None:
    for dtypes in loops(op):
        operands = tuple(x.ravel() for x in np.meshgrid(*map(special_values, dtypes)))
        rule, eager = both(op, operands, {})
        assert np.array_equal(np.isnan(rule), np.isnan(eager))
        finite = np.isfinite(eager) & np.isfinite(rule)
        assert np.array_equal(rule[~finite & ~np.isnan(rule)], eager[~finite & ~np.isnan(eager)])
        with np.errstate(all="ignore"):
            distance = np.abs(rule - eager)[finite] / np.spacing(np.abs(eager[finite]))
        assert distance.max(initial=0) <= 2 * op.ulp, dtypes


def test_the_two_powers_are_numpys() -> None:
    x = np.array([-np.inf, -0.0, 0.0, np.inf, 4.0, -4.0, np.nan])
    with np.errstate(all="ignore"):
        broadcast, paired = x**0.5, np.power(x, np.full(x.shape, 0.5))
        for name, expected in (("scalar_power", broadcast), ("power", paired)):
            assert np.array_equal(bits(OPS[name].eager(x, np.float64(0.5))), bits(expected))
    assert not np.array_equal(bits(broadcast), bits(paired))
