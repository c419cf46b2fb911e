"""Views of arrays without dimensions, and through them: they lie in the memory of the array they are views of."""

import numpy as np
import pytest

import janusjit as jj


def at_least_one_dimension(x):
    return np.atleast_1d(x)


def at_least_two_dimensions(x):
    return np.atleast_2d(x), x[None]


def written_before(x):
    x += 1
    return x.reshape(1), x[...], x.ravel()


def written_through(x):
    np.atleast_1d(x)[0] += 1
    return np.atleast_1d(x)[:, None]


def updated_through(x):
    row, block = x[None], x.reshape(1, 1)
    row += 1
    row[:0] += 5
    row[row > 1] *= 2
    block[0, :] -= 3
    return row, block, x[...]


def updated_in_a_loop(x):
    row = np.atleast_1d(x)
    for number in range(3):
        row += number
    return row


def of_a_new_array(x):
    made = np.array(x)
    made += 1
    return np.atleast_1d(made), made


def of_an_element(x):
    return x[1, ...][None], x[1:2].reshape(())[None], x[2, ...]


def of_a_written_element(x):
    x[1, ...] += 1
    return np.atleast_2d(x[1, ...])[0], x


def of_an_element_of_a_new_array(x):
    made = x * 2
    return np.atleast_1d(made[1, ...]), made[2:3].reshape(()).reshape(1, 1)[0], made


def of_an_element_alone(x):
    return (x * 2)[1, ...][None]


def through_other_views(x):
    return x[1, ...][None, None][0], x[1:2].reshape(()), x[..., None][0, ...]


def at_a_position(x):
    for number in range(len(x)):
        if x[number] > 3:
            return x[number, ...][None]
    return x[0, ...][None]


WITHOUT_DIMENSIONS = [
    at_least_one_dimension,
    at_least_two_dimensions,
    written_before,
    written_through,
    updated_through,
    updated_in_a_loop,
    of_a_new_array,
]
OF_ELEMENTS = [
    of_an_element,
    of_a_written_element,
    of_an_element_of_a_new_array,
    of_an_element_alone,
    through_other_views,
    at_a_position,
]


def described(x, results):
    """Return values, strides and places in memory: relative to the argument, or to the results that share memory."""
    found = []
    for array in results if isinstance(results, tuple) else (results,):
        bases = [x, *(results if isinstance(results, tuple) else ())]
        base = next((base for base in bases if np.shares_memory(base, array)), array)
        offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        shared = [np.shares_memory(array, other) for other in bases]
        strides = [stride for dim, stride in zip(array.shape, array.strides, strict=True) if dim != 1]
        found.append((array.tolist(), array.shape, strides, offset, shared, array.flags.writeable))
    return found


@pytest.mark.parametrize("function", [*WITHOUT_DIMENSIONS, *OF_ELEMENTS])
def test_views_lie_where_numpy_has_them(function):
    step = jj.jit(function, background=False)
    for number in range(6):
        x = np.arange(3.0) + number if function in OF_ELEMENTS else np.array(1.0 + number)
        own = x.copy()
        assert described(own, step(own)) == described(x, function(x))
        np.testing.assert_array_equal(own, x)
    assert step.stats.graph_calls >= 3
    assert step.reason is None
