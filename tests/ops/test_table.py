"""The op table of the documentation says what the registry says."""

from __future__ import annotations

from pathlib import Path

from janusjit.ops import OPS
from janusjit.ops.table import render

TABLE = Path(__file__).parents[2] / "docs" / "ops.md"


def test_the_table_is_up_to_date(update_golden: bool) -> None:
    text = render()
    if update_golden:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(text, encoding="utf-8")
    assert TABLE.read_text(encoding="utf-8") == text, "run: pytest tests/ops/test_table.py --update-golden"


def test_the_table_has_every_op_once() -> None:
    rows = [line.split("|")[1].strip() for line in render().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(f"`{name}`" for name in OPS)
