"""Loops and recursions whose graphs would be too large are found out early, and compiled in parts."""

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.capture import effort


def factorize(users, items, ratings):
    total = 0.0
    for user, item, rating in ratings:
        error = rating - users[user] @ items[item]
        total += error * error
        before = users[user].copy()
        users[user] += 0.01 * (error * items[item] - 0.02 * users[user])
        items[item] += 0.01 * (error * before - 0.02 * items[item])
    return total


def test_a_long_list_of_tuples_is_drawn_from(monkeypatch):
    monkeypatch.setattr(effort, "NODE_LIMIT", 5_000)  # what capture gets along with; unrolled there would be more
    source = np.random.default_rng(0)
    ratings = [(int(u), int(i), float(r)) for u, i, r in source.integers(0, 5, (1200, 3))]
    step = jj.jit(background=False)(factorize)
    here, there = ([np.full((5, 3), 0.1), np.full((5, 3), 0.2)] for _ in range(2))
    for _ in range(5):
        np.testing.assert_allclose(step(*here, ratings), factorize(*there, ratings), rtol=1e-12)
    np.testing.assert_allclose(here, there, rtol=1e-12)
    assert step.reason is None and step.stats.graph_calls == 3 and step.stats.host_calls >= 3 * len(ratings)


class Stump:
    def fit(self, features, residual):
        best = np.inf
        for column in range(features.shape[1]):
            for threshold in np.quantile(features[:, column], [0.25, 0.5, 0.75]):
                left = features[:, column] <= threshold
                if left.all() or not left.any():
                    continue
                below, above = residual[left].mean(), residual[~left].mean()
                error = ((residual[left] - below) ** 2).sum() + ((residual[~left] - above) ** 2).sum()
                if error < best:
                    best = error
                    self.column, self.threshold, self.below, self.above = column, threshold, below, above
        return self

    def predict(self, features):
        return np.where(features[:, self.column] <= self.threshold, self.below, self.above)


def boost(features, target):
    prediction = np.full(len(target), target.mean())
    for _ in range(6):
        prediction = prediction + 0.1 * Stump().fit(features, target - prediction).predict(features)
    return prediction


def test_branching_turns_do_not_multiply(monkeypatch):
    monkeypatch.setattr(effort, "UNROLLED_NODES", 1_500)
    monkeypatch.setattr(effort, "NODE_LIMIT", 6_000)
    features = np.random.default_rng(0).normal(size=(20, 3))
    step = jj.jit(background=False)(boost)
    for call in range(5):
        target = np.sin(features[:, 0] + call)
        np.testing.assert_allclose(step(features, target), boost(features, target), rtol=1e-12)
    assert step.reason is None and step.stats.graph_calls == 3


def solve(board, row, found):
    if row == len(board):
        found.append(board.copy())
        return
    for column in range(len(board)):
        if all(board[above] != column and abs(board[above] - column) != row - above for above in range(row)):
            board[row] = column
            solve(board, row + 1, found)
            board[row] = -1


def queens(size):
    found = []
    solve(np.full(size, -1), 0, found)
    return [board.tolist() for board in found]


def test_a_recursion_that_branches_is_not_unfolded_far(monkeypatch):
    monkeypatch.setattr(effort, "NODE_LIMIT", 8_000)
    step = jj.jit(background=False)(queens)
    for _ in range(5):
        assert step(5) == queens(5)
    assert step.reason is None and step.stats.graph_calls == 3


@pytest.mark.parametrize("length", [3, 6])
def test_what_is_small_is_unrolled_as_a_whole(length):
    def chain(x, weights):
        for w in weights:
            x = np.tanh(x @ w)
        return x

    weights = [np.eye(2) * k for k in range(length)]
    step = jj.jit(background=False)(chain)
    for _ in range(4):
        np.testing.assert_allclose(step(np.ones(2), weights), chain(np.ones(2), weights), rtol=1e-12)
    assert step.stats.graph_calls == 2 and step.stats.host_calls == 0


def test_items_that_nothing_looks_at_are_not_gone_through():
    """Neither where variables are taken apart at a commit point, nor where paths are joined."""

    def doubled(x, rows, host):
        y = x * 2.0
        if x[0] > 0.2:
            y += 1.0
        host(y.sum())
        return y * len(rows) * rows[0]

    ring = [1.0]
    ring.append(ring)  # without an end
    told: list[float] = []
    step = jj.jit(background=False, warmup=1)(doubled)
    for number in range(6):
        x = np.full(4, 0.1 * number)
        np.testing.assert_array_equal(step(x, [2.0, ring, ring], told.append), doubled(x, [2.0, ring, ring], abs))
    assert step.reason is None and step.stats.graph_calls == 5 and step.stats.host_calls >= 4
    assert len(told) == 6
