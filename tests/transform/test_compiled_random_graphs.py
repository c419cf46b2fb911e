"""Random graphs, transformed and compiled, do what the reference backend does with the graph as it was."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings

from janusjit.backend.llvm.compile import compile_graph
from janusjit.ir.graph import Graph
from janusjit.transform.passes import optimize
from tests.transform.random_graphs import graphs
from tests.transform.test_random_graphs import ARGUMENTS, outcome


def native_outcome(graph: Graph, arguments: tuple[Any, ...]) -> tuple[str, list[np.ndarray]]:
    """What a compiled call shows: deoptimized or the result, and the arguments after it."""
    x, y, n, c = arguments
    given_arrays = [x.copy(), y.copy()]
    compiled = compile_graph(graph)
    result = compiled.entry(*given_arrays, n, c)
    if result is compiled.DEOPTIMIZED:
        return "deoptimized", given_arrays
    assert result[2].base is result[1]
    assert not any(np.shares_memory(result[0], other) for other in (result[1], *given_arrays))
    return "returned", [*result, *given_arrays]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graphs(), ARGUMENTS)
def test_compiled_graphs_do_what_the_reference_does(graph: Graph, arguments: tuple[Any, ...]) -> None:
    kind, expected = outcome(graph, arguments)
    found_kind, found = native_outcome(optimize(graph).graph, arguments)
    assert kind == found_kind
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-13)
        np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(a)]))
