"""The examples written with `janusjit.nn`: one trajectory, eager and under `@jit`, wholly in the graph."""

from __future__ import annotations

import janusjit
from examples import lenet
from tests.programs.test_examples import check_counters, check_trajectories


def test_lenet():
    made = []

    def jit(function):
        made.append(janusjit.jit(function, warmup=2, background=False))
        return made[0]

    eager, jitted = lenet.run(steps=25), lenet.run(jit, steps=25)
    # Sums in another order move parameters and loss by 7e-16 in 25 steps; the bound leaves a factor of 100.
    check_trajectories(eager, jitted, {"loss": 1e-13, **dict.fromkeys(lenet.initialize(), 1e-13)})
    check_counters(made[0].stats, calls=25, deopts=0)
    assert eager[-1]["loss"] < eager[0]["loss"]
