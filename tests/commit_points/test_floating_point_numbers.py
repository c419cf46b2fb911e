"""NumPy's warnings of errors of operations on numbers, after a large write in place; and those of conversions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import janusjit as jj


def operators(p, a, b):
    p += 1.0
    total = a * b + a / b - b
    total -= a**b
    return total, a // b, a % b


def functions(p, a, b):
    p += a
    return np.exp(a) > 9.0, np.log(b) > 1.0, np.sqrt(a - b), np.hypot(a, b) > 2.0


def among_pythons(p, a, b):
    p += 1.0
    product = float(a) * float(b)  # Python's own: nobody is warned
    return product * a, a * b, product + float(b)


def with_numbers_of_python(p, a, b):
    p += 1.0
    return a * 3e30 * b, 2 / b, a - 1e300


def of_elements(p, a, b):
    p += 1.0
    q = p[0] * a
    return q * b, (p * b).sum(), (p * a).mean()


def in_a_loop(p, a, b):
    p += 1.0
    for _ in range(12):
        a = a * b
    return a


def compare(function, calls):
    """Compare results and warnings of each call with those of plain Python; return the jitted function."""
    step = jj.jit(function, background=False)
    for arguments in calls:
        outcomes = []
        for called in (step, function):
            with warnings.catch_warnings(record=True) as given:
                warnings.simplefilter("always")
                found = called(*(item.copy() for item in arguments))
            outcomes.append((repr(found), [(str(warning.message), warning.lineno) for warning in given]))
        assert outcomes[0] == outcomes[1], arguments[1:]
    return step


FUNCTIONS = [operators, functions, among_pythons, with_numbers_of_python, of_elements, in_a_loop]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("type_", [np.float64, np.float32])
def test_operations_on_numbers_after_a_write_in_place(function, type_):
    big = type_(1e200) if type_ is np.float64 else type_(1e30)
    plain = [(1.5, 2.0), (1.25, 2.0), (1.5, 3.0), (1.5, 2.5)]
    pairs = [(big, big), (1, 0), (0, 0), (2, 2), (big, 0), (-big, big), (900, 3), (np.inf, np.inf), (1, 2), (big, big)]
    with np.errstate(over="ignore"):
        numbers = [(type_(a), type_(b)) for a, b in plain + pairs]
    step = compare(function, [(np.ones(5000, type_), a, b) for a, b in numbers])
    assert step.stats.graph_calls == len(numbers) - 2 and step.stats.deopts == 0
    assert step.stats.host_calls == 0 or function is with_numbers_of_python


def test_the_sum_of_a_list_of_numbers():
    def total(p, values):
        p += 1.0
        return sum(values)

    calls = [(np.ones(5000), np.full(70 + n, 1e307 if n % 3 == 2 else 1.0)) for n in range(12)]
    step = compare(lambda p, values: total(p, list(values)), calls)
    assert step.stats.graph_calls == 10


@pytest.mark.parametrize("target", [np.float32, np.int32, np.uint8])
def test_conversions_of_arrays(target):
    def converted(x):
        return x.astype(target)

    values = [1.0] * 4 + [np.nan, np.inf, 300.0, 1.0, 3e9, 1e300, 1e-42, 1.0, 1.0]
    step = compare(converted, [(np.array([1.0, value] * 20),) for value in values])
    assert step.stats.graph_calls == len(values) - 2 and step.stats.deopts > 0
