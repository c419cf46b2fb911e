"""Programs in the style of public from-scratch repositories: the same trajectory as in plain Python."""

from __future__ import annotations

import importlib

import pytest

import janusjit as jj
from janusjit import config
from janusjit.api import _PIPELINE
from janusjit.transform.forced_failure import count_guards
from tests.differential import Comparison

#: name, the least part of the calls after warm-up that enter a graph, and the most host calls a step
PROGRAMS = {
    "layers": (1.0, 0),
    "engine": (1.0, 0),
    "lstm": (0.9, 0),
    "word2vec": (1.0, 0),
    "reinforce": (0.9, 150),
    "cartpole": (0.9, 5),
    "treelstm": (0.9, 0),
    "forest": (0.9, 2_000),
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


@pytest.mark.parametrize("name", ["engine", "lstm", "word2vec", "treelstm", "layers", "cartpole", "reinforce"])
def test_every_guard_forced_to_fail(name, capsys):
    """A guard that fails, whichever it is, changes nothing but where the call runs."""
    module = importlib.import_module(f"tests.from_scratch.{name}")
    run, _, step = module.build(jj.jit(background=False))
    for number in range(4):
        run(number)
    guards = max((count_guards(found.captured) for found in step.specializations), default=0)
    plain_run, plain_state, _ = module.build(lambda function: function)
    wanted = [plain_run(number) for number in range(5)]
    final = plain_state()
    capsys.readouterr()
    for forced in range(guards):
        _PIPELINE._forced.clear()
        with config.override(fail_guard=forced):
            run, state, step = module.build(jj.jit(background=False))
            found = [run(number) for number in range(5)]
        comparison = Comparison(1e-9)
        comparison.compare(wanted, found, f"guard {forced}")
        comparison.compare(final, state(), f"guard {forced}: state")
        assert not comparison.finish(), comparison.found[:5]
        assert step.stats.deopts >= 1, (forced, step.stats)
