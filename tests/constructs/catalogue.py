"""All constructs, by group, with which of them must run wholly in the graph.

Owns `CATALOGUE`. Invariant: `IN_PYTHON` names every construct that needs Python's help today, so that one that falls
out of the graph shows as a failing test, and one that newly gets into it asks to be taken off the list.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import janusjit

GROUPS = {
    "control flow": "control_flow",
    "functions": "functions",
    "data and classes": "data_and_classes",
    "state, effects and libraries": "state_and_effects",
    "values, shapes, dtypes": "values_and_shapes",
}

IN_PYTHON = frozenset(
    {
        "next() on an iterator from outside",
        "eval",
        "class defined inside the function",
        "time.perf_counter logging",
        "file write",
        "NumPy / third party on a tensor mid-function",
        "json, re and other C extensions on Python data",
    }
)


@dataclass(frozen=True)
class Entry:
    """A construct's name, its group, and the file that declares it."""

    name: str
    group: str
    path: str


def _catalogue() -> list[Entry]:
    entries = []
    for group, name in GROUPS.items():
        module = importlib.import_module(f"tests.constructs.{name}")
        assert module.__file__ is not None
        entries += [Entry(construct.name, group, module.__file__) for construct in module.CONSTRUCTS]
    return entries


CATALOGUE = _catalogue()
IN_GRAPH = frozenset(entry.name for entry in CATALOGUE) - IN_PYTHON


def jit_for_tests(function: Callable[..., Any]) -> Any:
    """Return ``function`` under `janusjit.jit`, compiled in the foreground so that counters repeat."""
    return janusjit.jit(function, warmup=2, background=False)
