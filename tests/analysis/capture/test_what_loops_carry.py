"""What loops in the graph carry: what a later turn can see, and nothing that calls within have left behind."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.capture import loops


def weight(x):
    if x > 1.0:
        return None
    if x > 0.0:
        return 2
    return x * 0.25


def with_calls(x):
    total = 0.0
    for i in range(len(x)):
        found = weight(x[i])
        if found is not None:
            total = total + float(found)
    return total


def with_nested_calls(x):
    total = 0.0
    for i in range(len(x)):
        for _ in range(3):
            found = weight(x[i])
            if found is not None:
                total = total + float(found)
    return total


@pytest.mark.parametrize("function", [with_calls, with_nested_calls])
def test_what_a_call_has_returned_is_not_carried(function, monkeypatch):
    carried = []
    merge = loops.Merger.merge

    def noted(merger):
        merged = merge(merger)
        carried.extend([slot.location for slot in merger.slots] + [where for where, _ in merger.kinds])
        return merged

    monkeypatch.setattr(loops.Merger, "merge", noted)
    compiled = jj.jit(background=False)(function)
    x = np.random.default_rng(0).normal(size=1000)
    for _ in range(4):
        assert compiled(x) == function(x)
    assert compiled.stats.graph_calls == 2 and compiled.stats.host_calls == 0
    assert carried and not any(where[0] == "returned" for where in carried)
