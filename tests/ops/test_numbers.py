"""Number ops: the checked rule against Python itself, over special values."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from janusjit.ir.types import TensorType
from janusjit.ops import OPS, Op
from janusjit.ops.emitter import NumPyEmitter
from janusjit.ops.registry import Checked
from janusjit.ops.type_rules import TypeRuleError

CHECKED = [op for op in OPS.values() if isinstance(op.lowering, Checked)]
BIG = 2**62
INTEGERS = [
    0,
    1,
    2,
    3,
    5,
    10,
    31,
    62,
    63,
    64,
    65,
    2**31,
    2**32,
    3037000499,
    3037000500,
    2**53,
    2**53 + 1,
    BIG,
    2**63 - 1,
]
INTEGERS += [-x for x in INTEGERS if x] + [-(2**63)]
FLOATS = [0.0, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 7.25, 709.0, 710.0, 1e20, 2.0**63, 2.0**62, 1e308, 5e-324, math.inf]
FLOATS += [-x for x in FLOATS] + [math.nan]
CONSERVATIVE = {"checked_int_divide", "exact_int_to_float"}


@pytest.mark.parametrize("op", CHECKED, ids=lambda op: op.name)
def test_rule_is_valid_where_python_succeeds_and_gives_its_result(op: Op) -> None:
    assert isinstance(op.lowering, Checked)
    kinds = [draw(np.random.default_rng(0)).dtype.kind for draw in op.samples[0].inputs]
    values = [INTEGERS if kind == "i" else FLOATS for kind in kinds]
    outcomes = set()
    for operands in itertools.product(*values):
        inputs = [np.int64(x) if isinstance(x, int) else np.float64(x) for x in operands]
        try:
            expected = op.eager(*inputs)
        except (ArithmeticError, ValueError):
            expected = None
        with np.errstate(all="ignore"):
            value, valid = op.lowering.scalar(NumPyEmitter(), *inputs)
        outcomes.add(bool(valid))
        if expected is None:
            assert not valid, operands
            continue
        assert valid or (op.name in CONSERVATIVE and max(map(abs, operands)) > 2**53), operands
        if valid:
            assert value.dtype == expected.dtype
            assert _same(value, expected, op.ulp), (operands, value, expected)
    never_fails = op.name in ("math.atan", "math.atan2", "math.tanh", "math.asinh")
    assert outcomes == ({True} if never_fails else {True, False})


def _same(value: Any, expected: Any, ulp: int) -> bool:
    if np.isnan(value) or np.isnan(expected):
        return bool(np.isnan(value) and np.isnan(expected))
    if ulp and np.isfinite(expected):
        return bool(abs(value - expected) <= ulp * np.spacing(abs(expected)))
    return bool(value.tobytes() == expected.tobytes())


def test_python_itself_is_the_reference() -> None:
    assert OPS["checked_add"].eager(np.int64(2), np.int64(3)) == 5
    assert math.copysign(1, OPS["checked_int_divide"].eager(np.int64(0), np.int64(-5))) == -1
    for name, operands, error in (
        ("checked_add", (np.int64(2**63 - 1), np.int64(1)), OverflowError),
        ("checked_floor_divide", (np.int64(1), np.int64(0)), ZeroDivisionError),
        ("python_power", (np.float64(-8.0), np.float64(0.5)), ArithmeticError),
        ("python_power", (np.float64(10.0), np.float64(400.0)), OverflowError),
        ("float_to_int", (np.float64(np.nan),), ValueError),
        ("math.sqrt", (np.float64(-1.0),), ValueError),
    ):
        with pytest.raises(error):
            OPS[name].eager(*operands)


def test_int_to_float_rounds_as_python() -> None:
    for value in INTEGERS:
        assert OPS["int_to_float"].eager(np.int64(value)) == float(value) == np.int64(value).astype(np.float64)


def test_only_numbers_of_the_right_type_are_taken() -> None:
    for wrong in (TensorType("f64"), TensorType("i64", (1,)), TensorType("i32")):
        with pytest.raises(TypeRuleError, match="checked_add"):
            OPS["checked_add"].infer((TensorType("i64"), wrong), {})
