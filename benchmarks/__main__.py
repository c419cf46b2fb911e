"""``python -m benchmarks``: time everything under both BLAS settings, print tables, write the figures and a plot.

NumPy's OpenBLAS picks its kernels by the processor it believes to be on, which changes products by a factor of two. So
everything is timed in two processes: with the kernels OpenBLAS picks, and with those of the other vector width. The
ratio given is to the faster of the two eager times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import janusjit
from benchmarks import background, bandwidth, compile_time, from_scratch, kernels, loop_gradients, memory
from benchmarks.blas import OPENBLAS_SETTINGS, blas_settings, processor_name
from benchmarks.cases import OVERHEAD
from benchmarks.peers.__main__ import main as compare_peers
from benchmarks.plot import write_plot

RESULTS = Path(__file__).parent / "results"


def run_worker(core_type: str | None, threads: int, extra: list[str]) -> dict[str, Any]:
    """Time the cases in a process of their own."""
    environment = {name: value for name, value in os.environ.items() if name not in OPENBLAS_SETTINGS}
    environment |= {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    if core_type is not None:
        environment["OPENBLAS_CORETYPE"] = core_type
    command = [sys.executable, "-m", "benchmarks.worker", *extra]
    completed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(completed.stdout)


def combine(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the rows of all settings by case."""
    combined = []
    for rows in zip(*(result["rows"] for result in results.values()), strict=True):
        eager = [row["eager_seconds"] for row in rows]
        jit = min(row["jit_seconds"] for row in rows)
        combined.append(
            {
                "name": rows[0]["name"],
                "group": rows[0]["group"],
                "eager_seconds": dict(zip(results, eager, strict=True)),
                "jit_seconds": dict(zip(results, (row["jit_seconds"] for row in rows), strict=True)),
                "ratio": min(eager) / jit,
                "compile_seconds": rows[0]["compile_seconds"],
                "in_graph": all(row["in_graph"] for row in rows),
                "equal": all(row["equal"] for row in rows),
            }
        )
    return combined


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, scale in (("s ", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:8.2f} {unit}"
    return f"{seconds / 1e-9:8.1f} ns"


def print_tables(rows: list[dict[str, Any]], settings: list[str]) -> None:
    """Print one table a group."""
    for group in dict.fromkeys(row["group"] for row in rows):
        headings = [f"eager, {setting}" for setting in settings]
        print(f"\n{group}")
        print(f"  {'':<42}" + "".join(f"{heading:>26}" for heading in headings) + f"{'janusjit':>13}  ratio  compiled")
        for row in (row for row in rows if row["group"] == group):
            eager = "".join(f"{duration(row['eager_seconds'][setting]):>26}" for setting in settings)
            note = "" if row["in_graph"] else "  (in Python)"
            note += "" if row["equal"] else "  DIFFERENT RESULT"
            jit = duration(min(row["jit_seconds"].values()))
            ratio = "" if group == OVERHEAD.group else f"{row['ratio']:.2f}×"
            print(f"  {row['name']:<42}{eager}{jit:>13}{ratio:>7}{row['compile_seconds']:8.2f} s{note}")


def main() -> int:
    """Run the benchmarks from the command line; return 1 if a result differed."""
    if sys.argv[1:2] == ["peers"]:
        return compare_peers(sys.argv[2:])
    if sys.argv[1:2] == ["programs"]:
        return from_scratch.main()
    if sys.argv[1:2] == ["loops"]:
        return loop_gradients.main()
    if sys.argv[1:2] == ["background"]:
        return background.main()
    if sys.argv[1:2] == ["bandwidth"]:
        return bandwidth.main()
    if sys.argv[1:2] == ["kernels"]:
        return kernels.main(sys.argv[2:])
    if sys.argv[1:2] == ["memory"]:
        return memory.main(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats: rough figures in a minute")
    parser.add_argument("--threads", type=int, default=1, help="BLAS threads, the same for both sides")
    parser.add_argument("--only", default="", help="a part of a case's name, or a group")
    parser.add_argument("--compile-time", action="store_true", help="instead, what compilation takes, stage by stage")
    options = parser.parse_args()
    if options.compile_time:
        return compile_time.measure_and_write(quick=options.quick)
    extra = ["--only", options.only, *(["--blocks", "5", "--block-seconds", "0.005"] if options.quick else [])]
    results = {}
    for name, core_type in blas_settings().items():
        print(f"BLAS: {name}, {options.threads} thread(s)", file=sys.stderr)
        results[name] = run_worker(core_type, options.threads, extra)
    rows = combine(results)
    print_tables(rows, list(results))
    if not options.only:
        write_results(rows, options.threads)
    return 0 if all(row["equal"] for row in rows) else 1


def write_results(rows: list[dict[str, Any]], threads: int) -> None:
    """Write the figures and the plot."""
    environment = {
        "processor": processor_name(),
        "threads": threads,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "janusjit": janusjit.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    record = {"environment": environment, "rows": rows}
    (RESULTS / "results.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    compared = [row for row in rows if row["group"] != OVERHEAD.group]
    write_plot(compared, environment, RESULTS / "results.svg")
    print(f"\nratio: the faster eager time over janusjit's. Written: results.json and results.svg in {RESULTS}")


if __name__ == "__main__":
    sys.exit(main())
