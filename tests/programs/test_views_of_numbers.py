"""What is expanded from a number, or views single elements, and lists of any length: as NumPy has it."""

import numpy as np
import pytest

import janusjit


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_broadcast_can_be_written():
    def expanded(x, number):
        found, other = np.broadcast_arrays(number, x)
        return found, other, found + x

    jitted = janusjit.jit(expanded, warmup=2, background=False)
    for number in range(5):
        found = jitted(np.arange(3.0), number + 0.5)  # a look at ``flags.writeable`` would warn
        expected = expanded(np.arange(3.0), number + 0.5)
        assert [(item.flags.num, item.strides) for item in found] == [
            (item.flags.num, item.strides) for item in expected
        ]
        np.testing.assert_array_equal(found, expected)
    assert jitted.stats.host_calls == 3


def test_grids_that_are_no_copies_are_views():
    jitted = janusjit.jit(lambda x: np.meshgrid(x, x * 2.0, copy=False), warmup=2, background=False)
    for _ in range(5):
        x = np.arange(3.0)
        grid, _ = jitted(x)
        x[:] = 7.0
        assert (grid == 7.0).all()
    assert jitted.stats.host_calls > 0


def scaled_part(x, k):
    x.reshape(1)[:k] *= 3.0


def test_a_part_of_a_single_element():
    jitted = janusjit.jit(scaled_part, warmup=2, background=False)
    for number in range(8):
        single, several = np.array(2.0), np.array([2.0])
        jitted(single, number % 3)
        jitted(several, number % 3)
        assert single == several[0] == (6.0 if number % 3 else 2.0)
    assert jitted.stats.graph_calls > 4


def shuffled_and_doubled(x, rng, items):
    for _ in x:
        rng.shuffle(items)
        items *= 2
    return items


def test_lists_of_any_length_are_shuffled():
    jitted = janusjit.jit(shuffled_and_doubled, warmup=2, background=False)
    for number in range(6):
        given = [(np.ones(3, complex), np.random.default_rng(number), [1, 2, 3]) for _ in range(2)]
        assert jitted(*given[0]) == shuffled_and_doubled(*given[1])
    assert jitted.stats.host_calls > 0
