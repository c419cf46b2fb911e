"""Steps done block by block of rows: the results are those of the steps one after the other."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend import cost
from janusjit.backend.address import Addresses
from janusjit.backend.buffers import assign
from janusjit.backend.fuse import make_plan
from janusjit.backend.fused import undivided
from janusjit.backend.llvm.row_prefetch import written_at_last
from janusjit.backend.storage import Storage
from janusjit.backend.tiles import Tile, find_tiles
from janusjit.ir.graph import Graph
from janusjit.ops.indexing import Range
from tests.backend.lowering import Program, check
from tests.backend.random_graphs import random_control_flow

NUMBERS = np.random.default_rng(3)


def tiles(graph: Graph) -> set[Tile]:
    plan = make_plan(graph)
    return set(find_tiles(plan, assign(plan)).values())


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CACHE_BYTES", 0), ("SHARED_CACHE_BYTES", 0), ("TILE_BYTES", 200), ("TILE_GAIN", 0.0)):
        monkeypatch.setattr(cost, name, value)
    monkeypatch.setenv("JANUSJIT_CACHE", "0")


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("seed", range(60))
def test_random_control_flow(seed: int) -> None:
    graph, arguments = random_control_flow(seed)
    check(graph, *arguments)


def normalized(program: Program, x: object, axis: int) -> object:
    centered = program.subtract(x, program.reduce("max", x, axis, keepdims=True))
    squares = program.multiply(centered, centered)
    return program.divide(centered, program.reduce("sum", squares, axis, keepdims=True))


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("shape", [(7, 5), (64, 33), (5, 300), (4, 3, 6)])
@pytest.mark.parametrize("order", ["C", "F", "any"])
def test_rows_are_reduced_and_broadcast(shape: tuple[int, ...], order: str) -> None:
    x = NUMBERS.normal(size=shape)
    x = np.asfortranarray(x) if order == "F" else x
    if order == "any":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    program = Program()
    graph = program.finish(normalized(program, program.input(x), len(shape) - 1))
    assert tiles(graph)
    check(graph, x)


@pytest.mark.usefixtures("small_caches")
def test_what_reads_other_rows_waits_for_all() -> None:
    x = NUMBERS.normal(size=(40, 30))
    program = Program()
    y = program.cumsum(normalized(program, program.input(x), 1), axis=1)
    scaled = normalized(program, y, 1)
    upper = program.view(scaled, index=(Range(0, 39), Range(0, 30)))
    lower = program.view(scaled, index=(Range(1, 39), Range(0, 30)))
    backward = program.view(scaled, index=(Range(39, 40, -1), Range(0, 30)))
    graph = program.finish(program.add(upper, lower), normalized(program, backward, 1))
    assert tiles(graph)
    check(graph, x)


def test_large_arrays_are_done_in_blocks_and_small_ones_are_not() -> None:
    def softmax(x: np.ndarray) -> np.ndarray:
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    for rows in (8, 1500):
        x = NUMBERS.normal(size=(rows, 128))
        step = jj.jit(softmax)
        for _ in range(5):
            # exp is within 2 ulp above and below the line, and the division rounds
            np.testing.assert_array_max_ulp(step(x), softmax(x), 5)
        assert step.stats.graph_calls >= 1
        program = Program()
        a = program.input(x)
        powers = program.exp(program.subtract(a, program.reduce("max", a, 1, keepdims=True)))
        graph = program.finish(program.divide(powers, program.reduce("sum", powers, 1, keepdims=True)))
        assert bool(tiles(graph)) == (rows > 8)
        if rows > 8:
            (kept,) = {s.kept_rows for s in _spared(graph) if s.layout.shape[1] == 128}
            assert kept is not None and kept < rows


@pytest.mark.parametrize("columns", [128, 1000, 1001])
def test_threads_write_to_lines_of_their_own(columns: int) -> None:
    x = NUMBERS.normal(size=(4096, columns)).astype(np.float32)
    program = Program()
    graph = program.finish(normalized(program, program.input(x), 1))
    for threads in (1, 3):
        kept = [storage for storage in _spared(graph, threads) if storage.kept_rows is not None]
        assert kept
        for storage in kept:
            pitch = storage.layout.strides[0]
            assert isinstance(pitch, int) and storage.kept_rows == threads * storage.room
            block = _block(graph, threads)
            between = (storage.room - block) * pitch
            assert storage.room == block if threads == 1 else between >= 128 or storage.room * pitch % 128 == 0
    check(graph, x)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1000, 1001), (3, 1 << 18), (50, 1001)])
def test_rows_of_results_are_asked_for_where_there_are_many(shape: tuple[int, int], threads: int) -> None:
    x = NUMBERS.normal(size=shape)

    def centered(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = x.mean(axis=1, keepdims=True)
        return x - mean, mean

    step = jj.jit(background=False, threads=threads)(centered)
    for _ in range(4):
        for got, wanted in zip(step(x), centered(x), strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert step.stats.graph_calls == 2
    (code,) = [specialization.llvm_ir for specialization in step.specializations]
    assert ("llvm.prefetch.p0(ptr %" in code and "requested" in code) == (shape[0] == 1000)


def test_what_is_read_is_not_asked_for_to_be_written() -> None:
    x = NUMBERS.normal(size=(4096, 1000))
    program = Program()
    squares = program.square(program.input(x))
    total = program.reduce("sum", squares, 1, keepdims=True)
    graph = program.finish(squares, program.divide(squares, total), program.sqrt(total))
    plan = make_plan(graph)
    placement = assign(plan)
    (tile,) = set(find_tiles(plan, placement).values())
    kernels = {step: undivided(step, Addresses(placement)) for step in tile.steps}
    requested = written_at_last(tile, kernels)
    storages = [kernels[step].arrays[n].storage for step, numbers in requested.items() for n in numbers]
    assert [value.node.op for storage in storages for value in storage.members if value.node] == ["divide"]


def _block(graph: Graph, threads: int) -> int:
    plan = make_plan(graph)
    (tile,) = set(find_tiles(plan, assign(plan), threads).values())
    return tile.block


def _spared(graph: Graph, threads: int = 1) -> list[Storage]:
    plan = make_plan(graph)
    placement = assign(plan)
    find_tiles(plan, placement, threads)
    return [storage for storage in placement.storages if storage.kind == "arena"]


def mean_between(x, y):
    shifted = x - x.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(totals[:, 0]) - np.sum(shifted * y, axis=1))
    return loss, (exponentials / totals - y) / x.shape[0]


def written_between(x, y):
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    total = exponentials.sum()
    y[0] = total
    return exponentials / exponentials.sum(axis=1, keepdims=True) - y


def wanted_between(x, y):
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    scale = np.mean(exponentials.sum(axis=1))
    return exponentials / scale - y


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("function", [mean_between, written_between, wanted_between])
def test_steps_over_the_same_rows_are_put_together(function):
    step = jj.jit(background=False)(function)
    for seed in range(5):
        x, y = np.random.default_rng(seed).normal(size=(2, 40, 30))
        mine, theirs = y.copy(), y.copy()
        for found, expected in zip(step(x, mine), function(x, theirs), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(mine, theirs, rtol=1e-13, atol=1e-15)
    assert step.stats.graph_calls == 3
    if function is mean_between:
        plan = step.specializations[-1].plan.splitlines()
        over_rows = [number for number, line in enumerate(plan) if "fused [40,30]" in line]
        assert over_rows == [0, 1, 2], "the mean of the loss comes behind them"
