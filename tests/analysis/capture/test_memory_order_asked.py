"""Programs that look at the order of arrays in memory, which is NumPy's where compiled code has it, or Python's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side

ROWS = np.array([0, 2, 1])
TABLE = np.array([[0, 1], [1, 2]])

LOOKED_AT: dict[str, Callable[[Any], Any]] = {
    "ravel": lambda x: x.ravel("K"),
    "flatten": lambda x: x.flatten("A"),
    "reshape": lambda x: x.reshape(-1, order="A"),
    "flags": lambda x: (x.flags.f_contiguous, x.flags["C_CONTIGUOUS"]),
    "strides": lambda x: x.strides,
    "isfortran": lambda x: np.isfortran(x),
    "tobytes": lambda x: x.tobytes("A"),
}
MADE: dict[str, Callable[[Any], Any]] = {
    "elementwise": lambda x: x * 2.0,
    "joined": lambda x: np.concatenate([x, x]),
    "sorted": lambda x: np.sort(x, axis=0),
    "accumulated": lambda x: x.cumsum(axis=0),
    "picked": lambda x: x[:, ROWS],
}


def orders(number: int) -> tuple[np.ndarray]:
    """Return an array that lies in memory in one of four ways, in C order at first."""
    x = np.arange(36.0).reshape(6, 6) + number
    return ((x, x, x, x.T, x[::-1], x[::2, ::2].T, x, np.asfortranarray(x))[number % 8],)


@pytest.mark.parametrize("look", LOOKED_AT)
@pytest.mark.parametrize("make", MADE)
def test_what_is_seen_of_the_memory_of_results_is_what_numpy_shows(make: str, look: str) -> None:
    made, looked_at = MADE[make], LOOKED_AT[look]

    def program(x: np.ndarray) -> Any:
        found = made(x)
        return looked_at(found), found.sum()

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, orders), Side(step, orders), 12) == []
    assert step.stats.graph_calls >= 1 or make == "picked"


def test_python_looks_at_the_order_of_results_that_is_known() -> None:
    def program(x: np.ndarray) -> Any:
        turned = x.T + 1.0
        return turned.ravel("K"), turned.flags.f_contiguous, turned.sum()

    step = jj.jit(program, background=False)

    def arguments(number: int) -> tuple[np.ndarray]:
        return (np.arange(12.0).reshape(3, 4) + number,)

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 6) == []
    assert step.stats.graph_calls == 4 and step.stats.host_calls >= 4


PICKED: dict[str, Callable[[Any], Any]] = {
    "columns": lambda x: x[:, ROWS],
    "a table of columns": lambda x: x[:, TABLE],
    "last axis": lambda x: x[..., TABLE],
    "of a slice": lambda x: x[1:, ROWS],
    "of a result": lambda x: (x * 2.0)[:, ROWS],
    "with a new axis": lambda x: x[None, :, ROWS],
}


@pytest.mark.parametrize("name", PICKED)
def test_what_is_picked_lies_in_memory_by_the_index(name: str) -> None:
    """So a flat view of it is a copy in one order, and a view in the other."""
    picked = PICKED[name]

    def program(x: np.ndarray) -> Any:
        found = picked(x)
        found.reshape(-1)[0] = 99.0
        found.T.reshape(-1)[1] = 98.0
        found.ravel()[2] = 97.0
        return found * 1.0

    step = jj.jit(program, background=False)

    def arguments(number: int) -> tuple[np.ndarray]:
        x = np.arange(60.0).reshape(3, 4, 5) + number
        return (x if number < 6 else x.transpose(2, 1, 0),)

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 10) == []
    assert step.stats.graph_calls >= 4 and step.stats.host_calls == 0


def test_vectorized_functions_are_called_in_the_order_of_memory() -> None:
    calls: list[list[float]] = []

    def program(x: np.ndarray) -> Any:
        seen: list[float] = []

        def noted(value: float) -> float:
            seen.append(value)
            return value * 2.0

        made = np.vectorize(noted)(x)
        calls.append(seen)
        return made, list(seen)

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, orders), Side(step, orders), 12) == []
    assert step.stats.graph_calls >= 1
