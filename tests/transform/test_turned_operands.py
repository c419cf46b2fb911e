"""Elementwise work on transposed operands of products, done before the transposition: the same elements."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj


def scaled(x, e):
    return (0.1 * x.T) @ e


def negated(x, e):
    return -x.T @ e


def chain(x, e):
    return np.maximum(2.0 * x.T - 1.0, 0.0) @ e


def along_rows(x, e):
    return (x.T * e) @ x


def along_columns(x, e):
    return (x.T - x.mean(axis=0)[:, None]) @ e


def of_two(x, e):
    return (x.T * np.cos(x).T) @ e


def as_right_operand(x, e):
    return e @ (x.T / 3.0).T


def also_returned(x, e):
    y = 2.0 * x.T
    return y, y @ e


def with_another_array(x, e):
    y = x.T * np.outer(np.arange(5.0), np.ones(40))
    return y @ e


def plan_of(function: Callable[..., Any], dtype: str) -> str:
    numbers = np.random.default_rng(0)
    x, e = numbers.standard_normal((40, 5)).astype(dtype), numbers.standard_normal(40).astype(dtype)
    step = jj.jit(function, background=False)
    for _ in range(4):
        got = step(x, e)
    wanted = function(x, e)
    pairs = zip(got, wanted, strict=True) if isinstance(wanted, tuple) else [(got, wanted)]
    for one, other in pairs:
        assert (one.dtype, one.shape, one.strides) == (other.dtype, other.shape, other.strides)
        np.testing.assert_allclose(one, other, rtol=0, atol=200 * np.finfo(one.dtype).eps)
    assert (step.stats.graph_calls, step.stats.deopts, step.stats.host_calls) == (2, 0, 0)
    return str(step.specializations[0].plan)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [scaled, negated, chain, along_rows, along_columns, of_two])
def test_they_are_turned(function: Callable[..., Any], dtype: str) -> None:
    plan = plan_of(function, dtype)
    assert not re.search(r"fused \[5,40\]", plan), plan
    assert re.search(r"fused \[40,5\]", plan), plan


@pytest.mark.parametrize("function", [also_returned, with_another_array])
def test_what_others_see_stays(function: Callable[..., Any]) -> None:
    assert re.search(r"fused \[5,40\]", plan_of(function, "float64"))


def test_those_turned_twice() -> None:
    assert "fused [40,5]" in plan_of(as_right_operand, "float64")
