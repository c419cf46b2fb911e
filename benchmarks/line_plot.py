"""Curves over logarithmic axes, as an SVG that needs no library to draw.

Owns `write_line_plot`. Invariant: equal slopes mean equal powers: a decade is as long on both axes.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

DECADE, LEFT, TOP, RIGHT, BOTTOM = 110, 70, 50, 150, 50
COLORS = ("#2b7a78", "#c0563a", "#7a5195", "#bc8f00", "#3b6fb6", "#8a8a8a", "#111111", "#4caf50", "#e91e63")


def write_line_plot(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Draw seconds over number of operations.

    Parameters
    ----------
    curves : dict
        For each name the points: operations and seconds, both above 0.
    path : Path
        The SVG file to write.
    """
    points = [point for curve in curves.values() for point in curve]
    left, right = (f(math.log10(x) for x, _ in points) for f in (min, max))
    bottom = math.floor(min(math.log10(y) for _, y in points))
    top = math.ceil(max(math.log10(y) for _, y in points))
    width, height = DECADE * (right - left), DECADE * (top - bottom)
    parts = [_text(10, 24, "Compilation: seconds over operations (a straight line of slope 1 is linear)", "start")]
    for decade in range(bottom, top + 1):
        y = TOP + DECADE * (top - decade)
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{LEFT + width:.0f}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{10.0**decade:g} s", "end"))
    for decade in range(math.ceil(left), math.floor(right) + 1):
        x = LEFT + DECADE * (decade - left)
        parts.append(f'<line x1="{x:.0f}" y1="{TOP}" x2="{x:.0f}" y2="{TOP + height}" stroke="#ddd"/>')
        parts.append(_text(x, TOP + height + 18, f"{10**decade:,}", "middle"))
    for (name, curve), color in zip(curves.items(), COLORS, strict=False):
        places = [(LEFT + DECADE * (math.log10(x) - left), TOP + DECADE * (top - math.log10(y))) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(_text(places[-1][0] + 6, places[-1][1] + 4, name, "start", color))
    total_width, total_height = LEFT + width + RIGHT, TOP + height + BOTTOM
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width:.0f} {total_height}" '
        f'width="{total_width:.0f}" font-family="sans-serif"><rect width="100%" height="100%" fill="#ffffff"/>'
        + "".join(parts)
        + "</svg>\n",
        encoding="utf-8",
    )


def _text(x: float, y: float, text: str, anchor: str, color: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'
