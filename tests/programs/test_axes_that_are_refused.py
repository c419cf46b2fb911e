"""Arguments that NumPy refuses are refused in functions that would otherwise run from a graph."""

import numpy as np
import pytest

import janusjit

#: what takes an axis, and whether it is no Python code, for which True is 1
FUNCTIONS = {
    "sum": lambda z, axis: z.sum(axis=axis),
    "max": lambda z, axis: np.max(z, axis=axis),
    "mean": lambda z, axis: np.mean(z, axis),
    "std": lambda z, axis: z.std(axis=axis, keepdims=True),
    "any": lambda z, axis: (z > 2).any(axis),
    "count_nonzero": lambda z, axis: np.count_nonzero(z, axis=axis),
    "add.reduce": lambda z, axis: np.add.reduce(z, axis=axis),
    "add.accumulate": lambda z, axis: np.add.accumulate(z, axis=axis),
    "nansum": lambda z, axis: np.nansum(z, axis=axis),
    "nanmax": lambda z, axis: np.nanmax(z, axis=axis),
    "cumsum": lambda z, axis: z.cumsum(axis=axis),
    "argmax": lambda z, axis: np.argmax(z, axis=axis),
    "argsort": lambda z, axis: np.argsort(z, axis=axis),
    "squeeze": lambda z, axis: np.squeeze(z[:, :1, None], axis=axis),
    "norm": lambda z, axis: np.linalg.norm(z, axis=axis),
    "concatenate": lambda z, axis: np.concatenate([z, z], axis=axis),
    "repeat": lambda z, axis: np.repeat(z, 2, axis=axis),
    "take": lambda z, axis: np.take(z, [1], axis=axis),
    "flip": lambda z, axis: np.flip(z, axis=axis),
    "roll": lambda z, axis: np.roll(z, 1, axis=axis),
    "expand_dims": lambda z, axis: np.expand_dims(z, axis),
    "tensordot": lambda z, axis: np.tensordot(z, z.T, ((0, 1), axis)),
    "transpose": lambda z, axis: np.transpose(z, axis),
}


def outcome(function, *arguments):
    try:
        return repr(function(*arguments))
    except Exception as error:  # noqa: BLE001 - which one it is, is compared
        return type(error), str(error)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_axes(name):
    function, compiled = FUNCTIONS[name], 0
    for axis in [0, (0, 1), True, [0, 1], [0], [], (True,), (0, True), (0, 0), None, 1.0]:
        jitted = janusjit.jit(function, warmup=2, background=False)
        for _ in range(4):
            z = np.arange(6.0).reshape(2, 3)
            assert outcome(jitted, z, axis) == outcome(function, z, axis), axis
        compiled += jitted.stats.graph_calls
    assert compiled >= 2


REFUSED = {
    "choose": (lambda z, i: np.choose(i, [z[0], z[1]]), [np.int64(1), np.uint64(1)]),
    "put": (lambda z, i: np.put(z, i, 9.0), [np.array([1]), np.array([1], np.uint64)]),
    "partition": (lambda z, k: np.partition(z, k), [1, True]),
    "arange": (lambda z, stop: np.arange(stop) + z[0, 0], [3, None]),
    "diff": (lambda z, n: np.diff(z, n), [1, 2, 5, 0, -1]),
    "tile": (lambda z, n: np.tile(z[0, :1], n), [2, 0, -1]),
    "tensordot": (lambda z, axes: np.tensordot(z, z.T, axes), [1, 2, [0], (), np.uint64(1)]),
    "sort": (lambda z, number: z[0, number].sort(), [1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_arguments(name):
    function, values = REFUSED[name]
    compiled = 0
    for value in values:
        jitted = janusjit.jit(function, warmup=2, background=False)
        for _ in range(4):
            z, other = (np.arange(6.0).reshape(2, 3) for _ in range(2))
            assert outcome(jitted, z, value) == outcome(function, other, value), value
            assert z.tolist() == other.tolist()
        compiled += jitted.stats.graph_calls
    assert compiled >= 2 or name == "sort"


def test_differences_of_nothing_under_one_specialization():
    jitted = janusjit.jit(lambda x: np.diff(x), warmup=2, background=False)
    for size in (4, 5, 6, 7, 0, 1, 2, 8):
        assert jitted(np.arange(float(size))).tolist() == [1.0] * max(0, size - 1)
    assert jitted.stats.graph_calls >= 4


def between(low, high):
    return np.linspace(np.float32(0.5), high, 3), np.linspace(low, np.float32(2.0), 3), np.linspace(low, high, 3)


def test_bounds_of_single_precision():
    jitted = janusjit.jit(between, warmup=2, background=False)
    for number in range(6):
        for given in ((number, number + 0.5), (np.float32(1.0), 2), (np.array(1.0, np.float32), 3.0 + number)):
            expected, found = between(*given), jitted(*given)
            assert [item.dtype for item in found] == [item.dtype for item in expected]
            np.testing.assert_array_equal(found, expected)
    assert jitted.stats.host_calls > 0
