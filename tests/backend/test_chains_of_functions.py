"""Kernels that compute functions: long chains of them are several loops, each short enough to be looked ahead of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import janusjit as jj


def price(spot: Any, strike: Any, years: Any) -> Any:
    root = 0.2 * np.sqrt(years)
    upper = (np.log(spot / strike) + 0.05 * years) / root
    lower = upper - root
    return spot / (1.0 + np.exp(-1.6 * upper)) - strike * np.exp(-0.03 * years) / (1.0 + np.exp(-1.6 * lower))


def polynomial(spot: Any, strike: Any, years: Any) -> Any:
    total = spot
    for turn in range(12):
        total = total * 0.01 * strike / (years + turn)
    return total


@pytest.mark.parametrize(("function", "loops"), [(price, 3), (polynomial, 1)])
@pytest.mark.parametrize("size", [5, 3000])
def test_what_waits_for_functions_is_cut_and_arithmetic_is_not(function: Any, loops: int, size: int) -> None:
    rng = np.random.default_rng(3)
    arguments = rng.uniform(50, 150, size), rng.uniform(50, 150, size), rng.uniform(0.2, 2.0, size)
    step = jj.jit(background=False)(function)
    for _ in range(6):
        # functions within 2 units of the last place, of terms of up to 150 whose difference may be small
        np.testing.assert_allclose(step(*arguments), function(*arguments), rtol=1e-14, atol=1e-12)
    assert step.stats.graph_calls == 4 and step.stats.deopts == 0
    assert step.specializations[0].plan.count("fused [") == loops
