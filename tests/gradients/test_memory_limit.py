"""Under a memory limit, values are computed again instead of being kept; nothing else is different."""

from __future__ import annotations

import io

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend import cost
from janusjit.backend.arena import plan_arena
from janusjit.backend.buffers import assign
from janusjit.backend.fuse import make_plan


def loss(weights, x):
    h = x
    for w in weights:
        h = np.tanh(h @ w) * 1.1 + 0.1 * h
        h = np.exp(-h * h)
    return (h**2).sum()


def step(weights, x):
    return jj.value_and_grad(loss)(weights, x)


def relax(x, count):
    while count > 0:
        x = x + 0.01 * np.sin(x) * np.tanh(x)
        count -= 1
    return x.sum()


def gradient(x, count):
    return jj.grad(relax)(x, count)


def settled(function, limit, *arguments):
    jitted = jj.jit(background=False, memory_limit=limit)(function)
    for _ in range(4):
        result = jitted(*arguments)
    assert jitted.stats.graph_calls == 2 and jitted.stats.host_calls == 0
    return result, jitted.specializations[-1]


def arena_bytes(specialization):
    return plan_arena(assign(make_plan(specialization.captured)).storages).known_bytes


@pytest.fixture(scope="module")
def deep():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(16, 16)) * 0.3 for _ in range(12)], rng.normal(size=(128, 16))


def test_less_is_kept_and_the_bits_are_the_same(deep, monkeypatch):
    monkeypatch.setattr(cost, "PASS_SPARED", 1 << 40)  # how passes over rows add up depends on what else is in them
    (value, slopes), free = settled(step, None, *deep)
    sizes, arenas = [], []
    for limit in (10**9, 300_000, 0):
        (again, others), limited = settled(step, limit, *deep)
        assert again == value
        for one, other in zip(others, slopes, strict=True):
            np.testing.assert_array_equal(one, other)
        sizes.append(sum(kept.bytes for kept in limited.kept))
        arenas.append(arena_bytes(limited))
    kept = sum(kept.bytes for kept in free.kept)
    assert sizes[0] == kept and sizes[1] < 0.8 * kept and sizes[2] <= sizes[1]
    assert arenas[0] == arena_bytes(free) > 1.8 * arenas[1] and arenas[1] >= arenas[2]


def test_sums_in_one_pass_over_rows_are_near_those_of_another(deep):
    (value, slopes), free = settled(step, None, *deep)
    (again, others), limited = settled(step, 0, *deep)
    assert "sums over rows" in free.plan or "sums over rows" in limited.plan
    np.testing.assert_allclose(again, value, rtol=1e-13)
    for one, other in zip(others, slopes, strict=True):
        # 128 products are added up in another order: some ten roundings of the largest of them
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-14 * np.abs(other).max())


def test_gradients_are_right(deep):
    weights, x = deep
    (_, slopes), _ = settled(step, 0, *deep)
    direction = [np.cos(w) for w in weights]
    ahead, behind = ([w + sign * 1e-6 * d for w, d in zip(weights, direction, strict=True)] for sign in (1, -1))
    near = (loss(ahead, x) - loss(behind, x)) / 2e-6
    found = sum((s * d).sum() for s, d in zip(slopes, direction, strict=True))
    assert found == pytest.approx(near, rel=1e-6)  # central differences: 1e-16/1e-6 relative to the loss


def test_a_loop_keeps_what_a_turn_begins_with():
    x = np.linspace(0.1, 1.0, 50)
    free, most = settled(gradient, None, x, 30)
    limited, least = settled(gradient, 0, x, 30)
    np.testing.assert_array_equal(free, limited)
    turns = [[kept for kept in found.kept if kept.each_turn and kept.type.rank] for found in (most, least)]
    assert len(turns[0]) == 3 and len(turns[1]) == 1  # x, sin(x) and tanh(x); x


def test_the_report_says_what_is_kept(deep):
    _, specialization = settled(step, None, *deep)
    function = next(f for f in jj.report().functions if f.kept == tuple(map(str, specialization.kept)))
    assert any("np.tanh(h @ w)" in line and "f64[128,16], 16,384 bytes" in line for line in function.kept)
    text = io.StringIO()
    jj.report().print(text)
    assert f"kept for the backward pass: {len(function.kept)} arrays" in text.getvalue()


def test_a_limit_below_nothing_is_refused():
    with pytest.raises(jj.ConfigurationError, match="memory_limit=-1"):
        jj.jit(memory_limit=-1)(step)
