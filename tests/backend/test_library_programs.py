"""Functions of one library call under `@jit`: whose memory results are, how often the library is called, failures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import janusjit
from janusjit.ops import OPS
from tests.differential import Comparison


def sort(x: np.ndarray) -> Any:
    return np.sort(x)


def partition(x: np.ndarray) -> Any:
    return np.partition(x, 3)


def interpolate(x: np.ndarray) -> Any:
    return np.interp(x, np.array([-1.0, 0.0, 2.0]), np.array([3.0, 1.0, 5.0]))


def search(x: np.ndarray) -> Any:
    return np.searchsorted(np.array([-1.0, 0.0, 2.0]), x)


def bins(x: np.ndarray) -> Any:
    return np.digitize(x, np.array([2.0, 0.0, -1.0]))


def unique(x: np.ndarray) -> Any:
    found = np.unique(x)
    return found, found.sum(), len(found)


def counts(x: np.ndarray) -> Any:
    return np.bincount(np.abs(x[x > -1.0]).astype(np.int64))  # of a length that the data tell


def smooth(x: np.ndarray) -> Any:
    return np.convolve(np.array([0.25, 0.5, 0.25]), x)


def next_up(x: np.ndarray) -> Any:
    return np.nextafter(x, np.inf)


def parts(x: np.ndarray) -> Any:
    return np.modf(x)


def diagonal(x: np.ndarray) -> Any:
    return np.einsum("ii->i", x.reshape(3, 3)), np.einsum("ij->ij", x.reshape(3, 3))


def values(x: np.ndarray) -> Any:
    return np.linalg.svd(x.reshape(3, 3)), np.linalg.det(x.reshape(3, 3))


def in_place(x: np.ndarray) -> Any:
    ordered = np.sort(x)
    ordered[0] = 100.0
    x[:] = np.sort(ordered)[::-1]
    return ordered


def twice_the_same(x: np.ndarray) -> Any:
    ordered = np.sort(x)
    return ordered, [ordered], ordered[1:]


def in_a_loop(x: np.ndarray) -> Any:
    total = np.zeros(9)
    for _ in range(200):
        x = np.sort(x * -0.99)
        total = total + x
    return x, total


def in_a_branch(x: np.ndarray) -> Any:
    made = np.sort(x) if x[0] > 0 else np.partition(x, 2)
    return made, made * 2


PROGRAMS = [
    sort, partition, interpolate, search, bins, unique, counts, smooth, next_up, parts, diagonal, values, in_place,
    twice_the_same, in_a_loop, in_a_branch,
]  # fmt: skip


@pytest.mark.parametrize("function", PROGRAMS)
def test_programs(function: Callable[[np.ndarray], Any]) -> None:
    compiled = janusjit.jit(function, background=False)
    generator = np.random.default_rng(7)
    kept = []
    for number in range(16):
        x = np.round(generator.normal(size=9) * 3, number % 3)
        mine, theirs = x.copy(), x.copy()
        expected, actual = function(mine), compiled(theirs)
        comparison = Comparison()
        comparison.compare((expected, mine), (actual, theirs), "outcome")
        assert not comparison.found
        kept.append((actual, expected))
    assert compiled.stats.graph_calls >= 8
    comparison = Comparison()
    comparison.compare([e for _, e in kept], [a for a, _ in kept], "what was returned before")
    assert not comparison.found


@pytest.mark.parametrize("name", ["sort", "einsum", "partition"])
def test_results_own_their_memory(name: str) -> None:
    functions = {"sort": sort, "partition": partition, "einsum": lambda x: np.einsum("i,j,k->i", x, x, x)}
    compiled = janusjit.jit(functions[name], background=False)
    for _ in range(8):
        compiled(np.arange(9.0))
    x = np.arange(9.0)
    made = compiled(x)
    assert compiled.stats.graph_calls >= 4
    assert made.flags.owndata
    assert made.flags.writeable
    assert not np.shares_memory(made, x)
    assert sys.getrefcount(made) == 2
    assert sys.getrefcount(x) == 2
    made[:] = -1.0
    np.testing.assert_array_equal(x, np.arange(9.0))


class Counted:
    """An eager function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        self.calls += 1
        assert all(type(i) is np.ndarray for i in inputs)
        return self.function(*inputs, **attributes)


@pytest.mark.parametrize(("name", "function"), [("unique", unique), ("bincount", counts), ("partition", partition)])
def test_the_library_is_called_once(name: str, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(OPS[name].eager)
    monkeypatch.setitem(OPS, name, replace(OPS[name], eager=counted))
    compiled = janusjit.jit(function, background=False)
    for _ in range(6):
        compiled(np.arange(9.0))
    before, graph_calls = counted.calls, compiled.stats.graph_calls
    for _ in range(10):
        compiled(np.arange(9.0) // 2)
    assert compiled.stats.graph_calls == graph_calls + 10
    assert counted.calls == before + 10


@pytest.mark.parametrize("returned", ["input", "view", "kept"])
def test_what_is_not_new_is_copied(returned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.full(9, 5.0)

    def eager(x: np.ndarray, **attributes: object) -> np.ndarray:
        return {"input": x, "view": x[::-1], "kept": kept}[returned]

    monkeypatch.setitem(OPS, "partition", replace(OPS["partition"], eager=eager))
    compiled = janusjit.jit(partition, background=False)
    for _ in range(8):
        compiled(np.arange(9.0))
    x = np.arange(9.0)
    made = compiled(x)
    assert compiled.stats.graph_calls >= 4
    np.testing.assert_array_equal(made, eager(x))
    assert not np.shares_memory(made, x)
    assert not np.shares_memory(made, kept)
    made[:] = 0.0
    assert x[1] == 1.0
    assert kept[0] == 5.0


def test_what_the_library_raises_is_raised_by_python() -> None:
    def function(x: np.ndarray) -> Any:
        return np.linalg.inv(x)

    compiled = janusjit.jit(function, background=False)
    for _ in range(8):
        compiled(np.eye(3) * 2)
    assert compiled.stats.graph_calls >= 4
    assert compiled.stats.deopts == 0
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        compiled(np.zeros((3, 3)))
    assert compiled.stats.deopts == 1
    np.testing.assert_array_equal(compiled(np.eye(3) * 2), np.eye(3) / 2)
    assert compiled.stats.deopts == 1


def test_a_result_of_another_type_leaves_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = OPS["partition"].eager, []

    def eager(x: np.ndarray, **attributes: Any) -> Any:
        return right(x, **attributes)[1:] if wrong else right(x, **attributes)

    monkeypatch.setitem(OPS, "partition", replace(OPS["partition"], eager=eager))
    compiled = janusjit.jit(partition, background=False)
    for _ in range(8):
        compiled(np.arange(9.0))
    assert compiled.stats.graph_calls >= 4
    assert compiled.stats.deopts == 0
    wrong.append(True)
    x = np.arange(9.0)[::-1].copy()
    np.testing.assert_array_equal(compiled(x), partition(x))
    assert compiled.stats.deopts == 1


def test_a_read_only_input_stays_what_it_is() -> None:
    compiled = janusjit.jit(sort, background=False)
    x = np.arange(9.0)[::-1].copy()
    x.flags.writeable = False
    for _ in range(8):
        np.testing.assert_array_equal(compiled(x), np.arange(9.0))
    assert compiled.stats.graph_calls >= 4
    assert not x.flags.writeable
    assert compiled(x).flags.writeable
