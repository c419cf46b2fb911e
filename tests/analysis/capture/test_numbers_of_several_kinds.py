"""Numbers that are of one kind on one path and of another on the next: values, types and exceptions are Python's."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import janusjit as jj
from tests.analysis.capture.capturing import assert_captured
from tests.differential import differences


def sum_from_float(x):
    total = 0.0
    for i in range(len(x)):
        if x[i] > 0:
            total += x[i]
    return total


def sum_from_int(x):
    loss = 0
    for value in x:
        if value > 0:
            loss = loss + value
    return loss, loss * 2, -loss


def best_and_where(x):
    best, where = -1e9, -1
    for i in range(len(x)):
        if x[i] > 0.5 and x[i] > best:
            best, where = x[i], i
    return best, where


def greatest_and_least(x):
    high, low = 0.25, 1
    for value in x:
        high = max(high, value)
        low = min(value, low)
    return high, low, max(high, low), min(low, high, 2)


def counted(x):
    count, some, last = 0, False, 0
    for i in range(len(x)):
        flag = x[i] > 0.5
        if flag:
            count += np.int64(3)
            some = flag
        elif x[i] < -0.5:
            count += 1
        else:
            last = count
    return count, some, count // 2, count % 3, count**2, last if some else -1


def least_so_far(x):
    best = None
    for value in x:
        if value > 0 and (best is None or value < best):
            best = value
    return (best, 0.0 if best is None else best * 2), best is not None


def single_precision(x):
    total, other = 0.1, 0.1
    x = x.astype(np.float32)
    for i in range(len(x)):
        if x[i] > 0:
            total += x[i]
        else:
            other = total * 1.0000001 + other / 3
    return total, other, total + other


def broken_off(x):
    found, turns = -1, 0
    for i in range(len(x)):
        turns = i
        if x[i] < -0.5:
            continue
        if x[i] > 1.5:
            found = x[i]
            break
    else:
        found = 0.5
    return found, turns


def until_enough(x):
    total, i = 0, 0
    while total < 3 and i < len(x):
        if x[i] > 0.5:
            total = total + x[i]
        i += 1
    return total, i


def in_nested_loops(x):
    rows = x[:60].reshape(6, 10)
    total = 0.0
    for row in rows:
        part = 0
        for value in row:
            if value > 0.5:
                part = part + value
        if part:
            total = total + part
    return total


class Held:
    def __init__(self):
        self.total = 0


def in_containers(x):
    pair, items, table, held = (0.0, 1), [0, 1.5], {"a": 0.0}, Held()
    for value in x:
        if value > 0.25:
            pair = (pair[0] + value, pair[1])
            items[0] = items[0] + value
            table["a"] += value
        else:
            held.total = held.total + abs(value)
    first, second = pair
    return pair, items, table, held.total, [first, second, items[0]]


def in_closures_and_calls(x):
    total = 0.0

    def add(value):
        nonlocal total
        total = total + value

    def weighed(number, by=1):
        return number * by

    for value in x:
        if value > 1:
            add(value)
    return weighed(total), weighed(number=total, by=2), f"{total:.3f} {weighed(total)!r}"


def functions_of_it(x):
    number = 0.75
    for value in x:
        if value > 1:
            number = value
    kinds = type(number) is float, isinstance(number, float), isinstance(number, np.floating), number is None
    plain = float(number), int(number * 100), round(number, 2), abs(-number), bool(number), math.sqrt(number)
    numpy = np.sqrt(number), np.maximum(number, 0.5)
    return kinds, plain, numpy, number**2, number // 0.1, number % 0.1, divmod(number, 2)


def operand_of_arrays(x):
    scale = 2.0
    for value in x:
        if value > 1:
            scale = value
    y = np.zeros(4)
    y[1] = scale
    y[2:] += scale
    return x * scale, y, scale < x[:3], np.full(2, scale), [scale, 1.0], np.array([scale, 2.0])


def type_of_the_array(x):
    scale = 2.0
    if x[0] > 0:
        scale = x[0]
    narrow = x.astype(np.float32) * scale  # float32 only if scale is Python's
    return narrow + 1


def size_and_index(x):
    count = 2
    if x[0] > 0:
        count = np.argmax(x)
    total = 0
    for i in range(count):
        total += i
    return x[count], total, np.zeros(3) + count


def in_try(x):
    total = 0
    try:
        for value in x:
            if value > 0.5:
                total += value
        if total > 100:
            raise ValueError
    except ValueError:
        total = -1
    finally:
        total = total + 0.5
    return total


def after_a_branch(x):
    if x[0] > 0:
        number = x[1]
    elif x[0] < -0.5:
        number = 3
    else:
        number = 1.5
    return number, number + 1, [number] * 2, number == 3, not number


PROGRAMS = [
    sum_from_float,
    sum_from_int,
    best_and_where,
    greatest_and_least,
    counted,
    least_so_far,
    single_precision,
    broken_off,
    until_enough,
    in_nested_loops,
    in_containers,
    in_closures_and_calls,
    functions_of_it,
    operand_of_arrays,
    type_of_the_array,
    size_and_index,
    in_try,
    after_a_branch,
]


def arguments():
    """Yield arrays: some with all paths, some with one only."""
    generator = np.random.default_rng(0)
    for number in range(12):
        x = generator.normal(size=90)
        yield [x, x, -np.abs(x), x * 0.2, np.abs(x), np.zeros(90)][number % 6]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_they_stay_in_the_graph(program):
    step = jj.jit(program, background=False)
    for x in arguments():
        assert not differences(program(x.copy()), step(x.copy()))
    statistics = step.stats
    assert statistics.graph_calls >= 7 and statistics.host_calls == 0 and statistics.loop_entries == 0
    assert len(step.specializations) == 1


def test_graphs_are_right_where_the_reference_backend_runs_them():
    first, *others = [(x,) for x in arguments()][:6]
    for program in (sum_from_int, least_so_far, single_precision, after_a_branch):
        assert_captured(program, *first, calls=others)


def appended(x):
    total, seen, others = 0.0, [], [1.5]
    for value in x:
        if value > 0:
            total += value
            others.append(value)
        else:
            others.append(0.5)
        seen.append(total)
    seen.append(3)
    return seen, len(seen), others


def appended_in_nested_loops(x):
    best, seen = 0.0, []
    for row in x.reshape(-1, 5):
        for value in row:
            best = max(best, value)
            seen.append(best)
        seen.append(1.0)
    return seen, best


def squares(x):
    total = 0.0
    for i in range(len(x)):
        if x[i] > 0:
            total += x[i] ** 2
    return total


def gradient_of_squares(x):
    return jj.grad(squares)(x), jj.value_and_grad(squares)(x)


HELD = [appended, appended_in_nested_loops, gradient_of_squares]


@pytest.mark.parametrize("program", HELD, ids=lambda program: program.__name__)
def test_they_are_held_by_lists_and_differentiated(program):
    step = jj.jit(program, background=False)
    for x in arguments():
        assert not differences(program(x[:30].copy()), step(x[:30].copy()))
    assert step.stats.graph_calls >= 9 and step.stats.host_calls == 0
    assert max(sum(1 for _ in found.captured.walk()) for found in step.specializations) < 500


def divided(x):
    number, reached = 0.0, 0
    for value in x:
        reached += 1
        if value > 1:
            number = value - value
        if value < -1:
            number = 1 / number  # ZeroDivisionError or a warning and infinity, as it is Python's or NumPy's
    return number, reached


def grown(x):
    count = 2**61
    for value in x:
        if value > 1:
            count = np.int64(7)
        if value < -1:
            count = count * 4  # beyond 64 bits, or wrapped around
    return count


def outcome(function, x):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(x)
        except ZeroDivisionError as error:
            result = str(error)
    return result, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("program", [divided, grown], ids=lambda program: program.__name__)
def test_what_fails_for_one_kind_only_fails_as_in_python(program):
    step = jj.jit(program, background=False)
    quiet = np.zeros(80)
    python, numpy = quiet.copy(), quiet.copy()
    python[50], numpy[[40, 50]] = -2, (2, -2)
    for x in (quiet, quiet, quiet, numpy, quiet, python, numpy, python, quiet, numpy, quiet):
        assert not differences(outcome(program, x), outcome(step, x))
    assert step.stats.graph_calls >= 5 and step.stats.deopts >= 2 and step.stats.host_calls == 0


def number_or_array(x):
    total = 0.0
    for value in x[:4]:
        if value > 0:
            total = total + x
    return total


def index_of_one_kind_only(x):
    at = 1.0
    if x[0] > 0:
        at = 1
    return x[at]


@pytest.mark.parametrize("program", [number_or_array, index_of_one_kind_only], ids=lambda program: program.__name__)
def test_what_is_no_number_on_some_path_is_right_all_the_same(program):
    def caught(function, x):
        try:
            return function(x)
        except IndexError as error:
            return str(error)

    step = jj.jit(program, background=False)
    for x in arguments():
        assert not differences(caught(program, x.copy()), caught(step, x.copy()))
    assert step.stats.graph_calls > 0
