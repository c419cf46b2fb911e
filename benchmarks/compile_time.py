"""``python -m benchmarks.compile_time``: what compilation takes, stage by stage, and how it grows with the program.

Three questions: where the time from decoration to the first compiled call goes, in a process that finds nothing in the
cache and in one that does; whether each stage is linear in the size of the program, from 10 to 10,000 operations; and
what `jax.jit` and `torch.compile` take for the same operations, where they are installed. Each figure is the median
over processes, of processor time, which other work on the machine does not change as much as the time on the clock.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.line_plot import write_line_plot

RESULTS = Path(__file__).parent / "results"
EXAMPLES = ("digits_mlp", "char_rnn", "als_cg", "softmax_regression")
SIZES = (10, 100, 1000, 10_000)
STAGES = ("source and twin", "capture", "transforms", "emission", "LLVM", "other")


def run_process(arguments: list[str], cache: Path | None, python: str = sys.executable) -> dict[str, Any]:
    """Measure in a process of its own, with compiled code in ``cache``, or none."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JANUSJIT_QUIET": "1"}
    environment |= {"JANUSJIT_CACHE": "0" if cache is None else "1", "JANUSJIT_CACHE_DIR": str(cache or "")}
    command = [python, "-m", "benchmarks.compile_worker", *arguments]
    completed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return found


def median(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def measure_examples(repeats: int) -> dict[str, Any]:
    """Return the stages of each example, for a cold and for a warm cache."""
    measured = {}
    for name in EXAMPLES:
        with tempfile.TemporaryDirectory() as folder:
            cold = [run_process(["example", name], Path(folder, str(turn))) for turn in range(repeats)]
            warm = [run_process(["example", name], Path(folder, str(turn))) for turn in range(repeats)]
        measured[name] = {"cold": median(cold), "warm": median(warm)}
    return measured


def measure_sizes(sizes: tuple[int, ...], repeats: int) -> dict[str, Any]:
    """Return the stages of straight-line functions of each size, and the peers' time for the same ones."""
    measured = {}
    for size in sizes:
        row: dict[str, Any] = median([run_process(["line", str(size)], None) for _ in range(repeats)])
        for peer in ("jax", "torch"):
            if importlib.util.find_spec(peer) is not None and size <= 1000:
                row[peer] = median([run_process([peer, str(size)], None) for _ in range(repeats)])["total"]
        measured[str(size)] = row
    return measured


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print a table of milliseconds."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n{title} (ms)\n  {'':<28}" + "".join(f"{column:>17}" for column in columns))
    for name, row in rows.items():
        cells = (f"{row[column] * 1e3:>17.1f}" if column in row else f"{'':>17}" for column in columns)
        print(f"  {name:<28}" + "".join(cells))


def measure_and_write(quick: bool = False) -> int:
    """Measure, print the tables and write the figures; ``quick``: one process for each, and no large programs."""
    repeats, sizes = (1, SIZES[:-1]) if quick else (3, SIZES)
    examples, lines = measure_examples(repeats), measure_sizes(sizes, repeats)
    flat = {f"{name}, {kind} cache": row for name, kinds in examples.items() for kind, row in kinds.items()}
    print_table("From decoration to the end of the first compiled call", flat)
    print_table("Straight-line functions, by number of operations, no cache", lines)
    RESULTS.mkdir(exist_ok=True)
    record = {"examples": examples, "straight_line": lines}
    (RESULTS / "compile_time.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    curves = {
        column: [(int(size), row[column]) for size, row in lines.items() if row.get(column, 0) > 0]
        for column in (*STAGES, "total", "jax", "torch")
    }
    write_line_plot({name: points for name, points in curves.items() if points}, RESULTS / "compile_time.svg")
    print(f"\nWritten: compile_time.json and compile_time.svg in {RESULTS}")
    return 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one process for each figure, up to 1,000 operations")
    return measure_and_write(parser.parse_args().quick)


if __name__ == "__main__":
    sys.exit(main())
