"""Kernels on several threads: the bits of one thread, whatever the threads do, and no trace of them at forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

import janusjit as jj
from janusjit.backend import calibration, cost, parallel
from janusjit.backend.llvm import gemm, thread_pool_state, threads
from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.gemm_packed import emit_packed
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.values import ArrayValue, KernelContext
from tests.backend.kernel_harness import ArrayKernel
from tests.backend.lowering import check, same
from tests.backend.random_graphs import random_control_flow
from tests.backend.task_counts import CountingTask

NUMBERS = np.random.default_rng(5)

pytestmark = pytest.mark.skipif(not threads.are_supported(), reason="this system has no POSIX threads")


@pytest.fixture
def eager_to_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide kernels however small they are, into chunks of a row or two."""
    monkeypatch.setattr(calibration, "_LEAST_PARALLEL", 0)
    monkeypatch.setattr(calibration, "_DISPATCHES", 0)
    monkeypatch.setattr(cost, "CHUNK_NANOSECONDS", 0)
    for name, value in (("_UNIT", 3), ("_SHORTEST", 3), ("_PART", 140)):
        monkeypatch.setattr(parallel, name, value)
    for name, value in (("CACHE_BYTES", 0), ("SHARED_CACHE_BYTES", 0), ("TILE_BYTES", 200), ("TILE_GAIN", 0.0)):
        monkeypatch.setattr(cost, name, value)


def wake() -> None:
    """Have the next job start or wake the workers, however short it is, and whatever others did to the last ones."""
    threads.parallel_for(ir.Module())  # so that the code of the pool, and its words, are there
    words = threads._words()
    words[thread_pool_state.AWAITED], words[thread_pool_state.DEBT] = 0, 0
    words[thread_pool_state.DECLINED] = thread_pool_state.WAKE_WORK


@pytest.mark.usefixtures("eager_to_divide")
@pytest.mark.parametrize("seed", range(40))
def test_random_control_flow(seed: int) -> None:
    graph, arguments = random_control_flow(seed)
    graph.threads, before = 3, threads.usage().divided
    wake()
    check(graph, *arguments)
    assert threads.usage().divided > before or seed not in range(2, 12)  # theirs are not in branches that are not taken


def both(function: Callable[..., Any], *arguments: Any, count: int = 3, divided: bool = True) -> Any:
    """Run a function in Python, on one thread and on several; compare all there is to see, and what was divided."""
    one = jj.jit(background=False, threads=1)(function)
    several = jj.jit(background=False, threads=count)(function)
    outcomes = []
    for run in (function, one, several):
        for _ in range(8 if run is not function else 1):
            given = [np.copy(a, order="K") if isinstance(a, np.ndarray) else a for a in arguments]
            before = threads.usage()
            wake()
            result = run(*given)
        outcomes.append((result, given))
    assert one.stats.graph_calls == several.stats.graph_calls == 6
    same(outcomes[2], outcomes[1])
    plain, compiled = ([*_leaves(outcome)] for outcome in (outcomes[0], outcomes[2]))
    for expected, got in zip(plain, compiled, strict=True):
        # transcendental functions within 2 units of NumPy's, sums added in another order
        epsilon = np.finfo(expected.dtype).eps if expected.dtype.kind == "f" else 0
        np.testing.assert_allclose(got, expected, rtol=16 * epsilon, atol=16 * epsilon)
    assert (threads.usage().divided > before.divided) == divided
    (specialization,) = several.specializations
    assert bool(specialization.divided) == divided, specialization.plan
    assert not one.specializations[0].divided
    return several


def _leaves(outcome: Any) -> Iterator[np.ndarray]:
    if isinstance(outcome, (tuple, list)):
        for part in outcome:
            yield from _leaves(part)
    elif outcome is not None:
        yield np.asarray(outcome)


def chain(x, y):
    return np.exp(-x * x) * np.sin(y) + np.sqrt(np.abs(x)), x > y


def in_place(x, y):
    x *= 0.5
    x += y * y


def normalized(x, gain):
    centered = x - x.mean(axis=1, keepdims=True)
    variance = np.mean(centered * centered, axis=1, keepdims=True)
    return centered / np.sqrt(variance + 1e-5) * gain


def softmax(x, gain):
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True) * gain


def reductions(x, gain):
    return np.exp(x).sum(axis=1), (x * gain).max(axis=1), (x > 0).sum(axis=1), (x * x).sum(axis=0)


def sweeps(x, gain):
    for _ in range(4):
        x[1:-1, 1:-1] = 0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])
    return x.T * 2.0


