"""``python -m benchmarks peers``: the comparison with autograd, JAX, PyTorch, Numba and PyTensor.

NumPy's OpenBLAS is given both kernel sets it has for such a processor, and the faster time of each row counts, for
NumPy and for janusjit. A peer that is not installed, or cannot express a program, is left out of that row and named.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.blas import OPENBLAS_SETTINGS, blas_settings, processor_name
from benchmarks.peers.plot import write_plot

RESULTS = Path(__file__).parent.parent / "results"
QUICK = ["--rounds", "2", "--block-seconds", "0.008", "--preparation-seconds", "30", "--row-seconds", "90"]
PACKAGES = ("numpy", "autograd", "jax", "torch", "numba", "pytensor")


def run_worker(core_type: str | None, threads: int, extra: list[str]) -> list[dict[str, Any]]:
    """Time the rows in a process of their own, and those behind a row that has killed it in another."""
    environment = {name: value for name, value in os.environ.items() if name not in OPENBLAS_SETTINGS}
    variables = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment |= dict.fromkeys(variables, str(threads))
    environment |= {"JAX_PLATFORMS": "cpu", "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    environment["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    if core_type is not None:
        environment["OPENBLAS_CORETYPE"] = core_type
    command = [sys.executable, "-m", "benchmarks.peers.worker", "--threads", str(threads), *extra]
    rows: list[dict[str, Any]] = []
    begun = 0
    while True:
        completed = subprocess.run([*command, "--skip", str(begun)], env=environment, stdout=subprocess.PIPE, text=True)
        lines = completed.stdout.splitlines()
        rows += [json.loads(line) for line in lines if line.startswith('{"name"')]
        begun += sum(line.startswith("row: ") for line in lines)
        if completed.returncode == 0:
            return rows
        if not lines or not lines[-1].startswith("row: "):
            raise subprocess.CalledProcessError(completed.returncode, command)
        print(f"left out: {lines[-1]} ended the process with {completed.returncode}", file=sys.stderr)


def joined(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the lesser time of every contestant, and what follows from them."""
    rows = []
    others = {(row["name"], row["dtype"]): row for row in second}
    for one in first:
        other = others.get((one["name"], one["dtype"]), one)  # itself where the process that timed it again was killed
        seconds = {
            name: min(part["seconds"].get(name, math.inf) for part in (one, other)) for name in one["seconds"]
        }
        peers = {name: time for name, time in seconds.items() if name != "janusjit"}
        best = min(peers, key=peers.__getitem__)
        row = {**one, "seconds": seconds, "best_peer": best, "ratio": peers[best] / seconds["janusjit"]}
        row["in_graph"] = one["in_graph"] and other["in_graph"]
        row["different"] = sorted({*one["different"], *other["different"]})
        rows.append(row)
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print microseconds a step, and the best peer's time over janusjit's."""
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    print(f"\n{'µs, threads: ' + str(rows[0]['threads']):<50}", end="")
    print("".join(f"{name:>14}" for name in names) + f"{'best peer':>15}   ratio")
    for row in rows:
        figures = "".join(
            f"{1e6 * row['seconds'][name]:14.2f}" if name in row["seconds"] else f"{'–':>14}" for name in names
        )
        note = "" if row["in_graph"] else "  (in Python)"
        note += f"  different: {', '.join(row['different'])}" if row["different"] else ""
        print(f"{row['name'] + ' ' + row['dtype']:<50}{figures}{row['best_peer']:>15}{row['ratio']:7.2f}×{note}")
    print_means(rows, names)
    gaps = {f"{name}: {why}" for row in rows for name, why in row["absent"].items() if not why.startswith("NotExp")}
    for gap in sorted(gaps):
        print(f"left out: {gap}")


def print_means(rows: list[dict[str, Any]], names: list[str]) -> None:
    """Print the geometric mean of each peer's time over janusjit's, and in how many rows janusjit is behind."""
    ratios = {
        name: [row["seconds"][name] / row["seconds"]["janusjit"] for row in rows if name in row["seconds"]]
        for name in names
        if name != "janusjit"
    }
    for name, values in {**ratios, "the best peer": [row["ratio"] for row in rows]}.items():
        mean = math.exp(sum(map(math.log, values)) / len(values))
        behind = sum(value < 1.0 for value in values)
        print(f"{name}: geometric mean of the ratios {mean:.2f}; janusjit is behind in {behind} of {len(values)} rows")


def main(arguments: list[str]) -> int:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats, and less time for slow compilers")
    parser.add_argument("--threads", default="1,2", help="numbers of processors and threads, separated by commas")
    parser.add_argument("--only", default="", help="parts of names of rows, separated by |")
    parser.add_argument("--write", action="store_true", help="write the figures though not of all rows")
    parser.add_argument("--contestants", default="", help="names, separated by commas; all by default")
    options = parser.parse_args(arguments)
    extra = ["--only", options.only, *(QUICK if options.quick else [])]
    (_, first_core), (_, second_core) = blas_settings().items()
    everyone = ["--contestants", options.contestants] if options.contestants else []
    rows = []
    for threads in map(int, options.threads.split(",")):
        first = run_worker(first_core, threads, [*extra, *everyone])
        second = run_worker(second_core, threads, [*extra, "--contestants", "NumPy,janusjit"])
        both = joined(first, second)
        print_table(both)
        rows += both
        if options.write or not options.only:
            _write(rows)
    return 0


def beside_others(rows: list[dict[str, Any]], path: Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Return rows, and those that were not measured again of a record from the same environment, by threads."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"environment": None}
    found = {_key(row): row for row in record["rows"]} if record["environment"] == environment else {}
    found |= {_key(row): row for row in rows}
    return sorted(found.values(), key=lambda row: row["threads"])  # those of one number stay in order


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["name"], row["dtype"], row["threads"]


def _write(rows: list[dict[str, Any]]) -> None:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    environment = {"processor": processor_name(), "python": platform.python_version(), **versions}
    path = RESULTS / "peers.json"
    rows = beside_others(rows, path, environment)
    record = {"environment": environment, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_plot(rows, environment, RESULTS / "peers.svg")
    print(f"written: peers.json and peers.svg in {RESULTS}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
