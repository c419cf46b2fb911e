"""Element rules of structured ops, run by the NumPy emitter, against eager; and eager against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from janusjit.ir.dims import Symbol, symbol
from janusjit.ir.types import TensorType
from janusjit.ops import OPS, Op
from janusjit.ops.emitter import NumPyEmitter
from janusjit.ops.indexing import (
    FrozenArray,
    NewAxis,
    Operand,
    PathStep,
    Pick,
    Range,
    evaluate_attributes,
    numpy_index,
    symbols_in,
)
from janusjit.ops.registry import Structured

WITH_ELEMENT = [op for op in OPS.values() if isinstance(op.lowering, Structured) and op.lowering.element]


class ArraySource:
    """An input as element rules see it; refuses indices out of bounds, negative ones too."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = tuple(map(np.int64, values.shape))

    def __call__(self, *index: np.ndarray) -> np.ndarray:
        assert len(index) == self.values.ndim
        for i, size in zip(index, self.shape, strict=True):
            assert np.all((i >= 0) & (i < size))
        return np.asarray(self.values[tuple(index)])


@pytest.mark.parametrize("op", WITH_ELEMENT, ids=lambda op: op.name)
def test_element_rule_gives_eager_bits(op: Op) -> None:
    assert isinstance(op.lowering, Structured)
    assert op.lowering.element is not None
    for seed, sample in enumerate(op.samples):
        arguments = sample.arguments(np.random.default_rng(seed))
        eager = np.asarray(op.eager(*arguments, **sample.attributes))
        if not eager.size:
            continue
        index = tuple(np.indices(eager.shape).astype(np.int64)) if eager.ndim else ()
        sources = [ArraySource(argument) for argument in arguments]
        element = op.lowering.element(NumPyEmitter(), index, *sources, **sample.attributes)
        assert element.dtype == eager.dtype
        if op.sums:  # which promise no bits
            np.testing.assert_allclose(element, eager, rtol=64 * np.finfo(eager.dtype).eps)
        else:
            assert np.broadcast_to(element, eager.shape).tobytes() == eager.tobytes(), sample


@pytest.mark.parametrize(
    ("arguments", "dtype"), [((7,), "i64"), ((2, 9, 3), "i64"), ((0.1, 2.0, 0.3), "f64"), ((1.0, 0.0, -0.07), "f32")]
)
def test_arange_is_numpys(arguments: tuple[float, ...], dtype: str) -> None:
    numpy_dtype = TensorType(dtype).numpy_dtype
    expected = np.arange(*arguments, dtype=numpy_dtype)
    start, _, step = (0, arguments[0], 1) if len(arguments) == 1 else arguments
    found = OPS["arange"].eager(numpy_dtype.type(start), numpy_dtype.type(start + step), length=len(expected))
    assert found.tobytes() == expected.tobytes()


def test_update_reaches_through_any_layout() -> None:
    path = (PathStep.of("transpose", axes=(1, 0)), PathStep.of("reshape", shape=(12,)))
    base = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    expected = base.copy(order="F")
    expected.T.reshape(12)[:] = np.arange(12.0, 24.0)
    assert not np.array_equal(expected, base)
    assert np.array_equal(OPS["update"].eager(base, np.arange(12.0, 24.0), path=path), expected)


def test_update_take_is_numpys_indexed_assignment_and_add_at() -> None:
    base, index = np.zeros((3, 4)), np.array([2, -3, 2])
    expected = base.copy()
    np.add.at(expected.T, index, 1.0)
    assert np.array_equal(OPS["update_take"].eager(base, np.float64(1.0), index, axes=(1,), accumulate=True), expected)
    outside = np.array([3])
    with pytest.raises(IndexError):
        OPS["take"].eager(base, outside, axis=0)
    with pytest.raises(IndexError):
        OPS["gather"].eager(base, outside, axes=(0,))
    with pytest.raises(IndexError):
        OPS["update_take"].eager(base, np.float64(1), outside, axes=(0,), accumulate=False)


def test_view_out_of_bounds_raises() -> None:
    with pytest.raises(IndexError):
        OPS["view"].eager(np.zeros(3), np.int64(2), index=(Range(Operand(0), 2),))
    with pytest.raises(IndexError):
        OPS["view"].eager(np.zeros(3), np.int64(3), index=(Pick(Operand(0)),))


def test_attributes_compare_by_value_and_evaluate() -> None:
    n = symbol("n")
    attributes = {"index": (Range(n - 1, n, -1), Pick(n), NewAxis()), "path": (PathStep.of("reshape", shape=(n * 2,)),)}
    (only,) = n.symbols()
    assert symbols_in(attributes) == {only}
    assert evaluate_attributes(attributes, {only: 5}) == {
        "index": (Range(4, 5, -1), Pick(5), NewAxis()),
        "path": (PathStep.of("reshape", shape=(10,)),),
    }
    assert hash(FrozenArray([1.0, 2.0])) == hash(FrozenArray([1.0, 2.0]))
    assert FrozenArray([0.0]) != FrozenArray([-0.0])
    assert FrozenArray([1]) != FrozenArray([1.0])
    assert numpy_index((Range(4, 5, -1), Range(0, 0), Range(1, 2, 3)), ()) == (
        slice(4, None, -1),
        slice(0, 0),
        slice(1, 7, 3),
    )


def test_frozen_array_is_a_private_copy() -> None:
    source = np.zeros(2)
    frozen = FrozenArray(source)
    source[0] = 1
    assert frozen.value[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        frozen.value[0] = 1


def test_counts_are_symbols_of_the_node() -> None:
    count = Symbol("count", 0)
    (result,) = OPS["compress"].infer((TensorType("f64", (3, 4)), TensorType("bool", (3,))), {"symbol": count})
    assert result.rank == 2
    assert symbols_in(result.shape) == {count}
