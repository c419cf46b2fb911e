"""What a loop stores is made sure of turn by turn only where a later turn may overwrite it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import janusjit as jj

SIZE, ROWS = 2000, 20  # more turns than are unrolled


def quotients(x, y, out):
    for i in range(len(x)):
        out[i] = x[i] / y[i]


def smoothed_quotients(x, y, out):
    for i in range(1, len(x)):
        out[i] = 0.5 * out[i - 1] + x[i] / y[i]


def of_rows(x, y, out):
    for i in range(out.shape[0]):
        for j in range(len(x)):
            out[i, j] = x[j] / y[i]


def last_quotient(x, y, out):
    for i in range(len(x)):
        out[0] = x[i] / y[i]


def written_twice(x, y, out):
    for i in range(len(x)):
        out[i] = x[i] / y[i]
        out[i] = x[i]


def written_again_in_the_next_turn(x, y, out):
    for i in range(len(x) - 1):
        out[i] = x[i] + 1.0
        out[i + 1] = x[i] / y[i]


def chosen(x, y, out):
    for i in range(len(x)):
        out[i] = np.log(y[i]) if y[i] < 1.0 else 0.0


def chosen_copies(x, y, out):
    for i in range(len(x)):
        value = x[i]
        if value < y[i]:
            value = y[i]
        elif value > 1.0:
            value = 1.0
        out[i] = value


def chosen_products(x, y, out):
    for i in range(len(x)):
        if x[i] > 0.0:
            out[i] = x[i] * y[i] + 1.0
        elif y[i] > 1.0:
            out[i] = 2.0 * x[i]


def chosen_steps(x, y, out):
    for i in range(1, len(x)):
        if x[i] > x[i - 1]:
            out[i] = out[i - 1] + x[i]
        else:
            out[i] = 0.5 * out[i - 1]


def copied_first(x, y, out):
    for i in range(len(x)):
        out[i] = 0.0
        if x[i] > 1.0:
            out[i] = x[i] + y[i]


def sum_overwritten_by_choice(x, y, out):
    for i in range(len(x)):
        out[i] = 0.0
        if x[i] > 1.0:
            out[i] = x[i] + y[i]
        if y[i] > 1.0:
            out[i] = x[i]


def copied_over_the_turn_before(x, y, out):
    for i in range(len(x) - 1):
        out[i] = x[i]
        out[i + 1] = x[i] / y[i]


def overwritten_by_choice(x, y, out):
    for i in range(len(x)):
        out[i] = x[i] / y[i]
        if y[i] > 1.0:
            out[i] = x[i]


def kept_in_another(x, y, out):
    for i in range(len(x)):
        if y[i] > 1.0:
            out[i // 2] = x[i] * y[i]
        else:
            out[i] = x[i]


def overwritten_in_the_outer_loop(x, y, out):
    for t in range(ROWS):
        for i in range(len(x)):
            out[i] = x[i] / y[t]


def folded(x, y, out):
    for i in range(len(x)):
        out[i // 2] = x[i] / y[i]


def arrays(function) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    x, y = rng.random(SIZE) + 0.5, rng.random(SIZE) + 0.5
    return [x, y, np.zeros((ROWS, SIZE) if function is of_rows else SIZE)]


def settled(function):
    jitted = jj.jit(function, background=False)
    for _ in range(4):
        jitted(*arrays(function))
    assert jitted.stats.graph_calls >= 2 and jitted.stats.deopts == 0
    return jitted


def stores_made_sure_of(jitted) -> int:
    return jitted.specializations[0].llvm_ir.count('call double asm sideeffect "", "=')


CHOSEN = [chosen_copies, chosen_products, chosen_steps, copied_first]
LASTING = [quotients, smoothed_quotients, of_rows, overwritten_in_the_outer_loop]
FLEETING = [last_quotient, written_twice, written_again_in_the_next_turn, chosen, folded, overwritten_by_choice]
FLEETING += [copied_over_the_turn_before]


@pytest.mark.parametrize("function", LASTING + CHOSEN)
def test_elements_stored_one_after_the_other_are_not_made_sure_of(function) -> None:
    assert stores_made_sure_of(settled(function)) == 0


@pytest.mark.parametrize("function", [*FLEETING, kept_in_another, sum_overwritten_by_choice])
def test_elements_that_may_be_overwritten_are(function) -> None:
    assert stores_made_sure_of(settled(function)) > 0


@pytest.mark.parametrize("function", LASTING + FLEETING)
@pytest.mark.parametrize("where", [1, ROWS - 2])
def test_every_error_is_told_of(function, where: int) -> None:
    jitted, mine = settled(function), arrays(function)
    mine[1][where] = 0.0
    given = [array.copy() for array in mine]
    with pytest.warns(RuntimeWarning, match="divide by zero") as expected:
        function(*given)
    with pytest.warns(RuntimeWarning) as told:
        jitted(*mine)
    assert {str(one.message) for one in told} == {str(one.message) for one in expected}
    np.testing.assert_array_equal(mine[2], given[2])
    assert jitted.stats.deopts == 1


def test_what_is_not_chosen_is_not_computed() -> None:
    def guarded(x, y, out):
        for i in range(len(x)):
            out[i] = x[i] / (y[i] - 1.0) if y[i] > 1.0 else 0.0

    jitted, (x, y, out) = settled(guarded), arrays(guarded)
    y[::3] = 1.0
    expected = out.copy()
    guarded(x, y, expected)
    jitted(x, y, out)
    assert jitted.stats.deopts == 0 and jitted.stats.graph_calls >= 3
    np.testing.assert_array_equal(out, expected)


def squares_of_small_ones(x, out):
    for i in range(len(x)):
        if x[i] < 1e150:
            out[i] = x[i] * x[i]
        else:
            out[i] = 0.0


def test_what_branches_compute_for_nobody_is_no_error() -> None:
    jitted = jj.jit(squares_of_small_ones, background=False)
    x = np.linspace(0.0, 1.0, SIZE)
    for _ in range(4):
        jitted(x, np.zeros(SIZE))
    x[::7], wanted = 1e200, np.zeros(SIZE)
    squares_of_small_ones(x, wanted)
    calls = 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(calls):
            out = np.zeros(SIZE)
            jitted(x, out)
            np.testing.assert_array_equal(out, wanted)
    assert jitted.stats.deopts < 4 and jitted.stats.graph_calls > calls // 2
    with pytest.warns(RuntimeWarning, match="overflow encountered"):
        jitted(np.full(SIZE, -1e200), out)
