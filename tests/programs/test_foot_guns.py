"""What a tracing decorator documents and tests as its foot-guns: here each is right, and in the graph."""

from __future__ import annotations

import contextlib
import io

import numpy as np

import janusjit as jj

CALLS = 8


def both(build, arguments, calls=CALLS, host=False):
    """Call what ``build()`` makes in plain Python and under `@jit`; results, output and exceptions are the same."""
    plain, jitted = build(), jj.jit(background=False)(build())
    for number in range(calls):
        outcomes = []
        for function in (plain, jitted):
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                try:
                    outcome = ("returned", function(*arguments(number)))
                except (ValueError, TypeError, KeyError) as error:
                    outcome = ("raised", type(error), str(error))
            outcomes.append((*outcome, output.getvalue()))
        np.testing.assert_equal(outcomes[1], outcomes[0])
    assert jitted.stats.graph_calls >= calls - 3, (jitted.stats, jitted.reason)
    if not host:
        assert jitted.stats.host_calls == 0
    return jitted


def vector(number):
    return (np.arange(4.0) + number,)


# ---------------------------------------------------------------------- foot-guns of tracing


def test_results_are_not_overwritten_by_the_next_call():
    step = jj.jit(background=False)(lambda x: x * 2.0)
    kept = [step(np.full(3, float(number))) for number in range(6)]
    np.testing.assert_array_equal(np.stack(kept)[:, 0], 2.0 * np.arange(6))
    assert step.stats.graph_calls == 4


def test_results_that_are_no_arrays_are_not_frozen():
    both(lambda: lambda x: (x + 1.0, float(x.sum()), {"last": int(x[-1])}), vector)


def test_one_array_passed_twice():
    both(lambda: lambda x, y: x * 2.0 + y, lambda n: vector(n) * 2)


def test_arrays_in_containers_are_inputs():
    both(lambda: lambda arrays: arrays["a"][0] + arrays["b"], lambda n: ({"a": [vector(n)[0]], "b": vector(n)[0]},))


def test_a_jitted_function_calls_a_jitted_function():
    inner = jj.jit(background=False)(lambda x: x + 1.0)
    both(lambda: lambda x: inner(inner(x)) * 2.0, vector)


WEIGHTS = {"w": np.ones(4)}


def test_arrays_from_outside_are_read_at_each_call():
    def arguments(number):
        WEIGHTS["w"] = np.full(4, float(number // 2))
        return vector(number)

    both(lambda: lambda x: x * WEIGHTS["w"], arguments)


def test_views_at_other_offsets():
    base = np.arange(40.0)
    both(lambda: lambda x: x.sum() * 2.0, lambda n: (base[n : n + 4],))


def test_another_shape():
    both(lambda: lambda x: x * 2.0, lambda n: (np.ones(3 + n % 3),))


def test_python_numbers_are_not_frozen():
    step = both(lambda: lambda x, k: x * k + k**2, lambda n: (*vector(n), n))
    assert step.stats.specializations == 1


def test_branches_are_not_frozen():
    both(lambda: lambda x, train: x * 2.0 if train else x - 1.0, lambda n: (*vector(n), n % 2 == 0))


def test_keywords_in_any_order():
    step = jj.jit(background=False)(lambda a, b: a - b)
    for _ in range(3):
        assert step(a=3.0, b=1.0) == 2.0
        assert step(b=3.0, a=1.0) == -2.0
    assert step.stats.graph_calls == 4


def test_a_method_is_shared_by_instances():
    class Scale:
        def __init__(self, factor):
            self.factor = np.full(4, factor)

        @jj.jit(background=False)
        def __call__(self, x):
            return x * self.factor

    one, two = Scale(2.0), Scale(3.0)
    for number in range(6):
        np.testing.assert_array_equal(one(*vector(number)), vector(number)[0] * 2.0)
        np.testing.assert_array_equal(two(*vector(number)), vector(number)[0] * 3.0)
    assert Scale.__call__.stats.graph_calls == 10


def test_side_effects_happen_at_each_call():
    def build():
        seen = []

        def step(x):
            seen.append(float(x[0]))
            print("called", len(seen))
            return x.sum() + len(seen)

        return step

    both(build, vector)


def test_nothing_but_numbers():
    both(lambda: lambda a, b: a * b + 1, lambda n: (n, 2))


def test_random_numbers_are_not_frozen():
    def build():
        rng = np.random.default_rng(0)
        return lambda x: x + rng.normal(size=4)

    both(build, vector)


def test_a_temporary_as_input():
    both(lambda: lambda x: (x + 1.0) * 2.0, lambda n: (np.zeros(3) + n,))


def test_an_output_that_is_an_input():
    step = jj.jit(background=False)(lambda x: (x, x[:2]))
    for number in range(5):
        x = np.arange(4.0) + number
        whole, part = step(x)
        assert whole is x and np.shares_memory(part, x)
    assert step.stats.graph_calls == 3


def test_results_are_passed_back_in():
    """Two sessions in which a result is the next argument; then a window that is shifted through one array."""
    step = jj.jit(background=False)(lambda x: (x + 1.0) * 2.0)
    for first in (10.0, 100.0, 7.0):
        x = y = np.array([first])
        for _ in range(4):
            x, y = step(x), (y + 1.0) * 2.0
        np.testing.assert_array_equal(x, y)
    shift = jj.jit(background=False)(lambda window, new: np.concatenate((window[len(new) :], new)))
    window = np.zeros(64)
    for number in range(8):
        window = shift(window, np.full(32, number + 1.0))
        np.testing.assert_array_equal(window[:32], number)
    assert step.stats.graph_calls == 10 and shift.stats.graph_calls == 6


def test_two_results_of_one_intermediate():
    def build():
        def step(window, frame):
            longer = np.concatenate((window[1:], frame))
            return longer, longer[:1]

        return step

    both(build, lambda n: (np.arange(3.0), np.array([10.0 + n])))


def test_a_part_is_written_and_the_whole_is_read():
    def build():
        cache = np.zeros((4, 4))

        def step(at):
            cache[at % 4 : at % 4 + 1, :] = at
            return cache.sum()

        return step

    both(build, lambda n: (n,))


def test_padding_by_what_is_missing():
    both(lambda: lambda x: np.pad(x + 1.0, ((0, 0), (0, 10 - x.shape[1]))), lambda n: (np.ones((3, 1 + n)),), host=True)


def test_positions_and_keywords_mixed():
    step = jj.jit(background=False)(lambda a, b=1.0: a - b)
    for number in range(4):
        x = np.arange(3.0) + number
        for found in (step(x, 2.0), step(x, b=2.0), step(b=2.0, a=x), step(x) - 1.0):
            np.testing.assert_array_equal(found, x - 2.0)
    assert step.stats.graph_calls >= 13


def test_nothing_is_computed():
    both(lambda: lambda a, b: None, lambda n: (np.ones(3), n))


def test_an_argument_is_changed():
    def build():
        def step(x):
            x += 1.0
            return x

        return step

    both(build, vector)


def test_lists_and_selections_of_an_array():
    both(lambda: lambda x: (x.tolist(), x[x > 2.0], int(x.argmax())), vector)
