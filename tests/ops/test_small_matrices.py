"""Determinants and inverses of small matrices: as near as LAPACK's, and singular where LAPACK finds that."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import janusjit as jj

SIZES = (2, 3, 4)


def det(x):
    return np.linalg.det(x)


def inv(x):
    return np.linalg.inv(x)


def stacks(size: int, dtype: str) -> np.ndarray:
    """Matrices of all kinds of numbers, badly scaled ones and such that change rows among them."""
    generator = np.random.default_rng(size)
    x = generator.normal(size=(40, size, size))
    x[10:20] *= 10.0 ** generator.integers(-8, 8, size=(10, size, 1))
    x[20:30] *= 10.0 ** generator.integers(-8, 8, size=(10, 1, size))
    x[30:] = generator.integers(-9, 9, size=(10, size, size)) + 20.0 * np.eye(size)
    return x.astype(dtype)


def settled(function, *arguments):
    jitted = jj.jit(function, background=False)
    for _ in range(5):
        jitted(*arguments)
    return jitted


def exact(matrix: np.ndarray) -> Fraction:
    """Return a determinant without any rounding."""
    rows = [[Fraction(float(number)) for number in row] for row in matrix]
    if len(rows) == 1:
        return rows[0][0]
    below = np.array([[float(number) for number in row] for row in rows[1:]])
    parts = (rows[0][j] * exact(np.delete(below, j, axis=1)) * (-1) ** j for j in range(len(rows)))
    return sum(parts, Fraction(0))


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("size", SIZES)
def test_determinants_are_as_near_as_numpys(size: int, dtype: str) -> None:
    x = stacks(size, dtype)
    jitted = settled(det, x)
    found, theirs = jitted(x), np.linalg.det(x)
    assert found.dtype == theirs.dtype and found.shape == theirs.shape
    epsilon = np.finfo(dtype).eps
    for ours, other, matrix in zip(found, theirs, x, strict=True):
        wanted = exact(matrix)
        scale = float(np.prod(np.linalg.norm(matrix.astype("f8"), axis=1)))
        far = abs(float(Fraction(float(other)) - wanted))
        assert abs(float(Fraction(float(ours)) - wanted)) <= 2.0 * far + 2.0 * size * epsilon * scale
    assert jitted.stats.graph_calls == 4 and jitted.stats.deopts == jitted.stats.host_calls == 0
    assert "small_det" in str(jitted.specializations[0].graph)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("size", SIZES)
def test_inverses_are_as_near_as_numpys(size: int, dtype: str) -> None:
    x = stacks(size, dtype)
    jitted = settled(inv, x)
    found, theirs = jitted(x), np.linalg.inv(x)
    assert found.dtype == theirs.dtype and found.shape == theirs.shape
    for ours, other, matrix in zip(found.astype("f8"), theirs.astype("f8"), x.astype("f8"), strict=True):
        wanted = np.linalg.inv(matrix.astype(np.longdouble).astype("f8"))
        scale = np.abs(wanted) @ np.abs(matrix) @ np.abs(wanted)
        tolerance = 2.0 * np.abs(other - wanted) + 8 * size * np.finfo(dtype).eps * scale
        assert (np.abs(ours - wanted) <= tolerance).all()
    assert jitted.stats.graph_calls == 4 and jitted.stats.deopts == jitted.stats.host_calls == 0
    assert "small_inv" in str(jitted.specializations[0].graph)


@pytest.mark.parametrize("size", SIZES)
def test_one_matrix_gives_numpys_types(size: int) -> None:
    x = stacks(size, "f8")[31]
    for function in (det, inv):
        jitted = settled(function, x)
        np.testing.assert_allclose(jitted(x), function(x), rtol=1e-12)
        assert type(jitted(x)) is type(function(x)) and jitted.stats.graph_calls == 5


@pytest.mark.parametrize("size", SIZES)
def test_products_of_pivots_neither_overflow_nor_vanish_on_the_way(size: int) -> None:
    scales = np.ones(size)
    scales[:2] = 1e200, 1e-200
    x = np.stack([np.diag(np.roll(scales, shift))[::order] for shift in range(size) for order in (1, -1)])
    if size == 4:
        pairs = ([1e200, 1e200, 1e-200, 1e-200], [1e-200, 1e-200, 1e200, 1e200], [1e300, 1e20, 1e5, 1e-300])
        x = np.concatenate([x, [np.diag(pair) for pair in pairs]])
    jitted = settled(det, x)
    np.testing.assert_allclose(jitted(x), np.linalg.det(x), rtol=1e-9)
    assert jitted.stats.graph_calls == 4 and jitted.stats.deopts == 0


def test_singular_matrices() -> None:
    x = stacks(3, "f8")
    jitted, inverted = settled(det, x), settled(inv, x)
    singular = [np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 0.0, 2.0]), np.arange(3.0)[:, None] * np.ones(3)]
    for one in singular:
        x[7] = one
        assert jitted(x)[7] == np.linalg.det(x)[7] == 0.0
        with pytest.raises(np.linalg.LinAlgError):
            inverted(x)
    assert jitted.stats.graph_calls == 7 and inverted.stats.deopts >= 1


def test_what_lapack_may_find_singular_is_left_to_it() -> None:
    """Elimination by the reciprocal of a pivot rounds otherwise than division does."""
    x = np.stack([np.eye(2)] * 4)
    jitted = settled(inv, x)
    for number in range(1, 200):
        near = np.array([[number, 1.0], [number, 1.0]])
        for below in (np.nextafter(1.0, 0.0), 1.0, np.nextafter(1.0, 2.0)):
            near[1, 1] = below
            x[2] = near
            try:
                wanted = np.linalg.inv(x)
            except np.linalg.LinAlgError:
                with pytest.raises(np.linalg.LinAlgError):
                    jitted(x)
                continue
            np.testing.assert_array_equal(jitted(x), wanted)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("errors", ["warn", "ignore"])
@pytest.mark.filterwarnings("ignore:.*encountered in det")
def test_numbers_that_are_none(size: int, value: float, errors: str) -> None:
    regular = stacks(size, "f8")
    with np.errstate(invalid=errors):
        for function in (det, inv):
            jitted = settled(function, regular)
            for place in range(size * size):
                x = regular.copy()
                x[:5].reshape(5, -1)[:, place] = value
                np.testing.assert_allclose(jitted(x), function(x), rtol=1e-9, atol=1e-12)
            assert jitted.stats.graph_calls >= 4


def test_overflow_is_numpys_to_tell() -> None:
    x = stacks(2, "f8")
    jitted = settled(det, x)
    x[0] = np.diag([1e200, 1e200])
    with pytest.warns(RuntimeWarning, match="overflow encountered in det"):
        found = jitted(x)
    assert found[0] == np.inf


def test_gradients_go_through() -> None:
    def loss(x):
        return (np.linalg.det(x) + np.linalg.inv(x).sum(axis=(1, 2))).sum()

    x = stacks(3, "f8")[30:]
    gradient = jj.jit(jj.grad(loss), background=False)
    for _ in range(4):
        found = gradient(x)
    step = 1e-6
    for place in ((0, 0, 0), (3, 1, 2), (9, 2, 1)):
        more, less = x.copy(), x.copy()
        more[place] += step
        less[place] -= step
        np.testing.assert_allclose(found[place], (loss(more) - loss(less)) / (2 * step), rtol=1e-5, atol=1e-5)
    assert gradient.stats.graph_calls == 2
