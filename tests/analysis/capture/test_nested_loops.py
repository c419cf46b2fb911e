"""Loops nested in each other: how often their bodies are captured, and what they carry.

A loop in a loop is captured anew in each round of the search for what the outer one carries.
"""

from __future__ import annotations

import copy
import linecache
from collections import Counter

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.capture import loops
from tests.analysis.capture.capturing import assert_captured, same


@pytest.fixture
def captured(monkeypatch):
    """Return how often each loop's body has been captured, by its line."""
    counts = Counter()
    run = loops._run_body

    def counted(machine, loop, state, region):
        counts[loop.instruction.span.line] += 1
        return run(machine, loop, state, region)

    monkeypatch.setattr(loops, "_run_body", counted)
    return counts


@pytest.fixture
def held(monkeypatch):
    """Return whether each guess at what a loop carries has held."""
    answers = []
    holds = loops.holds

    def noted(*arguments):
        answers.append(holds(*arguments))
        return answers[-1]

    monkeypatch.setattr(loops, "holds", noted)
    return answers


def nest(depth, begin, inside, after):
    """Return a function of ``depth`` loops; the sources are given the number of the loop they stand in."""
    lines = ["def program(x, n):", "    total, out = np.float64(0.0), np.zeros(len(x))"]
    for level in range(depth):
        lines += [f"{'    ' * (level + 1)}for i{level} in range(n):", f"{'    ' * (level + 2)}{begin.format(level)}"]
    lines.append(f"{'    ' * (depth + 1)}{inside.format(' + '.join(f'i{level}' for level in range(depth)))}")
    for level in reversed(range(depth)):
        lines.append(f"{'    ' * (level + 2)}{after.format(level)}")
    return defined("\n".join([*lines, "    return total, out"]))


def defined(source):
    """Return the function ``program`` of a source."""
    name, names = f"<nest {hash(source)}>", {"np": np, "__name__": __name__}
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), names)
    return names["program"]


NESTS = {
    "numbers": ("s{0} = 0.5", "total += x[({0}) % 7]", "total = total + s{0}"),
    "arrays": ("s{0} = i{0}", "total += x[({0}) % 7]", "out[i{0}] += total"),
    "branches": ("s{0} = i{0}", "total += x[({0}) % 7]", "total = total * 0.5 if total > i{0} else total"),
}


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", NESTS)
def test_a_body_is_captured_once_more_for_each_loop_around_it(kind, depth, captured):
    program = nest(depth, *NESTS[kind])
    compiled = jj.jit(background=False)(program)
    x = np.random.default_rng(0).normal(size=7)
    for _ in range(4):
        assert same(compiled(x, 3), program(x, 3))
    assert compiled.stats.graph_calls == 2 and compiled.stats.host_calls == 0
    assert len(captured) == depth
    assert [count for _, count in sorted(captured.items())] == [2 + level for level in range(depth)]


def changing_kind(x, n):
    total = 0.0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                for l in range(n):  # noqa: E741
                    total += x[(i + j + k + l) % 7] * 0.5
    return total


def test_a_variable_that_changes_kind_does_not_multiply_captures(captured):
    compiled = jj.jit(background=False)(changing_kind)
    x = np.random.default_rng(0).normal(size=7)
    for _ in range(4):
        assert same(compiled(x, 3), changing_kind(x, 3))
    assert compiled.stats.graph_calls == 2
    assert max(captured.values()) <= 24  # it was 92


def changed_later(x):
    first, second, count = 0.0, 1.0, 0
    for i in range(len(x)):
        for j in range(len(x)):
            if i == 3:
                first, second = second, first + x[j]
            count += j
    return first, second, count


def filled_later(x, filled):
    rows = {"a": np.float64(0.0), "b": np.float64(1.0)}
    total = np.float64(0.0)
    for name in ("a", "b"):
        for j in range(len(x)):
            if filled[name]:
                rows[name] = rows[name] * 0.5 + x[j]
            total += rows[name]
    return rows, total


@pytest.mark.parametrize("filled", [{"a": True, "b": False}, {"a": False, "b": True}])
def test_what_one_turn_carries_and_another_does_not_is_carried_in_the_first_alone(filled, held):
    """The loops in the two turns change different items: neither is guessed right from the other."""
    x = np.arange(400.0)
    graph = assert_captured(filled_later, x, filled)
    inner = [node for node in graph.walk() if node.op == "loop"]
    # beside the sum and the position
    assert [len(node.inputs) for node in inner] == ([3, 2] if filled["a"] else [2, 3])
    assert not all(held)


def test_branches_that_only_later_turns_take(held):
    x = np.arange(200.0)
    compiled = jj.jit(background=False)(changed_later)
    for _ in range(4):
        assert same(compiled(x), changed_later(x))
    assert compiled.stats.graph_calls == 2 and held


def known_later(x):
    results = []
    for moves in (True, False):
        axis, total = 1, np.float64(0.0)
        for i in range(len(x)):
            if moves:
                axis = i
            total += x[i, 0]
        results.append(total + axis if moves else total + x.sum(axis=axis)[0])
    return tuple(results)


