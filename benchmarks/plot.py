"""A bar chart of eager time over janusjit's, as an SVG that needs no library to draw.

Owns `write_plot`. Invariant: the file is self-contained and legible on light and dark pages.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

ROW, GAP, LEFT, WIDTH, RIGHT, TOP = 20, 26, 310, 420, 70, 64
COLORS = {"faster": "#2b7a78", "slower": "#c0563a", "python": "#8a8a8a"}


def write_plot(rows: list[dict[str, Any]], environment: dict[str, Any], path: Path) -> None:
    """Draw the ratios, grouped.

    Parameters
    ----------
    rows : list of dict
        Each with ``name``, ``group``, ``ratio`` and ``in_graph``.
    environment : dict
        ``processor``, ``threads`` and versions, for the subtitle.
    path : Path
        The SVG file to write.
    """
    longest = max(2.0, *(row["ratio"] for row in rows))
    parts, y, group = [], TOP, None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            y += GAP - ROW if parts else 0
            parts.append(_text(10, y + 14, group, weight="bold"))
            y += ROW
        parts += _bar(row, y, longest)
        y += ROW
    x_of_one = LEFT + WIDTH / longest
    line = f'<line x1="{x_of_one:.1f}" y1="{TOP}" x2="{x_of_one:.1f}" y2="{y}" stroke="#666" stroke-dasharray="3 3"/>'
    title = _text(
        10, 24, "Eager time divided by janusjit's (longer is faster; dashed: equal; grey: stayed in Python)", 15, "bold"
    )
    versions = f"Python {environment['python']}, NumPy {environment['numpy']}, {environment['threads']} BLAS thread(s)"
    subtitle = _text(10, 44, f"{environment['processor']}; {versions}; the faster of two BLAS settings", 11)
    total_width = LEFT + WIDTH + RIGHT
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {y + 12}" width="{total_width}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="#ffffff"/>'
        + "".join([title, subtitle, line, *parts])
        + "</svg>\n",
        encoding="utf-8",
    )


def _bar(row: dict[str, Any], y: float, longest: float) -> list[str]:
    kind = "python" if not row["in_graph"] else "faster" if row["ratio"] >= 1.0 else "slower"
    width = WIDTH * row["ratio"] / longest
    return [
        _text(LEFT - 8, y + 14, row["name"], 11, anchor="end"),
        f'<rect x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}" fill="{COLORS[kind]}"/>',
        _text(LEFT + width + 5, y + 14, f"{row['ratio']:.1f}×", 11),
    ]


def _text(x: float, y: float, text: str, size: int = 12, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="#222">{escape(text)}</text>'
    )
