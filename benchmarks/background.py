"""``python -m benchmarks background``: what calls take while the program is being compiled beside them.

Owns the method: in one process, calls of the plain function are timed, then all calls of the jitted one until it runs
compiled, then the plain function again. The first call, the calls that are profiled and the one that captures are told
of one by one, as multiples of a plain call. The others run in Python while another thread makes the function ready or
compiles it; those are compared with the plain ones: their distribution, and that of the means over windows of ten
milliseconds, which is what is promised of calls too short to be stopped in unnoticed.
Invariant: each side's calls get arguments made by the same function, and have the same done in between, which decides
what a short call finds in the caches; a call is timed alone, so a pause of one call is seen.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
#: seconds of calls whose mean is promised
WINDOW = 0.01
#: what is told of a distribution, but for its mean and its maximum
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def time_call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def calls_until(done: Callable[[], bool], function: Callable[..., Any], case: Case, most: float) -> list[float]:
    """Return the seconds of calls until ``done`` after one of them, or until ``most`` seconds have passed."""
    arguments, end = case.arguments(), time.perf_counter() + most
    found: list[float] = []
    while not done() and time.perf_counter() < end:
        found.append(time_call(function, arguments))
    return found


def measure(case: Case) -> dict[str, float]:
    """Time one program's calls; return the figures."""
    jitted, idle = (janusjit.jit(case.function, background=True, warmup=WARM_UP) for _ in range(2))
    states: list[tuple[bool, int]] = []

    def note(function: janusjit.JitFunction[..., Any]) -> bool:
        """Note whether a call has handed a graph over to the compiler, and how many have been profiled."""
        stats = function.stats
        states.append((function._lifecycle.pending is not None, stats.profiled_calls))
        return stats.graph_calls > 0

    plain = calls_until(lambda: note(idle), case.function, case, PLAIN_SECONDS)
    states.clear()
    calls = calls_until(lambda: note(jitted), jitted, case, MOST_SECONDS)
    after = states[1:]  # it is looked before each call, and behind the last
    plain += calls_until(lambda: note(idle), case.function, case, PLAIN_SECONDS)
    found = {f"eager {name}": value for name, value in distribution(plain).items()}
    return found | told(calls, after)


def told(calls: Sequence[float], after: Sequence[tuple[bool, int]]) -> dict[str, float]:
    """Return what there is to say of the seconds of all calls up to the first compiled one.

    ``after`` says of each whether a graph has been handed over to the compiler by its end, and how many calls have been
    profiled.
    """
    before = [(False, 0), *after[:-1]]
    profiled = [i for i in range(len(calls)) if after[i][1] > before[i][1]]
    capturing = next(i for i in range(len(calls)) if after[i][0])
    special = {0, capturing, len(calls) - 1, *profiled}
    meanwhile = [seconds for i, seconds in enumerate(calls) if i not in special]
    found = {f"compiling {name}": value for name, value in distribution(meanwhile).items()}
    return found | {
        "calls": len(meanwhile),
        "first": calls[0],
        "profiled": max(calls[i] for i in profiled),
        "profiled calls": len(profiled),
        "capturing": calls[capturing],
        "seconds": sum(meanwhile),
    }


def distribution(calls: Sequence[float]) -> dict[str, float]:
    """Return what there is to say of the seconds of calls in a row."""
    found = {name: quantile(calls, part) for name, part in QUANTILES.items()}
    found |= {"max": max(calls), "mean": statistics.fmean(calls)}
    return found | {f"windows {name}": quantile(windows(calls), part) for name, part in QUANTILES.items()}


def windows(calls: Sequence[float]) -> list[float]:
    """Return the mean of the calls within each window; a longer call is one by itself."""
    found, total, count = [], 0.0, 0
    for seconds in calls:
        total, count = total + seconds, count + 1
        if total >= WINDOW:
            found.append(total / count)
            total, count = 0.0, 0
    return found or [statistics.fmean(calls)]


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which a part of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def run_process(name: str) -> dict[str, float]:
    """Measure in a process of its own, with an empty cache, and without measuring the machine."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JANUSJIT_QUIET": "1"}
    command = [sys.executable, "-m", "benchmarks.background", name]
    with tempfile.TemporaryDirectory() as folder:
        environment |= {"JANUSJIT_CACHE_DIR": folder, "JANUSJIT_CALIBRATION": "0"}
        completed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(completed.stdout.splitlines()[-1])
    return found


def show(name: str, row: dict[str, float]) -> None:
    """Print what was measured of a program: milliseconds of eager calls, and times as much for those meanwhile."""
    columns = [*QUANTILES, "max", "mean", *(f"windows {name}" for name in QUANTILES)]
    eager = "".join(f"{1e3 * row[f'eager {column}']:>9.3f}" for column in columns)
    ratios = "".join(f"{row[f'compiling {column}'] / row[f'eager {column}']:>8.2f}x" for column in columns)
    print(f"{name:<44}{'eager, ms':>10}{eager}")
    about = f"{row['calls']:.0f} calls in {row['seconds']:.2f} s"
    print(f"{about:<44}{'meanwhile':>10}{ratios}")
    longest = f"longest of {row['profiled calls']:.0f} profiled"
    single = {"first": "first", "profiled": longest, "capturing": "capturing"}
    told = [
        f"{text} {1e3 * row[name]:.2f} ms, {row[name] / row['eager p50']:.1f}x" for name, text in single.items()
    ]
    print(f"    {'; '.join(told)}", flush=True)


def main() -> int:
    """Measure all programs, print a table and write the figures."""
    rows = {}
    print(f"{'calls while the compiler works beside them':<54}", end="")
    print("".join(f"{column:>9}" for column in [*QUANTILES, "max", "mean"]), end="")
    print("".join(f"{f'10ms {name}':>9}" for name in QUANTILES))
    for case in PROGRAMS:
        runs = [run_process(case.name) for _ in range(REPEATS)]
        row = rows[case.name] = {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        show(case.name, row)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "background.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Written: background.json in {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(next(case for case in PROGRAMS if case.name == sys.argv[1]))) + "\n")
