"""Every op has a gradient rule or a reason, and the rules give the derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.reference import interpret
from janusjit.ops import OPS, Op
from janusjit.ops.registry import NotDifferentiable, ZeroGradient
from janusjit.ops.samples import Sample
from janusjit.transform.autodiff import AutodiffError
from janusjit.transform.passes import optimize
from tests.ops.gradient_checks import (
    arguments_of,
    attributes_in_float64,
    check_first_order,
    check_forward,
    check_second_order,
    gradient_graph,
    is_float,
    results_of,
    scalars,
    weights_of,
)


def differentiable_calls() -> list[Any]:
    """One call of each shape and attributes that the samples have, in float64."""
    calls = []
    for op in OPS.values():
        if isinstance(op.gradient, (NotDifferentiable, ZeroGradient)) or op.family == "identities":
            continue  # identities say themselves what their gradient is: tests/transform/test_checkpoints.py
        seen = set()
        for sample in op.samples:
            arguments = arguments_of(sample)
            attributes = attributes_in_float64(sample.attributes)
            key = (tuple((x.dtype, x.shape) for x in arguments), repr(attributes))
            has_floats = any(map(is_float, arguments)) and any(map(is_float, results_of(op, arguments, attributes)))
            if has_floats and key not in seen:
                seen.add(key)
                calls.append(pytest.param(op, sample, id=f"{op.name}-{len(seen)}"))
    return calls


@pytest.mark.parametrize(("op", "sample"), differentiable_calls())
def test_first_order_is_the_difference_quotient(op: Op, sample: Sample) -> None:
    if op.name == "linalg.svd" and sample.attributes["full_matrices"] and len(set(sample.inputs[0].shape[-2:])) > 1:
        with pytest.raises(AutodiffError, match="full_matrices=True has no gradient"):
            check_first_order(op, arguments_of(sample), sample.attributes)
        return
    check_first_order(op, arguments_of(sample), attributes_in_float64(sample.attributes))


def one_call_each() -> list[Any]:
    """The first call of every op."""
    first = {call.values[0].name: call for call in reversed(differentiable_calls())}
    return [pytest.param(*call.values, id=name) for name, call in first.items()]


@pytest.mark.parametrize(("op", "sample"), one_call_each())
def test_second_order_is_the_difference_quotient_of_the_first(op: Op, sample: Sample) -> None:
    check_second_order(op, arguments_of(sample), attributes_in_float64(sample.attributes))


@pytest.mark.parametrize(("op", "sample"), differentiable_calls())
def test_forward_mode_is_the_transpose_of_reverse_mode(op: Op, sample: Sample) -> None:
    if op.name == "linalg.svd" and sample.attributes["full_matrices"]:
        return
    check_forward(op, arguments_of(sample), attributes_in_float64(sample.attributes))


@pytest.mark.parametrize(("op", "sample"), one_call_each())
def test_compiled_gradients_are_the_interpreted_ones(op: Op, sample: Sample) -> None:
    arguments, attributes = arguments_of(sample), attributes_in_float64(sample.attributes)
    weights = weights_of(results_of(op, arguments, attributes))
    graph = gradient_graph(op.name, arguments, attributes, weights)
    given = scalars([*arguments, *weights])
    wanted = interpret(graph, given)
    for got, expected in zip(compile_graph(optimize(graph).graph).entry(*given), wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
