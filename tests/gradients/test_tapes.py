"""Gradient tapes outside compiled code."""

from __future__ import annotations

import doctest
import gc
import tracemalloc

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis import tapes

X = np.array([0.3, 1.2, -0.7])


def objective(x):
    return (np.tanh(x) * x[::-1] + np.exp(-(x**2))).sum()


def test_a_gradient_by_what_is_watched():
    with jj.GradientTape() as tape:
        x = tape.watch(X)
        y = objective(x)
    found = tape.gradient(y, x)
    assert type(found) is np.ndarray and float(y) == objective(X)
    np.testing.assert_allclose(found, jj.grad(objective)(X), rtol=1e-14)


def test_sources_and_targets_are_built_as_the_program_likes():
    w, b, other = jj.Variable(X), jj.Variable(2.0), jj.Variable(1.0)
    with jj.GradientTape(persistent=True) as tape:
        p = tape.watch({"layers": [X, (X * 2.0, 0.5)], "steps": 3, "name": "net"})
        first, (second, scale) = p["layers"]
        y = (w * first).sum() * b
        z = (second * scale).sum()
    assert p["steps"] == 3 and p["name"] == "net"
    found = tape.gradient([y, {"z": z}], {"w": w, "rest": (b, [other]), "layers": p["layers"]})
    np.testing.assert_allclose(found["w"], 2 * X)
    assert found["rest"] == (pytest.approx((X * X).sum()), [None])
    np.testing.assert_allclose(found["layers"][0], 2 * X)
    np.testing.assert_allclose(found["layers"][1][0], 0.5)
    assert found["layers"][1][1] == pytest.approx(2 * X.sum())
    assert found["layers"][1][1].shape == ()
    seeded = tape.gradient([y, z], [b, scale], output_gradients=[2.0, -1.0])
    assert seeded == [pytest.approx(2 * (X * X).sum()), pytest.approx(-2 * X.sum())]
    zeros = tape.gradient(y, other, unconnected_gradients="zero")
    assert zeros.shape == () and zeros == 0.0


def test_a_target_with_elements_counts_as_their_sum():
    with jj.GradientTape() as tape:
        x = tape.watch(X)
        y = x**2
    np.testing.assert_allclose(tape.gradient(y, x), 2 * X)


def test_results_can_be_sources_and_a_source_its_own_target():
    with jj.GradientTape(persistent=True) as tape:
        x = tape.watch(X)
        y = x * 3.0
        total = y.sum()
        z = (y * y).sum() + total * 2.0
    by_x, by_y, by_total = tape.gradient(z, [x, y, total])
    np.testing.assert_allclose(by_x, 18 * X + 6.0)
    np.testing.assert_allclose(by_y, 6 * X + 2.0)
    assert by_total == 2.0
    np.testing.assert_array_equal(tape.gradient(x, x), np.ones(3))
    np.testing.assert_array_equal(tape.gradient([y, x], x), 4 * np.ones(3))


def test_a_tape_is_used_once_unless_it_persists():
    x = jj.Variable(2.0)
    with jj.GradientTape() as tape:
        y = x * x
    assert tape.gradient(y, x) == 4.0
    with pytest.raises(RuntimeError, match="persistent=True"):
        tape.gradient(y, x)
    with jj.GradientTape(persistent=True) as tape:
        y = x * x
        z = y * x
    assert (tape.gradient(y, x), tape.gradient(z, x), tape.gradient(z, y)) == (4.0, 12.0, 2.0)


def test_only_what_the_tape_recorded_counts():
    x = jj.Variable(3.0)
    y = x * x
    with jj.GradientTape(persistent=True) as tape:
        z = y * x
        with tape.stop_recording():
            hidden = x * 5.0
        w = hidden + x
    late = z * 2.0
    assert tape.gradient(z, x) == 9.0
    assert tape.gradient(w, x) == 1.0
    assert tape.gradient(hidden, x) is None and tape.gradient(late, x) is None and tape.gradient(3.0, x) is None
    with pytest.raises(TypeError, match="watch"):
        tape.gradient(z, X)
    with pytest.raises(ValueError, match="unconnected"):
        tape.gradient(z, x, unconnected_gradients="nil")
    with pytest.raises(ValueError, match="not recording"), tape.stop_recording():
        pass
    with jj.GradientTape() as tape:
        with pytest.raises(ValueError, match="already"):
            tape.__enter__()
        with jj.no_grad():
            y = x * x
    assert tape.gradient(y, x) is None


def test_tapes_nest():
    x = jj.Variable(X)
    with jj.GradientTape() as outer:
        with jj.GradientTape() as inner:
            y = objective(x)
        slope = inner.gradient(y, x)
        product = (slope * np.ones(3)).sum()
    assert type(slope) is jj.Variable and slope.requires_grad
    np.testing.assert_allclose(slope.data, jj.grad(objective)(X), rtol=1e-14)
    np.testing.assert_allclose(outer.gradient(product, x), jj.hvp(objective)(X, np.ones(3)), rtol=1e-12)
    cube = jj.Variable(2.0)
    with jj.GradientTape() as third:
        with jj.GradientTape() as second:
            with jj.GradientTape() as first:
                y = cube**4
            one = first.gradient(y, cube)
        two = second.gradient(one, cube)
    assert (one.item(), two.item(), float(third.gradient(two, cube))) == (32.0, 48.0, 48.0)


def test_two_tapes_record_the_same():
    x = jj.Variable(2.0)
    with jj.GradientTape() as one, jj.GradientTape() as other:
        y = x**3
    assert one.gradient(y, x).item() == other.gradient(y, x).item() == 12.0
    with jj.GradientTape() as tape:
        y = x**3
        slope = tape.gradient(y, x)
        assert type(slope) is np.ndarray  # the tape has ended
        assert (x * x).is_leaf is False
    assert slope == 12.0


def test_with_grad_around_and_inside():
    def of_slope(x):
        with jj.GradientTape() as tape:
            v = tape.watch(x)
            y = (v**3).sum()
        return (tape.gradient(y, v) * x).sum()

    np.testing.assert_allclose(jj.grad(of_slope)(X), 9 * X**2, rtol=1e-14)


def test_what_a_tape_recorded_goes_with_it():
    x = jj.Variable(X)
    kept = []

    def used(steps):
        for _ in range(steps):
            with jj.GradientTape() as tape:
                y = objective(x)
            tape.gradient(y, x)
            with jj.GradientTape(persistent=True) as tape:
                kept.append(objective(x))
            kept[-1] = kept[-1].data
            with jj.GradientTape(persistent=True):
                objective(x)
        kept.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = used(50)
        assert used(150) - before < 15_000  # less than one array a step
    finally:
        tracemalloc.stop()
    with jj.GradientTape(persistent=True) as tape:
        y = objective(x)
    record = y._history.records[0]
    del tape
    assert record.released


def test_examples():
    found = doctest.testmod(tapes)
    assert found.attempted > 10 and found.failed == 0
