"""One function of a library in a small jitted function: what it is called with, and which way it runs.

Owns the registration of the programs and their arguments. Invariant: a program's parameters are named after the inputs
below; every call gets inputs of its own, other values of the same shapes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import janusjit
from tests.differential import Side, collected, outcome_differences

CALLS = 16
#: calls at the end that show how a program settled
SETTLED = 5


class Programs:
    """The programs of a module, each with the way it is expected to run."""

    def __init__(self) -> None:
        self.entries: list[tuple[Callable[..., Any], str]] = []

    def graph(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register a program that runs wholly in the graph."""
        self.entries.append((function, "graph"))
        return function

    def host(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register a program in whose middle Python runs something, between compiled code."""
        self.entries.append((function, "host"))
        return function

    def python(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register a program that is left to Python as a whole."""
        self.entries.append((function, "python"))
        return function


def make_inputs(number: int) -> dict[str, Any]:
    """Return the inputs of a call, by name."""
    rng = np.random.default_rng(number)
    square = rng.normal(size=(4, 4))
    return {
        "x": rng.normal(size=(4, 5)),
        "y": rng.normal(size=(4, 5)),
        "v": rng.normal(size=6),
        "w": rng.normal(size=6),
        "p": rng.uniform(0.1, 2.0, size=6),
        "f": rng.normal(size=6).astype("float32"),
        "m": square @ square.T + 4 * np.eye(4),
        "i": rng.integers(0, 5, size=6),
        "j": rng.integers(0, 4, size=6),
        "b": rng.normal(size=6) > 0,
        "z": rng.normal(size=6) + 1j * rng.normal(size=6),
        "cube": rng.normal(size=(2, 3, 4)),
        "k": 2,
        "n": int(rng.integers(3, 6)),
        "t": float(rng.normal()),
        "u": float(rng.uniform(0.1, 0.9)),
        "xs": [float(number) for number in rng.normal(size=5)],
        "pairs": [(1, "one"), (2, "two"), (1, "eins")],
        "d": {"a": 1.5, "b": 2.5, "c": float(rng.normal())},
        "arrays": [rng.normal(size=3) for _ in range(3)],
        "s": "a,b,c",
        "rng": np.random.default_rng(number),
        "state": np.random.RandomState(number),
    }


def arguments_of(function: Callable[..., Any]) -> Callable[[int], tuple[Any, ...]]:
    """Return what gives the arguments of a call, by its number."""
    names = list(inspect.signature(function).parameters)

    def arguments(number: int) -> tuple[Any, ...]:
        inputs = make_inputs(number)
        return tuple(inputs[name] for name in names)

    return arguments


def run(function: Callable[..., Any], calls: int = CALLS) -> tuple[str, str, Any]:
    """Make calls in plain Python and under `janusjit.jit`.

    Returns
    -------
    tuple
        The way the last calls ran, the first difference (empty if there is none), and the jitted function.
    """
    jitted = janusjit.jit(function, warmup=2, background=False)
    arguments = arguments_of(function)
    plain, fast = Side(function, arguments), Side(jitted, arguments)
    expected, actual = [], []
    before = jitted.stats
    for number in range(calls):
        if number == calls - SETTLED:
            before = jitted.stats
        expected.append(plain.call(number))
        actual.append(fast.call(number))
        if found := outcome_differences(expected[-1], actual[-1], f"call {number}"):
            return "wrong", "; ".join(found), jitted
    found = outcome_differences(collected(expected), collected(actual), "all calls")
    after = jitted.stats
    settled = after.graph_calls - before.graph_calls == SETTLED and after.deopts == before.deopts
    way = "python" if not settled else "host" if after.host_calls > before.host_calls else "graph"
    return ("wrong" if found else way), "; ".join(found), jitted
