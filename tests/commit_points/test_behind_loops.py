"""What follows a loop whose turns are regions of their own is one too."""

import numpy as np

import janusjit as jj


def slope(state):
    x, y, z = state
    return np.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


def simulated(state, turns):
    trajectory = [state]
    for _ in range(turns):
        half = state + 0.005 * slope(state)
        state = state + 0.01 * slope(half)
        trajectory.append(state)
    return np.array(trajectory)


def simulated_until(state, turns, bound):
    trajectory = [state]
    for turn in range(turns):
        state = state + 0.01 * slope(state)
        trajectory.append(state)
        if np.abs(state).max() > bound:
            last = turn
            break
    else:
        last = -1
    return np.vstack(trajectory).sum(axis=0), trajectory[-1] is state, last


def resized(weights, x):
    weights *= x
    weights.resize(len(x))
    return weights.sum()


def test_a_list_of_arrays_is_of_another_length_in_every_turn():
    step = jj.jit(simulated, background=False)
    for number in range(8):
        state = np.array([1.0, 1.0 + 0.1 * number, 1.0])
        np.testing.assert_allclose(step(state, 120), simulated(state, 120), rtol=1e-9)
    assert step.stats.graph_calls + step.stats.loop_entries >= 6
    assert step.stats.deopts == 0
    assert len(step.specializations) <= 5


def test_a_loop_that_is_broken_out_of():
    step = jj.jit(simulated_until, background=False)
    for number in range(10):
        state = np.array([1.0, 1.0 + 0.1 * number, 1.0])
        for bound in (15.0, 1000.0):
            expected, found = simulated_until(state, 90, bound), step(state, 90, bound)
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
            assert found[1:] == expected[1:]
    assert step.stats.graph_calls >= 14


def test_an_array_is_resized_to_its_size():
    step = jj.jit(resized, background=False)
    plain, ours = np.ones(7), np.ones(7)
    for number in range(6):
        x = np.linspace(0.5, 1.5, 7) + number
        assert step(ours, x) == resized(plain, x)
    np.testing.assert_array_equal(ours, plain)
    assert (step.stats.graph_calls, step.stats.host_calls) == (4, 0)
