"""Figures that are measured in part are written beside those that were measured before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.peers.__main__ import beside_others


def row(name: str, threads: int, seconds: float) -> dict[str, Any]:
    return {"name": name, "dtype": "float64", "threads": threads, "seconds": seconds}


def test_rows_that_were_not_measured_again_stay(tmp_path: Path) -> None:
    path, here = tmp_path / "peers.json", {"numpy": "2.4"}
    assert beside_others([row("a", 2, 1.0)], path, here) == [row("a", 2, 1.0)]
    record = {"environment": here, "rows": [row("a", 1, 1.0), row("a", 2, 2.0), row("b", 2, 3.0)]}
    path.write_text(json.dumps(record))
    again = [row("b", 2, 0.5), row("c", 1, 4.0)]
    together = beside_others(again, path, here)
    assert together == [row("a", 1, 1.0), row("c", 1, 4.0), row("a", 2, 2.0), row("b", 2, 0.5)]


def test_figures_of_another_environment_do_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"environment": {"numpy": "2.0"}, "rows": [row("a", 1, 1.0)]}))
    assert beside_others([row("b", 2, 0.5)], path, {"numpy": "2.4"}) == [row("b", 2, 0.5)]
