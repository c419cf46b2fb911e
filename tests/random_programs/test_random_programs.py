"""Random programs, in plain Python and under `@jit`: no difference in result, type, state, exception or printed text.

``pytest tests/random_programs --programs 2000`` runs more of them; the seeds are fixed, so a run repeats. A failure is
shrunk, and the program and its calls are printed.
"""

from __future__ import annotations

import warnings
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import janusjit
from tests.differential import run_side_by_side
from tests.random_programs.environment import CallInputs, Environment, NoisyEnvironment, add_noise, call_sequences
from tests.random_programs.expressions import UNMARKED
from tests.random_programs.statements import program_sources

#: Each shard is a test of its own, so that they can run in parallel.
SHARDS = 4
DEFAULT_PROGRAMS = 40


def jit(function):
    return janusjit.jit(function, warmup=2, background=False)


def find_differences(source: str, calls: list[CallInputs], totals: Counter[str]) -> list[str]:
    """Compare one program with itself under `@jit`.

    A difference counts only if the program is well-conditioned: when plain Python with other, equally good, roundings
    differs from plain Python as much, nothing follows from it.
    """
    plain, jitted = Environment(source, calls), Environment(source, calls, jit)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = run_side_by_side(plain.side, jitted.side, len(calls))
        stats = jitted.function.stats
        totals["programs"] += 1
        totals["compiled"] += stats.graph_calls > 0
        totals["deoptimized"] += stats.deopts > 0
        if not found:
            return []
        for seed in range(5):
            noisy = NoisyEnvironment(source, calls, seed)
            if run_side_by_side(Environment(source, calls).side, noisy.side, len(calls)):
                totals["ill-conditioned"] += 1
                return []
    return found


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_programs(shard, pytestconfig):
    programs = pytestconfig.getoption("--programs", default=None) or DEFAULT_PROGRAMS
    totals: Counter[str] = Counter()

    @hypothesis.seed(shard)
    @settings(
        max_examples=max(1, programs // SHARDS),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(program_sources(), call_sequences())
    def compare(source, calls):
        hypothesis.note(source.translate(UNMARKED))
        found = find_differences(source, calls, totals)
        assert not found, found

    compare()
    print(dict(totals))
    # A test that only ever compares plain Python with itself would pass too.
    assert totals["compiled"] >= 0.5 * totals["programs"]
    assert totals["ill-conditioned"] <= 0.05 * totals["programs"]


def test_a_lost_write_is_found():
    source = "def helper(v, s): ...\ndef other_helper(v, s): ...\ndef program(x, y, m, k, r, state):\n    x[0] = 3.0\n"

    class Losing:
        def __init__(self, function):
            self.function, self.stats = function, janusjit.jit(function).stats

        def __call__(self, x, *rest):
            return self.function(x.copy(), *rest)

    calls = [CallInputs()] * 3
    plain, losing = Environment(source, calls), Environment(source, calls, Losing)
    assert run_side_by_side(plain.side, losing.side, len(calls))


def test_noise_leaves_exact_values_and_types_alone():
    rng = np.random.default_rng(0)
    assert type(add_noise(np.float32(0.1), rng)) is np.float32
    assert type(add_noise(0.1, rng)) is float
    assert add_noise(3, rng) == 3
    np.testing.assert_array_equal(add_noise(np.array([0.25, -3.5, np.inf]), rng), [0.25, -3.5, np.inf])
    third = np.full(100, 1 / 3)
    noisy = add_noise(third, rng)
    assert (noisy != third).any()
    np.testing.assert_allclose(noisy, third, rtol=1e-15)
