"""Branches, loops and jumps become ``if`` and ``loop`` nodes, and give what Python gives."""

import numpy as np
import pytest

import janusjit
from janusjit.errors import CaptureFailure
from tests.analysis.capture.capturing import assert_captured, graph_of, operations

X = np.arange(4.0) + 1


def joined(x, rate):
    if rate > 0.5:  # noqa: SIM108 - the construct under test
        y = x - rate
    else:
        y = x + rate
    return y * 2


def early_return(x, rate):
    if rate > 0.5:
        return x - rate
    z = x + 1
    return z * 2


def none_on_one_branch(x, rate):
    found = None
    if rate > 0.5:
        found = x * 2
    if found is None:
        return rate
    return found


def sign_of(x):
    if x > 0:
        return x * 2
    return x - 1


def inlined_early_returns(x, rate):
    return x * sign_of(rate) + sign_of(-rate)


@pytest.mark.parametrize("function", [joined, early_return, none_on_one_branch, inlined_early_returns])
@pytest.mark.parametrize("rate", [0.7, 0.1])
def test_a_branch_taken_both_ways_is_an_if(function, rate):
    graph = assert_captured(function, X, rate, calls=[(X, 0.1), (X, 0.7), (X, -2.0)])
    assert "if" in operations(graph)


def doubling(x, rate):
    count = 0
    while rate < 100.0:
        rate = rate * 2
        x = x + rate
        count += 1
    return x, rate, count


def skipping(x, n):
    total = 0.0
    x = x * 1.0
    for i in range(n):
        if i % 2 == 0:
            continue
        total += i
        x = x + total
        if total > 30:
            break
    return x, total, i


def writing(x, n):
    for i in range(n):
        x[i % 3] += i


def counting(x):
    i = 0
    while i < 5:
        x = x * 1.5
        i += 1
    return x, i


def nested(x, tolerance):
    outer = 0
    residual = x * 1.0
    while outer < 50:
        inner = 0
        step = residual
        while inner < 20:
            step = step * 0.5 + 0.1
            inner += 1
            if step[0] < tolerance:
                break
        residual = residual - step
        outer += 1
        if residual[0] < 0.5:
            break
    return residual, outer, inner


def int_becomes_float(x):
    total = 0
    for i in range(200):
        total = total + x[i % 4]
        if total > 50:
            break
    return total


@pytest.mark.parametrize(
    ("function", "arguments", "calls"),
    [
        (doubling, (X, 0.3), [(X, 2.5), (X, 99.0)]),
        (skipping, (X, 5), [(X, 50), (X, 1)]),
        (writing, (X, 7000), []),
        (nested, (X * 3, 0.3), [(X * 5, 0.2)]),
        (int_becomes_float, (X,), [(X * 3,)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_loop_of_unknown_or_large_trip_count_stays_a_loop(function, arguments, calls):
    graph = assert_captured(function, *arguments, calls=calls)
    assert "loop" in operations(graph)


def test_a_short_loop_of_known_trip_count_is_unrolled():
    graph = assert_captured(counting, X)
    assert operations(graph).count("multiply") == 5
    assert "loop" not in operations(graph)


def rows(x):
    total = 0.0
    for row in x:
        total = total + row[0]
    return total


def test_a_loop_over_a_symbolic_dimension_serves_every_length():
    first, second = np.arange(6.0).reshape(3, 2), np.arange(10.0).reshape(5, 2)
    graph = assert_captured(rows, first, relaxed=[("dim", "x", 0)], calls=[(second,)])
    assert "loop" in operations(graph)


def always_raises(x):
    raise ValueError("no")


def test_a_function_that_always_raises_stays_in_python():
    with pytest.raises(CaptureFailure) as failure:
        graph_of(always_raises, X)
    assert failure.value.category == "user"


def halving(value):
    if value < 0.1:
        return value
    return halving(value * 0.5) + 1


def unbounded_recursion(x):
    return halving(x[0])


def test_recursion_that_only_run_time_values_end_stays_in_python_with_a_reason():
    with pytest.raises(CaptureFailure) as failure:
        graph_of(unbounded_recursion, X)
    assert failure.value.code == "python.recursion"
    assert failure.value.span.line > 0


def while_else_that_raises(x):
    turns = 0
    while (turns := turns + 1) < 30:
        halved = x * 0.5
        if np.abs(halved - x).sum() < 1e-3:
            break
        x = halved
    else:
        raise RuntimeError(f"no convergence after {turns} turns")
    return x, turns


def test_the_last_way_through_a_loop_may_raise():
    function = janusjit.jit(while_else_that_raises, warmup=2, background=False)
    for number in range(8):
        found, wanted = function(X + number), while_else_that_raises(X + number)
        np.testing.assert_array_equal(found[0], wanted[0])
        assert found[1] == wanted[1]
    assert (function.stats.graph_calls, function.stats.host_calls) == (6, 0)
    with pytest.raises(RuntimeError, match="no convergence after 30 turns"):
        function(X * 1e9)
