"""Runs functions that draw random numbers eagerly and under `@jit`, from the same states, and compares all there is.

Owns `check`. Invariant: results are compared bit for bit and type for type, and the states of all generators after
every call; draws outside the function happen between the calls.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

import janusjit
from tests.differential import Comparison

Make = Callable[[], tuple[Any, ...]]


def new_generators() -> dict[str, Any]:
    """Return one generator of each type, in a fixed state; the global ones are put into one."""
    np.random.seed(11)
    random.seed(12)
    return {
        "old": np.random.RandomState(1),
        "new": np.random.default_rng(2),
        "python": random.Random(3),
        "legacy": np.random,
        "module": random,
    }


def state_of(generator: Any) -> Any:
    """Return a generator's state, comparable."""
    if generator is np.random:
        generator = np.random.mtrand._rand
    if generator is random:
        generator = random._inst  # type: ignore[attr-defined]
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def check(
    function: Callable[..., Any],
    arguments: Callable[[int], tuple[Any, ...]] = lambda n: (),
    calls: int = 8,
    in_graph: bool = True,
    deopts: int = 0,
) -> Any:
    """Compare ``function(generators, *arguments(n))`` for ``n`` in ``range(calls)``; return the jitted function.

    Parameters
    ----------
    function : callable
        Takes the dict of `new_generators` first.
    arguments : callable
        The other arguments of call ``n``, new at each call.
    calls : int
        How many calls there are.
    in_graph : bool
        Whether all calls after the warm-up run in a graph, none of them through Python.
    deopts : int
        How many calls may leave the graph.
    """
    expected = _run(function, arguments, calls)
    jitted = janusjit.jit(function, warmup=2, background=False)
    actual = _run(jitted, arguments, calls)
    for number, (one, other) in enumerate(zip(expected, actual, strict=True)):
        comparison = Comparison(tolerance=0.0)
        comparison.compare(one, other, f"call {number}")
        found = comparison.finish()
        assert not found, found[:5]
    if in_graph:
        stats = jitted.stats
        assert stats.host_calls == 0, stats
        assert stats.deopts <= deopts, stats
        assert stats.graph_calls >= calls - 2 - stats.deopts > 0, stats
    return jitted


def _run(function: Callable[..., Any], arguments: Callable[[int], tuple[Any, ...]], calls: int) -> list[Any]:
    generators = new_generators()
    outcomes = []
    for number in range(calls):
        given = arguments(number)
        try:
            result = function(generators, *given)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            result = type(error).__name__, str(error)
        outcomes.append([result, given, {name: state_of(one) for name, one in generators.items()}])
        for generator in generators.values():
            generator.random()
        generators["old"].standard_normal()  # leaves half a pair for the next call every other time
        np.random.standard_normal()
        generators["module"].gauss(0, 1)
    return outcomes
