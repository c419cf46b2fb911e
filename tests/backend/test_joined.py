"""What is joined one behind the other is computed in its place, unless somebody else wants it or its memory."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj


def both(x, y):
    return np.concatenate([x * 2.0 + 1.0, y * y])


def stacked(x, y):
    return np.stack([x + y, x - y, x * y])


def under_each_other(x, y):
    return np.vstack([np.outer(x[:40], y[:50]), np.outer(y[:30], x[:50])])


def with_an_argument(x, y):
    return np.concatenate([x, x + y, y])


def in_a_join(x, y):
    return np.concatenate([np.concatenate([x + y, x]), x - y])


def product_and_sum(x, y):
    matrix = x[:400].reshape(20, 20)
    return np.concatenate([matrix @ matrix, matrix + 1.0])


def of_arrays_wanted_elsewhere(x, y):
    total = x + y
    joined = np.concatenate([total, x * y])
    return joined, np.cumsum(total)


def of_one_array_twice(x, y):
    total = x + y
    return np.concatenate([total, total])


def changed_afterwards(x, y):
    joined = np.concatenate([x + y, x - y])
    joined[3:] *= 2.0
    return joined


def side_by_side(x, y):
    return np.concatenate([np.outer(x[:40], y[:50]), np.outer(x[:40], x[:30])], axis=1)


def in_turns(x, y):
    for _ in range(6):
        y = np.concatenate([x[:500] + y[500:], y[:500] * 0.5])
        x = np.concatenate([x[500:] - y[500:], x[:500]])
    return x, y


def in_branches(x, y):
    joined = np.concatenate([x + y, x - y]) if x[0] > 0.5 else np.concatenate([x - y, x * y])
    return joined * 2.0, joined.sum()


#: how many of the arrays that each joins are computed in place, by the lines of the plan
EXPECTED = {
    both: ["2 of 2"],
    stacked: ["3 of 3"],
    under_each_other: ["2 of 2"],
    with_an_argument: ["1 of 3"],
    in_a_join: ["1 of 2", "2 of 2"],
    product_and_sum: ["2 of 2"],
    of_arrays_wanted_elsewhere: ["1 of 2"],
    of_one_array_twice: [],
    changed_afterwards: ["2 of 2"],
    side_by_side: [],
}
OTHERS = [in_turns, in_branches]


def arrays(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(1000), rng.random(1000)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("function", [*EXPECTED, *OTHERS])
def test_results_are_those_of_numpy(function, threads: int) -> None:
    jitted, kept = jj.jit(function, background=False, threads=threads), []
    for seed in range(5):
        found, expected = jitted(*arrays(seed)), function(*arrays(seed))
        kept.append((found, expected))
    for found, expected in kept:  # later calls have left earlier results alone
        pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-14)
    assert jitted.stats.graph_calls >= 3


@pytest.mark.parametrize("function", EXPECTED)
def test_the_plan_says_what_is_computed_in_place(function) -> None:
    jitted = jj.jit(function, background=False)
    for _ in range(4):
        jitted(*arrays(0))
    assert jitted.stats.graph_calls >= 2
    lines = [line for line in jitted.specializations[0].plan.splitlines() if "concatenate" in line]
    found = [line.partition("computing ")[2].removesuffix(" in place") for line in lines if "computing" in line]
    assert found == EXPECTED[function]


def test_joining_in_a_long_loop_is_done_turn_by_turn() -> None:
    def shifted(x, steps):
        for _ in range(steps):
            x = np.concatenate([x[1:] * 1.0, x[:1] + 1.0])
        return x

    jitted, x = jj.jit(shifted, background=False), np.arange(700.0)
    for steps in (3000, 3000, 3000, 2999, 3001):
        np.testing.assert_array_equal(jitted(x, steps), shifted(x, steps))
    assert jitted.stats.graph_calls >= 1
