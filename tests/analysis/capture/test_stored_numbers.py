"""Numbers that become elements of arrays whose dtype is settled: what does not fit is refused as NumPy refuses it.

In a graph that was made for numbers that fit, too, and where the numbers of a list have different types.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
import pytest

import janusjit


def in_a_list(number, dtype):
    return np.array([number, 1], dtype=dtype)


def in_nested_lists(number, dtype):
    return np.asarray([[number], [2]], dtype)


def beside_a_float(number, dtype):
    return np.array([number, 1.5], dtype=dtype)


def alone(number, dtype):
    return np.array(number, dtype=dtype)


def as_scalar(number, dtype):
    return np.dtype(dtype).type(number)


def filled(number, dtype):
    return np.full(2, number, dtype=dtype)


def filled_like(number, dtype):
    return np.full_like(np.ones(2, dtype), number)


def padded(number, dtype):
    return np.pad(np.ones(2, dtype), 1, constant_values=number)


def inserted(number, dtype):
    return np.insert(np.ones(2, dtype), 1, number)


def greatest(number, dtype):
    return np.max(np.ones(2, dtype), initial=number)


def summed(number, dtype):
    return np.sum(np.ones(2, dtype), initial=number)


def bounded(number, dtype):
    return np.clip(np.arange(3).astype(dtype), 0, number)


def assigned(number, dtype):
    made = np.zeros(2, dtype)
    made[0] = number
    return made


def copied(number, dtype):
    made = np.zeros(2, dtype)
    np.copyto(made, number)
    return made


def assigned_as_list(number, dtype):
    made = np.zeros((2, 2), dtype)
    made[0] = [number, number]
    return made


def added_in_place(number, dtype):
    made = np.ones(2, dtype)
    made[0] += number
    return made


def appended(number, dtype):
    found = []
    for turn in range(3):
        found.append(number * turn)
    return np.array(found, dtype=dtype)


def vectorized(number, dtype):
    return np.vectorize(lambda element: element * number)(np.arange(1, 3).astype(dtype))


def powers(number, dtype):
    return np.ones(2, bool) ** number


def searched(number, dtype):
    return np.searchsorted(np.arange(5).astype(dtype), number)


def near(number, dtype):
    return np.isclose(np.array([44, 212, 0, 112]).astype(dtype), number), np.isclose(number, np.ones(2, dtype))


FUNCTIONS = [
    in_a_list, in_nested_lists, beside_a_float, alone, as_scalar, filled, filled_like, padded, inserted, greatest,
    summed, bounded, assigned, copied, assigned_as_list, added_in_place, appended, powers, searched, near,
]  # fmt: skip
FITTING = {"int": [1, 3, 4], "float": [1.5, 3.5, 4.5], "numpy": [np.int64(1), np.int64(3), np.int64(4)]}
OTHERS = [2, 300, -1, -300, 70000, 2**40, 2.5, -2.5, 300.5, 1e5, 1e300, float("inf"), float("nan"), True, np.int64(300)]
OTHERS += [np.int64(-300), np.float64(300.5), np.float32(2.5), np.uint8(250), np.array(2)]


def outcome(function, *arguments):
    try:
        with np.errstate(all="ignore"):
            result = function(*arguments)
    except (OverflowError, TypeError, ValueError) as exception:
        return type(exception), str(exception)
    return repr(result)


def assert_same(function, calls, graph_calls):
    jitted = janusjit.jit(function, background=False)
    for arguments in calls:
        assert outcome(jitted, *arguments) == outcome(function, *arguments), arguments
    assert jitted.stats.graph_calls >= graph_calls


@pytest.mark.parametrize(("kind", "dtype"), [("int", "int8"), ("float", "int8"), ("numpy", "uint8"), ("int", "uint64")])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_does_not_fit(function, kind, dtype):
    if function is powers and kind != "int":
        return  # the exponents are integers
    others = [2, 0, 3] if function is powers else OTHERS
    assert_same(function, [(number, dtype) for number in (*FITTING[kind], *others, *FITTING[kind])], 4)


def test_a_large_integer_beside_a_float_is_stored_as_it_is():
    def function(number):
        return np.array([number, 1.5], dtype=np.int64)

    assert_same(function, [(2**60 + turn,) for turn in range(6)], 4)


@pytest.mark.parametrize("number", [2.7, 300, 3, True])
def test_a_constant_is_copied_as_casting_allows(number):
    def function(made):
        np.copyto(made, number)
        return made

    for dtype in ("int8", "bool", "float32", "uint64"):
        assert_same(function, [(np.zeros(2, dtype),) for _ in range(5)], 0)


def test_lists_whose_length_varies():
    def function(numbers):
        return np.array(numbers, dtype=np.uint8)

    lists = [[1] * 3, [1] * 4, [1] * 5, [1] * 6, [300] * 5, [1] * 7, [-1] * 4, [1] * 6]
    assert_same(function, [(one,) for one in lists], 4)
    assert_same(function, [([float(number) + 0.5 for number in one],) for one in lists], 4)


def test_elements_are_python_numbers_when_a_function_is_vectorized():
    def function(numbers):
        return np.vectorize(lambda number: number * 2)(numbers)

    arrays = [np.array([1, last], np.int8) for last in (1, 2, 3, 4, 100, 5)]
    assert_same(function, [(one,) for one in arrays], 3)


def test_bounds_of_arrays_are_compared_as_they_are():
    def function(numbers, number):
        return np.searchsorted(numbers, number, side="right"), np.array_equal(numbers[0], number)

    numbers = np.array([0.1, 0.2], np.float32)
    assert_same(function, [(numbers, number) for number in (0.1, 0.15, 0.2, 0.1, 0.2, 0.1)], 4)