def test_what_a_loop_leaves_as_it_was_stays_known(held):
    """In the first turn the axis is carried; in the second it is still the constant that a sum needs."""
    x = np.arange(800.0).reshape(400, 2)
    compiled = jj.jit(background=False)(known_later)
    for _ in range(4):
        assert same(compiled(x), known_later(x))
    assert compiled.stats.graph_calls == 2 and compiled.stats.host_calls == 0
    assert held and not all(held)


class Node:
    def __init__(self, value, following):
        self.value, self.following = value, following


def along_a_list(x, n):
    head = None
    for i in range(6):
        head = Node(x[i], head)
    total = np.float64(0.0)
    for _ in range(n):
        for j in range(n):
            node = head
            while node is not None:
                node.value = node.value * 0.5 + x[j]
                total += node.value
                node = node.following
    return total


def appending(x, n):
    seen, rows = [], {"last": np.zeros(2), "count": 0}
    for i in range(n):
        for j in range(n):
            for k in range(3):
                rows["last"] = rows["last"] * 0.5 + x[k]
                rows["count"] += 1
            seen.append(rows["last"][0] + j)
        seen.append(np.float64(i))
    return seen, rows


@pytest.mark.parametrize("program", [along_a_list, appending])
def test_objects_and_containers(program, captured):
    x = np.random.default_rng(1).normal(size=30)
    compiled = jj.jit(background=False)(program)
    for _ in range(4):
        given = copy.deepcopy(x)
        assert same(compiled(given, 20), program(x, 20)) and same(given, x)
    assert compiled.stats.graph_calls == 2 and compiled.stats.host_calls == 0
    assert captured


def decayed(values, rate):
    level = np.float64(0.0)
    for k in range(len(values)):
        level = level * rate + values[k]
    return level


def from_three_places(x, y):
    first = decayed(x, 0.5)
    second = [decayed(y + first, 0.25)]
    return first, second, decayed(x * second[0], y[0])


def test_a_loop_in_a_function_that_is_called_again_is_captured_once_more_for_each_call(captured, held):
    x, y = np.random.default_rng(1).uniform(size=(2, 1000))
    compiled = jj.jit(background=False)(from_three_places)
    for _ in range(4):
        assert same(compiled(x, y), from_three_places(x, y))
    assert compiled.stats.graph_calls == 2 and compiled.stats.host_calls == 0
    assert held == [True, True] and list(captured.values()) == [2 + 1 + 1]


ROWS = """
def program(x, n):
    rows, total = [], np.float64(0.0)
    for i in range(n):
        row = []
        for j in range(n):
            part = []
            for k in range(n):
                total += x[(i + j + k) % 7]
                part.append(total)
            row.append(sum(part))
        rows.append(sum(row))
    return np.array(rows)
"""


def test_buffers_of_lists_are_given_again(captured, held):
    compiled = jj.jit(background=False)(program := defined(ROWS))
    x = np.random.default_rng(0).normal(size=7)
    for n in (4, 4, 4, 5):  # sizes have other names in each round
        np.testing.assert_allclose(compiled(x, n), program(x, n), rtol=1e-12)
    assert compiled.stats.graph_calls == 2 and compiled.stats.host_calls == 0
    assert [count for _, count in sorted(captured.items())] == [3, 5, 7]  # they were 3, 9, 27
    assert held and all(held)


def appended_in_turns(x):
    seen, total = [], np.float64(0.0)
    for i in range(30):
        for j in range(len(x)):
            total += x[j] * i
            seen.append(total)
    return seen


def test_a_list_that_one_loop_after_the_other_appends_to(captured):
    """Each has a buffer behind those of the loops before: what they hold is gone through once."""
    x = np.random.default_rng(0).normal(size=200)
    compiled = jj.jit(background=False)(appended_in_turns)
    for _ in range(4):
        assert same(compiled(x), appended_in_turns(x))
    assert compiled.stats.graph_calls == 2 and compiled.stats.host_calls == 0
    assert sum(captured.values()) <= 36  # it was 94


def appended_in_the_innermost_loop(x, n):
    seen, total = [], np.float64(0.0)
    for i in range(n):
        for j in range(n):
            for k in range(n):
                total += x[(i + j + k) % 7]
                seen.append(total)
    return np.array(seen)


def test_buffers_behind_buffers_are_handed_on(captured):
    """What a list was before each of them is looked at once, not once for each way there."""
    x = np.random.default_rng(0).normal(size=7)
    compiled = jj.jit(background=False)(appended_in_the_innermost_loop)
    for _ in range(4):
        assert same(compiled(x, 30), appended_in_the_innermost_loop(x, 30))
    assert compiled.stats.graph_calls == 2
    assert sum(captured.values()) <= 220


def first_row_with(a, limit):
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            if a[i, j] < limit:
                break
        else:
            continue
        return i
    return -1


def rows_without(a, limit):
    count = 0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            if a[i, j] < limit:
                break
        else:
            count += 1
            if count > 100:
                break
    return count


@pytest.mark.parametrize("function", [first_row_with, rows_without])
def test_the_else_of_an_inner_loop_goes_on_with_the_outer_one(function):
    jitted = jj.jit(background=False)(function)
    a = np.random.default_rng(0).random((150, 140))
    for _ in range(6):
        assert jitted(a, -1.0) == function(a, -1.0)
    a[120, 3] = -2.0
    assert jitted(a, -1.0) == function(a, -1.0)
    assert jitted.stats.graph_calls >= 3
