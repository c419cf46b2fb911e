"""Times the cases in one process, that is under one BLAS setting; prints one JSON object.

Owns the method: both sides are warmed up alike, then timed in turn, block by block, and the median over blocks counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl

import janusjit
from benchmarks.cases import CASES, Case

#: Calls before timing, on both sides; under @jit they include profiling and compilation.
WARM_UP_CALLS = 12
MAXIMUM_CALLS_A_BLOCK = 2000


def time_block(function: Callable[..., Any], arguments: tuple[Any, ...], calls: int) -> float:
    """Return seconds a call, over ``calls`` calls."""
    started = time.perf_counter()
    for _ in range(calls):
        function(*arguments)
    return (time.perf_counter() - started) / calls


def equal(expected: Any, actual: Any) -> bool:
    """Return whether two results are equal within rounding."""
    if isinstance(expected, tuple):
        return len(expected) == len(actual) and all(map(equal, expected, actual))
    if expected is None:
        return actual is None
    tolerance = 1e-4 if np.asarray(expected).dtype == np.float32 else 1e-9
    return bool(np.allclose(expected, actual, rtol=tolerance, atol=tolerance))


def measure(case: Case, blocks: int, block_seconds: float) -> dict[str, Any]:
    """Time one case on both sides."""
    jitted = janusjit.jit(case.function, background=False)
    first_arguments, other_arguments = case.arguments(), case.arguments()
    same = True
    for _ in range(WARM_UP_CALLS):
        same = equal(case.function(*first_arguments), jitted(*other_arguments)) and same
    calls = max(1, min(MAXIMUM_CALLS_A_BLOCK, int(block_seconds / time_block(case.function, case.arguments(), 3))))
    settled = jitted.stats.graph_calls
    eager_seconds, jit_seconds = [], []
    gc.disable()
    for _ in range(blocks):
        eager_seconds.append(time_block(case.function, case.arguments(), calls))
        jit_seconds.append(time_block(jitted, case.arguments(), calls))
    gc.enable()
    return {
        "name": case.name,
        "group": case.group,
        "eager_seconds": statistics.median(eager_seconds),
        "jit_seconds": statistics.median(jit_seconds),
        "eager_spread": spread(eager_seconds),
        "jit_spread": spread(jit_seconds),
        "calls_a_block": calls,
        "compile_seconds": jitted.stats.compile_seconds,
        "in_graph": jitted.stats.graph_calls - settled == blocks * calls,
        "equal": same,
    }


def spread(seconds: list[float]) -> float:
    """Return the interquartile range relative to the median."""
    if len(seconds) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4)
    return (high - low) / middle


def main() -> None:
    """Time the cases whose names contain ``--only`` and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--block-seconds", type=float, default=0.02)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    rows = []
    for case in CASES:
        if options.only in case.name or options.only == case.group:
            rows.append(measure(case, options.blocks, options.block_seconds))
            print(f"  {case.name}", file=sys.stderr, flush=True)
    json.dump({"blas": threadpoolctl.threadpool_info(), "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main()
