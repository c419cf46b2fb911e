"""Products in registers: the tilings, every way through them, and what the plan says."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

import janusjit as jj
from janusjit.backend.llvm import gemm, gemm_estimates, gemm_tiling
from janusjit.backend.llvm.blas import emit_matmul
from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.gemm_packed import emit_packed
from janusjit.backend.llvm.gemm_packed_tile import Shape
from janusjit.backend.llvm.gemm_tiling import MULTIPLICATIONS, Machine, choose, is_worth_it, pieces
from janusjit.backend.llvm.values import I64, ArrayValue, KernelContext
from janusjit.ir.types import DTYPES
from tests.backend.kernel_harness import ArrayKernel
from tests.backend.test_blas import assert_as_good_as_numpy, laid_out, multiply, random_operands

MACHINES = [Machine(64, 32, True), Machine(32, 16, False), Machine(16, 32, False)]


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["f32", "f64"]), st.sampled_from(MACHINES))
def test_tiles_cover_the_result_and_fit_the_registers(rows: int, columns: int, dtype: str, machine: Machine) -> None:
    tiling = choose(rows, columns, dtype, machine)
    assert tiling.rows <= rows <= tiling.rows * tiling.row_tiles
    assert tiling.columns <= columns <= tiling.columns * tiling.column_tiles
    vectors = len(tiling.pieces)
    assert tiling.rows * vectors * tiling.ways + vectors + 1 <= machine.registers or tiling.ways == 1
    assert [piece.start for piece in tiling.pieces] == list(
        itertools.accumulate((piece.used for piece in tiling.pieces[:-1]), initial=0)
    )


@given(st.integers(0, 100), st.sampled_from([4, 8, 16]), st.booleans())
def test_pieces_are_vectors_that_are_full_or_masked(count: int, lanes: int, has_masks: bool) -> None:
    cut = pieces(count, lanes, has_masks)
    assert sum(piece.used for piece in cut) == count
    assert all(piece.used == piece.lanes or has_masks for piece in cut)
    assert all(piece.lanes in (1, 2, 4, 8, 16) and piece.lanes <= lanes for piece in cut)


@pytest.mark.parametrize("machine", MACHINES, ids=["avx512", "avx2", "neon"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_shape_and_layout(dtype: str, machine: Machine, data: st.DataObject) -> None:
    size = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 67, 100])
    rows, columns = data.draw(size), data.draw(size)
    depth = data.draw(st.sampled_from([1, 2, 3, 7, 16, 31, 33, 100, 257, 300, 515]))
    layouts = st.sampled_from(["contiguous", "transposed", "stepped", "backwards"])
    a, b = random_operands(((rows, depth), (depth, columns)), dtype)
    a, b = laid_out(a, data.draw(layouts)).astype(DTYPES[dtype], order="K"), laid_out(b, data.draw(layouts))
    b = b.astype(DTYPES[dtype], order="K")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm.Machine, "host", staticmethod(lambda: machine))
        got = multiply(a, b)
    assert_as_good_as_numpy(got, a, b)


@pytest.mark.parametrize("machine", MACHINES, ids=["avx512", "avx2", "neon"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_long_sums_of_matrices_stored_by_columns_and_wide_rows(
    dtype: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of inner products, and rows that pass by in streams: every remainder of sizes, blocks and tiles."""
    monkeypatch.setattr(gemm.Machine, "host", staticmethod(lambda: machine))
    for rows, depth, columns in ((6, 144, 7), (7, 333, 25), (9, 1024, 9), (16, 1171, 33), (13, 2050, 6)):
        a, b = random_operands(((rows, depth), (columns, depth)), dtype)
        assert_as_good_as_numpy(multiply(a, b.T), a, b.T)
        assert_as_good_as_numpy(multiply(b, a.T), b, a.T)
        square = multiply(a, a.T)
        np.testing.assert_array_equal(square, square.T)
    for depth, columns in ((1, 129), (2, 130), (3, 257), (8, 300), (21, 135)):
        a, b = random_operands(((1, depth), (depth, columns)), dtype)
        assert_as_good_as_numpy(multiply(a, b), a, b)
        assert_as_good_as_numpy(multiply(np.asfortranarray(b.T), a[0]), b.T, a[0])


