"""The eighty constructs: none wrong, none an error, and the listed ones wholly in the graph."""

import pytest

from tests.constructs.catalogue import CATALOGUE, IN_GRAPH, IN_PYTHON, jit_for_tests
from tests.constructs.construct import judge


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_construct(entry):
    verdict = judge(entry.path, entry.name, jit_for_tests)
    assert verdict.letter in "GB", verdict.detail
    if entry.name in IN_GRAPH:
        assert verdict.letter == "G", f"fell out of the graph: {verdict.detail}"
    else:
        assert verdict.letter == "B", "newly in the graph: take it off IN_PYTHON"


def test_there_are_eighty():
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE) == 80


def test_enough_are_in_the_graph():
    assert {entry.name for entry in CATALOGUE} >= IN_PYTHON
    assert len(IN_GRAPH) >= 72
