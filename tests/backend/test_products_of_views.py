"""Products of operands in every layout a view can have, at sizes where kernels change."""

from __future__ import annotations

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.transform.passes import optimize
from janusjit.transform.typed import parse_graph

#: how a matrix of a given size lies in memory: the view of a larger array that makes it
LAYOUTS = {
    "rows": "view({x}, index=(Range(0, {r}, 1), Range(0, {c}, 1)))",
    "columns": "transpose(view({x}, index=(Range(0, {c}, 1), Range(0, {r}, 1))), axes=(1, 0))",
    "inner rows": "view({x}, index=(Range(2, {r}, 1), Range(3, {c}, 1)))",
    "inner columns": "transpose(view({x}, index=(Range(2, {c}, 1), Range(3, {r}, 1))), axes=(1, 0))",
    "every second": "view({x}, index=(Range(1, {r}, 2), Range(1, {c}, 2)))",
    "backwards": "view({x}, index=(Range(40, {r}, -1), Range(40, {c}, -1)))",
    "backwards columns": "transpose(view({x}, index=(Range(40, {c}, -1), Range(40, {r}, -1))), axes=(1, 0))",
}
SIZES = [(1, 1, 1), (3, 1, 3), (1, 1, 4), (5, 1, 1), (1, 5, 3), (4, 3, 1), (2, 9, 17), (16, 4, 8), (3, 3, 3)]


def nested(text: str) -> list[str]:
    """Return the operations of a layout, one a line; the last is the matrix."""
    if not text.startswith("transpose("):
        return [text]
    inner, _, axes = text[len("transpose(") :].rpartition(", axes")
    return [inner, f"transpose(%{{n}}, axes{axes}"]


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
def test_product(rows, depth, columns, dtype):
    lines, results, count = [], [], 0
    for left in LAYOUTS.values():
        for right in LAYOUTS.values():
            operands = []
            for x, layout, size in (("a", left, (rows, depth)), ("b", right, (depth, columns))):
                for text in nested(layout.format(x=x, r=size[0], c=size[1])):
                    lines.append(f"%{count} = {text.replace('{n}', str(count - 1))}")
                    count += 1
                operands.append(f"%{count - 1}")
            lines.append(f"%{count} = matmul({operands[0]}, {operands[1]})")
            results.append(count)
            count += 1
    exits = ", ".join(f"%{number}" for number in results)
    boxes = ", ".join(f"array(%{number})" for number in results)
    inputs = f"a: {dtype}[44,44], b: {dtype}[44,44]"
    text = f"graph g({inputs}) {{ " + "\n".join(lines) + f" exit({exits}) {{ return tuple({boxes}) }} }}"
    graph = parse_graph(text)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 10, (44, 44)).astype("float64" if dtype == "f64" else "float32") for _ in range(2))
    found = compile_graph(optimize(graph).graph).entry(a, b)
    number = 0
    for left in LAYOUTS:
        for right in LAYOUTS:
            wanted = view(a, left, rows, depth) @ view(b, right, depth, columns)
            np.testing.assert_array_equal(found[number], wanted, err_msg=f"{left} @ {right}")  # small integers: exact
            number += 1


def view(x, layout, rows, columns):
    size = (columns, rows) if "columns" in layout else (rows, columns)
    start = 40 if "backwards" in layout else 2 if "inner" in layout else 1 if "second" in layout else 0
    step = -1 if "backwards" in layout else 2 if "second" in layout else 1
    other = 3 if "inner" in layout else start
    taken = x[start::step][: size[0], other::step][:, : size[1]]
    return taken.T if "columns" in layout else taken
