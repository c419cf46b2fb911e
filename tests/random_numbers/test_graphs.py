"""Draws as nodes: what passes leave alone, the textual form, the order, what stays in Python."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

import janusjit
from janusjit import config
from janusjit.api import _PIPELINE
from janusjit.ir.equality import difference
from janusjit.ir.parse import parse_graph
from janusjit.ir.text import GraphPrinter, format_graph
from janusjit.runtime import replacement
from janusjit.transform import typed
from janusjit.transform.forced_failure import count_guards
from janusjit.transform.passes import optimize
from tests.random_numbers.streams import check, state_of

GOLDEN = Path(__file__).parent / "golden" / "draws.ir"


def draws(rng, x, rate):
    noise = rng.normal(0.0, 0.1, x.shape)
    if np.random.rand() < rate:
        x = x + noise
    for _ in range(3):
        random.random()
    return x * (rng.random(x.shape) >= rate), np.random.default_rng(7)


def graph_of(function, *arguments):
    jitted = janusjit.jit(function, warmup=2, background=False)
    for _ in range(6):
        jitted(*arguments)
    assert jitted.stats.graph_calls > 0 and jitted.stats.host_calls == 0
    return jitted.specializations[-1].captured


def test_text_round_trip():
    graph = graph_of(draws, np.random.default_rng(0), np.ones((2, 3)), 0.5)
    printer = GraphPrinter(graph)
    text = printer.text()
    again = typed.parse_graph(text, printer.namespace)
    assert difference(graph, again) is None
    typed.verify_graph(again)
    assert format_graph(again) == text


def test_golden_text():
    text = GOLDEN.read_text(encoding="utf-8")
    names = {"Generator": np.random.Generator, "PCG64": np.random.PCG64}
    graph = typed.parse_graph(text, names)
    typed.verify_graph(graph)
    assert format_graph(graph) == text
    given = parse_graph(text, names)  # the types are all in the text
    assert difference(graph, given) is None


def test_passes_keep_every_draw_in_its_place():
    text = """
    graph f(rng, n: i64[]) {
      input rng: i64[] = rng generator
      require TypeIs(rng, &Generator)
      %o = constant(value=0, dtype="i64")
      %s = constant(value=7, dtype="i64")
      %a, %b = random.default_rng(%o, %s) else #0 numpy.exception("a", "none")
      %c, %d = random.default_rng(%a, %s) else #1 numpy.exception("b", "none")
      %e, %f = generator.random(%c, rng, size=None, dtype="float64") else #2 numpy.exception("c", "none")
      %t, %u = loop(%e, n) as (%g: i64[], %h: i64[]) {
        %i, %j = generator.random(%g, rng, size=None, dtype="float64") else #3 numpy.exception("d", "none")
        %more = greater(%h, %o)
        if(%more) {
          %k = subtract(%h, 1)
          continue(%i, %k)
        } else {
          break(%i, %h)
        }
        unreachable
      }
      exit(%b, %d) { return tuple(scalar(%b, "object"), scalar(%d, "object")) }
    }
    """.replace("rng, n: i64[]", "rng, n: int")
    graph = typed.parse_graph(text, {"Generator": np.random.Generator})
    typed.verify_graph(graph)
    optimized = optimize(graph).graph
    ops = [node.op for node in optimized.walk()]
    assert ops.count("random.default_rng") == 2 and ops.count("generator.random") == 2
    (loop,) = [node for node in optimized.walk() if node.op == "loop"]
    assert loop.regions[0].nodes[0].op == "generator.random"


def guarded(g, x, i):
    noise = g["new"].normal(size=2) + np.random.randn()
    if noise[0] > 0.5:
        x = x + g["old"].normal(size=2)
    total = 0.0
    for _ in range(i):
        total += g["python"].gauss(0.0, 1.0) * x[i - 2]
    made = np.random.RandomState(i)
    return total + random.choice([1.0, 2.0]), made.rand(2), np.random.permutation(x)


def test_every_guard_forced_to_fail():
    def arguments(n):
        return np.arange(2.0), 2 + n % 2

    jitted = check(guarded, arguments, calls=8, in_graph=False)
    most = max(count_guards(found.captured) for found in jitted.specializations)
    assert most >= 12
    deoptimized = 0
    for number in range(most):
        _PIPELINE._forced.clear()
        with config.override(fail_guard=number):
            deoptimized += check(guarded, arguments, calls=6, in_graph=False).stats.deopts > 0
    assert deoptimized >= most - 3  # some stand where these calls do not come by


def train(rng, x, epochs, odd):
    """A whole loop in one call, whose branch goes the other way late, after draws of that turn."""
    made, total = np.random.RandomState(4), 0.0
    for epoch in range(epochs):
        noise = rng.normal(size=2) + np.random.randn(2) + made.standard_normal()
        total += random.gauss(0.0, 1.0) + random.random()
        x += noise * 0.01
        if epoch == odd:
            x *= 0.5
            total += rng.random()
        x *= 0.9
    return total, made.random()


def test_a_late_failure_costs_one_turn(monkeypatch):
    monkeypatch.setattr(replacement, "MINIMUM_TRIPS", 1)
    monkeypatch.setattr(replacement, "HOT_SECONDS", -1.0)
    step = janusjit.jit(train, background=False)
    events, found = [], []
    stop = janusjit.on_event(lambda event: events.append(event) if event.kind == "guard_failed" else None)
    for function in (train, step):
        rng, x = np.random.default_rng(1), np.zeros(2)
        np.random.seed(2)
        random.seed(3)
        results = [function(rng, x, 600, 590), function(rng, x, 100, 7), function(rng, x, 100, -1)]
        found.append((repr(results), x.tolist(), repr([state_of(one) for one in (rng, np.random, random)])))
    stop()
    assert found[0] == found[1]
    assert step.stats.loop_entries >= 1 and step.stats.deopts == 1
    (event,) = events
    assert event.resumed == "graph"  # not a turn more in Python


# ---------------------------------------------------------------------- Python in the middle


def test_draws_around_a_host_call():
    def step(g, x, text):
        made = np.random.default_rng(3)
        first = g["new"].random() + made.random()
        found = json.loads(text)
        return first + found + g["new"].random() + made.random(), np.random.rand(), made.random()

    jitted = check(step, lambda n: (np.ones(3), str(n)), in_graph=False)
    assert jitted.stats.graph_calls == 6 and jitted.stats.host_calls == 6


def test_what_has_no_declaration_is_a_host_call():
    def step(g, x):
        before = g["new"].random()
        raw = g["new"].bytes(4)
        return before, raw, np.random.random_sample(2), np.random.default_rng().bit_generator is None, x + 1

    def only_eager(g, x):
        return g["new"].random(), g["new"].bytes(4), np.random.get_state()[2], x + g["new"].random()

    check(only_eager, lambda n: (np.ones(3),), in_graph=False)
    check(step, lambda n: (np.ones(3),), in_graph=False)


def test_unknown_bit_generators_stay_in_python():
    class Odd(np.random.PCG64):
        pass

    def step(rng, x):
        return x + rng.random(x.shape)

    found = []
    jitted = janusjit.jit(step, warmup=2, background=False)
    for function in (step, jitted):
        rng = np.random.Generator(Odd(3))
        found.append([function(rng, np.ones(2)).tolist() for _ in range(6)])
        found[-1].append(state_of(rng))
    assert found[0] == found[1]


@pytest.mark.parametrize("replaced", ["seed", "set_state", "set_bit_generator"])
def test_the_global_state_may_be_replaced_between_calls(replaced):
    def step(x):
        return x + np.random.rand(2), np.random.randn()

    def run(function):
        np.random.seed(3)
        found, before = [], np.random.get_bit_generator()
        for n in range(12):
            if n % 4 == 3:
                if replaced == "seed":
                    np.random.seed(n)
                elif replaced == "set_state":
                    np.random.set_state(np.random.RandomState(n).get_state())
                else:
                    np.random.set_bit_generator(np.random.PCG64(n) if n < 8 else np.random.MT19937(n))
            found.append(repr(function(np.zeros(2))))
        found.append(repr(state_of(np.random)))
        np.random.set_bit_generator(before)
        return found

    jitted = janusjit.jit(step, warmup=2, background=False)
    assert run(step) == run(jitted)
    assert jitted.stats.graph_calls >= 8 and jitted.stats.host_calls == 0


def test_generators_are_not_kept_alive():
    def step(rng, x, i, seed):
        made = np.random.default_rng(seed)
        total = 0.0
        for _ in range(seed):
            total += made.random() + np.random.RandomState(seed).rand()
        return rng.random() + total + x[i]

    def living():
        gc.collect()
        return sum(type(one) in (np.random.Generator, np.random.RandomState) for one in gc.get_objects())

    jitted = janusjit.jit(step, warmup=2, background=False)
    rng, x = np.random.default_rng(0), np.ones(2)
    for n in range(6):
        jitted(rng, x, 0, 2 + n % 3)
    alive, references = living(), sys.getrefcount(rng)
    for n in range(30):
        with contextlib.suppress(IndexError):
            jitted(rng, x, n % 3, 2 + n % 3)
    assert (living(), sys.getrefcount(rng)) == (alive, references)
    assert jitted.stats.graph_calls >= 30 and jitted.stats.deopts >= 10
