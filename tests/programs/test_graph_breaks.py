"""What tracing compilers document as causes of graph breaks: here each is right, most of it in the graph."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import math
import time
import types
import warnings
import weakref

import numpy as np
import pytest

import janusjit as jj
from tests.programs.test_foot_guns import both, vector

WEIGHTS = {}


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


def test_the_address_of_an_array():
    both(lambda: lambda x: x * 2.0 + float(x.ctypes.data == x.__array_interface__["data"][0]), vector, host=True)


def test_a_class_defined_inside():
    def build():
        def step(x):
            class Pair:
                def __init__(self, a, b):
                    self.a, self.b = a, b

            pair = Pair(x * 2.0, x.sum())
            return pair.a + pair.b

        return step

    both(build, vector, host=True)


def test_copies_identities_and_introspection():
    def build():
        state = {"w": np.ones(4)}

        def step(x):
            kept = copy.deepcopy(state)
            state["w"] += x
            names = tuple(inspect.signature(step).parameters)
            return kept["w"] * len(names) + (id(kept) != id(state)) + hash("a" * 0)

        return step

    both(build, vector, host=True)


def test_texts_of_arrays_and_files(tmp_path):
    def build():
        def step(x):
            text = f"{x.sum():.3f} {x}"
            with (tmp_path / "log").open("w") as file:
                file.write(text)
            return x * 2.0, text, (tmp_path / "log").read_text()

        return step

    both(build, vector, host=True)


def test_weak_references_and_deleted_names():
    def build():
        owner = types.FunctionType((lambda: 2.0).__code__, {})
        reference = weakref.ref(owner)

        def step(x):
            y = x * reference()() + (owner is reference())
            z = y + 1.0
            del y
            try:
                return z + y  # noqa: F821 - that is the point
            except UnboundLocalError:
                return z

        return step

    both(build, vector, host=True)


def test_an_attribute_of_a_module_is_replaced():
    def build():
        space = types.ModuleType("space")
        space.scale = lambda x: x * 2.0

        def step(x, number):
            if number == 4:
                space.scale = lambda x: x * 3.0
            return space.scale(x)

        return step

    both(build, lambda n: (*vector(n), n), host=True)
