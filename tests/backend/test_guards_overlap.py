"""Whether many arrays share memory is found out together."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import janusjit as jj
from janusjit.backend.llvm.entry_builtin import Compiled
from janusjit.ir.dims import symbol
from janusjit.ir.guards import ArrayLayout, NoOverlap
from tests.backend.entry_only import arguments, compile_entry, entry_graph

COUNT = 5
PLACES = arguments(COUNT)
LAYOUTS = [
    ArrayLayout(place=place, dtype="f64", shape=(symbol(f"m{i}", 0), symbol(f"n{i}", 0)), layout="any")
    for i, place in enumerate(PLACES)
]


def compiled(written):
    pairs = [pair for pair in itertools.combinations(range(COUNT), 2) if pair[0] in written or pair[1] in written]
    ordered = [pair if pair[0] in written else pair[::-1] for pair in pairs]
    guards = [NoOverlap(first=PLACES[i], second=PLACES[j]) for i, j in ordered]
    return compile_entry(entry_graph(COUNT, [*LAYOUTS, *guards])), pairs


ENTRIES = [compiled(written) for written in ([0], [0, 1], [4, 2, 3], range(COUNT))]


@st.composite
def windows(draw):
    base = np.zeros((12, 3))
    parts = []
    for _ in range(COUNT):
        low, high = sorted(draw(st.lists(st.integers(0, 12), min_size=2, max_size=2)))
        parts.append(base[low:high, : draw(st.integers(0, 3))][:: draw(st.sampled_from([1, -1, 2]))])
    return parts


@given(windows())
@settings(max_examples=300)
def test_any_pair_of_a_written_array_and_another(parts):
    for entry, pairs in ENTRIES:
        apart = not any(np.may_share_memory(parts[i], parts[j]) for i, j in pairs)
        result = entry.entry(*parts)
        assert (result == "passed") == apart and (result is Compiled.DEOPTIMIZED) != apart


def test_code_does_not_grow_with_the_pairs():
    def update(values):
        for value in values:
            value += 1.0

    def size(count):
        step = jj.jit(background=False)(update)
        values = [np.zeros(3) for _ in range(count)]
        for _ in range(4):
            step(values)
        assert step.stats.graph_calls == 2 and values[-1].tolist() == [4.0] * 3
        values[0] = values[1]
        expected = [value.copy() for value in values]
        update([expected[0], expected[0], *expected[2:]])
        step(values)  # the guard fails: one array is two of the items
        assert all(np.array_equal(*pair) for pair in zip(values[1:], expected[:1] + expected[2:], strict=True))
        return len(step.specializations[-1].llvm_ir)

    small, large = size(16), size(48)
    assert large < 4.5 * small  # 9 times as many pairs


@pytest.mark.parametrize("count", [2, 3, 8])
def test_arrays_that_overlap_are_pythons(count):
    def update(*values):
        for value in values:
            value *= 2.0

    memory, step = np.ones(4 * count), jj.jit(background=False)(update)
    apart = [memory[4 * k : 4 * k + 4] for k in range(count)]
    for _ in range(3):
        step(*apart)
    assert memory.tolist() == [8.0] * len(memory) and step.stats.graph_calls == 1
    overlapping = [*apart[:-1], memory[4 * count - 5 : -1]]
    expected = memory.copy()
    update(*(expected[4 * k : 4 * k + 4] for k in range(count - 1)), expected[4 * count - 5 : -1])
    step(*overlapping)
    assert memory.tolist() == expected.tolist() and step.stats.deopts == 1
