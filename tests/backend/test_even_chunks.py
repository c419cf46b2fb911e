"""Chunks of rows for threads: all are done at about the same time."""

from __future__ import annotations

import ctypes
import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.divided_work import even_chunk
from janusjit.backend.llvm.gemm_packed import CHUNK_ROWS, _Routine
from janusjit.backend.llvm.gemm_packed_tile import Shape
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.values import I64, KernelContext


def taken(units: int, threads: int, chunk: int) -> int:
    """Return how many units the thread has that has most: each has as many chunks as the others, or one more."""
    count = -(-units // chunk)
    bounds = [thread * count // threads * chunk for thread in range(threads)] + [units]
    return max(end - start for start, end in itertools.pairwise(bounds))


@given(st.integers(2, 2000), st.integers(2, 8), st.integers(1, 8))
def test_chunks_are_as_even_as_the_usual_ones_and_about_as_many(units: int, threads: int, chunks: int) -> None:
    chunk, usual = even_chunk(units, threads, chunks), max(1, units // (threads * chunks))
    assert usual / 2 <= chunk <= 2 * usual
    # half a unit is what the last one may be short
    assert taken(units, threads, chunk) <= taken(units, threads, usual) + 0.5


def test_what_two_threads_get() -> None:
    assert [even_chunk(units, 2, 4) for units in (1, 8, 32, 19)] == [1, 1, 4, 3]


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_packed_rows_are_divided_evenly(dtype: str) -> None:
    shape = Shape.of(dtype, Machine.host())
    module = engine.create_module("chunks")
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), "chunk")
    routine = _Routine(module, cast(Any, SimpleNamespace(checks_flags=False)), dtype, shape, True)
    context = KernelContext(function, routine.python)
    context.finish_with(routine._chunk(context, *function.args))
    loaded = engine.load(module)
    found = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(loaded.function_address("chunk"))

    def cost(rows: int, threads: int, chunk: int) -> int:
        count = -(-rows // chunk)
        short = count * chunk - rows if count % threads == 1 else 0
        return -(-count // threads) * (chunk + CHUNK_ROWS) - short

    for rows in [*range(1, 600, 7), 1000, 1024, 2048, 100_000]:
        for threads in (2, 3, 8):
            most = min(-(-rows // (threads * shape.rows)), routine._height // shape.rows)
            candidates = [tiles * shape.rows for tiles in range(most, 0, -1)]
            assert found(rows, threads) == min(candidates, key=lambda chunk: cost(rows, threads, chunk))
    assert taken(512, 2, found(512, 2)) <= 1.05 * 256