@pytest.mark.usefixtures("eager_to_divide")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("function", [chain, in_place])
def test_elementwise(function: Callable[..., Any], dtype: str) -> None:
    for shape in ((1000,), (37, 41)):
        both(function, NUMBERS.normal(size=shape).astype(dtype), NUMBERS.normal(size=shape).astype(dtype))


@pytest.mark.usefixtures("eager_to_divide")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("function", [normalized, softmax, reductions, sweeps])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows(function: Callable[..., Any], dtype: str, order: Any) -> None:
    x = np.asarray(NUMBERS.normal(size=(53, 29)), dtype, order)
    both(function, x, NUMBERS.normal(size=29).astype(dtype))


@pytest.mark.usefixtures("eager_to_divide")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(5000,), (73, 71), (4480,), (9, 10, 71)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_sums_over_all_elements(dtype: str, shape: tuple[int, ...], order: Any) -> None:
    def totals(x, y):
        difference = x - y
        return (difference * difference).sum(), np.abs(difference).mean(), difference * 2.0

    def total(x, y):
        return x.sum() + y.sum()

    x, y = (np.asarray(NUMBERS.normal(size=shape), dtype, order) for _ in range(2))
    both(totals, x, y)
    both(total, x, y)
    both(totals, x, np.float32(0.5) if dtype == "float32" else 0.5)


def test_what_takes_long_is_divided_and_what_does_not_is_not() -> None:
    for size, divided in ((1000, False), (200_000, True)):
        several = both(chain, NUMBERS.normal(size=size), NUMBERS.normal(size=size), divided=divided)
        assert (", on threads: up to 3, about" in " ".join(str_of(several.report()).split())) == divided


def str_of(report: Any) -> str:
    class Lines:
        text = ""

        def write(self, text: str) -> None:
            self.text += text

        def isatty(self) -> bool:
            return False

    lines = Lines()
    report.print(lines, 200)
    return lines.text


def test_sizes_known_when_called_only() -> None:
    def chain_and_sum(x, y):
        return (*chain(x, y), np.sum(x * y))

    several = jj.jit(background=False, threads=2)(chain_and_sum)
    for size in (1000, 400_000, 3, 300_000, 70_000, 0, 200_001):
        x, y = NUMBERS.normal(size=size), NUMBERS.normal(size=size)
        for _ in range(4):
            before = threads.usage()
            wake()
            got = several(x, y)
        one = jj.jit(background=False, threads=1, warmup=1)(chain_and_sum)
        one(x, y)
        same(got, one(x, y))
        if size not in (70_000,):
            assert (threads.usage().divided > before.divided) == (size >= 200_000)
    assert any("elements on" in one.plan for one in several.specializations)
    assert not any("elements on" in line for one in several.specializations for line in one.divided)
    assert several.stats.graph_calls >= 20


def test_columns_are_divided_where_rows_are_added_up() -> None:
    def columns(x):
        return (x * 1.5).sum(axis=0), np.abs(x).max(axis=0)

    both(columns, NUMBERS.normal(size=(100, 9000)))
    both(columns, NUMBERS.normal(size=(1000, 800)))
    both(columns, NUMBERS.normal(size=(4000, 200)), divided=False)  # a thread would have too few of them


@pytest.mark.usefixtures("eager_to_divide")
@pytest.mark.parametrize("place", [0, 499, 999])
def test_exceptions_of_workers_are_those_of_the_call(place: int) -> None:
    def logarithms(x):
        return np.log(x) + np.float64(1.0)

    step = jj.jit(background=False, threads=2)(logarithms)
    x = NUMBERS.uniform(1.0, 2.0, 1000)
    with np.errstate(divide="raise"):
        for turn in range(20):
            x[place] = 1.5
            for _ in range(4):
                wake()
                np.testing.assert_allclose(step(x), logarithms(x), rtol=1e-15)
            x[place] = 0.0
            wake()
            with pytest.raises(FloatingPointError, match="divide by zero"):
                step(x)
            assert step.stats.deopts == turn + 1
    assert step.reason is None
    assert step.specializations[0].divided


def test_tasks_are_done_once_whoever_asks_for_them() -> None:
    """Several threads without the interpreter's lock at once, tasks that ask for threads themselves, an early end."""
    task = CountingTask()
    before = threads.usage()

    def work() -> None:
        for turn in range(300):
            rows = 1 + (turn * 37) % 500
            counts = task.run(rows, chunk=1 + turn % 7, count=1 + turn % 4)
            assert counts == [1] * rows
            assert task.run(20, chunk=1, count=3, nested=True) == [1 + 5] * 20

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except AssertionError as failure:
            failures.append(failure)

    askers = [threading.Thread(target=guarded) for _ in range(3)]
    for asker in askers:
        asker.start()
    for _ in range(20):
        threads._stop()
    for asker in askers:
        asker.join()
    assert not failures
    after = threads.usage()
    assert after.divided > before.divided
    assert after.alone > before.alone


