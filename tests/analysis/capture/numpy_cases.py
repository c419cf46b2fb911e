"""Expressions run as they are and through capture and the reference backend.

Owns `check`: the value, dtype, shape, type and aliasing of the result, and what became of the arguments, must agree.
"""

from __future__ import annotations

import contextlib
import copy
import linecache
import re
import warnings
from typing import Any

import numpy as np

from janusjit.analysis.capture import capture
from janusjit.analysis.source import load
from janusjit.backend.reference import DeoptimizationSignal, interpret
from janusjit.ir.graph import Graph
from janusjit.ir.guards import ArrayLayout
from janusjit.ir.relaxations import Relaxations
from janusjit.profiler.profile import Profile
from tests.differential import Comparison


def operands(rows: int = 3, columns: int = 4, others: int = 5) -> dict[str, Any]:
    """Return the arguments that expressions may name."""
    random = np.random.default_rng(7)
    square = random.normal(size=(rows, rows))
    shape = (rows, columns)
    return {
        "x": random.normal(size=shape),
        "y": random.normal(size=shape),
        "w": random.normal(size=(columns, others)),
        "t": random.normal(size=(2, *shape)),
        "v": random.normal(size=columns),
        "u": random.normal(size=rows),
        "f": random.normal(size=shape).astype(np.float32),
        "g": np.asfortranarray(random.normal(size=shape)),
        "i": random.integers(-5, 9, size=shape),
        "k": np.arange(columns) * 2 % rows,
        "e": random.integers(0, 9, size=columns + 2).astype(np.int8),
        "c": random.integers(0, 9, size=shape).astype(np.uint8),
        "b": random.normal(size=shape) > 0,
        "p": square @ square.T + 3 * np.eye(rows),
        "z": np.array(2.5),
        "a": 1.75,
        "n": rows,
        "s": np.float64(0.625),
        "h": np.float32(1.5),
        "q": np.int64(2),
    }


_numbers = iter(range(1_000_000))


def made(body: str) -> Any:
    """Return a function of the operands that ``body`` names; a body without ``return`` is an expression."""
    names = [name for name in operands() if re.search(rf"(?<![\w.'\"]){name}(?![\w'\"=]|\()", body)]
    code = body if "return" in body else f"return {body}"
    source = f"def case({', '.join(names)}):\n" + "".join(f"    {line}\n" for line in code.splitlines())
    path = f"<numpy case {next(_numbers)}>"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    namespace: dict[str, Any] = {"np": np}
    exec(compile(source, path, "exec"), namespace)
    return namespace["case"]


def captured(function: Any, arguments: list[Any], symbolic: bool = False) -> Graph:
    """Return the graph of a call; with ``symbolic``, sizes and the number ``n`` are not assumed to stay."""
    relaxations = Relaxations()
    if symbolic:
        relaxations = relaxations.extended([("value", "n")])
    graph = capture(function, load(function), Profile(), arguments, relaxations)
    if symbolic:
        layouts = [guard for guard in graph.guards.entry if isinstance(guard, ArrayLayout)]
        keys = [("dim", str(guard.place), axis) for guard in layouts for axis in range(len(guard.shape))]
        graph = capture(function, load(function), Profile(), arguments, relaxations.extended(keys))
    return graph


def check(body: str, symbolic: bool = False) -> None:
    """Assert that an expression (or body of statements) gives the same through capture.

    A graph of symbolic sizes is run on arguments of other sizes too, where it may do nothing but fail a guard.
    """
    function = made(body)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    graph = captured(function, [operands()[name] for name in names], symbolic)
    compare(function, graph, [operands()[name] for name in names], body)
    if symbolic:
        with contextlib.suppress(DeoptimizationSignal):
            compare(function, graph, [operands(4, 6, 7)[name] for name in names], body)


def compare(function: Any, graph: Graph, arguments: list[Any], body: str) -> None:
    """Assert that a graph does what its function does."""
    eager, given = copy.deepcopy(arguments), copy.deepcopy(arguments)
    actual = interpret(graph, given)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = function(*eager)
    comparison = Comparison()
    comparison.compare((expected, eager), (actual, given), body)
    assert not comparison.found, comparison.found
