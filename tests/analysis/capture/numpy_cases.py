"""Expressions run as they are and through capture and the reference backend.

Owns `check`: the value, dtype, shape, type and aliasing of the result, and what became of the arguments, must agree.
"""

from __future__ import annotations

import copy
import linecache
import re
import warnings
from typing import Any

import numpy as np

from janusjit.analysis.capture import capture
from janusjit.analysis.source import load
from janusjit.backend.reference import interpret
from janusjit.ir.graph import Graph
from janusjit.ir.guards import ArrayLayout
from janusjit.ir.relaxations import Relaxations
from janusjit.profiler.profile import Profile
from tests.differential import Comparison


def operands() -> dict[str, Any]:
    """Return the arguments that expressions may name."""
    random = np.random.default_rng(7)
    square = random.normal(size=(3, 3))
    return {
        "x": random.normal(size=(3, 4)),
        "y": random.normal(size=(3, 4)),
        "w": random.normal(size=(4, 5)),
        "t": random.normal(size=(2, 3, 4)),
        "v": random.normal(size=4),
        "u": random.normal(size=3),
        "f": random.normal(size=(3, 4)).astype(np.float32),
        "g": np.asfortranarray(random.normal(size=(3, 4))),
        "i": random.integers(-5, 9, size=(3, 4)),
        "k": np.array([0, 2, 1, 2]),
        "e": random.integers(0, 9, size=6).astype(np.int8),
        "c": random.integers(0, 9, size=(3, 4)).astype(np.uint8),
        "b": random.normal(size=(3, 4)) > 0,
        "p": square @ square.T + 3 * np.eye(3),
        "z": np.array(2.5),
        "a": 1.75,
        "n": 3,
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
    """Return the graph of a call; with ``symbolic``, dimensions of more than one element are symbols."""
    relaxations = Relaxations()
    graph = capture(function, load(function), Profile(), arguments, relaxations)
    if symbolic:
        layouts = [guard for guard in graph.guards.entry if isinstance(guard, ArrayLayout)]
        keys = [("dim", str(guard.place), axis) for guard in layouts for axis in range(len(guard.shape))]
        graph = capture(function, load(function), Profile(), arguments, relaxations.extended(keys))
    return graph


def check(body: str, symbolic: bool = False) -> None:
    """Assert that an expression (or body of statements) gives the same through capture."""
    function = made(body)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    eager, given = ([copy.deepcopy(operands()[name]) for name in names] for _ in range(2))
    graph = captured(function, given, symbolic)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = function(*eager)
    actual = interpret(graph, given)
    comparison = Comparison()
    comparison.compare((expected, eager), (actual, given), "call")
    assert not comparison.found, comparison.found
