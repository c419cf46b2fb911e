"""Programs in the style of public from-scratch repositories: the same trajectory as in plain Python."""

from __future__ import annotations

import importlib

import pytest

import janusjit as jj
from tests.differential import Comparison

#: name, the least part of the calls after warm-up that enter a graph, and the most host calls a step
PROGRAMS = {
    "layers": (1.0, 0),
    "engine": (1.0, 0),
    "lstm": (0.9, 0),
    "word2vec": (1.0, 0),
    "reinforce": (0.8, 150),
    "treelstm": (0.9, 0),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_trajectory(name, capsys):
    module = importlib.import_module(f"tests.from_scratch.{name}")
    plain_run, plain_state, _ = module.build(lambda function: function)
    outcomes = []
    for number in range(module.STEPS):
        outcomes.append((plain_run(number), capsys.readouterr().out))
    wanted = plain_state()
    run, state, step = module.build(jj.jit(background=False))
    for number in range(module.STEPS):
        found = (run(number), capsys.readouterr().out)
        comparison = Comparison(1e-9)
        comparison.compare(outcomes[number], found, f"step {number}")
        assert not comparison.finish(), comparison.found[:5]
    comparison = Comparison(1e-9)
    comparison.compare(wanted, state(), "state")
    assert not comparison.finish(), comparison.found[:5]
    stats = step.stats
    share, most = PROGRAMS[name]
    assert step.reason is None, step.reason
    assert stats.graph_calls >= share * (module.STEPS - 2), stats
    assert stats.host_calls <= most * module.STEPS, stats
