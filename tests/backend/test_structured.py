"""Structured kernels against the ops' eager functions, for static and dynamic shapes and any layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from janusjit.backend.llvm.structured import COUNTED, STRUCTURED, emit_count, emit_structured
from janusjit.backend.llvm.values import I64, ArrayValue, KernelContext, Scalar, store
from janusjit.ir.dims import Symbol
from janusjit.ir.graph import Node, Value
from janusjit.ir.types import TensorType, dtype_name
from janusjit.ops import OPS
from janusjit.ops.registry import Structured
from tests.backend.kernel_harness import ArrayKernel

#: ops that are matters of memory: no kernel computes them
WITHOUT_KERNEL = {"update", "constant_array"}
CASES = [
    (op.name, number)
    for op in OPS.values()
    if isinstance(op.lowering, Structured) and op.name not in WITHOUT_KERNEL
    for number in range(len(op.samples))
]


def type_of(array: np.ndarray) -> TensorType:
    return TensorType(dtype_name(array.dtype) or "", array.shape)


def node_of(name: str, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> Node:
    values = tuple(Value(type_of(array)) for array in inputs)
    return Node(name, values, tuple(type_of(array) for array in outputs), attributes)


def run(
    name: str, inputs: Sequence[np.ndarray], attributes: dict[str, Any], dynamic: bool = False
) -> list[np.ndarray] | None:
    """Run the kernel of ``name`` into memory full of rubbish; None if its requirements fail."""
    inputs = [np.asarray(x) for x in inputs]
    outputs = outputs_of(name, inputs, attributes)
    node = node_of(name, inputs, outputs, attributes)

    def emit(context: KernelContext, *arrays: ArrayValue) -> None:
        emit_structured(context, node, arrays[: len(inputs)], arrays[len(inputs) :])

    arrays = [*inputs, *outputs]
    return outputs if ArrayKernel(emit, arrays, dynamic)(*arrays) else None


def outputs_of(name: str, inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> list[np.ndarray]:
    if name in ("update_take", "update_mask"):
        return [inputs[0].copy()]
    try:
        results = OPS[name].eager(*inputs, **attributes)
    except IndexError:
        types = OPS[name].infer(tuple(map(type_of, inputs)), attributes)
        return [np.empty(type_.shape, type_.numpy_dtype) for type_ in types]
    return [np.full_like(np.asarray(r), 77) for r in (results if isinstance(results, tuple) else (results,))]


def check(name: str, inputs: Sequence[np.ndarray], attributes: dict[str, Any], dynamic: bool = False) -> None:
    got = run(name, inputs, attributes, dynamic)
    want = OPS[name].eager(*inputs, **attributes)
    assert got is not None
    for one, other in zip(got, want if isinstance(want, tuple) else (want,), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        # LAPACK eliminates with its own order of additions: both are within some roundings of numbers about 1 to 100
        rounding = 64 * np.finfo(other.dtype).eps if OPS[name].family == "small_matrices" else 0
        np.testing.assert_allclose(one, other, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("name", "number"), CASES)
def test_samples(name: str, number: int, dynamic: bool) -> None:
    sample = OPS[name].samples[number]
    inputs = sample.arguments(np.random.default_rng(number))
    check(name, inputs, sample.attributes, dynamic)


@pytest.mark.parametrize("name", COUNTED)
def test_counts(name: str) -> None:
    for sample in OPS[name].samples:
        inputs = sample.arguments(np.random.default_rng(5))
        node = node_of(name, inputs, (), sample.attributes)
        count = np.full((), -1)

        def emit(context: KernelContext, *arrays: ArrayValue, node: Node = node) -> None:
            store(context.builder, Scalar("i64", emit_count(context, node, arrays[:-1])), arrays[-1].pointer)

        ArrayKernel(emit, [*inputs, count])(*inputs, count)
        results = OPS[name].eager(*inputs, **sample.attributes)
        assert count == len(results[0] if isinstance(results, tuple) else results)


@pytest.mark.parametrize("layout", [lambda x: np.asfortranarray(x), lambda x: x[::-1][::-1], lambda x: x[..., ::-1]])
@pytest.mark.parametrize(
    ("name", "more", "attributes"),
    [
        ("take", ([[0, -1], [2, 1]],), {"axis": 1}),
        ("gather", ([1, -2, 0], [[3], [-1]]), {"axes": (0, 2)}),
        ("concatenate", (np.ones((4, 1, 5)),), {"axis": 1}),
        ("cumsum", (), {"axis": 1}),
        ("cumprod", (), {"axis": 2}),
        ("roll", (), {"shift": -3, "axis": 2}),
        ("tril", (), {"k": 1}),
        ("diagonal", (), {"offset": 1, "axis1": 2, "axis2": 0}),
        ("nonzero", (), {"symbol": Symbol("n", 0)}),
    ],
)
def test_layouts(
    name: str, more: tuple[Any, ...], attributes: dict[str, Any], layout: Callable[[np.ndarray], np.ndarray]
) -> None:
    x = layout(np.random.default_rng(1).standard_normal((4, 3, 5)))
    check(name, [x, *map(np.asarray, more)], attributes)


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"),
    [
        ("take", ([1.0, 2.0], [2]), {"axis": 0}),
        ("take", ([1.0, 2.0], [0, -3]), {"axis": 0}),
        ("take", ([1.0, 2.0], [-(2**63)]), {"axis": 0}),
        ("take", ([1.0, 2.0], [2**63 - 1]), {"axis": 0}),
        ("gather", ([[1.0, 2.0]], [0, 0], [1, 2]), {"axes": (0, 1)}),
        ("update_take", ([1.0, 2.0], 5.0, [0, 2]), {"axes": (0,), "accumulate": False}),
        ("update_take", ([1.0, 2.0], 5.0, [0, -3]), {"axes": (0,), "accumulate": True}),
        ("update_mask", ([1.0, 2.0, 3.0], [8.0, 9.0, 10.0], [True, False, True]), {}),
    ],
)
def test_what_eager_refuses_fails_and_writes_nothing(name: str, inputs: Any, attributes: dict[str, Any]) -> None:
    arrays = [np.asarray(x) for x in inputs]
    if name == "update_mask":
        arrays = [arrays[0], arrays[2], arrays[1]]
    outputs = outputs_of(name, arrays, attributes)
    before = [x.copy() for x in outputs]
    node = node_of(name, arrays, outputs, attributes)

    def emit(context: KernelContext, *operands: ArrayValue) -> None:
        emit_structured(context, node, operands[: len(arrays)], operands[len(arrays) :])

    assert not ArrayKernel(emit, [*arrays, *outputs])(*arrays, *outputs)
    if name.startswith("update"):
        np.testing.assert_array_equal(outputs, before)
    with pytest.raises((IndexError, ValueError)):
        OPS[name].eager(*arrays, **attributes)


def test_repeated_indices_are_applied_in_order() -> None:
    indices = np.array([2, 0, 2, -1, 2])
    values = np.array([1e16, 1.0, 1.0, -1e16, 1.0])
    base = np.zeros(3)
    for accumulate in (False, True):
        check("update_take", [base, values, indices], {"axes": (0,), "accumulate": accumulate})


def test_indices_in_registers() -> None:
    x, out = np.arange(12.0).reshape(3, 4), np.empty(4)
    node = node_of("take", [x, np.asarray(2)], [out], {"axis": 0})

    def emit(context: KernelContext, *arrays: ArrayValue) -> None:
        emit_structured(context, node, [arrays[0], Scalar("i64", I64(-2))], arrays[1:])

    assert ArrayKernel(emit, [x, out])(x, out)
    np.testing.assert_array_equal(out, x[-2])


def test_every_structured_op_has_a_kernel() -> None:
    for op in OPS.values():
        if isinstance(op.lowering, Structured):
            assert op.lowering.element is not None or op.name in STRUCTURED or op.name in WITHOUT_KERNEL
