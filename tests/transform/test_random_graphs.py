"""Random graphs mean the same before and after every pass, and after printing and parsing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from janusjit.backend.reference import DeoptimizationSignal, interpret
from janusjit.ir.builder import clone
from janusjit.ir.equality import difference
from janusjit.ir.graph import Graph
from janusjit.ir.parse import parse_graph
from janusjit.ir.text import GraphPrinter
from janusjit.transform.passes import optimize, standard_passes
from janusjit.transform.typed import RECORDS, verify_graph
from tests.transform.random_graphs import graphs

SPECIAL = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e300, -3.0, float("inf"), float("nan"), 5e-324])
ARRAYS = st.lists(SPECIAL, min_size=4, max_size=4).map(lambda values: np.array(values).reshape(2, 2))
ARGUMENTS = st.tuples(ARRAYS, ARRAYS, st.integers(0, 3), st.booleans())

exhaustive = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def outcome(graph: Graph, arguments: tuple[Any, ...]) -> tuple[str, list[np.ndarray]]:
    """What a run shows: deoptimized or the result, and the arguments after it. Which guard failed is not compared."""
    x, y, n, c = arguments
    given_arrays = [x.copy(), y.copy()]
    try:
        result = interpret(graph, (*given_arrays, n, c))
    except DeoptimizationSignal:
        return "deoptimized", given_arrays
    assert result[2].base is result[1]
    return "returned", [*result, *given_arrays]


def assert_same(before: Graph, after: Graph, arguments: tuple[Any, ...]) -> None:
    (kind, expected), (found_kind, found) = outcome(before, arguments), outcome(after, arguments)
    assert kind == found_kind
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))
        np.testing.assert_array_equal(a, b)


@exhaustive
@given(graphs(), ARGUMENTS)
def test_the_passes_together_keep_every_bit(graph: Graph, arguments: tuple[Any, ...]) -> None:
    verify_graph(graph)
    after = optimize(graph).graph
    verify_graph(after)
    assert_same(graph, after, arguments)


@pytest.mark.parametrize("step", standard_passes(), ids=lambda step: step.name)
@settings(exhaustive, max_examples=60)
@given(graphs(), ARGUMENTS)
def test_each_pass_keeps_every_bit(step: Any, graph: Graph, arguments: tuple[Any, ...]) -> None:
    after = clone(graph)
    step.run(after)
    verify_graph(after)
    assert_same(graph, after, arguments)


@settings(exhaustive, max_examples=100)
@given(graphs())
def test_random_graphs_round_trip(graph: Graph) -> None:
    printer = GraphPrinter(graph)
    text = printer.text()
    parsed = parse_graph(text, {**RECORDS, **printer.namespace})
    verify_graph(parsed)
    assert difference(graph, parsed) is None
