"""What going back through a while loop of 1,000 turns takes, beside going forward through it.

Owns ``python -m benchmarks loops``. Both are compiled; the backward time is that of value and gradient less that of the
value.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import janusjit as jj

RESULTS = Path(__file__).parent / "results" / "loop_gradients.json"
TURNS = 1_000


def drift(x: Any, turns: int) -> Any:
    """Each element goes its own way."""
    count = 0
    while count < turns:
        x = x + 0.001 * np.sin(x) * x
        count += 1
    return np.sum(x)


def recurrence(w: Any, turns: int) -> Any:
    """A product with one matrix in each turn."""
    state = np.full(w.shape[0], 0.1)
    count = 0
    while count < turns:
        state = state + 0.01 * np.tanh(state @ w)
        count += 1
    return np.sum(state)


def descent(x: Any, turns: int) -> Any:
    """The loop's end depends on what it computes."""
    error, count = 1.0, 0
    while error > 1e-300 and count < turns:
        x = x - 0.01 * (x * x * x - 2.0 * x)
        error = np.abs(x).sum()
        count += 1
    return error


CASES: dict[str, tuple[Callable[..., Any], Any]] = {
    "a number": (drift, 0.5),
    "4 numbers": (drift, np.linspace(0.1, 1.0, 4)),
    "100 numbers": (drift, np.linspace(0.1, 1.0, 100)),
    "2,000 numbers": (drift, np.linspace(0.1, 1.0, 2_000)),
    "a 16×16 matrix": (recurrence, 0.3 * np.eye(16)),
    "a 64×64 matrix": (recurrence, 0.3 * np.eye(64)),
    "100 numbers, until they settle": (descent, np.linspace(0.1, 1.0, 100)),
}


def _seconds(function: Callable[..., Any], argument: Any) -> float:
    for _ in range(6):
        function(argument, TURNS)
    times = []
    for _ in range(15):
        started = time.perf_counter()
        function(argument, TURNS)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> int:
    """Time the loops, print a table and write the figures."""
    rows = []
    print(f"{'state of the loop':<34}{'forward':>12}{'backward':>12}{'backward/forward':>18}")
    for name, (function, argument) in CASES.items():
        forward = jj.jit(function, background=False)

        def both(at: Any, turns: int, function: Callable[..., Any] = function) -> Any:
            return jj.value_and_grad(function)(at, turns)

        jitted = jj.jit(both, background=False)
        ahead = _seconds(forward, argument)
        back = _seconds(jitted, argument) - ahead
        in_graph = forward.stats.graph_calls > 15 and jitted.stats.graph_calls > 15
        rows.append({"name": name, "forward": ahead, "backward": back, "in_graph": in_graph})
        note = "" if in_graph else "  (in Python)"
        print(f"{name:<34}{1e6 * ahead:10.0f} µs{1e6 * back:10.0f} µs{back / ahead:17.1f}×{note}")
    RESULTS.parent.mkdir(exist_ok=True)
    record = json.dumps({"turns": TURNS, "rows": rows}, indent=1, ensure_ascii=False)
    RESULTS.write_text(record + "\n", encoding="utf-8")
    return 0
