"""Context managers that Python enters: the body of the ``with`` is compiled, and they are left exactly once."""

import threading
import warnings

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison

lock = threading.Lock()
space = {}
exec(
    """
class Timer:
    def __init__(self):
        self.log = []
    def __enter__(self):
        self.log.append("enter")
        return len(self.log)
    def __exit__(self, *error):
        self.log.append(("exit", error[0]))
        return error[0] is KeyError
""",
    space,
)
Timer = space["Timer"]


def target_used(x, t):
    y = x * 2
    with t as n:
        y = y + n
        z = np.tanh(y)
    return z.sum() + y.sum()


def jumps_in_a_loop(x, t):
    s = 0.0
    for i in range(5):
        with t:
            if i == 3:
                break
            if i == 1:
                continue
            s = s + (x * i).sum()
    return s


def returns_through_two(x, t):
    with t as n, lock:
        return (x * n).sum()


def helper(x, t):
    with t:
        return np.exp(x) * 2


def in_an_inlined_callee(x, t):
    return helper(x, t).sum() + helper(x * 2, t).sum()


def suppresses_and_is_protected(x, t):
    try:
        with t:
            y = {"a": x}
            z = y["b" if x[0] > 2 else "a"]
    except IndexError:
        z = x
    finally:
        t.log.append("finally")
    return z if z is not None else 1


def writes_a_file(x, path):
    with open(path, "w") as fh:  # noqa: PTH123
        for i in range(3):
            fh.write(f"{i} {(x * i).sum():.3f}\n")
    with open(path) as fh:  # noqa: PTH123
        return len(fh.read()) + x.sum()


def catch_warnings(x, t):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = np.log(x - 1)
    return np.nan_to_num(y)


def raises_inside(x, t):
    try:
        with t:
            t.fail = 1
            open("no such directory/x")  # noqa: PTH123, SIM115
    except OSError as err:
        return type(err).__name__, x.sum()


def no_manager(x, t):
    with x:
        pass


PROGRAMS = [
    target_used,
    jumps_in_a_loop,
    returns_through_two,
    in_an_inlined_callee,
    suppresses_and_is_protected,
    catch_warnings,
    raises_inside,
    no_manager,
]


def _outcome(function, *arguments):
    try:
        return function(*arguments)
    except (TypeError, UnboundLocalError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("function", PROGRAMS)
def test_same_results_and_log(function):
    step = jj.jit(function, background=False)
    plain, jitted = Timer(), Timer()
    for number in range(8):
        x = np.arange(3.0) + number * 0.5
        comparison = Comparison(1e-14)  # sums are ordered otherwise
        comparison.compare(_outcome(function, x, plain), _outcome(step, x, jitted), f"call {number}")
        comparison.compare(plain.log, jitted.log, "log")
        assert not comparison.finish(), comparison.found[:3]
    if function is not no_manager:
        assert step.reason is None
        assert step.stats.graph_calls == 6
        assert step.stats.host_calls >= 6


def test_files(tmp_path):
    step, path = jj.jit(writes_a_file, background=False), tmp_path / "log"
    for number in range(8):
        x = np.arange(3.0) + number
        assert step(x, path) == writes_a_file(x, path)
    assert step.stats.graph_calls == 6
