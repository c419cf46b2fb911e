"""``python -m benchmarks bandwidth``: how much of the memory's bandwidth loops over large arrays reach.

Owns the method: arrays of ten million elements, far more than the caches hold; the bandwidth is the most that copying,
reading two arrays and writing one reach by NumPy's and the C library's routines, in bytes that have to be moved. Each
kernel is counted by the arrays it reads and those it writes, once each, and timed in turn with the same in NumPy.
Invariant: kernels write where there is memory already, but for the last one, which returns an array and says so: plain
NumPy's is on pages that the operating system has to clear first, janusjit's on those of a result that was dropped.
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

import numpy as np

import janusjit

RESULTS = Path(__file__).parent / "results"
ELEMENTS, ROUNDS, WARM_UP = 10_000_000, 9, 30


def scale(x: Any, y: Any, z: Any, w: Any) -> None:
    """Two transfers an element."""
    x *= 0.9999


def add_scaled(x: Any, y: Any, z: Any, w: Any) -> None:
    """Three transfers."""
    y += 0.0001 * x


def triad(x: Any, y: Any, z: Any, w: Any) -> None:
    """Three transfers: STREAM's kernel of this name."""
    z[:] = x + 0.5 * y


def rectify(x: Any, y: Any, z: Any, w: Any) -> None:
    """Two transfers."""
    np.maximum(x, 0.0, out=x)


def total(x: Any, y: Any, z: Any, w: Any) -> Any:
    """One transfer."""
    return x.sum()


def adam(x: Any, y: Any, z: Any, w: Any) -> None:
    """Seven transfers: parameters, two moments, and the gradient, which is only read."""
    y *= 0.9
    y += 0.1 * w
    z *= 0.999
    z += 0.001 * w * w
    x -= 0.001 * y / (np.sqrt(z) + 1e-8)


def fresh(x: Any, y: Any, z: Any, w: Any) -> Any:
    """Three transfers, one of them to a result: NumPy's is memory that the operating system has just given."""
    return x + y


KERNELS: dict[Callable[..., Any], int] = {
    scale: 2,
    add_scaled: 3,
    triad: 3,
    rectify: 2,
    total: 1,
    adam: 7,
    fresh: 3,
}


def seconds(call: Callable[[], Any]) -> float:
    """Return what one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measured_bandwidth(arrays: list[Any]) -> float:
    """Return the bytes a second that simple routines move."""
    x, y, z, _ = arrays
    ways = {lambda: np.copyto(z, x): 2, lambda: np.negative(x, out=x): 2, lambda: x.dot(y): 2, lambda: z.fill(0.5): 1}
    return max(
        transfers * x.nbytes / statistics.median(seconds(call) for _ in range(ROUNDS))
        for call, transfers in ways.items()
    )


def fresh_arrays(dtype: str) -> list[Any]:
    """Return arrays of numbers between 0 and 1."""
    rng = np.random.default_rng(0)
    return [rng.random(ELEMENTS).astype(dtype) for _ in range(4)]


def measure(dtype: str) -> dict[str, Any]:
    """Time the kernels in one element type."""
    arrays = fresh_arrays(dtype)
    bandwidth = measured_bandwidth(arrays)
    rows = {}
    for kernel, transfers in KERNELS.items():
        arrays = fresh_arrays(dtype)
        jitted = janusjit.jit(kernel, background=False)
        for _ in range(WARM_UP):
            jitted(*arrays)
        before = jitted.stats.graph_calls
        times: dict[str, list[float]] = {"eager": [], "jit": []}
        for _ in range(ROUNDS):
            times["eager"].append(seconds(lambda: kernel(*arrays)))  # noqa: B023 - called at once
            times["jit"].append(seconds(lambda: jitted(*arrays)))  # noqa: B023
        row = {f"{name} seconds": statistics.median(found) for name, found in times.items()}
        row["of bandwidth"] = transfers * arrays[0].nbytes / row["jit seconds"] / bandwidth
        row["in graph"] = jitted.stats.graph_calls - before == ROUNDS
        rows[kernel.__name__] = row
    return {"bytes a second": max(bandwidth, measured_bandwidth(arrays)), "kernels": rows}


def main() -> int:
    """Measure in a process for each number of threads, print a table and write the figures."""
    record = {}
    for threads in (1, 2):
        counts = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
        command = [sys.executable, "-m", "benchmarks.bandwidth"]
        completed = subprocess.run(command, env=os.environ | counts, stdout=subprocess.PIPE, text=True, check=True)
        record[f"{threads} threads"] = found = json.loads(completed.stdout.splitlines()[-1])
        for dtype, part in found.items():
            print(f"{threads} thread(s), {dtype}: {part['bytes a second'] / 1e9:.1f} GB/s")
            for name, row in part["kernels"].items():
                note = "" if row["in graph"] else "  (in Python)"
                ratio = row["eager seconds"] / row["jit seconds"]
                print(f"  {name:<12}{row['of bandwidth']:6.2f} of the bandwidth, {ratio:5.2f}× eager NumPy{note}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bandwidth.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"Written: bandwidth.json in {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.stdout.write(json.dumps({dtype: measure(dtype) for dtype in ("float64", "float32")}) + "\n")
