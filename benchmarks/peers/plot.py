"""The comparison as an SVG: each peer's time over janusjit's, on a logarithmic axis.

Owns `write_plot`. Invariant: the file is self-contained and legible on light and dark pages.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

LINE, LEFT, WIDTH, TOP = 18, 360, 620, 84
LOW, HIGH = 0.25, 64.0
COLORS = {
    "NumPy": "#8a8a8a",
    "autograd": "#b08968",
    "jax.jit": "#2b6cb0",
    "torch": "#e0a458",
    "torch.compile": "#c0563a",
    "Numba": "#2b7a78",
    "PyTensor": "#7d5ba6",
}


def _position(ratio: float) -> float:
    inside = min(max(ratio, LOW), HIGH)
    return LEFT + WIDTH * math.log(inside / LOW) / math.log(HIGH / LOW)


def _text(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'


def write_plot(rows: list[dict[str, Any]], environment: dict[str, Any], path: Path) -> None:
    """Draw a dot for each peer of each row, by its time over janusjit's."""
    bottom = TOP + LINE * len(rows)
    subtitle = ", ".join(f"{name} {value}" for name, value in environment.items())
    parts = [_text(10, 22, "Time of each peer divided by janusjit's: right of 1, janusjit is faster", 15)]
    parts.append(_text(10, 40, subtitle, 10))
    for number, (name, color) in enumerate(COLORS.items()):
        parts.append(f'<circle cx="{LEFT + 92 * number}" cy="57" r="4" fill="{color}"/>')
        parts.append(_text(LEFT + 92 * number + 8, 61, name, 11))
    for power in range(-2, 7):
        x = _position(2.0**power)
        color = "#444" if power == 0 else "#ddd"
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{color}"/>')
        parts.append(_text(x, TOP - 4, f"{2.0**power:g}×", 10, "middle"))
    for number, row in enumerate(rows):
        y = TOP + LINE * number + LINE / 2
        parts.append(_text(LEFT - 8, y + 4, f"{row['name']} {row['dtype']}, threads: {row['threads']}", 10, "end"))
        for name, color in COLORS.items():
            if name in row["seconds"]:
                x = _position(row["seconds"][name] / row["seconds"]["janusjit"])
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}" fill-opacity="0.85"/>')
    size = f'viewBox="0 0 {LEFT + WIDTH + 40} {bottom + 12}" width="{LEFT + WIDTH + 40}"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )
