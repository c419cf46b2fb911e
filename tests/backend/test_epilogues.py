"""Work on a product's elements, done for a block of its rows at a time: the same bits, and what it must not disturb."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import janusjit as jj
from janusjit.backend import cost
from janusjit.backend.llvm import gemm, gemm_packed
from tests.backend.lowering import check
from tests.backend.random_graphs import random_control_flow

NUMBERS = np.random.default_rng(5)
Function = Callable[..., Any]


@pytest.fixture(autouse=True)
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JANUSJIT_CACHE", "0")


def relu_of_affine(x, w, b):  # type: ignore[no-untyped-def]
    return np.maximum(x @ w + b, 0.0)


def scaled_by_transposed(a, g, w):  # type: ignore[no-untyped-def]
    return a * (g @ w.T)


def descended(x, g, w):  # type: ignore[no-untyped-def]
    return w - 0.125 * (x.T @ g)


def where_positive(d, w, h):  # type: ignore[no-untyped-def]
    return (d @ w.T) * (h > 0)


def with_column(x, w, c):  # type: ignore[no-untyped-def]
    return 2.0 * (x @ w) - c


def softmax_of_product(x, w):  # type: ignore[no-untyped-def]
    y = x @ w
    powers = np.exp(y - y.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def with_product_kept(x, w, b):  # type: ignore[no-untyped-def]
    y = x @ w
    return np.tanh(y + b), y


def compiled(function: Function, *arguments: Any, block: int | None = None) -> tuple[Any, str]:
    """Return what a function's graph gives, and its plan; with products in one block if ``block`` is so large."""
    with pytest.MonkeyPatch.context() as patch:
        if block is not None:
            patch.setattr(cost, "PRODUCT_BLOCK_BYTES", block)
        step = jj.jit(function, background=False, threads=1)
        for _ in range(3):
            result = step(*[argument.copy() for argument in arguments])
        assert step.stats.graph_calls == 1 and step.stats.deopts == 0
    return result, step.specializations[0].plan


def assert_fused(function: Function, *arguments: Any, block: int = 1) -> None:
    """A function's product and what follows it take turns, with the same bits as one after the other."""
    got, plan = compiled(function, *arguments, block=block)
    assert re.search(r"matmul by register tiles \d+×\d+, \d+ rows at a time with step", plan), plan
    expected, unfused = compiled(function, *arguments, block=1 << 40)
    assert "rows at a time" not in unfused
    for one, other, eager in zip(*map(_parts, (got, expected, function(*arguments))), strict=True):
        np.testing.assert_array_equal(one, other)
        tolerance = 1e-4 if one.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(one, eager, rtol=tolerance, atol=tolerance)
        assert one.dtype == eager.dtype


