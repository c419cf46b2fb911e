"""Updates stand behind ways out that hand over the array as it was: no turn of a loop copies it."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.buffers import planned
from janusjit.transform.passes import optimize

SIZE = 3000


def thinned(x, out):
    k = 0
    for i in range(len(x)):
        if x[i] > 0.0:
            out[k] = x[i]
            k += 1
    return k


def in_two_ways(x, out):
    low, high = 0, len(out) - 1
    for i in range(len(x)):
        if x[i] > 0.0:
            out[low] = x[i]
            low += 1
        else:
            out[high] = x[i]
            high -= 1
    return low


def counted_behind(x, out):
    count, place = 0, 0
    for i in range(len(x)):
        if x[i] > 0.0:
            out[place] += x[i]
        count += 3
        place = count % 7
    return count


@pytest.mark.parametrize("function", [thinned, in_two_ways, counted_behind])
def test_no_turn_copies_what_it_updates(function) -> None:
    jitted = jj.jit(background=False)(function)
    x = np.random.default_rng(2).normal(size=SIZE)
    for _ in range(6):
        mine, other = np.zeros(SIZE), np.zeros(SIZE)
        assert jitted(x, mine) == function(x, other)
        np.testing.assert_array_equal(mine, other)
    assert jitted.stats.graph_calls >= 4 and jitted.stats.deopts == 0
    _, placement = planned(optimize(jitted.specializations[0].captured).graph)
    assert not placement.copied and not any(step.node.op != "loop" for step in placement.transfers)


def test_what_python_raises_comes_from_the_array_as_it_was() -> None:
    jitted = jj.jit(background=False)(thinned)
    x = np.random.default_rng(3).normal(size=SIZE)
    for _ in range(5):
        jitted(x, np.zeros(SIZE))
    mine, other = np.zeros(40), np.zeros(40)
    for function, out in ((jitted, mine), (thinned, other)):
        with pytest.raises(IndexError):
            function(x, out)
    np.testing.assert_array_equal(mine, other)
    short = jj.jit(background=False)(thinned)
    for few in (10, 12, 14, 16, SIZE, SIZE):
        given = np.where(np.arange(SIZE) < few, 1.0, -1.0)
        mine, other = np.zeros(40), np.zeros(40)
        for function, out in ((short, mine), (thinned, other)):
            if few > 40:
                with pytest.raises(IndexError):
                    function(given, out)
            else:
                assert function(given, out) == few
        np.testing.assert_array_equal(mine, other)
    assert short.stats.graph_calls >= 2
