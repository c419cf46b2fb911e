"""The examples written with `janusjit.value_and_grad`: one trajectory, eager and under `@jit`, wholly in the graph."""

from __future__ import annotations

import pytest

from examples import gaussian_process, lenet, lstm_language_model, neural_ode, vae
from tests.programs.test_examples import Recorder, check_counters, check_trajectories

STEPS = 25


@pytest.mark.parametrize(
    ("program", "bound"),
    [
        # Sums in another order move parameters and loss by 7e-16 in 25 steps (8e-16 at most in the three below it);
        # the bound leaves a factor of 100.
        (lenet, 1e-13),
        (neural_ode, 1e-13),
        (vae, 1e-13),
        (lstm_language_model, 1e-13),
        # The covariance amplifies rounding: one ULP in the samples moves the amplitude, which starts at 0, by 1e-13 in
        # 25 eager steps, everything else by less; the bound leaves a factor of 100.
        (gaussian_process, 1e-11),
    ],
    ids=lambda value: value.__name__.rpartition(".")[2] if hasattr(value, "__name__") else "",
)
def test_trajectory(program, bound):
    recorder = Recorder()
    eager, jitted = program.run(steps=STEPS), program.run(recorder, steps=STEPS)
    check_trajectories(eager, jitted, dict.fromkeys(eager[0], bound))
    check_counters(recorder.stats, calls=STEPS, deopts=0)
    assert eager[-1]["loss"] < eager[0]["loss"]
