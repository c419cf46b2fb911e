"""What whole numbers can be is known before the loop runs, and nothing is believed that a turn could refute."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.transform.ranges import decide_by_ranges
from janusjit.transform.typed import parse_graph


def interior(x, out):
    for i in range(1, x.shape[0] - 1):
        out[i] = x[i - 1] + x[i + 1]


def nested(x, out):
    for i in range(x.shape[0]):
        for j in range(i + 1):
            out[i, j] = x[j, i] * 2.0


def while_loop(x, out):
    i = 0
    while i < len(x):
        out[i] = x[i]
        i += 1


def steps(x, out):
    for i in range(0, len(x), 3):
        out[i] = x[i]


def backwards(x, out):
    for i in range(len(x) - 1, -1, -1):
        out[i] = x[i]


SHAPES = {interior: (2000,), nested: (90, 90), while_loop: (2000,), steps: (2000,), backwards: (2000,)}


@pytest.mark.parametrize("function", SHAPES)
def test_an_index_within_its_array_is_not_compared_in_every_turn(function) -> None:
    rng = np.random.default_rng(1)
    x, out = rng.random(SHAPES[function]), np.zeros(SHAPES[function])
    expected, jitted = out.copy(), jj.jit(function, background=False)
    for _ in range(5):
        jitted(x, out)
    function(x, expected)
    np.testing.assert_array_equal(out, expected)
    assert jitted.stats.graph_calls >= 2 and jitted.stats.deopts == 0
    text = jitted.specializations[0].graph
    left_for_signals = text.count("interpreter.is_free")
    assert text.count("exit(") == 1 + left_for_signals and "checked" not in text and "where" not in text


def behind(x, out):
    for i in range(len(out)):
        out[i] = x[i + 1]


def doubled(x, out):
    i = 1
    while i < 5000:
        out[i] = x[i]
        i *= 2


def counted_twice(x, out):
    i = 0
    while i < 1999:
        i += 1
        out[i] = x[i]
        i += 1


@pytest.mark.parametrize("function", [behind, doubled])
def test_an_index_beyond_its_array_is_found(function) -> None:
    jitted = jj.jit(function, background=False)
    x, out = np.arange(6000.0), np.zeros(5999)
    for _ in range(5):
        jitted(x, out)
    assert jitted.stats.graph_calls >= 2
    for _ in range(4):
        with pytest.raises(IndexError):
            jitted(np.arange(2000.0), np.zeros(2000))


def test_a_counter_that_jumps_over_its_limit_is_followed() -> None:
    jitted, x, out = jj.jit(counted_twice, background=False), np.arange(2001.0), np.zeros(2001)
    for _ in range(5):
        jitted(x, out)
    expected = np.zeros(2001)
    counted_twice(x, expected)
    np.testing.assert_array_equal(out, expected)
    assert jitted.stats.graph_calls >= 2


def test_what_may_overflow_keeps_its_guard() -> None:
    graph = parse_graph(
        """graph f(n: i64[]) {
          %0 = constant(value=0, dtype="i64")
          %1 = constant(value=1, dtype="i64")
          %2 = constant(value=10, dtype="i64")
          %3: i64[], %4: i64[] = loop(%0, n) as (%5: i64[], %6: i64[]) {
            %7 = checked_add(%5, %1) else #0 int.overflow("i + 1", "an int of 64 bits")
            %8 = checked_add(%6, %5) else #1 int.overflow("n + i", "an int of 64 bits")
            %9 = less(%7, %2)
            if(%9) { continue(%7, %8) } else { break(%7, %8) }
            unreachable
          }
          exit(%3, %4) { return tuple(int(%3), int(%4)) }
        }"""
    )
    assert decide_by_ranges(graph) == 1
    assert [node.op for node in graph.walk() if node.op.endswith("add")] == ["add", "checked_add"]
    assert len(graph.guards.in_graph) == 1


def test_what_a_refuted_guess_decided_is_not_kept() -> None:
    graph = parse_graph(
        """graph f(n: i64[]) {
          %0 = constant(value=0, dtype="i64")
          %1 = constant(value=1, dtype="i64")
          %2 = constant(value=10, dtype="i64")
          %3: i64[] = loop(%0) as (%4: i64[]) {
            %5 = checked_subtract(%4, %1)
            %6 = succeeded(%5)
            if(%6) { yield } else { exit(%4) { return int(%4) } }
            %7 = less(%5, n)
            %8 = less(%4, %2)
            if(%8) { continue(%5) } else { break(%4) }
            unreachable
          }
          exit(%3) { return int(%3) }
        }"""
    )
    assert decide_by_ranges(graph) == 0
    assert [node.op for node in graph.walk()].count("succeeded") == 1
