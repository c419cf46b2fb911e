"""Every op has a gradient rule or a reason, and the rules give the derivative."""

from __future__ import annotations

from typing import Any

import pytest

from janusjit.ops import OPS, Op
from janusjit.ops.registry import NotDifferentiable, ZeroGradient
from janusjit.ops.samples import Sample
from janusjit.transform.autodiff import AutodiffError
from tests.ops.gradient_checks import arguments_of, attributes_in_float64, check_first_order, is_float, results_of


def differentiable_calls() -> list[Any]:
    """One call of each shape and attributes that the samples have, in float64."""
    calls = []
    for op in OPS.values():
        if isinstance(op.gradient, (NotDifferentiable, ZeroGradient)):
            continue
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
