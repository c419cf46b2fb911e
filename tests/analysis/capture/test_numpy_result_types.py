"""Functions of numbers and small integers whose results have the types that NumPy's promotion gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_sequences_between_numbers_are_as_precise_as_those_are(dtype: str) -> None:
    def program(x: np.ndarray) -> tuple[Any, ...]:
        return np.linspace(0, x[1], 3), np.linspace(x[0], x[2], 4), np.linspace(x[0], 2.0, 3), x.sum()

    step = jj.jit(program, background=False)

    def arguments(number: int) -> tuple[np.ndarray]:
        return ((np.arange(3) + 0.3 * number).astype(dtype),)

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 6) == []
    assert step.stats.graph_calls == 4 and (step.stats.host_calls > 0) == (dtype == "f4")


@pytest.mark.filterwarnings("ignore:overflow encountered in scalar subtract:RuntimeWarning")
@pytest.mark.parametrize("quantile", [lambda x: np.percentile(x, 40), lambda x: np.quantile(x, [0.1, 0.8])])
def test_quantiles_of_small_integers_wrap_as_in_numpy(quantile: Callable[[np.ndarray], Any]) -> None:
    step = jj.jit(quantile, background=False)

    def arguments(number: int) -> tuple[np.ndarray]:
        return (np.array([-120, -100, 90, 120], "i1") + np.int8(number % 3),)

    assert run_side_by_side(Side(quantile, arguments), Side(step, arguments), 6) == []
    assert step.stats.graph_calls == 4 and step.stats.host_calls == 0


def test_truth_values_have_no_quantile() -> None:
    step = jj.jit(lambda x: np.percentile(x, 40), background=False)
    for _ in range(3):
        step(np.arange(4.0))
    for _ in range(3):
        with pytest.raises(TypeError, match="boolean subtract"):
            step(np.array([True, False, True, True]))
    assert step.stats.graph_calls >= 1
