"""NumPy multiplies what stands alone in its array, where it adds up other products: the sign of zero tells."""

import numpy as np
import pytest

import janusjit as jj

PRODUCTS = {
    "dot": np.dot,
    "inner": np.inner,
    "vdot": np.vdot,
    "matmul": np.matmul,
    "tensordot": lambda a, b: np.tensordot(a, b, 1),
    "outer": lambda a, b: np.tensordot(a, b, 0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("shapes", [((1,), (1,)), ((1,), (1, 1)), ((1, 1), (1,)), ((1, 1), (1, 1)), ((1, 1, 1), (1,))])
@pytest.mark.parametrize("name", PRODUCTS)
def test_signs_of_zero(name, shapes, dtype):
    product = PRODUCTS[name]
    compiled = jj.jit(background=False)(lambda a, b: product(a, b))
    zero, one = (np.full(shape, value, dtype) for shape, value in zip(shapes, (0, 1), strict=True))
    for sign in (-1, 1, -1, 1):
        b = one if dtype == "bool" else one * np.asarray(sign, dtype)
        found, expected = compiled(zero, b), product(zero, b)
        np.testing.assert_array_equal(np.signbit(np.asarray(found, float)), np.signbit(np.asarray(expected, float)))
        np.testing.assert_array_equal(found, expected)
        assert np.shape(found) == np.shape(expected) and np.asarray(found).dtype == np.asarray(expected).dtype
    assert compiled.stats.graph_calls == 2


def test_their_gradients():
    def loss(a, b):
        return np.sum(np.dot(a, b) ** 2)

    compiled = jj.jit(background=False)(jj.grad(loss))
    a, b = np.array([3.0]), np.array([[2.0]])
    for _ in range(4):
        np.testing.assert_allclose(compiled(a, b), [24.0])
    assert compiled.stats.graph_calls == 2
