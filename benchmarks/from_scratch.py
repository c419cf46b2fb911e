"""Programs in the style of public from-scratch repositories, timed step by step, and one whole training loop.

Owns ``python -m benchmarks programs`` (``make programs``). The share of time in the graph
is found by sampling.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import signal
import statistics
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import janusjit as jj
from janusjit.runtime.dispatch import JitFunction
from janusjit.runtime.lifecycle import Lifecycle
from janusjit.runtime.resumption import ContinuationLifecycle, Resumptions

RESULTS = Path(__file__).parent / "results" / "programs.json"
PROGRAMS = {
    "layers": "a library of layers, Adam, dropout, batch norm",
    "engine": "a program's own autograd engine",
    "lstm": "an LSTM of node objects",
    "word2vec": "word2vec with negative sampling",
    "reinforce": "REINFORCE, a black box as environment",
    "cartpole": "REINFORCE on gymnasium's CartPole",
    "treelstm": "a TreeLSTM, 4 trees",
    "forest": "a TreeLSTM, 92 trees",
}
#: the functions that call compiled code
_CALLERS = frozenset(
    {
        JitFunction.__call__.__code__,
        Lifecycle.retry.__code__,
        ContinuationLifecycle.go_on.__code__,
        *(code for code in Resumptions.wrap.__code__.co_consts if isinstance(code, types.CodeType)),
    }
)


class Measured:
    """A function whose calls are timed, and sampled while ``samples`` is a list: the frame that runs, each millisecond.

    A signal that arrives in compiled code is seen by the frame that called it, which is that of the call timed where
    machine code has called it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.times: list[float] = []
        self.samples: list[types.CodeType] | None = None

    def __call__(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        result = self.function(*arguments)
        self.times.append(time.perf_counter() - started)
        return result

    def sample(self, number: int, frame: types.FrameType | None) -> None:
        """Take note of the frame that runs."""
        caller = frame
        while caller is not None and caller.f_code is not Measured.__call__.__code__:
            caller = caller.f_back
        if self.samples is not None and frame is not None and caller is not None:
            self.samples.append(frame.f_code)


def measure_program(name: str, warm: int, steps: int) -> dict[str, Any]:
    """Time the steps of one program, in plain Python and compiled.

    Parameters
    ----------
    name : str
        A module of ``tests.from_scratch``.
    warm, steps : int
        How many steps are run before, and timed.
    """
    module = importlib.import_module(f"tests.from_scratch.{name}")
    with contextlib.redirect_stdout(io.StringIO()):
        run, _, eager = module.build(Measured)
        expected = [run(number) for number in range(warm + steps)]
        run, _, jitted = module.build(lambda function: Measured(jj.jit(function, background=False)))
        step = jitted.function
        found = [run(number) for number in range(warm)]
        before = step.stats
        found += [run(number) for number in range(warm, warm + steps)]
        after = step.stats
        share = _share_in_graph(run, jitted, warm + steps)
    # a policy's actions turn on the last bits of its logits, which products leave open: later episodes may differ
    np.testing.assert_allclose(np.asarray(found[:100], float), np.asarray(expected[:100], float), rtol=1e-6)
    eager_seconds, jit_seconds = (statistics.fmean(part.times[warm : warm + steps]) for part in (eager, jitted))
    return {
        "name": name,
        "what": PROGRAMS[name],
        "eager_seconds": eager_seconds,
        "jit_seconds": jit_seconds,
        "ratio": eager_seconds / jit_seconds,
        "graph_share": share if step.reason is None else 0.0,
        "host_calls": (after.host_calls - before.host_calls) / steps,
        "graph_calls": after.graph_calls - before.graph_calls,
        "steps": steps,
        "specializations": after.specializations,
        "compile_seconds": after.compile_seconds,
        "reason": "" if step.reason is None else step.reason.text,
    }


def _share_in_graph(run: Callable[[int], Any], jitted: Measured, first: int) -> float:
    """Return in how many of the samples of a second or more compiled code was running."""
    jitted.samples = samples = []
    signal.signal(signal.SIGALRM, jitted.sample)
    number, ends = first, time.perf_counter() + 2.0
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while time.perf_counter() < ends:
        run(number)
        number += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    jitted.samples = None
    callers = _CALLERS | {Measured.__call__.__code__}
    return sum(code in callers for code in samples) / max(len(samples), 1)


def train(X: np.ndarray, y: np.ndarray, parameters: dict[str, np.ndarray], epochs: int) -> float:
    """A whole training loop in one call."""
    loss = 0.0
    for _ in range(epochs):
        hidden = np.tanh(X @ parameters["W"])
        error = hidden @ parameters["v"] - y
        loss = (error**2).mean()
        slope = np.outer(error, parameters["v"]) * (1.0 - hidden**2)
        parameters["v"] -= 0.01 * hidden.T @ error
        parameters["W"] -= 0.01 * X.T @ slope
    return float(loss)


def _data() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 8)), rng.normal(size=32), {"W": rng.normal(size=(8, 16)), "v": rng.normal(size=16)}


