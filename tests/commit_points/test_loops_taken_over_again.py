"""Loops that Python goes on with after they were taken over, and that are taken over again, many times in a call.

They run in a process of their own: with the settings that tests have, fewer loops are left for Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import sys
import numpy as np
import janusjit as jj
from janusjit.runtime import replacement

replacement.HOT_SECONDS = -1.0
"""

SHARED_ITERATORS = """
def of_a_variable(count, leaves):
    numbers, total = iter(range(count)), 0
    for number in numbers:
        total += number
        if number % 30 == 5:
            next(numbers, None)
        if number == 250 and leaves == 7:
            break
    return total


def of_a_list(count, leaves):
    numbers, taken = iter(range(count)), []
    held = [numbers]
    for number in numbers:
        taken.append(number)
        if number % 30 == 5:
            next(held[0], None)
        if number == 250 and leaves == 7:
            break
    return taken, list(numbers)


def of_a_generator(count, leaves):
    def given():
        for number in range(count):
            if (yield number):
                yield -number

    numbers, total = given(), 0
    for number in numbers:
        total += number
        if number % 100 == 98:
            total += numbers.send(True)
        if number == 250 and leaves == 7:
            break
    return total


for function in (of_a_variable, of_a_list, of_a_generator):
    step = jj.jit(background=False)(function)
    for leaves in (0, 1, 7, 3):
        assert step(300, leaves) == function(300, leaves), (function, leaves)
    assert step.stats.loop_entries >= 2, step.stats
"""

DEEP_STACK = """
import warnings

warnings.simplefilter("ignore")
sys.setrecursionlimit(400)


def turns_in_python(x, turns, quiet):
    total, last = 0.0, None
    for turn in range(turns):
        with np.errstate(divide="ignore" if quiet % 2 else "warn"):
            value = x / (turn - 260.0)
        total += value.sum() if np.isfinite(value).all() else 1.0
        last = value if turn % 9 == 0 else last
    return total, last


step = jj.jit(background=False)(turns_in_python)
for number in range(5):
    x = np.ones(3) * number
    got, expected = step(x, 3000, 1), turns_in_python(x, 3000, 1)
    assert abs(got[0] - expected[0]) <= 1e-11 * abs(expected[0])
    np.testing.assert_array_equal(got[1], expected[1])
assert step.stats.loop_entries > 2 * replacement.MOST_NESTED, step.stats
"""


@pytest.mark.parametrize("program", [SHARED_ITERATORS, DEEP_STACK], ids=["shared iterators", "deep stack"])
def test_loops_are_taken_over_again(program: str, tmp_path: Path) -> None:
    """They draw from the iterators that variables refer to, and the stack does not grow with their turns."""
    path = tmp_path / "program.py"
    path.write_text(PRELUDE + textwrap.dedent(program))
    settings = {"JANUSJIT_VERIFY": "1", "JANUSJIT_CACHE": "0", "JANUSJIT_TRIALS": "0", "JANUSJIT_CALIBRATION": "0"}
    environment = {name: text for name, text in os.environ.items() if not name.startswith("JANUSJIT_")} | settings
    ran = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
