"""One construct of imperative training code as a program, and its verdict when `@jit` is put on it.

Owns `Construct` and `judge`. Invariant: both sides run in module copies of their own, so nothing one side leaves behind
(globals, closures, lists, classes, random states) is seen by the other.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.differential import Side, collected, outcome_differences

#: Calls of each program; inputs repeat with a period of at most 4, so each was seen often before the last `SETTLED`.
CALLS = 24
SETTLED = 8
#: Failed speculations that a program wholly in the graph may have on its way there.
MAXIMUM_DEOPTIMIZATIONS = 3

_copies = itertools.count()


@dataclass(frozen=True)
class Construct:
    """One program.

    Attributes
    ----------
    name : str
        The construct, in the words of the published comparison.
    function : callable
        The program: a function of the module that declares the construct.
    arguments : callable
        Call number to arguments.
    before : callable, optional
        Run before each call, with its number; changes what the program reads from outside.
    observe : callable, optional
        State outside the arguments to compare after each call.
    """

    name: str
    function: Callable[..., Any]
    arguments: Callable[[int], tuple[Any, ...]]
    before: Callable[[int], None] | None = None
    observe: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Verdict:
    """``letter``: G wholly in the graph, B right with Python's help, W wrong, E an error; ``detail`` says why not G."""

    letter: str
    detail: str
    statistics: dict[str, int]


def fresh_copy(path: str) -> ModuleType:
    """Load the module at ``path`` anew, under a name of its own."""
    name = f"{Path(path).stem}_copy{next(_copies)}"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def side(path: str, name: str, jit: Callable[[Any], Any] | None) -> Side:
    """Return a side that runs the construct in a module copy of its own, under ``jit`` if given."""
    module = fresh_copy(path)
    construct: Construct = next(item for item in module.CONSTRUCTS if item.name == name)
    function = construct.function if jit is None else jit(construct.function)
    setattr(module, construct.function.__name__, function)
    return Side(function, construct.arguments, construct.before, construct.observe)


def counts(function: Any) -> dict[str, int]:
    """Return a jitted function's integer counters."""
    names = ("calls", "profiled_calls", "graph_calls", "eager_calls", "deopts", "host_calls", "specializations")
    return {name: getattr(function.stats, name) for name in names}


def judge(path: str, name: str, jit: Callable[[Any], Any]) -> Verdict:
    """Run a construct in plain Python and under ``jit``, call by call, and compare after each."""
    plain, jitted = side(path, name, None), side(path, name, jit)
    expected, actual, counters = [], [], []
    for number in range(CALLS):
        expected.append(plain.call(number))
        actual.append(jitted.call(number))
        counters.append(counts(jitted.function))
        error = actual[-1].exception
        if error is not None and expected[-1].exception is None:
            return Verdict("E", f"call {number}: {type(error).__name__}: {error}", counters[-1])
        if found := outcome_differences(expected[-1], actual[-1], f"call {number}"):
            return Verdict("W", "; ".join(found), counters[-1])
    # Once more after the last call: an earlier result that a later call wrote over shows here.
    if found := outcome_differences(collected(expected), collected(actual), "all calls"):
        return Verdict("W", "; ".join(found), counters[-1])
    return _judge_counters(counters, jitted.function)


def _judge_counters(counters: list[dict[str, int]], function: Any) -> Verdict:
    """Tell G from B."""
    last = counters[-1]
    settled = {name: last[name] - counters[-1 - SETTLED][name] for name in last}
    if settled["graph_calls"] != SETTLED or settled["eager_calls"] or settled["deopts"] or settled["host_calls"]:
        return Verdict("B", _reason(function) or f"of the last {SETTLED} calls: {settled}", last)
    if last["deopts"] > MAXIMUM_DEOPTIMIZATIONS:
        return Verdict("B", f"{last['deopts']} deoptimizations", last)
    return Verdict("G", "", last)


def _reason(function: Any) -> str:
    """Return why a jitted function runs in plain Python; empty if it does not for good."""
    if not hasattr(function, "report"):
        return ""
    (entry,) = function.report().to_dict()["functions"]
    return entry["plain"]["cause"]["text"] if entry["plain"] else ""
