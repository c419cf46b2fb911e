"""Slices that end a known number of elements behind where they begin have a known length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import janusjit as jj


def shortest(distances: Any) -> Any:
    for k in range(distances.shape[0]):
        distances = np.minimum(distances, distances[:, k : k + 1] + distances[k : k + 1, :])
    return distances


def epoch(weights: Any, x: Any, y: Any) -> Any:
    for i in range(0, len(x), 32):
        inputs, targets = x[i : i + 32], y[i : i + 32]
        weights -= 0.01 * inputs.T @ (inputs @ weights - targets) / len(inputs)
    return weights


def blocks(x: Any) -> Any:
    total = np.zeros(4)
    for k in range(len(x) // 4):
        total = total * 0.5 + x[k * 4 : (k + 1) * 4]
    return total


def differences(x: Any) -> Any:
    total = 0.0
    for i in range(60):
        window = x[i - 2 : i + 3]
        total = total + window.sum() * len(window)
    return total


def check(function: Any, *arguments: Any) -> Any:
    step = jj.jit(function, background=False)
    for _ in range(8):
        mine, expected = ([argument.copy() for argument in arguments] for _ in range(2))
        np.testing.assert_allclose(step(*mine), function(*expected), rtol=1e-12)
        for one, other in zip(mine, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    return step


@pytest.mark.parametrize(
    ("program", "shapes"), [(shortest, [(60, 60)]), (epoch, [(20, 5), (3200, 20), (3200, 5)]), (blocks, [(400,)])]
)
def test_the_length_is_known(program: Any, shapes: Any) -> None:
    rng = np.random.default_rng(0)
    step = check(program, *(rng.random(shape) for shape in shapes))
    assert (step.stats.graph_calls, step.stats.deopts) == (6, 0)
    assert "bind_dim" not in step.specializations[-1].graph


def test_a_slice_that_is_cut_off_has_another_length_from_then_on() -> None:
    rng = np.random.default_rng(0)
    step = check(epoch, rng.random((20, 5)), rng.random((3210, 20)), rng.random((3210, 5)))
    assert step.stats.graph_calls == 6 and step.stats.deopts == 1
    assert "bind_dim" in step.specializations[-1].graph


def test_a_position_before_the_first_counts_from_the_end() -> None:
    step = check(differences, np.random.default_rng(0).random(70))
    assert step.stats.graph_calls == 6 and step.stats.deopts <= 1
