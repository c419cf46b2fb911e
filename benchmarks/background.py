"""``python -m benchmarks background``: what calls take while the program is being compiled beside them.

Owns the method: in one process, calls of the plain function are timed, then all calls of the jitted one until it runs
compiled, then the plain function again. Between the call that captures and the first compiled one, calls run in Python
while the compiler works on another thread; those are compared with the plain ones. Invariant: each side's calls get
arguments made by the same function, and a call is timed alone, so a pause of one call is seen.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import janusjit
from benchmarks.cases import PROGRAMS, Case

RESULTS = Path(__file__).parent / "results"
REPEATS = 5
#: seconds of plain calls before, and again after; and after how many seconds the compiler is given up
PLAIN_SECONDS, MOST_SECONDS = 1.0, 60.0
#: profiled calls; the one after them captures
WARM_UP = 2


def time_call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def plain_calls(case: Case) -> list[float]:
    """Return the seconds of calls of the plain function."""
    arguments, end = case.arguments(), time.perf_counter() + PLAIN_SECONDS
    found = []
    while time.perf_counter() < end or len(found) < 5:
        found.append(time_call(case.function, arguments))
    return found


def measure(case: Case) -> dict[str, float]:
    """Time one program's calls; return the figures."""
    plain = plain_calls(case)
    jitted = janusjit.jit(case.function, background=True, warmup=WARM_UP)
    arguments, end = case.arguments(), time.perf_counter() + MOST_SECONDS
    calls: list[float] = []
    while not jitted.stats.graph_calls and time.perf_counter() < end:
        calls.append(time_call(jitted, arguments))
    plain += plain_calls(case)
    compiling = calls[WARM_UP + 1 : -1]
    eager = statistics.median(plain)
    return {
        "eager": eager,
        "eager_95": quantile(plain, 0.95),
        "compiling": statistics.median(compiling),
        "compiling_95": quantile(compiling, 0.95),
        "ratio": statistics.median(compiling) / eager,
        "ratio_95": quantile(compiling, 0.95) / quantile(plain, 0.95),
        "mean_ratio": statistics.fmean(compiling) / statistics.fmean(plain),
        "longest": max(compiling),
        "calls": len(compiling),
        "capturing": calls[WARM_UP],
        "seconds": sum(compiling),
    }


def quantile(values: list[float], part: float) -> float:
    """Return the value below which a part of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def run_process(name: str) -> dict[str, float]:
    """Measure in a process of its own, without compiled code on disk."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JANUSJIT_QUIET": "1"}
    command = [sys.executable, "-m", "benchmarks.background", name]
    completed = subprocess.run(
        command, env=environment | {"JANUSJIT_CACHE": "0"}, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(completed.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure all programs, print a table and write the figures."""
    rows = {}
    print(f"{'calls while the compiler works beside them':<44}{'eager':>10}{'compiling':>11}{'ratio':>7}", end="")
    print(f"{'of 95 %':>9}{'of means':>10}{'calls':>8}{'longest':>10}{'capturing':>11}")
    for case in PROGRAMS:
        runs = [run_process(case.name) for _ in range(REPEATS)]
        row = rows[case.name] = {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        print(f"{case.name:<44}{1e3 * row['eager']:>7.3f} ms{1e3 * row['compiling']:>8.3f} ms", end="")
        print(f"{row['ratio']:>7.2f}{row['ratio_95']:>9.2f}{row['mean_ratio']:>10.2f}{row['calls']:>8.0f}", end="")
        print(f"{1e3 * row['longest']:>7.1f} ms{1e3 * row['capturing']:>8.1f} ms", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "background.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Written: background.json in {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(next(case for case in PROGRAMS if case.name == sys.argv[1]))) + "\n")
