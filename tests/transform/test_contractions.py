"""Contractions that become matrix products, and those that do not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import janusjit as jj

PRODUCTS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk->ki", (3, 4), (4, 5)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("nchw,fc->nfhw", (2, 3, 4, 5), (6, 3)),
    ("nfhw,nchw->fc", (2, 3, 4, 5), (2, 6, 4, 5)),
    ("bij,bj->bi", (2, 3, 4), (2, 4)),
    ("j,jk", (4,), (4, 5)),
    ("ij,kj->ik", (3, 0), (5, 0)),
]
OTHERS = [
    ("ij,ij->", (3, 4), (3, 4)),
    ("ii,ij->j", (3, 3), (3, 4)),
    ("ij,kl->ik", (3, 4), (5, 6)),
    ("i,j->ij", (3,), (4,)),
]


def check(subscripts: str, dtype: str, *shapes: tuple[int, ...]) -> str:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]

    def step(a, b):  # type: ignore[no-untyped-def]
        return np.einsum(subscripts, a, b) * 1.0

    jitted = jj.jit(step, background=False)
    for _ in range(4):
        got = jitted(*arrays)
    wanted: Any = step(*arrays)
    assert (type(got), got.dtype, got.shape) == (type(wanted), wanted.dtype, wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=100 * np.finfo(dtype).eps)
    assert (jitted.stats.graph_calls, jitted.stats.deopts, jitted.stats.host_calls) == (2, 0, 0)
    return str(jitted.specializations[0].plan)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", PRODUCTS, ids=lambda case: case[0])
def test_products(case: Any, dtype: str) -> None:
    plan = check(case[0], dtype, *case[1:])
    assert "einsum" not in plan


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case[0])
def test_others_stay(case: Any) -> None:
    assert "einsum" in check(case[0], "float64", *case[1:])


def test_they_warn_no_more_than_einsum_does() -> None:
    @jj.jit(background=False)
    def step(a):  # type: ignore[no-untyped-def]
        return np.einsum("ij,jk->ik", a, a) * 1.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            assert np.isinf(step(np.full((4, 4), 1e200))).all()
    assert (step.stats.deopts, step.stats.eager_calls) == (0, 2)


def test_what_einsum_makes_has_a_known_memory_order() -> None:
    """Strides that capture tells of are those of NumPy's arrays, whatever the operands' are."""

    def step(a, b):  # type: ignore[no-untyped-def]
        first = np.einsum("ijk,kl->lij", a, b)
        second = np.einsum(a.T, [0, 1, 2], b, [0, 3])
        return first.strides, second.strides, first * 1.0, np.einsum("lij,kl->kji", first, b).ravel(order="K") * 1.0

    rng = np.random.default_rng(0)
    a = rng.standard_normal((2, 3, 4))
    for b in (rng.standard_normal((4, 5)), rng.standard_normal((5, 4)).T):
        jitted = jj.jit(step, background=False)
        for _ in range(4):
            got = jitted(a, b)
        wanted = step(a, b)
        assert got[:2] == wanted[:2]
        np.testing.assert_allclose(got[2], wanted[2], rtol=0, atol=1e-13)
        np.testing.assert_allclose(got[3], wanted[3], rtol=0, atol=1e-13)
        assert jitted.stats.deopts == 0


CHAINS = [
    ("bi,ij,bj->b", (20, 16), (16, 12), (20, 12)),
    ("ijk,jl,km->ilm", (6, 7, 8), (7, 9), (8, 5)),
    ("ab,bc,cd,de->ea", (9, 8), (8, 7), (7, 6), (6, 5)),
    ("bi,ij,bj->", (20, 16), (16, 12), (20, 12)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("case", CHAINS, ids=lambda case: case[0])
def test_more_than_two_arrays_are_contracted_two_by_two(case: Any, optimize: bool, dtype: str) -> None:
    subscripts, *shapes = case
    arrays = [np.random.default_rng(0).standard_normal(shape).astype(dtype) for shape in shapes]

    def step(*operands):  # type: ignore[no-untyped-def]
        return np.einsum(subscripts, *operands, optimize=optimize) * 1.0

    jitted = jj.jit(step, background=False)
    for _ in range(4):
        got = jitted(*arrays)
    wanted = step(*arrays)
    assert (type(got), got.dtype, np.shape(got)) == (type(wanted), wanted.dtype, np.shape(wanted))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e4 * np.finfo(dtype).eps)
    assert (jitted.stats.graph_calls, jitted.stats.deopts, jitted.stats.host_calls) == (2, 0, 0)
    assert "matmul" in jitted.specializations[0].plan


KEPT = [
    ("i,i,i->", [(9,), (9,), (9,)]),
    ("ii,ij,jk->k", [(4, 4), (4, 5), (5, 6)]),
    ("ij,jk,ki->kj", [(5, 6), (6, 7), (7, 5)]),
]


@pytest.mark.parametrize(("subscripts", "shapes"), KEPT)
def test_others_of_several_stay(subscripts: str, shapes: Any) -> None:
    arrays = [np.random.default_rng(0).standard_normal(shape) for shape in shapes]
    step = jj.jit(lambda *operands: np.einsum(subscripts, *operands), background=False)
    for _ in range(4):
        got = step(*arrays)
    np.testing.assert_allclose(got, np.einsum(subscripts, *arrays), rtol=1e-12)
    assert step.stats.graph_calls == 2 and "einsum" in step.specializations[0].plan


def test_products_are_begun_from_the_left() -> None:
    a, b, c = np.full((30, 31), 1e200), np.full((31, 32), 1e-200), np.full((30, 32), 1e-200)
    step = jj.jit(lambda *operands: np.einsum("bi,ij,bj->b", *operands), background=False)
    for _ in range(4):
        got = step(a, b, c)
    np.testing.assert_allclose(got, np.einsum("bi,ij,bj->b", a, b, c), rtol=1e-12)
    assert step.stats.graph_calls == 2 and (got > 0).all()