def test_without_workers_the_caller_does_all() -> None:
    task, words = CountingTask(), threads._words()
    threads._stop()
    words[thread_pool_state.REFUSED] = 1  # as where the system gives no more threads
    try:
        before = threads.usage()
        assert task.run(50, chunk=3, count=4) == [1] * 50
        assert (threads.usage().divided, threads.usage().alone) == (before.divided, before.alone + 1)
    finally:
        words[thread_pool_state.REFUSED] = 0
    for _ in range(200):  # on a busy machine the caller does some work alone before it wakes others again
        assert task.run(50, chunk=3, count=4) == [1] * 50
        if threads.usage().workers:
            break
    assert threads.usage().workers == 3


def test_who_was_held_up_works_alone_for_a_while() -> None:
    task, words = CountingTask(), threads._words()
    task.run(50, chunk=1, count=2)
    words[thread_pool_state.DEBT] = 2_500
    before = threads.usage()
    for _ in range(3):
        assert task.run(50, chunk=1, count=2, work=1_000) == [1] * 50
    between = threads.usage()
    assert (between.divided, between.alone) == (before.divided, before.alone + 3)
    wake()
    task.run(50, chunk=1, count=2)
    assert threads.usage().divided == between.divided + 1


def test_workers_that_are_not_worth_waking_are_left_asleep_for_longer() -> None:
    task, words = CountingTask(), threads._words()
    wake()
    task.run(50, chunk=1, count=2)
    words[thread_pool_state.AWAITED] = words[thread_pool_state.SHARED] = 0
    awaited = [thread_pool_state.WAKE_WORK << turn for turn in range(1, 5)]
    for expected in [*awaited, thread_pool_state.MOST_WAKE_WORK]:
        words[thread_pool_state.WOKEN] = -1  # they have slept since
        words[thread_pool_state.DECLINED], words[thread_pool_state.DEBT] = expected, 0  # so much was done without them
        assert task.run(50, chunk=1, count=2, work=1_000) == [1] * 50
        assert words[thread_pool_state.AWAITED] == min(expected, thread_pool_state.MOST_WAKE_WORK)
        assert words[thread_pool_state.SHARED] == 1_000
    words[thread_pool_state.SHARED] = thread_pool_state.WORTH_WAKING
    words[thread_pool_state.DECLINED], words[thread_pool_state.DEBT] = thread_pool_state.MOST_WAKE_WORK, 0
    task.run(50, chunk=1, count=2, work=1_000)
    assert words[thread_pool_state.AWAITED] == thread_pool_state.WAKE_WORK


@pytest.mark.parametrize(("shared", "turns"), [(5_000, 2), (thread_pool_state.WORTH_WAKING - 1_000, 1)])
def test_workers_on_their_way_are_not_taken_for_useless(shared: int, turns: int) -> None:
    task, words = CountingTask(), threads._words()
    wake()
    task.run(50, chunk=1, count=2)
    for _ in range(200):  # a worker may go to sleep at any moment, and then it was not worth waking
        words[thread_pool_state.AWAITED], words[thread_pool_state.SHARED] = 2 * thread_pool_state.WAKE_WORK, shared
        words[thread_pool_state.DECLINED], words[thread_pool_state.DEBT] = 2 * thread_pool_state.WAKE_WORK, 0
        slept = words[thread_pool_state.WOKEN] = words[thread_pool_state.SLEPT]
        assert task.run(50, chunk=1, count=2, work=1_000) == [1] * 50
        if words[thread_pool_state.SLEPT] == slept:
            assert words[thread_pool_state.AWAITED] == turns * thread_pool_state.WAKE_WORK
            assert words[thread_pool_state.SHARED] == shared + 1_000
            return
    pytest.fail("workers slept in every turn")


def test_a_worker_helps() -> None:
    task = CountingTask()
    for _ in range(2000):  # a busy machine may leave it waiting
        task.run(200, chunk=1, count=2, work=10_000_000, spin=2000)
        if task.helpers > 0:
            return
    pytest.fail("no worker ever took part")


def test_threads_of_blas_are_a_limit() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if threads._BLAS_MOST < 2:
        pytest.skip("BLAS has one thread here anyway, or cannot be asked")
    step = jj.jit(background=False, threads=2)(chain)
    x, y = NUMBERS.normal(size=(2, 200_000))
    for _ in range(4):
        step(x, y)
    with threadpoolctl.threadpool_limits(1):
        before = threads.usage()
        wake()
        step(x, y)
        limited = threads.usage()
    wake()
    step(x, y)
    assert (limited.divided, limited.alone) == (before.divided, before.alone + 1)
    assert threads.usage().divided == limited.divided + 1