def _timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def measure_whole_loop(turns: int, repeats: int) -> dict[str, Any]:
    """Compare a turn of a loop that is compiled while it runs with a compiled call of one turn.

    Each call is a new function's first with its loop inside, and the same loop begun 50 turns before: the difference is
    what the turns after the fiftieth take.
    """
    step = jj.jit(train, background=False)
    X, y, parameters = _data()
    for _ in range(60):
        step(X, y, parameters, 1)
    single = statistics.median(_timed(lambda: step(X, y, parameters, 1)) for _ in range(2_000))
    eager = _timed(lambda: train(*_data(), turns)) / turns
    # two lengths, both taken over within the first 50 turns: what they have in common falls out
    per_turn, entries = [], 0
    for _ in range(repeats):
        short, long = jj.jit(train, background=False), jj.jit(train, background=False)
        first = _timed(lambda f=short: f(*_data(), turns))  # type: ignore[misc]
        second = _timed(lambda f=long: f(*_data(), 3 * turns))  # type: ignore[misc]
        per_turn.append((second - first) / (2 * turns))
        entries += short.stats.loop_entries + long.stats.loop_entries
    return {
        "eager_turn_seconds": eager,
        "compiled_step_seconds": single,
        "compiled_turn_seconds": statistics.median(per_turn),
        "taken_over": entries == 2 * repeats,
    }


def main() -> int:
    """Print a table and write the figures; return 1 if a program ran in plain Python for good."""
    rows = []
    print(f"{'':<12}{'eager':>12}{'janusjit':>12}{'ratio':>9}{'in graph':>10}{'host calls':>12}{'compiled':>11}")
    for name in PROGRAMS:
        row = measure_program(name, warm=276, steps=184)
        rows.append(row)
        times = f"{row['eager_seconds'] * 1e6:>9.0f} µs{row['jit_seconds'] * 1e6:>9.0f} µs{row['ratio']:>8.2f}×"
        print(f"{name:<12}{times}{row['graph_share']:>10.0%}{row['host_calls']:>12.1f}{row['compile_seconds']:>9.1f} s")
        if row["reason"]:
            print(f"  in plain Python: {row['reason']}")
    loop = measure_whole_loop(turns=5_000, repeats=5)
    print(
        f"\none call with the loop inside: a turn takes {loop['compiled_turn_seconds'] * 1e6:.1f} µs, "
        f"a compiled call of one turn {loop['compiled_step_seconds'] * 1e6:.1f} µs, "
        f"a turn in plain Python {loop['eager_turn_seconds'] * 1e6:.1f} µs"
    )
    RESULTS.write_text(json.dumps({"programs": rows, "whole_loop": loop}, indent=1) + "\n", encoding="utf-8")
    print(f"\nratio: eager over janusjit, means of settled steps. Written: {RESULTS}")
    return int(any(row["reason"] for row in rows))
