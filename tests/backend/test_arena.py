"""The arena: what is in use at one time does not overlap, and large arenas are not larger than need be."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import janusjit as jj
from janusjit.backend.arena import LARGE, Arena, plan_arena
from janusjit.backend.buffers import assign
from janusjit.backend.fuse import make_plan
from janusjit.backend.storage import Storage


def storage(size: int, birth: int, death: int) -> Storage:
    layout: Any = types.SimpleNamespace(shape=(size,), type=types.SimpleNamespace(numpy_dtype=np.dtype("f8")))
    return Storage(layout, birth=birth, death=death)


def overlaps(arena: Arena) -> list[tuple[Storage, Storage]]:
    places = [(one, start, start + 8 * one.layout.shape[0]) for one, start in arena.offsets.items()]  # type: ignore[operator]
    return [
        (a, b)
        for number, (a, a_start, a_end) in enumerate(places)
        for b, b_start, b_end in places[:number]
        if a.birth <= b.death and b.birth <= a.death and a_start < b_end and b_start < a_end
    ]


@given(st.lists(st.tuples(st.integers(1, 100_000), st.integers(0, 30), st.integers(0, 10)), max_size=40))
def test_what_is_in_use_at_one_time_does_not_overlap(lives: list[tuple[int, int, int]]) -> None:
    storages = [storage(size, birth, birth + length) for size, birth, length in lives]
    arena = plan_arena(storages)
    assert not overlaps(arena)
    ends = [start + 8 * one.layout.shape[0] for one, start in arena.offsets.items()]  # type: ignore[operator]
    assert max(ends, default=0) <= arena.known_bytes < max(ends, default=0) + 64


def test_a_large_storage_lies_where_small_ones_have_been() -> None:
    small = [storage(LARGE // 64 + 8 * number, number, number + 1) for number in range(3)]
    large, last = storage(LARGE, 4, 6), storage(LARGE // 32, 3, 5)
    arena = plan_arena([*small, last, large])
    assert not overlaps(arena)
    assert arena.known_bytes == 8 * (LARGE + LARGE // 32)


def test_what_takes_over_memory_at_once_still_does() -> None:
    before, after = storage(LARGE // 64, 0, 2), storage(LARGE // 64, 3, 8)
    others = [storage(LARGE // 64, 0, 1), storage(LARGE, 4, 6)]
    arena = plan_arena([before, after, *others])
    assert arena.takes_over(after, before)


def step(weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> None:
    hidden = np.maximum(x @ weights["first"], 0.0)
    error = (hidden @ weights["last"] - y) / len(x)
    slope = (error @ weights["last"].T) * (hidden > 0)
    weights["last"] -= 0.1 * hidden.T @ error
    weights["first"] -= 0.1 * (x.T @ slope) ** 3


def test_a_step_needs_little_besides_its_largest_array() -> None:
    rng = np.random.default_rng(0)
    weights = {"first": 0.01 * rng.normal(size=(400, 512)), "last": 0.01 * rng.normal(size=(512, 10))}
    x, y = rng.normal(size=(64, 400)), rng.normal(size=(64, 10))
    expected = {name: value.copy() for name, value in weights.items()}
    jitted = jj.jit(background=False, threads=1)(step)
    for _ in range(4):
        jitted(weights, x, y)
        step(expected, x, y)
    assert jitted.stats.graph_calls == 2
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-9)
    arena = plan_arena(assign(make_plan(jitted.specializations[0].captured)).storages)
    largest = weights["first"].nbytes
    assert largest <= arena.known_bytes < 1.4 * largest
