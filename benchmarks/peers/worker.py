"""Times rows in one process, that is under one BLAS setting and one number of threads; prints a JSON object for each.

Before a row its name is printed, so that whoever started the process knows which row has killed it, if one has.

Owns the method: every contestant is warmed up, then blocks of calls are timed in turn, contestant after contestant, so
that what else the machine does meets all of them. The figure is the least of the medians over the rounds. Invariants:
the process is bound to as many processors as it has threads, so no contestant has more of them than another; and a
block begins when the threads of the contestant before have come to rest. They wait for more work with the processor
for a while (``OMP_WAIT_POLICY`` and its kin say how long), and who comes next would have half of two processors.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import statistics
import sys
import time
from typing import Any

import numpy as np

from benchmarks.peers.contestants import CONTESTANTS, NotExpressed, Step
from benchmarks.peers.rows import ROWS, Row

#: calls before timing; under @jit they include profiling and compilation
WARM_UP_CALLS = 6
#: seconds for which functions under @jit are called besides, so many times at most: they are timed against plain Python
TRIAL_SECONDS, TRIAL_CALLS = 0.5, 20_000
#: what `torch.compile` or PyTensor may take for one program before it counts as not expressed, and all contestants
#: together before those that are left do
PREPARATION_SECONDS, ROW_SECONDS = 100, 240
#: a part of a block's calls are made before it, and not timed
WAKING = 8
#: a process is at rest once it has used less than a part of the processor for so many seconds; how long that is awaited
REST_SECONDS, REST_PART, MOST_REST_SECONDS = 0.005, 0.2, 1.0


def prepare(name: str, row: Row, dtype: str) -> tuple[Step, list[Any]]:
    """Return a contestant's step, warmed up, and its results after the warm-up."""
    step = CONTESTANTS[name](row, row.arguments(dtype))
    results: list[Any] = []
    for _ in range(WARM_UP_CALLS):
        results = step.results()
    return step, results


def try_out(step: Step) -> None:
    """Have a function under @jit find out whether its graphs pay."""
    end = time.perf_counter() + TRIAL_SECONDS
    for _ in range(TRIAL_CALLS):
        step.run(1)
        if time.perf_counter() > end:
            break


def prepare_within(seconds: float, name: str, row: Row, dtype: str) -> tuple[Step, list[Any]]:
    """Return `prepare`, or raise TimeoutError."""

    def give_up(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {seconds:.0f} s to prepare")

    if seconds <= 0:
        raise TimeoutError("the time for this row was over")
    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, 2.0)  # again and again: some libraries swallow exceptions
    try:
        return prepare(name, row, dtype)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def measure(row: Row, dtype: str, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Time one row."""
    end = time.monotonic() + options.row_seconds
    steps: dict[str, Step] = {}
    expected: list[Any] = []
    absent: dict[str, str] = {}
    different: list[str] = []
    for name in names:
        try:
            steps[name], results = prepare_within(
                min(options.preparation_seconds, end - time.monotonic()), name, row, dtype
            )
        except (ImportError, NotExpressed, TimeoutError) as reason:
            absent[name] = f"{type(reason).__name__}: {reason}"
        except Exception as failure:  # noqa: BLE001 - a peer that fails is a gap in the table, not the end of it
            absent[name] = f"fails: {type(failure).__name__}: {str(failure).partition(chr(10))[0][:200]}"
        else:
            expected = expected or results
            if not _agree(expected, results, dtype):
                different.append(name)
    jitted = steps.get("janusjit")
    if jitted is not None:
        _rest()
        try_out(jitted)
    seconds = _time_in_turn(steps, options.rounds, options.block_seconds)
    in_graph = True
    if jitted is not None and jitted.counts is not None:
        before = jitted.counts()
        jitted.run(3)
        in_graph = jitted.counts() - before == 3
    return {
        "name": row.name,
        "dtype": dtype,
        "seconds": seconds,
        "absent": absent,
        "different": different,
        "in_graph": in_graph,
    }


def _agree(expected: list[Any], results: list[Any], dtype: str) -> bool:
    tolerance = 2e-2 if dtype == "float32" else 1e-5  # six steps amplify differences in the last place
    return len(expected) == len(results) and all(
        np.allclose(one, other, rtol=tolerance, atol=tolerance) for one, other in zip(expected, results, strict=True)
    )


def _time_in_turn(steps: dict[str, Step], rounds: int, block_seconds: float) -> dict[str, float]:
    calls = {name: _calls_a_block(step, block_seconds) for name, step in steps.items()}
    medians: dict[str, list[float]] = {name: [] for name in steps}
    gc.disable()
    for _ in range(rounds):
        blocks: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(3):
            for name, step in steps.items():
                _rest()
                step.run(1 + calls[name] // WAKING)  # its own threads wake, and its data come into the caches
                started = time.perf_counter()
                step.run(calls[name])
                blocks[name].append((time.perf_counter() - started) / calls[name])
        for name, times in blocks.items():
            medians[name].append(statistics.median(times))
    gc.enable()
    return {name: min(times) for name, times in medians.items()}


def _rest() -> None:
    """Wait until no thread of this process computes, or for a second."""
    end = time.perf_counter() + MOST_REST_SECONDS
    while time.perf_counter() < end:
        used, started = time.process_time(), time.perf_counter()
        time.sleep(REST_SECONDS)
        if time.process_time() - used < REST_PART * (time.perf_counter() - started):
            return


def _calls_a_block(step: Step, block_seconds: float) -> int:
    shortest = block_seconds
    for _ in range(5):  # the first ones find the caches full of what the contestant before has left there
        started = time.perf_counter()
        step.run(1)
        shortest = min(shortest, time.perf_counter() - started)
    return max(1, min(2000, int(block_seconds / shortest)))


def main() -> None:
    """Time the rows whose names contain ``--only`` and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block-seconds", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--preparation-seconds", type=float, default=PREPARATION_SECONDS)
    parser.add_argument("--row-seconds", type=float, default=ROW_SECONDS)
    parser.add_argument("--only", default="")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--skip", type=int, default=0, help="how many of the rows that were asked for to leave out")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    asked = [(row, dtype) for row in ROWS for dtype in row.dtypes]
    parts = options.only.split("|")
    asked = [(row, dtype) for row, dtype in asked if any(part in f"{row.name} {dtype}" for part in parts)]
    for row, dtype in asked[options.skip :]:
        print(f"row: {row.name} {dtype}", flush=True)
        measured = measure(row, dtype, options.contestants.split(","), options)
        figures = "  ".join(f"{name} {1e6 * s:.4g}" for name, s in measured["seconds"].items())
        print(f"  {row.name} {dtype}: {figures} µs", file=sys.stderr, flush=True)
        print(json.dumps({**measured, "threads": options.threads}), flush=True)


if __name__ == "__main__":
    main()
