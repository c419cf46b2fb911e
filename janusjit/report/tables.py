"""The report on a terminal, as tables, where Rich is installed.

Owns `print_tables`. Invariant: it shows what `janusjit.report.text` shows, row for row; nothing else depends on Rich.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, TextIO

from janusjit.report.text import (
    Style,
    action_text,
    assumption_text,
    duration,
    file_text,
    head_line,
    hint_text,
    kernel_lines,
    summary_text,
)

if TYPE_CHECKING:
    from janusjit.report.model import FunctionReport, Report


def available() -> bool:
    """Whether Rich is installed."""
    return importlib.util.find_spec("rich") is not None


def print_tables(report: Report, file: TextIO, style: Style) -> None:
    """Print a report with Rich.

    Parameters
    ----------
    report : Report
        What to print.
    file : text file
        A terminal.
    style : Style
        Its width, and whether to use colours.
    """
    console = importlib.import_module("rich.console").Console(
        file=file, width=style.width, no_color=not style.colored, highlight=False, emoji=False, markup=False
    )
    console.print(head_line(report), style="bold")
    for function in report.functions:
        console.print()
        console.print(str(function.function), style="bold", end="  ")
        console.print(f"{file_text(function.function.file)}:{function.function.line}", style="dim")
        console.print(summary_text(function))
        for line in kernel_lines(function, style):
            console.print(line)
        if function.rows:
            console.print(_table(function))


def _table(function: FunctionReport) -> Any:
    text = importlib.import_module("rich.text").Text
    table = importlib.import_module("rich.table").Table(box=importlib.import_module("rich.box").SIMPLE)
    for name in ("lost", "count"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, share in (("where", 1), ("assumed → got", 3), ("action", 2), ("hint", 3)):
        table.add_column(name, ratio=share, overflow="fold")
    for row in function.rows:
        where = f"{row.where}\n{row.where.text}" if row.where.text else str(row.where)
        cells = (
            duration(row.lost),
            str(row.count),
            where if row.where.line else "",
            "\n".join(assumption_text(row)),
            action_text(row),
            hint_text(row),
        )
        table.add_row(*map(text, cells))
    return table
