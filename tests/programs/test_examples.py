"""The five example programs, eager and under `@jit`: the whole trajectory step by step, and where the work was done.

The bounds. Compiled elementwise arithmetic is bit-identical to NumPy's, transcendental functions are within 2 ULP, and
sums and matrix products may add in another order. What that does to a trajectory depends on the program, so each bound
below was set from the program itself: perturbing every ``exp``, ``tanh``, ``log``, ``sqrt``, ``sum`` and ``dot`` of the
*eager* run by one ULP moves its trajectory by the figure given, and the bound leaves a factor of 100 for the different
order of sums.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import janusjit
from examples import als_cg, char_rnn, digits_mlp, kmeans, softmax_regression

WARM_UP = 2
ROOT = Path(__file__).resolve().parents[2]


class Recorder:
    """`janusjit.jit` with compilation in the foreground, keeping what it made."""

    def __init__(self) -> None:
        self.function = None

    def __call__(self, function):
        self.function = janusjit.jit(function, warmup=WARM_UP, background=False)
        return self.function

    @property
    def stats(self):
        return self.function.stats


def relative_distance(expected, actual):
    """Return the largest difference, relative to the largest magnitude."""
    expected, actual = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    assert expected.shape == actual.shape
    return np.abs(expected - actual).max(initial=0.0) / max(np.abs(expected).max(initial=0.0), np.finfo(float).tiny)


def check_trajectories(eager, jitted, bounds):
    """Compare two trajectories step by step; a name without a bound must be equal, and types are always equal."""
    assert len(eager) == len(jitted)
    for step, (expected, actual) in enumerate(zip(eager, jitted, strict=True)):
        assert list(expected) == list(actual)
        for name, value in expected.items():
            other = actual[name]
            assert type(other) is type(value), (step, name, type(value), type(other))
            for one, two in zip(value, other, strict=True) if isinstance(value, list) else [(value, other)]:
                if isinstance(one, np.ndarray):
                    assert one.dtype == two.dtype, (step, name)
                distance = relative_distance(one, two)
                assert distance <= bounds.get(name, 0.0), f"step {step}, {name}: {distance:.3g}"


def check_counters(stats, calls, deopts):
    """Every call after the warm-up ran in a graph, but for ``deopts`` counted failures of a speculation."""
    assert stats.calls == calls
    assert stats.profiled_calls == WARM_UP
    assert stats.eager_calls == WARM_UP
    assert stats.graph_calls == calls - WARM_UP
    assert stats.deopts <= deopts
    assert stats.host_calls == 0


def test_digits_mlp():
    recorder = Recorder()
    eager, jitted = digits_mlp.run(epochs=4), digits_mlp.run(recorder, epochs=4)
    assert len(eager) == 4 * 24
    # One ULP moves the parameters by 8e-15 and the loss by 1.3e-15 (relative) in 120 steps. The accuracy is a count.
    parameters = dict.fromkeys(("W1", "b1", "W2", "b2", "W3", "b3"), 8e-13)
    check_trajectories(eager, jitted, {"loss": 2e-13, **parameters})
    # One speculation fails: the short last batch (28 images after 64) is the first other shape.
    check_counters(recorder.stats, calls=96, deopts=1)
    assert recorder.stats.specializations <= 2
    assert eager[-1]["loss"] < 0.2 * eager[0]["loss"]


def test_char_rnn():
    recorder = Recorder()
    eager, jitted = char_rnn.run(steps=60), char_rnn.run(recorder, steps=60)
    # One ULP moves the parameters by 2e-15, the hidden state by 6e-15 and the loss by 2e-16 in 150 steps.
    check_trajectories(eager, jitted, {"loss": 1e-13, "hidden": 6e-13, "parameters": 2e-13})
    check_counters(recorder.stats, calls=60, deopts=0)
    assert eager[-1]["loss"] < eager[0]["loss"]


def test_char_rnn_with_sequences_of_another_length():
    recorder = Recorder()
    step = recorder(char_rnn.train_step)
    parameters, memories = char_rnn.initialize(20)
    parameters2, memories2 = char_rnn.initialize(20)
    hidden = hidden2 = np.zeros((char_rnn.HIDDEN_SIZE, 1))
    rng = np.random.default_rng(0)
    for length in (8, 8, 8, 8, 5, 8, 5, 11, 8, 11, 7, 12, 9):
        inputs, targets = rng.integers(0, 20, length), rng.integers(0, 20, length)
        loss, hidden = char_rnn.train_step(parameters, memories, inputs, targets, hidden, 0.02)
        loss2, hidden2 = step(parameters2, memories2, inputs, targets, hidden2, 0.02)
        # 13 steps of the program above: the same bounds hold.
        assert relative_distance(loss, loss2) <= 1e-13
        for one, two in zip(parameters, parameters2, strict=True):
            assert relative_distance(one, two) <= 2e-13
    assert recorder.stats.graph_calls > 0


def test_kmeans():
    recorder = Recorder()
    eager, jitted = kmeans.run(), kmeans.run(recorder)
    # The images are integers, so every sum up to the first division is exact whatever its order: equal distances stay
    # equal and argmin breaks ties alike. After it, one ULP moves centres by 3e-16 and the inertia no further. Labels
    # and iterations must be equal.
    check_trajectories(eager, jitted, {"inertia": 1e-13, "centers": 3e-14})
    assert recorder.stats.calls == 8
    assert recorder.stats.eager_calls == WARM_UP
    assert recorder.stats.graph_calls == 8 - WARM_UP
    # Every third start has an empty cluster: the branch that the warm-up has not seen fails once.
    assert recorder.stats.deopts <= 2


def test_als_cg():
    recorder = Recorder()
    eager, jitted = als_cg.run(), als_cg.run(recorder)
    # One ULP moves U and V by 5e-15 and the losses by 6e-16; the number of inner steps does not depend on it.
    check_trajectories(eager, jitted, {"losses": 1e-13, "U": 5e-13, "V": 5e-13})
    check_counters(recorder.stats, calls=8, deopts=0)
    assert recorder.stats.specializations == 1
    assert sum(entry["inner_steps"] for entry in eager) > 300
    # Both loops, whose lengths the data decides, are loops in the graph; neither was unrolled nor left to Python.
    assert recorder.function.specializations[0].graph.count("loop") >= 2


def test_softmax_regression():
    recorder = Recorder()
    eager, jitted = softmax_regression.run(), softmax_regression.run(recorder)
    # One ULP moves w, b and the cost by 5e-16 and a single cross-entropy by 2e-15 in 100 steps.
    check_trajectories(eager, jitted, {"cost": 5e-14, "xent": 2e-13, "w": 5e-14, "b": 5e-14})
    check_counters(recorder.stats, calls=100, deopts=0)
    assert recorder.stats.specializations == 1
    assert eager[0]["prediction"].dtype == np.bool_  # "What is the type of prediction?", asks the tutorial


@pytest.mark.parametrize("program", ["digits_mlp", "char_rnn", "kmeans", "als_cg", "softmax_regression"])
def test_runs_without_janusjit(program, tmp_path):
    """With ``--eager`` a program must not even import janusjit."""
    (tmp_path / "janusjit.py").write_text("raise ImportError('janusjit was imported')\n")
    amount = {"digits_mlp": "--epochs", "kmeans": "--restarts", "als_cg": "--calls"}.get(program, "--steps")
    completed = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{program}.py"), "--eager", amount, "2"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert " in " in completed.stdout
