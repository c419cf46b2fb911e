"""What tracing compilers document as foot-guns and graph breaks: here each is right, and mostly in the graph.

The first part follows the list that tinygrad tests and documents for its own tracing decorator; the second the causes
of graph breaks in the documentation of ``torch.compile``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import time
import types
import warnings

import numpy as np
import pytest

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


# ---------------------------------------------------------------------- causes of graph breaks


def test_incorrect_code_raises_what_python_raises():
    step = jj.jit(background=False)(lambda x: np.sin(x, x, x))
    for _ in range(4):
        with pytest.raises(TypeError):
            step(np.ones(3))
    assert step.stats.calls == 4


def test_a_branch_on_data_and_item():
    both(
        lambda: lambda x: x + x.sum().item() if x.sum() > 0 else x - x.sum().item(),
        lambda n: (vector(n)[0] * (-1.0) ** n,),
    )


def test_a_loop_over_data():
    def build():
        def step(x):
            while x.sum() < 100.0:
                x = x * 2.0 + 1.0
            return x

        return step

    both(build, vector)


def test_printing_logging_and_warning():
    def build():
        logger = logging.Logger("quiet")

        def step(x):
            print("sum", x.sum())
            logger.info("mean %s", x.mean())
            warnings.warn("careful", stacklevel=1)
            return x * 2.0

        return step

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both(build, vector, host=True)


def test_code_that_cannot_be_read():
    both(lambda: lambda x: (x * 2.0) + math.gamma(float(x[0]) + 1.0) + _BLACK_BOX(x), vector, host=True)


_BLACK_BOX = eval("lambda x: float(x.max())")


def test_a_call_of_the_operating_system():
    both(lambda: lambda x: x + (time.time() > 0.0), vector, host=True)


def test_context_managers():
    @contextlib.contextmanager
    def scaled(log):
        log.append("enter")
        try:
            yield 2.0
        finally:
            log.append("exit")

    def build():
        log = []

        def step(x):
            with scaled(log) as factor, contextlib.suppress(KeyError):
                y = x * factor
                {}["missing"]
            return y + len(log)

        return step

    both(build, vector, host=True)


def test_exceptions_raised_and_caught():
    def build():
        def step(x):
            try:
                if x[0] > 3:
                    raise ValueError("large")
                return x * 2.0
            except ValueError as error:
                return x - len(str(error))

        return step

    both(build, vector, host=True)


def test_exceptions_that_leave():
    def build():
        def step(x):
            if x[0] > 3:
                raise ValueError(f"large: {x[0]}")
            return x * 2.0

        return step

    both(build, vector)


def test_globals_and_closures_written():
    def build():
        count = 0

        def step(x):
            nonlocal count
            count += 1
            WEIGHTS["count"] = count
            return x * count

        return step

    both(build, vector)


def test_a_custom_setattr_and_getattr():
    class Record:
        def __init__(self):
            object.__setattr__(self, "log", [])

        def __setattr__(self, name, value):
            self.log.append(name)
            object.__setattr__(self, name, value)

        def __getattr__(self, name):
            return len(name)

    def build():
        record = Record()

        def step(x):
            record.value = x * 2.0
            return record.value + record.missing + len(record.log)

        return step

    both(build, vector, host=True)


def test_generators_and_iterators_from_outside():
    def build():
        numbers = iter(range(1000))
        return lambda x: x * next(numbers)

    both(build, vector, host=True)


def test_a_dict_subclass_and_a_namespace():
    class Config(dict):
        pass

    config, space = Config(rate=2.0), types.SimpleNamespace(shift=1.0)
    both(lambda: lambda x: x * config["rate"] + space.shift, vector, host=True)


def test_an_import_inside():
    def build():
        def step(x):
            import math as mathematics

            return x * mathematics.pi

        return step

    both(build, vector, host=True)


def test_recursion():
    def build():
        def power(x, n):
            return x if n == 0 else power(x * 2.0, n - 1)

        return lambda x: power(x, 5)

    both(build, vector)


def test_a_size_that_depends_on_data():
    both(lambda: lambda x: np.zeros(int(x.max()) + 1) + x[x > 1].sum(), vector)
