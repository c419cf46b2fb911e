"""Every declaration: samples run, and the type rule says what eager returns."""

from __future__ import annotations

import numpy as np
import pytest

from janusjit.ir.types import TensorType, dtype_name
from janusjit.ops import OPS, Op
from janusjit.ops.registry import Checked, Elementwise, IncompleteDeclarationError, declare
from janusjit.ops.samples import Draw, Sample


def type_of(value: object) -> TensorType:
    array = np.asarray(value)
    name = dtype_name(array.dtype)
    assert name is not None
    return TensorType(name, array.shape)


def results_of(value: object) -> tuple[object, ...]:
    return value if type(value) is tuple else (value,)


def run(op: Op, sample: Sample, seed: int) -> tuple[tuple[np.ndarray, ...], tuple[object, ...]]:
    arguments = sample.arguments(np.random.default_rng(seed))
    with np.errstate(all="ignore"):
        return arguments, results_of(op.eager(*arguments, **sample.attributes))


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_type_rule_says_what_eager_returns(op: Op) -> None:
    for seed, sample in enumerate(op.samples):
        arguments, results = run(op, sample, seed)
        before = [argument.copy() for argument in arguments]
        inferred = op.infer(tuple(map(type_of, arguments)), sample.attributes)
        assert all(np.array_equal(a, b) for a, b in zip(arguments, before, strict=True)), "eager wrote an input"
        actual = tuple(map(type_of, results))
        assert len(inferred) == len(actual), sample
        for rule, found in zip(inferred, actual, strict=True):
            shape = tuple(f if not isinstance(r, int) else r for r, f in zip(rule.shape, found.shape, strict=True))
            assert rule.with_shape(shape) == found, sample


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.commutative], ids=lambda op: op.name)
def test_commutative_ops_give_the_same_bits_when_swapped(op: Op) -> None:
    special = [0.0, -0.0, 1.5, -3.0, np.inf, -np.inf, 5e-324]
    for sample in op.samples:
        first, second = sample.arguments(np.random.default_rng(0))
        if first.dtype.kind == "f":
            first, second = (x.ravel() for x in np.meshgrid(*[np.array(special, first.dtype)] * 2))
        with np.errstate(all="ignore"):
            left, right = op.eager(first, second), op.eager(second, first)
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes() or np.isnan(left).any()


def test_an_incomplete_declaration_fails() -> None:
    complete = OPS["add"]
    declaration = {part: getattr(complete, part) for part in ("eager", "infer", "samples", "lowering", "gradient")}
    for part, wrong in (("samples", ()), ("lowering", None), ("eager", None), ("infer", 3), ("gradient", None)):
        with pytest.raises(IncompleteDeclarationError, match="nothing"):
            declare(Op(name="nothing", family="test", **{**declaration, part: wrong}))
    with pytest.raises(IncompleteDeclarationError, match="taken"):
        declare(Op(name="add", family="test", **declaration))
    with pytest.raises(IncompleteDeclarationError, match="fallible"):
        declare(Op(name="nothing", family="test", **{**declaration, "lowering": Checked(lambda e, x: (x, x))}))
    assert "nothing" not in OPS and OPS["add"] is complete


def test_every_numpy_function_belongs_to_one_op() -> None:
    functions = [function for op in OPS.values() for function in op.numpy]
    assert len(set(functions)) == len(functions)


def test_samples_are_reproducible() -> None:
    sample = Sample((Draw((3,)), Draw((2,), "bool"), Draw((2,), "u8")))
    first, second = (sample.arguments(np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_elementwise_ops_have_scalar_results_of_the_inferred_dtype() -> None:
    assert sum(isinstance(op.lowering, Elementwise) for op in OPS.values()) > 70
