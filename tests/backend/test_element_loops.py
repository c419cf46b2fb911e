"""Loops over single elements of arrays are optimised, and what is decided once is not asked again."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.transform.fold import fold_constants
from janusjit.transform.typed import parse_graph


def relaxed_in_place(u):
    for i in range(1, len(u) - 1):
        for j in range(1, u.shape[1] - 1):
            u[i, j] = 0.25 * (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1])


def warped(a, b):
    costs = np.full((len(a) + 1, len(b) + 1), np.inf)
    costs[0, 0] = 0
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            costs[i, j] = abs(a[i - 1] - b[j - 1]) + min(costs[i - 1, j], costs[i, j - 1], costs[i - 1, j - 1])
    return costs[-1, -1]


def test_elements_are_stored_in_optimised_code() -> None:
    rng = np.random.default_rng(1)
    relax, warp = jj.jit(relaxed_in_place, background=False), jj.jit(warped, background=False)
    for _ in range(5):
        mine = rng.standard_normal((40, 50))
        expected, a, b = mine.copy(), rng.standard_normal(40), rng.standard_normal(30)
        relax(mine)
        relaxed_in_place(expected)
        np.testing.assert_array_equal(mine, expected)
        assert warp(a, b) == warped(a, b)
    for function in (relax, warp):
        assert function.stats.graph_calls >= 3 and function.stats.deopts == 0
        assert not re.search(r"optnone\ndefine \S+ @entry\(", function.specializations[-1].llvm_ir)


def mixed_in_place(u):
    for i in range(1, len(u) - 1):
        for j in range(1, u.shape[1] - 1):
            u[i, j] = u[i - 1, j] ^ u[i + 1, j] ^ (u[i, j - 1] & u[i, j + 1])


@pytest.mark.parametrize(("function", "dtype", "count"), [(mixed_in_place, int, 0), (relaxed_in_place, float, 1)])
def test_no_array_is_copied_for_an_exit_that_is_never_taken(function: Any, dtype: type, count: int) -> None:
    """One of floats is once before the loops, where errors are looked for when they are over: for the warning."""
    relax = jj.jit(function, background=False)
    for _ in range(4):
        mine, expected = (np.arange(10_000).reshape(100, 100).astype(dtype) for _ in range(2))
        relax(mine)
        function(expected)
        np.testing.assert_array_equal(mine, expected)
    copies = [kernel for kernel in relax.specializations[-1].kernels if "copy" in kernel.text]
    assert relax.stats.graph_calls == 2 and len(copies) == count
    text = str(relax.specializations[-1].graph)
    conditions = [line.split("if(")[1] for line in text.splitlines() if "if(" in line]
    assert len(conditions) == len(set(conditions))


def last_quotient(x, y, out):
    for i in range(len(x)):
        out[0] = x[i] / y[i]


@pytest.mark.parametrize("where", [0, 5, 99])
def test_what_is_overwritten_in_the_next_turn_is_computed_for_its_warning(where: int) -> None:
    step = jj.jit(last_quotient, background=False)
    x, out = np.ones(100), np.zeros(1)
    for _ in range(4):
        step(x, np.ones(100), out)
    y = np.ones(100)
    y[where] = 0.0
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        step(x, y, out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(x, np.full(100, 4.0), out)
    assert out[0] == 0.25 and step.stats.graph_calls >= 3


def test_a_condition_is_known_behind_what_has_decided_it() -> None:
    graph = parse_graph(
        """graph f(x: f64[], c: bool[], d: bool[]) {
          if(c) { yield } else { exit(x) { return float(x) } }
          guard(d) else #0 value("d", "true")
          guard(d) else #1 value("d", "true")
          %0: f64[] = if(c) { %1 = add(x, x)  yield(%1) } else { %2 = multiply(x, x)  yield(%2) }
          %3: f64[] = if(d) { yield(%0) } else { yield(x) }
          exit(%3) { return float(%3) }
        }"""
    )
    assert fold_constants(graph) == 3
    assert [node.op for node in graph.body.nodes] == ["if", "guard", "add", "exit"]
    assert graph.body.nodes[-1].inputs == (graph.body.nodes[-2].result,)