def _parts(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def drawn(dtype: str, *shapes: tuple[int, ...]) -> list[Any]:
    return [NUMBERS.normal(size=shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (relu_of_affine, ((100, 24), (24, 40), (40,))),
        (scaled_by_transposed, ((60, 20), (60, 30), (20, 30))),
        (descended, ((30, 70), (30, 40), (70, 40))),
        (where_positive, ((64, 20), (50, 20), (64, 50))),
        (with_column, ((70, 30), (30, 25), (70, 1))),
        (softmax_of_product, ((90, 16), (16, 33))),
        (with_product_kept, ((90, 16), (16, 33), (33,))),
        (relu_of_affine, ((9, 8, 24), (24, 40), (40,))),
        (with_column, ((9, 20, 24), (9, 24, 40), (9, 20, 1))),
        (with_column, ((6, 5, 20, 8), (6, 1, 8, 24), (1,))),
    ],
)
def test_work_on_products(function: Function, shapes: tuple[tuple[int, ...], ...], dtype: str) -> None:
    assert_fused(function, *drawn(dtype, *shapes))


def packed(function: Function, *arguments: Any, threads: int, fused: bool, panels: int) -> tuple[Any, str]:
    """Return what a function's graph gives whose products are packed, and its plan; the depth is in blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "quickest", lambda product, threads: "packed")
        patch.setattr(gemm, "packed_threads", lambda rows, nanoseconds, threads: threads)
        patch.setattr(gemm_packed, "KEPT_BYTES", 0 if fused else 1 << 40)
        patch.setattr(gemm_packed, "PANELS_BYTES", panels)
        if not fused:
            patch.setattr(gemm_packed, "_height", lambda dtype, shape: 1 << 40)
        step = jj.jit(function, background=False, threads=threads)
        for _ in range(3):
            result = step(*[argument.copy() for argument in arguments])
        assert step.stats.graph_calls == 1 and step.stats.deopts == 0
    return result, step.specializations[0].plan


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (relu_of_affine, ((100, 24), (24, 40), (40,))),
        (relu_of_affine, ((203, 600), (600, 70), (70,))),
        (scaled_by_transposed, ((60, 20), (60, 30), (20, 30))),
        (descended, ((300, 170), (300, 40), (170, 40))),
        (softmax_of_product, ((190, 16), (16, 33))),
        (with_product_kept, ((90, 16), (16, 33), (33,))),
        (with_column, ((270, 30), (30, 1000), (270, 1))),
    ],
)
def test_work_on_packed_products(function: Function, shapes: tuple[tuple[int, ...], ...], dtype: str) -> None:
    """On one thread and on several, with room for some rows of the product or for all: the same bits."""
    arguments = drawn(dtype, *shapes)
    for threads in (1, 2):  # the routines are compiled once in a process, with what is written there
        packed(function, *arguments, threads=threads, fused=True, panels=gemm_packed.PANELS_BYTES)
    expected, unfused = packed(function, *arguments, threads=1, fused=False, panels=gemm_packed.PANELS_BYTES)
    assert "by packed tiles" in unfused and "rows at a time" not in unfused
    for threads in (1, 2, 3):
        for panels in (0, gemm_packed.PANELS_BYTES):
            got, plan = packed(function, *arguments, threads=threads, fused=True, panels=panels)
            assert re.search(r"by packed tiles.*, \d+ rows at a time with step", plan), plan
            for one, other in zip(_parts(got), _parts(expected), strict=True):
                np.testing.assert_array_equal(one, other)
    tolerance = 1e-3 if dtype == "f4" else 1e-11  # sums of up to 600 products, in another order
    for one, eager in zip(_parts(expected), _parts(function(*arguments)), strict=True):
        np.testing.assert_allclose(one, eager, rtol=tolerance, atol=tolerance)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_shape_layout_and_block(data: st.DataObject) -> None:
    rows, depth, columns = (data.draw(st.integers(low, 70)) for low in (30, 2, 2))
    function = data.draw(st.sampled_from([relu_of_affine, with_column, with_product_kept]))
    dtype = data.draw(st.sampled_from(["f4", "f8"]))
    side = (rows, 1) if function is with_column else (columns,)
    x, w, b = drawn(dtype, (rows, depth), (depth, columns), side)
    x = np.asfortranarray(x) if data.draw(st.booleans()) else x
    w = np.asfortranarray(w) if data.draw(st.booleans()) else w
    block = data.draw(st.sampled_from([1, 1000, 5000]))
    results = [compiled(function, x, w, b, block=size)[0] for size in (block, 1 << 40)]
    for one, other in zip(*map(_parts, results), strict=True):
        np.testing.assert_array_equal(one, other)


def test_by_default_only_where_there_is_more_than_a_block() -> None:
    _, plan = compiled(relu_of_affine, *drawn("f8", (200, 24), (24, 40), (40,)))
    assert "rows at a time with step 1" in plan
    _, plan = compiled(relu_of_affine, *drawn("f8", (10, 24), (24, 40), (40,)))
    assert "rows at a time" not in plan


@pytest.mark.usefixtures("one_row")
@pytest.mark.parametrize("seed", range(20))
def test_random_control_flow(seed: int) -> None:
    graph, arguments = random_control_flow(seed)
    check(graph, *arguments)


@pytest.fixture
def one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "PRODUCT_BLOCK_BYTES", 1)


@pytest.mark.usefixtures("one_row")
def test_what_every_row_needs_is_not_written_meanwhile() -> None:
    """A right operand, or another row of the left one, is overwritten when the whole product is there."""

    def recurrent(h, w, x):  # type: ignore[no-untyped-def]
        for step in range(40):
            h = np.tanh(h @ w + x * step)
        return h

    def squared(w, x):  # type: ignore[no-untyped-def]
        for _ in range(40):
            w = 0.5 * (w @ w) + x
        return w

    def swept(w, x):  # type: ignore[no-untyped-def]
        w = w + 0.0
        w[:] = 0.5 * (x @ w) + w
        w[:] = 0.5 * (w.T @ x) - w
        return w

    (h, w, x, a, b) = drawn("f8", (60, 30), (30, 30), (60, 30), (40, 40), (40, 40))
    for function, arguments in ((recurrent, (h, w / 8, x)), (squared, (a / 40, b / 40)), (swept, (a / 40, b / 40))):
        step = jj.jit(function, background=False, threads=1)
        for _ in range(4):
            result = step(*[argument.copy() for argument in arguments])
        np.testing.assert_allclose(result, function(*[one.copy() for one in arguments]), rtol=1e-9, atol=1e-12)
        assert step.stats.graph_calls >= 1


@pytest.mark.usefixtures("one_row")
def test_arguments_that_are_written_in_place() -> None:
    def descend(w, x, g):  # type: ignore[no-untyped-def]
        w -= 0.125 * (x.T @ g)

    step = jj.jit(descend, background=False, threads=1)
    w, x, g = drawn("f8", (50, 16), (30, 50), (30, 16))
    expected = w.copy()
    for _ in range(4):
        step(w, x, g)
        descend(expected, x, g)
    np.testing.assert_allclose(w, expected, rtol=1e-12, atol=1e-12)
    assert step.stats.graph_calls == 2
    assert "rows at a time with step" in step.specializations[0].plan


@pytest.mark.usefixtures("one_row")
@pytest.mark.parametrize("place", [(3, 4), (45, 20)])
def test_floating_point_warnings_are_those_of_plain_python(place: tuple[int, int]) -> None:
    x, w, b = drawn("f8", (50, 8), (8, 24), (50, 24))
    for value in (1e308, np.inf):
        bad = b.copy()
        bad[place] = value
        for filter_ in ("error", "always"):
            assert _told(x, w, bad, filter_) == _told(x, w, bad, filter_, jit=False)


def _told(x: Any, w: Any, b: Any, filter_: str, jit: bool = True) -> Any:
    """Return what is warned of, or raised, when a graph has met no errors before."""

    def function(x, w, b):  # type: ignore[no-untyped-def]
        return (x @ w - b) * 10.0 - (x @ w - b) * 10.0

    called = jj.jit(function, background=False, threads=1) if jit else function
    for _ in range(3):
        called(x, w, np.zeros_like(b))
    if jit:
        assert "rows at a time with step" in called.specializations[0].plan
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter(filter_)  # type: ignore[arg-type]
        try:
            result = called(x, w, b)
        except RuntimeWarning as error:
            return str(error)
    return [str(one.message) for one in given], np.isnan(result).sum()


def test_equal_products_with_equal_epilogues_share_their_functions() -> None:
    def layers(x, weights):  # type: ignore[no-untyped-def]
        for w in weights:
            x = np.tanh(x @ w)
        return x

    weights = [0.2 * w for w in drawn("f8", *[(32, 32)] * 12)]
    step = jj.jit(layers, background=False, threads=1)
    (x,) = drawn("f8", (64, 32))
    for _ in range(3):
        result = step(x, weights)
    assert step.stats.graph_calls == 1 and step.stats.deopts == 0
    np.testing.assert_allclose(result, layers(x, weights), rtol=1e-12, atol=1e-12)
    source = step.specializations[0].llvm_ir
    functions = re.findall(r"^define .*@(janusjit_handwritten\.tiles|product)", source, re.MULTILINE)
    assert source.count("call void @product.") > 6 and len(functions) <= 6, functions
