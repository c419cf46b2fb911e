"""Default dicts, counters and ordered dicts that a function is given: read, written and counted in the graph."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest

import janusjit as jj
from tests.differential import differences


def grouped(table, v):
    table["a"].append(v.sum())
    table["new"].append(1)
    return len(table), table["a"][-1], "b" in table


def totals(table, v):
    table["sum"] += v.sum()
    table["calls"] += 1
    return dict(table)


def counted(counts, v):
    counts["a"] += 1
    counts.update("ab")
    return counts["missing"], counts["a"], len(counts), counts.total() if hasattr(counts, "total") else 0


def most_common(counts, v):
    return counts["a"] * v, sorted(counts), counts.get("q"), {**counts}


def parameters(layers, v):
    for name in layers:
        layers[name] = layers[name] - 0.1 * v
    return list(layers), layers["second"].sum(), next(iter(layers.values()))


def reordered(layers, v):
    layers.move_to_end("first")
    layers["third"] = v * 2
    return list(layers), next(iter(layers))


def taken_out(layers, v):
    name, value = layers.popitem(last=False)
    return name, value * v, len(layers)


def no_factory(table, v):
    try:
        return table["missing"]
    except KeyError:
        return v * 2


def lists():
    return defaultdict(list, a=[1.0], b=[])


def layers():
    made = OrderedDict(first=np.ones(3), second=np.zeros(3))
    made["zeroth"] = np.full(3, 2.0)
    made.move_to_end("zeroth", last=False)
    return made


CASES = [
    (grouped, lists),
    (totals, lambda: defaultdict(float, sum=1.0)),
    (totals, lambda: Counter(sum=2)),
    (counted, lambda: Counter("abca")),
    (most_common, lambda: Counter("abca")),
    (parameters, layers),
    (reordered, layers),
    (taken_out, layers),
    (no_factory, lambda: defaultdict(None, a=1)),
]


@pytest.mark.parametrize(("function", "make"), CASES)
def test_it_is_followed(function, make):
    step = jj.jit(function, background=False)
    for count in range(8):
        v = np.arange(3.0) + count
        theirs, ours = make(), make()
        expected, found = function(theirs, v), step(ours, v)
        assert not differences((expected, theirs), (found, ours))
        assert list(theirs) == list(ours)
    assert step.stats.graph_calls == 6
    assert step.stats.host_calls == 0
    assert step.stats.deopts == 0


def test_a_key_more_is_noticed():
    def step(table, v):
        return list(table), v * len(table)

    jitted = jj.jit(step, background=False)
    table = defaultdict(int, a=1)
    for count in range(10):
        if count % 4 == 3:
            table[f"key {count}"] += 1
        v = np.arange(2.0)
        assert not differences(step(table, v), jitted(table, v))
    assert jitted.stats.graph_calls >= 6


def test_another_factory_is_noticed():
    def step(table, v):
        return table["new"], v * 2

    jitted = jj.jit(step, background=False)
    for factory in [int, int, int, int, list, float, int]:
        assert not differences(step(defaultdict(factory), np.ones(2)), jitted(defaultdict(factory), np.ones(2)))
    assert jitted.stats.graph_calls >= 4


def test_a_subclass_is_left_to_python():
    class Own(defaultdict):
        def __missing__(self, key):
            return 7

    def step(table, v):
        return table["new"], v * 2

    jitted = jj.jit(step, background=False)
    for _ in range(6):
        assert not differences(step(Own(int), np.ones(2)), jitted(Own(int), np.ones(2)))
    assert jitted.stats.host_calls > 0
