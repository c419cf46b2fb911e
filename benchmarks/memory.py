"""``python -m benchmarks memory``: how much memory a step takes with each library.

Each contestant runs each program in a process of its own; `benchmarks.peers.memory_worker` has the method. Compared is
what there is in all, arguments included: janusjit's over that of the contestant with the least. Runs on Linux, where a
process can ask how much of its memory was resident at most.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.rows import ROWS

RESULTS = Path(__file__).parent / "results"
#: programs of large arrays: what small ones take is lost in what libraries keep for themselves
PROGRAMS = (
    "MLP 784-1024-10, batch 128, Adam",
    "Black–Scholes, 1M options",
    "softmax cross-entropy 128×10000",
    "layer norm 4096×1024",
    "Adam, 1M parameters",
    "product 2048×2048×2048",
    "chain of 8, 10000000",
)
SECONDS = 180


def measure(name: str, row: str, dtype: str) -> dict[str, Any]:
    """Return what a contestant's step takes, or why there is no such step."""
    variables = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(variables, "1"), "JAX_PLATFORMS": "cpu"}
    environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    environment["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what is freed goes back to the system at once
    command = [sys.executable, "-m", "benchmarks.peers.memory_worker", name, row, dtype]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {"absent": f"more than {SECONDS} s"}
    if done.returncode != 0:
        return {"absent": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main(arguments: list[str]) -> int:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="parts of names of rows, separated by |")
    parser.add_argument("--write", action="store_true", help="write the figures though not of all rows")
    parser.add_argument("--dtypes", default="float64,float32", help="element types, separated by commas")
    options = parser.parse_args(arguments)
    known = {row.name: row for row in ROWS}
    rows = []
    print(f"{'MB beyond the arguments':<44}{'arguments':>10}" + "".join(f"{name:>14}" for name in CONTESTANTS))
    for name in PROGRAMS:
        for dtype in known[name].dtypes:
            if dtype not in options.dtypes.split(",") or not any(part in name for part in options.only.split("|")):
                continue
            found = {one: measure(one, name, dtype) for one in CONTESTANTS}
            rows.append(_row(name, dtype, found))
            _print(rows[-1])
    if options.write or not options.only:
        path = RESULTS / "memory.json"
        before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() and options.only else []
        merged = {(row["name"], row["dtype"]): row for row in [*before, *rows]}  # what was not measured again stays
        path.write_text(json.dumps({"rows": [*merged.values()]}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"written: memory.json in {RESULTS}")
    return 0


def _row(name: str, dtype: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    taken = {one: figures for one, figures in found.items() if "beyond" in figures}
    totals = {one: figures["arguments"] + figures["beyond"] for one, figures in taken.items()}
    peers = {one: total for one, total in totals.items() if one != "janusjit"}
    least = min(peers, key=peers.__getitem__)
    return {
        "name": name,
        "dtype": dtype,
        "arguments": taken["janusjit"]["arguments"],
        "beyond": {one: figures["beyond"] for one, figures in taken.items()},
        "absent": {one: figures["absent"] for one, figures in found.items() if "absent" in figures},
        "least_peer": least,
        "ratio": totals["janusjit"] / peers[least],
    }


def _print(row: dict[str, Any]) -> None:
    figures = [row["arguments"], *(row["beyond"].get(name) for name in CONTESTANTS)]
    cells = ["–" if figure is None else f"{figure / 1e6:.1f}" for figure in figures]
    line = f"{row['name'] + ' ' + row['dtype']:<44}{cells[0]:>10}" + "".join(f"{cell:>14}" for cell in cells[1:])
    print(f"{line}  {row['ratio']:.2f} of {row['least_peer']}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
