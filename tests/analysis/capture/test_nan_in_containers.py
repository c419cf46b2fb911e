"""NaN in containers: an object equals itself there, whatever its operator says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side

NAN = float("nan")
OTHER = float("nan")

PROGRAMS: dict[str, Any] = {
    "member of a list": lambda x, y: x in [1.0, y],
    "member of a tuple": lambda x, y: x in (y, y + 0.0),
    "lists": lambda x, y: ([x] == [y], [x, 2] != [y, 2], [x, [y]] == [y, [x]]),
    "tuples": lambda x, y: ((x, 1) == (y, 1), (x, y) in [(y, x), (1.0, y)]),
    "dicts": lambda x, y: {1: x} == {1: y},
    "orders": lambda x, y: ((x, 1) < (y, 2), [x, 0] >= [y, 1]),
    "of a constant": lambda x, y: (x in [math.nan], math.nan in [math.nan, y]),
    "in a loop": lambda x, y: [value for value in (x, y, 1.0) if value in [0.0, y]],
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("number_type", [float, np.float64, np.float32])
def test_a_nan_is_found_where_it_is_itself(name: str, number_type: Any) -> None:
    program = PROGRAMS[name]
    one, other = number_type(NAN), number_type(OTHER)
    pairs = [(one, one), (one, other), (number_type(2.0), one), (one, number_type(2.0))]
    step = jj.jit(program, background=False)

    def arguments(number: int) -> tuple[Any, Any]:
        return pairs[number % 4] if number > 5 else (number_type(number), number_type(3.0))

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 18) == []
    assert step.stats.graph_calls >= 8


def test_numbers_that_are_no_nan_are_compared_in_the_graph() -> None:
    step = jj.jit(lambda x, y: (x in [y, 0.0], (x, 1) == (y, 1)), background=False)
    for number in range(8):
        assert step(float(number), 6.0) == (number in (0, 6), number == 6)
    assert step.stats.graph_calls == 6 and step.stats.deopts == 0 and step.stats.host_calls == 0
