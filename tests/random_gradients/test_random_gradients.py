"""Gradients of random programs: in the graph, in plain Python, by differences and by the package `autograd`.

``pytest tests/random_gradients --programs 500 --seed 1000`` checks the programs of these seeds; a failure says which
seed it is and prints the program. Every fourth program has float32 arguments, every fifth a second derivative.
"""

from __future__ import annotations

import importlib.util
from collections import Counter

import numpy as np
import pytest

from tests.random_gradients.checking import check
from tests.random_gradients.programs import random_program

#: Each shard is a test of its own, so that they can run in parallel.
SHARDS = 4
DEFAULT_PROGRAMS = 12


def _autograd():
    if importlib.util.find_spec("autograd") is None:
        return None
    importlib.import_module("autograd.numpy")
    return importlib.import_module("autograd")


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_gradients(shard, pytestconfig):
    programs = pytestconfig.getoption("--programs") or DEFAULT_PROGRAMS
    first = pytestconfig.getoption("--seed")
    totals: Counter[str] = Counter()
    package = _autograd()
    for seed in range(first + shard, first + programs, SHARDS):
        program = random_program(seed)
        dtype = np.float32 if seed % 4 == 3 else np.float64
        found = check(program, totals, package, dtype, second=seed % 5 == 4)
        assert not found, f"seed {seed}:\n\n{program.source}\n" + "\n".join(found)
    print(dict(totals))
    # programs that are not compared would pass too
    assert totals["compiled"] >= 0.9 * totals["programs"]
    assert totals["aliases"] <= 0.05 * totals["programs"] + 1
    assert totals["kinks"] <= 0.1 * totals["programs"] + 1


@pytest.mark.parametrize("seed", [7332])  # a list that one way through a turn lets go of
def test_programs_that_failed_once(seed):
    assert not check(random_program(seed), Counter())


def test_a_wrong_gradient_is_found(monkeypatch):
    monkeypatch.setattr(
        "tests.random_gradients.checking.Check.gradient", lambda self, arguments: _scaled(self, arguments)
    )
    assert any(check(random_program(seed), Counter()) for seed in range(2))


def _scaled(checked, arguments):
    value, gradient = checked.space["step"](*arguments)
    return np.concatenate([np.ravel(part) * 1.01 for part in (*gradient, value)])
