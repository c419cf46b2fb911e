"""Tells how much memory a contestant's step takes beyond its arguments, as one JSON object.

Owns the method: once the step is warmed up, what its library keeps between steps is given back as far as it can be; the
most that is resident during a few steps after that, over what was resident before them, is what a step takes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path

import janusjit
from benchmarks.peers.contestants import NotExpressed
from benchmarks.peers.rows import ROWS
from benchmarks.peers.worker import prepare

#: steps before measuring, some of which janusjit runs in plain Python to compare, and steps that are measured
WARM_UP, STEPS = 40, 4
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """Return a figure of the process's memory in bytes: ``VmRSS``, or ``VmHWM`` for the most since the last reset."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main(name: str, row_name: str, dtype: str) -> None:
    """Print what a step takes, and what its arguments do."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    row = next(row for row in ROWS if row.name == row_name)
    try:
        step, results = prepare(name, row, dtype)
    except (ImportError, NotExpressed) as reason:
        print(json.dumps({"absent": f"{type(reason).__name__}: {reason}"}))
        return
    step.run(WARM_UP)
    del results
    gc.collect()
    janusjit.release_memory()
    for _ in range(2):
        time.sleep(0.3)  # some libraries free on threads of their own
        ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    _RESET.write_text("5")
    for _ in range(STEPS):
        step.run(1)
    beyond = max(resident("VmHWM") - before, 0)
    print(json.dumps({"beyond": beyond, "arguments": sum(array.nbytes for array in row.arguments(dtype))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
