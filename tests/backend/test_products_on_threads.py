"""Products by our own kernels on several threads: the bits of one thread, and what follows their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend import calibration, cost
from janusjit.backend.llvm import gemm, thread_pool_state, threads

NUMBERS = np.random.default_rng(11)

pytestmark = pytest.mark.skipif(not threads.are_supported(), reason="this system has no POSIX threads")


@pytest.fixture(autouse=True)
def eager_to_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide products however small they are, and have tiles compute them."""
    monkeypatch.setattr(calibration, "_LEAST_PARALLEL", 1)
    monkeypatch.setattr(calibration, "_DISPATCHES", 0)
    monkeypatch.setattr(cost, "THREAD_NANOSECONDS", 1)
    monkeypatch.setattr(gemm, "quickest", lambda product, threads=1: "tiles")


def compare(function: Callable[..., Any], *arguments: Any, divided: int = 1) -> Any:
    """Run on one thread and on several; compare the bits, and with plain Python; return the last specialization."""
    one = jj.jit(background=False, threads=1)(function)
    results = [np.asarray(one(*arguments)) for _ in range(8)]
    expected = np.asarray(function(*arguments))
    scale = np.finfo(expected.dtype).eps * 64 * max(float(np.abs(expected).max()), 1.0)  # sums in another order
    np.testing.assert_allclose(results[-1], expected, rtol=0, atol=scale)
    assert one.stats.graph_calls == 6 and not threads_of(one)
    for count in (2, 3, 5):
        several = jj.jit(background=False, threads=count)(function)
        for _ in range(12):
            before = threads.usage()
            for word, value in (("DECLINED", 1 << 40), ("DEBT", 0)):
                if threads.usage().workers:
                    threads._words()[getattr(thread_pool_state, word)] = value
            result = several(*arguments)
            np.testing.assert_allclose(result, expected, rtol=0, atol=scale)
        assert several.stats.graph_calls == 10 and threads.usage().divided > before.divided
        assert several.stats.deopts == 0
        assert threads_of(several) >= divided, several.specializations[0].plan
        np.testing.assert_array_equal(result, results[-1])
    return several.specializations[0]


def threads_of(step: Any) -> int:
    """Return how many products of a function's only specialization run on threads."""
    lines = step.specializations[0].plan.splitlines()
    return sum("matmul" in line and "on threads" in line for line in lines)


def normal(*shape: int, dtype: str = "f8") -> Any:
    return NUMBERS.normal(size=shape).astype(dtype)


def product(a: Any, b: Any) -> Any:
    return a @ b


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sizes", [(128, 40, 33), (29, 1500, 21), (57, 700, 5), (90, 3, 64), (16, 64, 16)])
def test_tiles(sizes: tuple[int, int, int], dtype: str) -> None:
    """Tiles that overlap, and sums in several parts: no thread adds to what another has just stored."""
    rows, depth, columns = sizes
    a, b = normal(rows, depth, dtype=dtype), normal(depth, columns, dtype=dtype)
    compare(product, a, b)
    compare(product, np.asfortranarray(a), b)
    if depth < 1000:  # longer columns are summed by themselves
        compare(product, a, np.asfortranarray(b))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sizes", [(300, 50), (37, 512), (6, 11)])
def test_vectors(sizes: tuple[int, int], dtype: str) -> None:
    a, x = normal(*sizes, dtype=dtype), normal(sizes[1], dtype=dtype)
    specialization = compare(product, a, x)
    assert "inner products, on threads: up to" in specialization.plan
    compare(product, x, np.ascontiguousarray(a).T)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sizes", [(20, 700), (9, 1025), (3, 2048)])
def test_a_row(sizes: tuple[int, int], dtype: str) -> None:
    specialization = compare(product, normal(sizes[0], dtype=dtype), normal(*sizes, dtype=dtype))
    assert "streams of rows, on threads: up to" in specialization.plan


def test_batches() -> None:
    compare(product, normal(5, 20, 30), normal(5, 30, 17))
    compare(product, normal(1, 6, 9, 12), normal(1, 6, 12, 8))
    compare(product, normal(3, 4, 9, 12), normal(12, 8))
    compare(lambda q, k: q @ k.transpose(0, 1, 3, 2), normal(2, 3, 16, 8), normal(2, 3, 16, 8))


def test_library_products_of_a_batch_are_left_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "quickest", lambda product, threads=1: "library")
    a, b = normal(4, 40, 40), normal(4, 40, 40)
    step = jj.jit(background=False, threads=3)(product)
    for _ in range(6):
        np.testing.assert_allclose(step(a, b), a @ b, rtol=0, atol=1e-12)
    assert step.stats.graph_calls == 4 and not threads_of(step)


def layer(x: Any, w: Any, b: Any) -> Any:
    return np.maximum(x @ w + b, 0.0)


def two_readers(x: Any, w: Any, b: Any) -> Any:
    product = x @ w
    return product, np.exp(-product * product) + b


def attention(q: Any, k: Any, scale: Any) -> Any:
    scores = q @ k.transpose(0, 2, 1) * scale
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("rows", [64, 67, 200])
def test_what_follows_rows(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows in any order, each thread with room for one of its own; the last block has fewer rows."""
    monkeypatch.setattr(cost, "PRODUCT_BLOCK_BYTES", 2048)
    for function in (layer, two_readers):
        x, w, b = normal(rows, 24), normal(24, 40), normal(40)
        specialization = compare(function, x, w, b)
        assert "rows at a time with step" in specialization.plan
    compare(layer, normal(rows, 24), np.asfortranarray(normal(24, 40)), normal(40))


def test_what_follows_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "PRODUCT_BLOCK_BYTES", 2048)
    for batch in (4, 7):
        specialization = compare(attention, normal(batch, 16, 8), normal(batch, 16, 8), 0.125)
        assert "rows at a time with step" in specialization.plan


def test_overflow_in_a_worker_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "PRODUCT_BLOCK_BYTES", 2048)
    x, w, b = normal(100, 24), normal(24, 40), normal(40)
    step = jj.jit(background=False, threads=3)(lambda x, w, b: np.exp(x @ w + b))
    for _ in range(6):
        np.testing.assert_allclose(step(x, w, b), np.exp(x @ w + b), rtol=1e-12)
    assert step.stats.graph_calls == 4 and threads_of(step) == 1
    for row in (0, 50, 99):
        large = x.copy()
        large[row] = 1e4 * np.sign(w[:, 0])
        with pytest.warns(RuntimeWarning, match="overflow encountered in exp"):
            step(large, w, b)
