"""Random programs that are guided by values, in plain Python and under `@jit`: nothing differs that a user could see.

``pytest tests/random_programs --programs 2000`` runs more of them. They use more of Python than those of a fixed
grammar (`test_random_programs`): containers and objects of arrays and numbers of any kind, views, overlapping writes,
context managers, exceptions that pass ``finally``, closures, generators, ``reversed``.
"""

from __future__ import annotations

import random
from collections import Counter

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.random_programs.environment import call_sequences
from tests.random_programs.expressions import UNMARKED
from tests.random_programs.guided import HEADER
from tests.random_programs.guided_statements import guided_program
from tests.random_programs.test_random_programs import find_differences

DEFAULT_PROGRAMS = 24


def test_guided_programs(pytestconfig):
    programs = pytestconfig.getoption("--programs", default=None) or DEFAULT_PROGRAMS
    totals: Counter[str] = Counter()

    @settings(max_examples=programs, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32), call_sequences())
    def compare(seed, calls):
        source = guided_program(random.Random(seed))
        hypothesis.note(source.translate(UNMARKED).removeprefix(HEADER))
        found = find_differences(source, calls, totals)
        assert not found, found

    compare()
    # A test that only ever compares plain Python with itself would pass too.
    assert totals["compiled"] >= 0.6 * totals["programs"]
    assert totals["ill-conditioned"] <= 0.1 * totals["programs"]


def test_programs_are_those_of_the_seed():
    programs = [guided_program(random.Random(seed)) for seed in (1, 1, 2)]
    assert programs[0] == programs[1] != programs[2]
