"""Every declared method: the stream, the results' types and the final state are eager's."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest

from janusjit.ops.random import METHODS, Method
from tests.random_numbers.streams import check

HOLDERS = {np.random.RandomState: "old", np.random.Generator: "new", random.Random: "python"}
INTERNAL = ("_list", "_range", "_randbelow")
PUBLIC = [m for (owner, name), m in METHODS.items() if owner is not None and not name.endswith(INTERNAL)]
NUMBERS = [m for m in PUBLIC if any(p.kind == "size" for p in m.parameters)]


def given(method: Method) -> tuple[Any, ...]:
    """Return the arguments of a method's sample."""
    return tuple(value(np.random.default_rng(5)) if callable(value) else value for value in method.sample)


@pytest.mark.parametrize("method", PUBLIC, ids=lambda method: method.op)
def test_streams_and_states(method: Method) -> None:
    name, holder = method.name, HOLDERS[method.owner]

    def step(generators, *given):
        first = getattr(generators[holder], name)(*given)
        second = getattr(generators[holder], name)(*given)
        return first, second

    check(step, lambda n: tuple(map(copy.copy, given(method))))


@pytest.mark.parametrize("method", NUMBERS, ids=lambda method: method.op)
def test_sizes(method: Method) -> None:
    """Without a size, with an int, a tuple, no dimensions, and one that is a dimension of an argument."""
    name, holder = method.name, HOLDERS[method.owner]
    numbers = [p for p in method.parameters if p.kind not in ("size", "option")]
    arguments = given(method)[: len(numbers)] if name != "normal" else (0.5,)

    def step(generators, x):
        draw = getattr(generators[holder], name)
        rows = x.shape[0]
        return draw(*arguments), draw(*arguments, size=3), draw(*arguments, size=(2, rows)), draw(*arguments, size=())

    check(step, lambda n: (np.zeros(4 + n % 2 * 3),), calls=10, deopts=2)
