"""Values and masks that do not fit are refused as NumPy refuses them, in a graph that was made for ones that fit."""

import numpy as np
import pytest

import janusjit


def element(array, value, index):
    array[index] = value


def element_of_matrix(array, value, index):
    array[index, 0] = value


def element_with_ellipsis(array, value, index):
    array[..., index] = value


def added_to_element(array, value, index):
    array[index] += value


def filled(array, value, index):
    array.fill(value)


def part(array, value, index):
    array[index : index + 1] = value


def all_true(array, value, index):
    array[array > -1.0] = value


def put(array, value, index):
    np.put(array, [index], value)


VALUES = [2.0, np.array(2.0), np.ones(1), np.ones((1, 1)), np.ones(3)]
SEQUENCES = [[2.0], [[2.0]], (2.0,), [[1.0], [2.0], [3.0]], [np.ones(1)], [np.array(2.0)]]


def outcome(function, *arguments):
    try:
        result = function(*arguments)
    except (IndexError, OverflowError, TypeError, ValueError) as exception:
        return type(exception), str(exception)
    return result


@pytest.mark.parametrize("value", [*VALUES, *SEQUENCES], ids=str)
@pytest.mark.parametrize("shape", [(), (3, 3)], ids=str)
@pytest.mark.parametrize(
    "function",
    [element, element_of_matrix, element_with_ellipsis, added_to_element, filled, part, all_true, put],
)
@pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")
def test_what_is_assigned(function, shape, value):
    jitted = janusjit.jit(function, warmup=2, background=False)
    for index in (0, 1, 2, 1):
        plain, found = np.zeros(shape), np.zeros(shape)
        assert outcome(jitted, found, value, index) == outcome(function, plain, value, index)
        np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("function", [element, added_to_element, filled], ids=lambda f: f.__name__)
def test_numbers_are_assigned_in_the_graph(function):
    jitted = janusjit.jit(function, warmup=2, background=False)
    for index in (0, 1, 2, 1, 0):
        array = np.zeros(3)
        jitted(array, np.array(2.0), index)
        assert array[index] == 2.0
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (3, 0)


def row_by_mask(array, mask, index):
    return array[index, mask]


def column_by_mask(array, mask, index):
    return array[mask, index % 2]


def row_written_by_mask(array, mask, index):
    array[index, mask] = 0.0
    return array


def by_mask_and_positions(array, mask, index):
    return array[np.array([0, 1])[:, None], mask]


def added_at_mask(array, mask, index):
    np.add.at(array, mask, 1.0)
    return array


def added_at_mask_and_position(array, mask, index):
    np.add.at(array, (mask, index % 2), 1.0)
    return array


@pytest.mark.parametrize(
    ("function", "axis"),
    [
        (row_by_mask, 1),
        (column_by_mask, 0),
        (row_written_by_mask, 1),
        (by_mask_and_positions, 1),
        (added_at_mask, 0),
        (added_at_mask_and_position, 0),
    ],
)
@pytest.mark.parametrize("wrong", [0, 1, 3, 9])
def test_masks_beside_other_indices_have_the_length_of_their_axis(function, axis, wrong):
    jitted = janusjit.jit(function, warmup=2, background=False)
    rng = np.random.default_rng(0)
    for number in range(12):
        array = rng.normal(size=(5, 6)) if number % 3 else rng.normal(size=(6, 7))
        mask = rng.random(array.shape[axis] if number % 4 < 3 else wrong) < 0.6
        plain = outcome(function, array.copy(), mask, number % 4)
        found = outcome(jitted, array.copy(), mask, number % 4)
        if isinstance(plain, tuple):
            assert found == plain
        else:
            np.testing.assert_array_equal(found, plain)
    assert jitted.stats.graph_calls >= 5 and jitted.stats.host_calls == 0


def up_to(x, bound):
    return x[:bound]


def written_from(x, bound):
    x[bound:] = 0.0
    return x


def stepped(x, bound):
    return x[::bound]


def half(x, bound):
    return x[: len(x) / 2]


def counted(x, bound):
    return x[list(range(bound))]


def shaped(x, bound):
    return np.zeros(bound)


def repeated(x, bound):
    return np.array([0] * bound)


def seeded(x, bound):
    return np.random.default_rng(bound).random(2)


def permuted(x, bound):
    return np.random.default_rng(0).permutation(bound)


INTEGERS = [1, np.int32(2), True, np.array(2)]
OTHERS = [2.0, np.float64(1.0), np.bool_(True), np.array([1]), np.array(2.0), np.array(True), "1"]


@pytest.mark.parametrize("function", [up_to, written_from, stepped, half, counted, shaped, repeated, seeded, permuted])
@pytest.mark.parametrize("bound", [*INTEGERS, *OTHERS], ids=repr)
def test_only_what_has_an_index_is_one(function, bound):
    jitted = janusjit.jit(function, warmup=2, background=False)
    for number in range(4):
        x = np.arange(6.0) + number
        plain, found = outcome(function, x.copy(), bound), outcome(jitted, x.copy(), bound)
        if isinstance(plain, tuple):
            assert found == plain
        else:
            np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("bound", [2, np.int64(2), np.array(2)], ids=repr)
def test_indices_of_every_kind_are_in_the_graph(bound):
    jitted = janusjit.jit(up_to, warmup=2, background=False)
    for number in range(5):
        np.testing.assert_array_equal(jitted(np.arange(6.0) + number, bound), [number, number + 1])
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (3, 0)


@pytest.mark.parametrize("position", [1.0, np.float64(1.0), np.array([0.0, 1.0]), [0.0, 1.0]], ids=repr)
def test_positions_that_are_floats_are_taken_apart_by_nobody(position):
    def coordinates(number):
        return np.unravel_index(number, (2, 3))

    jitted = janusjit.jit(coordinates, background=False)
    for number in (1, 2, 3, 4, position, position, 5):
        assert repr(outcome(jitted, number)) == repr(outcome(coordinates, number))
    assert jitted.stats.graph_calls >= 3