def test_a_number_of_threads_is_one_at_least() -> None:
    with pytest.raises(jj.ConfigurationError, match="threads=0"):
        jj.jit(threads=0)(chain)


PROCESS = """
import os, sys, threading
import numpy as np
import janusjit as jj
from janusjit.backend.llvm import threads

@jj.jit(background=False, threads=2)
def step(x):
    return np.exp(x) * 2.0 + np.sin(x)

x = np.linspace(-1.0, 1.0, 300_000)
for _ in range(6):
    first = step(x)
assert threads.usage().divided > 0, threads.usage()
assert threads.usage().workers == 1
"""

FORK = (
    PROCESS
    + """
for turn in range(5):
    child = os.fork()
    if child == 0:
        assert threads.usage().workers == 0
        before = threads.usage()
        assert all(np.array_equal(step(x), first) for _ in range(5))
        assert threads.usage().divided > before.divided and threads.usage().workers == 1
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if np.array_equal(step(x), first) else 3)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert threads.usage().workers == 0
    assert np.array_equal(step(x), first)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""
)

EXIT = (
    PROCESS
    + """
def forever():
    while True:
        step(x)

import atexit
atexit.register(lambda: step(x))
for _ in range(2):
    threading.Thread(target=forever, daemon=True).start()
for _ in range(20):
    step(x)
print("done", flush=True)
"""
)

CACHED = (
    PROCESS
    + """
from janusjit.backend.llvm import engine_cache
print(engine_cache.usage().misses)
"""
)


def test_a_second_process_finds_the_code_on_disk(tmp_path: Path) -> None:
    path, misses = tmp_path / "program.py", []
    environment = {**os.environ, "JANUSJIT_CACHE": "1", "JANUSJIT_CACHE_DIR": str(tmp_path / "cache")}
    for threads_asked in (2, 2, 3):
        program = CACHED.replace("threads=2", f"threads={threads_asked}")
        path.write_text(program.replace("workers == 1", f"workers == {threads_asked - 1}"))
        command = [sys.executable, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        misses.append(int(done.stdout))
    assert misses[0] > misses[2] > misses[1] == 0  # code for another number of threads is other code


@pytest.mark.parametrize("program", [FORK, EXIT], ids=["fork", "exit"])
def test_processes_end(program: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(program)
    for _ in range(2):
        command = [sys.executable, "-W", "error", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_packed_products_are_the_same_bits_on_any_number_of_threads(dtype: str) -> None:
    """Every remainder of chunks, tiles and panels; several blocks of the depth and of columns."""
    for number, (rows, depth, columns) in enumerate(((97, 64, 100), (331, 515, 70), (200, 40, 1100))):
        a, b = (NUMBERS.normal(size=shape).astype(dtype) for shape in ((rows, depth), (depth, columns)))
        b = np.asfortranarray(b) if number else b
        results = [_packed(a, b, count) for count in (1, 2, 3, 7)]
        np.testing.assert_allclose(results[0], a @ b, rtol=0, atol=1e-3 if dtype == "f4" else 1e-10)  # long sums
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def _packed(a: Any, b: Any, count: int) -> Any:
    def emit(context: KernelContext, *arrays: ArrayValue) -> None:
        x, y, out = (Matrix(one.dtype, one.pointer, *one.dims, *one.strides) for one in arrays)
        emit_packed(context, x, y, out, Machine.host(), count)

    out = np.full((len(a), b.shape[1]), np.nan, a.dtype)
    kernel = ArrayKernel(emit, (a, b, out))
    threads.prepare((thread_pool_state.PARALLEL_FOR,) if count > 1 else ())
    before = threads.usage()
    wake()
    assert kernel(a, b, out)
    assert (threads.usage().divided > before.divided) == (count > 1)
    return out


def test_packed_products_of_a_graph_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "quickest", lambda product, threads: "packed")

    def product(a, b):  # type: ignore[no-untyped-def]
        return (a @ b).T @ b

    a, b = (NUMBERS.normal(size=(330, 330)).round(2) for _ in range(2))
    several = jj.jit(background=False, threads=3)(product)
    one = jj.jit(background=False, threads=1)(product)
    for step in (one, several):
        for _ in range(4):
            before = threads.usage()
            wake()
            result = step(a, b)
        np.testing.assert_allclose(result, product(a, b), rtol=0, atol=1e-8)  # sums of 330 products, twice
        assert step.stats.graph_calls == 2 and (threads.usage().divided > before.divided) == (step is several)
    np.testing.assert_array_equal(several(a, b), one(a, b))
    assert "packed tiles, on threads: up to 3, about" in several.specializations[0].plan