def test_the_plan_tells_of_tiles_of_inner_products() -> None:
    @jj.jit(background=False)
    def product(a, b):  # type: ignore[no-untyped-def]
        return a @ b.T

    a, b = np.ones((16, 1000)), np.ones((20, 1000))
    for _ in range(4):
        np.testing.assert_array_equal(product(a, b), a @ b.T)
    assert product.stats.graph_calls == 2
    assert "by inner products in tiles" in product.specializations[0].plan


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_long_sums_of_large_matrices_are_inner_products_too(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the gradients of a convolution's kernel: a right operand that is not copied may be large."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")

    @jj.jit(background=False)
    def product(a, b):  # type: ignore[no-untyped-def]
        return a @ b.T

    a, b = random_operands(((16, 4096), (144, 4096)), dtype)
    for _ in range(4):
        assert_as_good_as_numpy(product(a, b), a, b.T)
    assert product.stats.graph_calls == 2
    assert "by inner products in tiles" in product.specializations[0].plan


@pytest.mark.parametrize("machine", MACHINES, ids=["avx512", "avx2", "neon"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_packed_products_of_any_size_and_layout(dtype: str, machine: Machine) -> None:
    """Every remainder of tiles, panels and blocks; what is around the result stays as it is."""

    def emit(context: KernelContext, *arrays: ArrayValue) -> None:
        a, b, out = (Matrix(one.dtype, one.pointer, *one.dims, *one.strides) for one in arrays)
        emit_packed(context, a, b, out, machine)

    layouts = ["contiguous", "transposed", "stepped", "backwards"]
    shapes = [(1, 1, 1), (32, 40, 64), (14, 256, 32), (45, 300, 70), (400, 515, 33), (9, 33, 1100)]
    for number, (rows, depth, columns) in enumerate(shapes):
        a, b = random_operands(((rows, depth), (depth, columns)), dtype)
        a = laid_out(a, layouts[number % 4]).astype(DTYPES[dtype], order="K")
        b = laid_out(b, layouts[number // 2 % 4]).astype(DTYPES[dtype], order="K")
        around = np.full((rows + 2, columns + 2), 7, DTYPES[dtype])
        out = around[1:-1, 1:-1]
        assert ArrayKernel(emit, (a, b, out))(a, b, out)
        assert_as_good_as_numpy(out.copy(), a, b)
        around[1:-1, 1:-1] = 7
        assert (around == 7).all()
    (a,) = random_operands(((70, 300),), dtype)  # type: ignore[arg-type]
    square = np.empty((70, 70), DTYPES[dtype])
    assert ArrayKernel(emit, (a, a.T, square))(a, a.T, square)
    np.testing.assert_array_equal(square, square.T)


@pytest.mark.parametrize(("threads", "how"), [("1", "by packed tiles"), ("2", "by BLAS")])
def test_large_products_are_packed_where_the_library_has_one_thread(
    threads: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
    monkeypatch.setenv("JANUSJIT_CACHE", "0")
    monkeypatch.setattr(gemm_tiling, "processors", lambda: 64)
    monkeypatch.setattr(gemm.Machine, "host", staticmethod(lambda: MACHINES[0]))

    @jj.jit(background=False)
    def product(a, b):  # type: ignore[no-untyped-def]
        return a @ b.T + 1.0

    a, b = (np.arange(400.0 * 330).reshape(330, 400) % 7 - 3 for _ in range(2))
    for _ in range(4):
        np.testing.assert_array_equal(product(a, b), a @ b.T + 1.0)
    assert product.stats.graph_calls == 2
    assert how in product.specializations[0].plan


def test_nothing_beside_the_result_is_written() -> None:
    """The rows and columns around a part of a larger array stay as they are."""
    for dtype, (rows, columns) in itertools.product(("f32", "f64"), [(1, 5), (5, 1), (7, 13), (3, 33), (13, 2)]):
        a, b = random_operands(((rows, 9), (9, columns)), dtype)
        around = np.full((rows + 2, columns + 2), 7, DTYPES[dtype])
        out = around[1:-1, 1:-1]
        assert ArrayKernel(emit_matmul, (a, b, out))(a, b, out)
        assert_as_good_as_numpy(out.copy(), a, b)
        around[1:-1, 1:-1] = 7
        assert (around == 7).all()


def test_a_product_with_its_own_transpose_is_symmetric() -> None:
    for dtype, n in itertools.product(("f32", "f64"), (5, 13, 33, 50)):
        (a,) = random_operands(((n, 40),), dtype)  # type: ignore[arg-type]
        got = multiply(a, a.T)
        np.testing.assert_array_equal(got, got.T)


def test_infinities_and_nan_spread() -> None:
    for shapes in (((1, 20), (20, 1)), ((13, 20), (20, 13)), ((1, 20), (20, 13))):
        a, b = random_operands(shapes, "f64")
        a[0, 3], b[4, 0], b[5, 0] = np.nan, np.inf, 0
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(np.isnan(multiply(a, b)), np.isnan(a @ b))


@pytest.mark.parametrize(
    ("left", "right", "how"),
    [
        ((32, 64), (64, 32), "by register tiles"),
        ((64, 10), (10, 64), "by register tiles"),
        ((1, 64), (64, 64), "by register tiles"),
        ((1, 60), (60, 300), "by streams of rows"),
        ((64, 64), (64,), "by inner products"),
        ((500,), (500,), "by inner products"),
        ((400, 400), (400, 400), "by BLAS"),
    ],
)
def test_the_plan_says_how(
    left: tuple[int, ...], right: tuple[int, ...], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemm_estimates, "library_threads", lambda: 2)

    @jj.jit(background=False)
    def product(a, b):  # type: ignore[no-untyped-def]
        return a @ b

    a, b = np.ones(left), np.ones(right)
    for _ in range(4):
        np.testing.assert_array_equal(product(a, b), a @ b)
    assert product.stats.graph_calls == 2
    assert how in product.specializations[0].plan


def test_tiles_keep_to_registers() -> None:
    """The accumulators are not spilled: as many multiplications and additions as the tile has vectors."""
    a, b = random_operands(((48, 64), (64, 64)), "f32")
    assembly = ArrayKernel(emit_matmul, (a, b, np.empty((48, 64), np.float32))).module.assembly
    if "zmm" not in assembly:
        pytest.skip("no 512-bit vectors here")
    assert "Spill" not in assembly and "janusjit_gemm" not in assembly
    tiling = choose(48, 64, "f32", Machine.host())
    assert assembly.count("vfmadd") % (tiling.rows * len(tiling.pieces)) == 0


def test_large_products_are_left_to_the_library() -> None:
    assert not is_worth_it(512, 512, 512, "f32") and MULTIPLICATIONS < 512**3
    assert is_worth_it(64, 64, 64, "f64")


def test_more_is_worth_it_where_the_library_has_few_threads() -> None:
    assert is_worth_it(256, 256, 256, "f64", threads=1) and not is_worth_it(256, 256, 256, "f64", threads=2)
    assert is_worth_it(16, 4096, 144, "f32", threads=2) and not is_worth_it(16, 4096, 144, "f32", threads=16)
    assert not is_worth_it(32, 1024, 256, "f32", by_columns=True)  # the copy takes as long as the product
    assert is_worth_it(16, 144, 4096, "f32", by_columns=True)


@pytest.mark.parametrize("threads", ["1", "64"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_few_rows_or_columns(dtype: str, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of convolutions, both ways through the choice: many columns, a long sum, a right operand by columns."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
    monkeypatch.setattr(gemm_tiling, "processors", lambda: 64)
    for rows, depth, columns in ((16, 144, 4096), (16, 4096, 144), (6, 25, 8192), (144, 16, 2048), (200, 200, 200)):
        a, b = random_operands(((rows, depth), (depth, columns)), dtype)
        for left, right in itertools.product((a, np.asfortranarray(a)), (b, np.asfortranarray(b))):
            assert_as_good_as_numpy(multiply(left, right), left, right)


@pytest.mark.parametrize("machine", MACHINES, ids=["avx512", "avx2", "neon"])
def test_only_the_tiles_that_a_packed_product_needs_are_there(machine: Machine) -> None:
    shape = Shape.of("f64", machine)
    height = 6 * shape.rows
    for rows in range(1, 3 * height):
        cut = set()
        for start in range(0, rows, height):
            count = min(height, rows - start)
            whole = shape.whole_rows_of_many(count)
            assert 0 <= whole <= count
            cut |= ({shape.rows} if whole else set()) | ({shape.fewer} if whole < count else set())
        assert {tile[0] for tile in shape.tiles_for(rows, 1, height)} == cut
    for columns in range(1, 3 * shape.columns):
        widths = {min(shape.columns, columns - start) for start in range(0, columns, shape.columns)}
        needed = {-(-width // shape.lanes) for width in widths}
        assert {tile[1] for tile in shape.tiles_for(1, columns, height)} == needed
    assert shape.tiles_for(ir.Constant(I64, 5), ir.Constant(I64, 5), height) == shape.tiles


def test_tiles_of_packed_products_are_shared_by_all_that_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    jitted = jj.jit(background=False, threads=1)(lambda x, y, z: (x @ y, x @ z))
    shape = Shape.of("f64", Machine.host())
    x, y, z = random_operands(((40 * shape.rows, 700), (700, 20 * shape.columns), (700, 10 * shape.columns)), "f64")
    for _ in range(4):
        for found, right in zip(jitted(x, y, z), (y, z), strict=True):
            assert_as_good_as_numpy(found, x, right)
    assert jitted.stats.graph_calls == 2
    assert jitted.specializations[0].plan.count("by packed tiles") == 2
    tiles = set(re.findall(r"packed_f64_\w+_of_\w+", jitted.specializations[0].llvm_ir))
    assert len(tiles) == 1


@pytest.mark.skipif(Machine.host().vector_bytes != 64, reason="tiles of other machines have other sizes")
def test_blocks_of_a_long_sum_are_stored_by_one_piece_of_code() -> None:
    product = jj.jit(background=False, threads=1)(lambda a, b: a @ b.T)
    a, b = np.linspace(-1.0, 1.0, 24 * 144).reshape(24, 144), np.cos(np.arange(16 * 144.0)).reshape(16, 144)
    for _ in range(4):
        np.testing.assert_allclose(product(a, b), a @ b.T, rtol=1e-12, atol=1e-12)
    assert product.stats.graph_calls == 2 and product.stats.deopts == 0
    source = product.specializations[0].compiled.code.source
    heading = r"^define [^@]*@\"[^\"]*tiles\.f64\.24\.16\.144\.[^\"]*\.(\d+)\.16\.1\.32\".*?^}"
    (rows,) = re.findall(heading, source, re.M | re.S)
    (text,) = re.findall(r"^define [^@]*@\"[^\"]*tiles\..*?^}", source, re.M | re.S)
    assert text.count("store <8 x double>") == 2 * int(rows)
