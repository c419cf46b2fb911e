"""A branch of which neither way can be captured is left to Python, rather than failing at each call."""

import numpy as np
import scipy.linalg

import janusjit as jj


def test_a_branch_of_which_neither_way_can_be_captured_is_python_s():
    @jj.jit(background=False)
    def solve(matrix, right):
        lower = np.linalg.cholesky(matrix @ matrix.T + np.eye(4))
        return right @ scipy.linalg.cho_solve((lower.T, False), right) * 2.0

    rng = np.random.default_rng(0)
    for _ in range(10):
        matrix, right = rng.normal(size=(4, 4)), rng.normal(size=4)
        np.testing.assert_allclose(solve(matrix, right), solve.__wrapped__(matrix, right))
    assert solve.stats.graph_calls == 8
    assert solve.stats.host_calls == 8
    assert not solve.stats.deopts
