"""Sizes that are computed from numbers of objects: strides, paddings, halves."""

import numpy as np

import janusjit as jj


class Pooling:
    def __init__(self, size, stride, pad):
        self.size, self.stride, self.pad = size, stride, pad

    def forward(self, x):
        rows, columns = x.shape
        out_rows = 1 + int((rows + 2 * self.pad - self.size) / self.stride)
        out_columns = (columns + 2 * self.pad - self.size) // self.stride + 1
        padded = np.pad(x, [(self.pad, self.pad), (self.pad, self.pad)], "constant")
        windows = np.zeros((self.size, self.size, out_rows, out_columns))
        for y in range(self.size):
            y_end = y + self.stride * out_rows
            for z in range(self.size):
                z_end = z + self.stride * out_columns
                windows[y, z] = padded[y : y_end : self.stride, z : z_end : self.stride]
        return windows.reshape(self.size * self.size, -1).max(axis=0).reshape(out_rows, out_columns)


def pooled(layer, other, x):
    return other.forward(np.maximum(layer.forward(x), 0.1))


def grown(counter, x):
    counter["n"] += 1
    room = np.zeros(counter["n"] * 2 + 1)
    room[: counter["n"]] = x.sum()
    return room


def turned(counter, parts):
    counter["n"] += 1
    return parts[(counter["n"] + 1) % 3] * 2.0


def strided(x, first, step):
    return x[first : first + 4 * step : step] + first


def test_a_layer_s_numbers_are_assumed_with_all_that_is_computed_from_them():
    step = jj.jit(pooled, background=False)
    rng = np.random.default_rng(0)
    layer, other = Pooling(3, 1, 1), Pooling(2, 2, 0)
    for _ in range(6):
        x = rng.normal(size=(12, 12))
        np.testing.assert_array_equal(step(layer, other, x), pooled(layer, other, x))
    assert (step.stats.graph_calls, step.stats.host_calls, step.stats.deopts) == (4, 0, 0)
    assert "symbol" not in str(step.specializations[0].graph)
    other.stride = 3
    for _ in range(3):
        np.testing.assert_array_equal(step(layer, other, x), pooled(layer, other, x))
    assert step.stats.deopts > 0  # and what varies is assumed no more


def test_a_counter_is_not_assumed_for_long():
    for function, rest in ((grown, np.ones(3)), (turned, (np.ones(3), np.zeros(3), np.arange(3.0)))):
        step = jj.jit(function, background=False)
        plain, ours = {"n": 0}, {"n": 0}
        for _ in range(20):
            np.testing.assert_array_equal(step(ours, rest), function(plain, rest))
        assert ours == plain
        assert step.stats.deopts <= 3 and step.stats.graph_calls >= 14


def test_bounds_of_stepped_slices():
    step = jj.jit(strided, background=False)
    x = np.arange(40.0)
    for first, by in ((1, 2), (1, 2), (1, 2), (1, 2), (3, 2), (4, 3), (4, 3)):
        np.testing.assert_array_equal(step(x, first, by), strided(x, first, by))
    assert step.stats.graph_calls >= 2
