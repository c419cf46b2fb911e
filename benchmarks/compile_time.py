"""``python -m benchmarks.compile_time``: what compilation takes, stage by stage, and how it grows with the program.

Three questions: where the time from decoration to the first compiled call goes, in a process that finds nothing in the
cache and in one that does; whether each stage is linear in the size of the program, from 10 to 10,000 operations, for
programs of several shapes; and what `jax.jit` and `torch.compile` take, for the same operations and for the programs of
the comparison with other libraries, where they are installed. Each figure is the median over processes, of processor
time, which other work on the machine does not change as much as the time on the clock; programs have both.
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

from benchmarks.compile_worker import SHAPES
from benchmarks.line_plot import write_line_plot

RESULTS = Path(__file__).parent / "results"
EXAMPLES = ("digits_mlp", "char_rnn", "als_cg", "softmax_regression")
SIZES = (10, 100, 1000, 10_000)
STAGES = ("source and twin", "capture", "transforms", "emission", "LLVM", "other")
#: programs of the comparison with other libraries, and who is compared
PROGRAMS = (
    "MLP 64-32-10, batch 32, Adam",
    "LeNet, batch 32, SGD",
    "LSTM, 35 steps",
    "character RNN, 25 steps",
    "transformer block, 8×32×64, Adam",
    "residual block, 16×16×16×16, SGD",
    "gradient of a VAE, 144-64-8, batch 32",
    "k-means iteration",
    "ALS-CG, whole loop",
    "N-body, 256 bodies",
)
CONTESTANTS = {"janusjit": "janusjit", "jax.jit": "jax", "torch.compile": "torch"}


def run_process(arguments: list[str], cache: Path | None, python: str = sys.executable) -> dict[str, Any]:
    """Measure in a process of its own, with compiled code in ``cache``, or none."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JANUSJIT_QUIET": "1"}
    environment |= {"JAX_PLATFORMS": "cpu", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    environment |= {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
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


def measure_sizes(shape: str, sizes: tuple[int, ...], repeats: int) -> dict[str, Any]:
    """Return the stages of functions of one shape and each size, and for straight lines the peers' time as well."""
    measured = {}
    for size in sizes:
        row: dict[str, Any] = median([run_process([shape, str(size)], None) for _ in range(repeats)])
        for peer in ("jax", "torch"):
            if shape == "line" and importlib.util.find_spec(peer) is not None and size <= 1000:
                row[peer] = median([run_process([peer, str(size)], None) for _ in range(repeats)])["total"]
        measured[str(size)] = row
    return measured


def measure_programs(repeats: int) -> dict[str, dict[str, float]]:
    """Return what each contestant takes for each program, by the clock and of the processors."""
    measured: dict[str, dict[str, float]] = {}
    for name in PROGRAMS:
        row = measured[name] = {}
        for contestant, module in CONTESTANTS.items():
            if importlib.util.find_spec(module) is None:
                continue
            try:
                runs = [run_process(["step", f"{contestant}|{name}|float64"], None) for _ in range(repeats)]
            except subprocess.CalledProcessError:  # a gap in the table
                continue
            row |= {f"{contestant}, {kind}": seconds for kind, seconds in median(runs).items()}
        for contestant in CONTESTANTS:
            theirs = row.get(f"{contestant}, processor")
            if theirs is not None and contestant != "janusjit":
                row[f"of {contestant}"] = row["janusjit, processor"] / theirs
        ratios = "".join(f"  {of} {row[of]:.2f}" for of in row if of.startswith("of "))
        print(f"  {name:<44}{row['janusjit, processor']:8.3f} s{ratios}", flush=True)
    return measured


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print a table of milliseconds."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n{title} (ms)\n  {'':<28}" + "".join(f"{column:>17}" for column in columns))
    for name, row in rows.items():
        cells = (f"{row[column] * 1e3:>17.1f}" if column in row else f"{'':>17}" for column in columns)
        print(f"  {name:<28}" + "".join(cells))


def measure_and_write(quick: bool = False, programs_only: bool = False) -> int:
    """Measure, print the tables and write the figures.

    Parameters
    ----------
    quick : bool
        One process for each figure, and no large programs.
    programs_only : bool
        Only the programs that are compared with other libraries; the other figures stay as they are.
    """
    repeats, sizes = (1, SIZES[:-1]) if quick else (3, SIZES)
    path = RESULTS / "compile_time.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    print("From decoration to the end of the first compiled call, of processor time, without a cache")
    record["programs"] = measure_programs(repeats)
    if not programs_only:
        examples = record["examples"] = measure_examples(repeats)
        flat = {f"{name}, {kind} cache": row for name, kinds in examples.items() for kind, row in kinds.items()}
        print_table("From decoration to the end of the first compiled call", flat)
        for shape in SHAPES:
            record[shape] = measure_sizes(shape, sizes, repeats)
            print_table(f"Functions by number of operations, no cache: {shape}", record[shape])
            _plot(shape, record[shape])
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nWritten: compile_time.json and compile_time_*.svg in {RESULTS}")
    return 0


def _plot(shape: str, rows: dict[str, dict[str, float]]) -> None:
    curves = {
        column: [(int(size), row[column]) for size, row in rows.items() if row.get(column, 0) > 0]
        for column in (*STAGES, "total", "jax", "torch")
    }
    write_line_plot({name: points for name, points in curves.items() if points}, RESULTS / f"compile_time_{shape}.svg")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one process for each figure, up to 1,000 operations")
    parser.add_argument("--programs", action="store_true", help="only the programs compared with other libraries")
    options = parser.parse_args()
    return measure_and_write(options.quick, options.programs)


if __name__ == "__main__":
    sys.exit(main())
