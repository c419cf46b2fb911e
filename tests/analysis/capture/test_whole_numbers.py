"""``math.floor``, ``ceil`` and ``trunc`` of numbers of every kind: which have such a method, and which are floats.

NumPy's numbers but for ``np.float64``, and its arrays, have no such method: ``floor`` and ``ceil`` take them as floats,
large integers too, and ``trunc`` refuses them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import janusjit


class Measured:
    """Has methods of its own, which tell something else than its value as a float."""

    def __init__(self, number: float) -> None:
        self.number = number

    def __floor__(self) -> float:
        return self.number + 1

    def __trunc__(self) -> str:
        return "cut"

    def __float__(self) -> float:
        return self.number - 1.0


LARGE = 2**62 + 1
NUMBERS = [2.5, -2.5, 3, LARGE, True, np.float64(7.5), np.float32(2.5), np.int64(LARGE), np.int8(-3), np.bool_(True)]
ARRAYS = [np.array(2.5), np.array(LARGE), np.array(2.5, "f4")]


def below_and_above(number: Any) -> Any:
    return math.floor(number), math.ceil(number)


def below(number: Any) -> Any:
    return math.floor(number)


def cut(number: Any) -> Any:
    return math.trunc(number)


@pytest.mark.parametrize("number", [*NUMBERS, *ARRAYS], ids=repr)
def test_floor_and_ceil(number: Any) -> None:
    jitted = janusjit.jit(below_and_above, background=False)
    found = [jitted(number) for _ in range(5)]
    assert repr(found) == repr([below_and_above(number)] * 5)
    assert jitted.stats.graph_calls == 3


@pytest.mark.parametrize("number", [n for n in NUMBERS if isinstance(n, int | float)], ids=repr)
def test_trunc(number: Any) -> None:
    jitted = janusjit.jit(cut, background=False)
    found = [jitted(number) for _ in range(5)]
    assert repr(found) == repr([cut(number)] * 5)
    assert jitted.stats.graph_calls == 3


@pytest.mark.parametrize("number", [*(n for n in NUMBERS if not isinstance(n, int | float)), *ARRAYS], ids=repr)
def test_trunc_refuses(number: Any) -> None:
    with pytest.raises(TypeError) as expected:
        cut(number)
    jitted = janusjit.jit(cut, background=False)
    for _ in range(5):
        with pytest.raises(TypeError) as raised:
            jitted(number)
        assert str(raised.value) == str(expected.value)
    assert jitted.stats.graph_calls == 0


def test_trunc_of_numbers_that_change() -> None:
    jitted = janusjit.jit(cut, background=False)
    assert [jitted(2.5) for _ in range(5)] == [2] * 5
    with pytest.raises(TypeError):
        jitted(np.float32(2.5))
    assert jitted(3.5) == 3
    assert jitted.stats.graph_calls >= 4


@pytest.mark.parametrize("function", [below, cut])
def test_methods_of_ones_own(function: Any) -> None:
    jitted = janusjit.jit(function, background=False)
    found = [jitted(Measured(0.5 + number)) for number in range(5)]
    assert found == [function(Measured(0.5 + number)) for number in range(5)]
    assert jitted.stats.graph_calls == 3
