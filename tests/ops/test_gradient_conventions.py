"""Where there is no derivative, or a special one: what the rules give. As in autograd, where it has a convention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.reference import interpret
from janusjit.ops import OPS
from tests.ops.gradient_checks import check_first_order, gradient_graph, results_of, scalars

INF, NAN = np.inf, np.nan


def gradient(op: str, *arguments: Any, **attributes: Any) -> list[np.ndarray]:
    """The gradients of the sum of results by the float arguments."""
    arrays = [np.asarray(x) for x in arguments]
    weights = [np.ones(y.shape) for y in results_of(OPS[op], arrays, attributes) if y.dtype.kind == "f"]
    graph = gradient_graph(op, arrays, attributes, weights)
    return list(interpret(graph, scalars([*arrays, *weights])))


AXES = {"axes": (0,), "keepdims": False}


@pytest.mark.parametrize(
    ("op", "arguments", "attributes", "expected"),
    [
        ("maximum", ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), {}, ([0, 0.5, 1], [1, 0.5, 0])),
        ("minimum", ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), {}, ([1, 0.5, 0], [0, 0.5, 1])),
        ("fmax", ([NAN, 2.0], [2.0, NAN]), {}, ([0, 1], [1, 0])),
        ("maximum", ([NAN, 2.0], [2.0, NAN]), {}, ([0, 0], [0, 0])),
        ("max", ([3.0, 1.0, 3.0, 3.0, 0.0],), AXES, ([1 / 3, 0, 1 / 3, 1 / 3, 0],)),
        ("min", ([3.0, 0.0, 0.0],), AXES, ([0, 0.5, 0.5],)),
        ("absolute", ([-2.0, -0.0, 0.0, 3.0],), {}, ([-1, 0, 0, 1],)),
        ("sqrt", ([0.0, 4.0],), {}, ([INF, 0.25],)),
        ("clip", ([-1.0, 0.0, 0.5, 1.0, 2.0], 0.0, 1.0), {}, ([0, 0, 1, 0, 0], 2, 2)),
        ("power", ([0.0, -1.5, 2.0, 0.0], [0.0, 2.0, 0.0, 2.0]), {}, ([0, -3, 0, 0], [0, NAN, np.log(2), 0])),
        ("hypot", ([0.0, 3.0], [0.0, 4.0]), {}, ([NAN, 0.6], [NAN, 0.8])),
        ("prod", ([2.0, 0.0, 3.0],), AXES, ([0, 6, 0],)),
        ("prod", ([2.0, 0.0, 0.0],), AXES, ([0, 0, 0],)),
        ("sigmoid", ([-1e3, 0.0, 1e3],), {}, ([0, 0.25, 0],)),
        ("softplus", ([-1e3, 0.0, 1e3],), {}, ([0, 0.5, 1],)),
        ("logaddexp", ([1e3, 0.0], [-1e3, 0.0]), {}, ([1, 0.5], [0, 0.5])),
        ("log", ([0.0, 2.0],), {}, ([INF, 0.5],)),
        ("tanh", ([-1e3, 0.0, 1e3],), {}, ([0, 1, 0],)),
        ("remainder", ([5.0, -5.0], [3.0, 3.0]), {}, ([1, 1], [-1, 2])),
        ("heaviside", ([-1.0, 0.0, 1.0], [0.5, 0.5, 0.5]), {}, ([0, 0, 0], [0, 1, 0])),
        ("where", ([True, False], [1.0, NAN], [INF, 2.0]), {}, ([1, 0], [0, 1])),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_conventions(op: str, arguments: Any, attributes: Any, expected: Any) -> None:
    found = gradient(op, *arguments, **attributes)
    assert len(found) == len(expected)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, np.asarray(wanted, float), rtol=1e-12)


def test_of_an_element_set_twice_the_last_value_has_the_gradient() -> None:
    base, value = np.ones(4), np.array([1.0, 2.0, 3.0])
    of_base, of_value = gradient("update_take", base, value, np.array([1, 3, -3]), axes=(0,), accumulate=False)
    np.testing.assert_array_equal(of_base, [1, 0, 1, 0])
    np.testing.assert_array_equal(of_value, [0, 1, 1])


def test_an_element_read_twice_has_both_gradients() -> None:
    (found,) = gradient("take", np.ones(3), np.array([0, 2, 0, -1]), axis=0)
    np.testing.assert_array_equal(found, [2, 0, 2])


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_pads_of_every_mode_add_up(mode: str) -> None:
    (found,) = gradient("pad_mode", np.arange(3.0), widths=((2, 1),), mode=mode)
    expected = np.bincount(np.pad(np.arange(3), (2, 1), mode=mode))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("op", "shapes", "attributes"),
    [
        ("matmul", ((1, 3), (3, 1)), {}),
        ("matmul", ((2, 1), (1, 3)), {}),
        ("matmul", ((1, 2, 3), (4, 3, 2)), {}),
        ("matmul", ((3,), (2, 3, 4)), {}),
        ("matmul", ((2, 2, 3), (3,)), {}),
        ("matmul", ((2, 0), (0, 3)), {}),
        ("matmul", ((0, 2), (2, 3)), {}),
        ("matmul", ((5, 4, 2, 3), (3, 2)), {}),
        ("multiply", ((3, 1), (1, 4)), {}),
        ("divide", ((), (2, 3)), {}),
        ("add", ((0, 1), (1, 3)), {}),
        ("einsum", ((1, 3), (2, 3)), {"subscripts": "ij,ij->i"}),
        ("einsum", ((3, 3), (3,)), {"subscripts": "ii,i->"}),
        ("einsum", ((2, 3), (4,)), {"subscripts": "ij,k->jk"}),
        ("sum", ((0, 3),), {"axes": (0,), "keepdims": True}),
        ("prod", ((2, 0),), {"axes": (1,), "keepdims": False}),
        ("prod", ((2, 3, 2),), {"axes": (0, 2), "keepdims": True}),
        ("max", ((2, 3, 1),), {"axes": (0, 1, 2), "keepdims": True}),
        ("sort", ((2, 3, 2),), {"axis": 1}),
        ("linalg.solve", ((2, 3, 3), (3,)), {}),
        ("linalg.qr", ((2, 4),), {}),
        ("linalg.svd", ((4, 2),), {"full_matrices": False}),
        ("linalg.svd", ((2, 3, 3),), {"full_matrices": True}),
        ("linalg.eigh", ((2, 3, 3),), {}),
    ],
    ids=str,
)
def test_shapes(op: str, shapes: Any, attributes: Any) -> None:
    random = np.random.default_rng(5)
    arguments = [np.asarray(random.uniform(0.5, 2, shape)) for shape in shapes]
    if op.startswith("linalg.") and shapes[0][-1] == shapes[0][-2]:
        arguments[0] = arguments[0] + np.diag(np.arange(1.0, 1 + shapes[0][-1]) * 3)
    check_first_order(OPS[op], arguments, attributes)


def test_reversed_and_strided_inputs() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(6, 4))[::-2], random.normal(size=(4, 8))[:, ::-2]
    weights = random.normal(size=(3, 4))
    found = compile_graph(gradient_graph("matmul", [a, b], {}, [weights])).entry(a, b, weights)
    np.testing.assert_allclose(found[0], weights @ b.T, rtol=1e-13)
    np.testing.assert_allclose(found[1], a.T @ weights, rtol=1e-13)


def test_a_cotangent_has_the_dtype_of_its_value() -> None:
    single, double = np.ones((2,), np.float32), np.ones((2,))
    (found,) = gradient("cast", single, dtype="f64")
    assert found.dtype == np.float32
    (found,) = gradient("cast", double, dtype="f32")
    assert found.dtype == np.float64


def test_an_integer_has_no_gradient() -> None:
    assert gradient("multiply", np.ones(3, np.int64), np.ones(3, np.int64)) == []
