"""A mask of several dimensions next to ints and index arrays picks, and is written, as its positions are."""

import numpy as np
import pytest

import janusjit as jj


def bounced(streams, source, mask, k):
    for q in range(len(streams)):
        streams[q, mask] = source[-1 - q, mask]
    streams[k, mask] += 1.0
    streams[k, ~mask] = 0.5
    return streams[k, mask] - source[-1, mask]


def behind(streams, source, mask, k):
    last = np.moveaxis(source, 0, -1)
    return last[mask, 2], last[mask, k], np.stack([source, source])[:, 1, mask], last[mask, None, k]


def apart(streams, source, mask, k):
    pair = np.stack([source, streams])
    return pair[1, :, mask], pair[k % 2, :, mask].sum(axis=0), pair[[0], :, mask]


def call(function, number):
    rng = np.random.default_rng(number)
    mask = rng.random((4, 6)) > (2 if number == 9 else 0.5)
    streams, source = rng.normal(size=(2, 5, 4, 6))
    return function(streams, source, mask, number % 5), streams


@pytest.mark.parametrize("function", [bounced, behind, apart])
def test_masks_of_two_dimensions(function):
    step = jj.jit(function, background=False)
    for number in range(12):
        found, expected = call(step, number), call(function, number)
        for one, other in zip(found[0], expected[0], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(found[1], expected[1])
    assert step.stats.graph_calls == 10
    assert not step.stats.host_calls
    assert not step.stats.deopts


@pytest.mark.parametrize("shape", [(4, 5), (5, 6)])
def test_masks_that_do_not_fit_are_refused(shape):
    step = jj.jit(bounced, background=False)
    for number in range(4):
        call(step, number)
    for function in (step, bounced):
        with pytest.raises(IndexError, match="boolean index did not match"):
            function(np.zeros((5, 4, 6)), np.zeros((5, 4, 6)), np.ones(shape, bool), 1)
