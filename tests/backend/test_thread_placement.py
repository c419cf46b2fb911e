"""Workers leave the processor of their caller, and whoever was held up by one is cautious."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from janusjit.backend.llvm import process_code, thread_pool_state, threads
from tests.backend.task_counts import CountingTask
from tests.backend.test_threads import wake

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not threads.are_supported(), reason="threads cannot be placed here"
)


@pytest.fixture
def allowed() -> Iterator[set[int]]:
    """Where this thread may run; it may again afterwards."""
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def leave() -> None:
    ctypes.CFUNCTYPE(None)(process_code.address(thread_pool_state.LEAVE))()


def processor() -> int:
    return int(ctypes.CDLL(None).sched_getcpu())


def test_a_thread_leaves_the_processor_of_the_caller_and_may_return(allowed: set[int]) -> None:
    if len(allowed) < 2:
        pytest.skip("there is one processor")
    CountingTask().run(2, chunk=1, count=2)
    here, words = min(allowed), threads._words()
    for _ in range(100):  # the system may move it at any moment
        os.sched_setaffinity(0, {here})
        os.sched_setaffinity(0, allowed)
        words[thread_pool_state.PLACE], before = here, threads.usage().collisions
        leave()
        if threads.usage().collisions > before and processor() != here:
            assert os.sched_getaffinity(0) == allowed
            return
    pytest.fail("it always was there still")


def test_it_stays_where_there_is_no_other_one(allowed: set[int]) -> None:
    CountingTask().run(2, chunk=1, count=2)
    here = min(allowed)
    os.sched_setaffinity(0, {here})
    threads._words()[thread_pool_state.PLACE], before = here, threads.usage().collisions
    leave()
    assert threads.usage().collisions == before + 1
    assert os.sched_getaffinity(0) == {here}


def test_a_worker_notices_that_it_runs_where_its_caller_does(allowed: set[int]) -> None:
    task, here = CountingTask(), min(allowed)
    threads._stop()
    before = set(Path("/proc/self/task").iterdir())
    os.sched_setaffinity(0, {here})  # workers inherit it
    collisions = threads.usage().collisions
    for _ in range(100):
        wake()
        task.run(50, chunk=1, count=2, spin=1000)
        time.sleep(0.001)  # here it gets the processor
        if threads.usage().collisions > collisions:
            break
    assert threads.usage().collisions > collisions
    (worker,) = set(Path("/proc/self/task").iterdir()) - before
    assert os.sched_getaffinity(int(worker.name)) == {here}
    threads._stop()  # others are to have workers that may run anywhere
    os.sched_setaffinity(0, allowed)
    wake()
    assert task.run(50, chunk=1, count=2) == [1] * 50


def test_a_worker_is_led_elsewhere_before_it_is_woken_and_may_return(allowed: set[int]) -> None:
    if len(allowed) < 2:
        pytest.skip("there is one processor")
    task, words = CountingTask(), threads._words()
    threads._stop()
    before = set(Path("/proc/self/task").iterdir())
    wake()
    task.run(50, chunk=1, count=2)
    (worker,) = set(Path("/proc/self/task").iterdir()) - before
    kept = slice(thread_pool_state.SETS + thread_pool_state.SET_WORDS, thread_pool_state.SETS + 20)
    for _ in range(100):
        words[thread_pool_state.SETS + thread_pool_state.SET_WORDS] = 0
        time.sleep(0.01)  # it falls asleep
        slept = words[thread_pool_state.SLEEPING]
        wake()
        assert task.run(50, chunk=1, count=2, spin=1000) == [1] * 50
        if slept:
            break
    assert sum(bin(word).count("1") for word in words[kept]) == len(allowed)
    for _ in range(1000):  # until it has woken up
        if os.sched_getaffinity(int(worker.name)) == allowed:
            return
        time.sleep(0.001)
    pytest.fail("it may not return")


def held_up(task: CountingTask, calm: int) -> int:
    """Have the caller wait for a worker longer than a short job may take; return how cautious that has made it."""
    words = threads._words()
    for _ in range(200):
        words[thread_pool_state.CALM] = calm
        wake()
        task.run(2, chunk=1, count=2, work=1, spin=1_000_000)  # each row takes a millisecond, a nanosecond is expected
        if words[thread_pool_state.DEBT] > 0:
            return int(words[thread_pool_state.CARE])
    pytest.fail("no worker ever was behind")


def test_whoever_is_held_up_again_and_again_is_ever_more_cautious() -> None:
    task, words = CountingTask(), threads._words()
    words[thread_pool_state.CARE] = 0
    cautious = [held_up(task, calm=0) for _ in range(6)]
    assert cautious == [8, 16, 32, 64, 64, 64]
    assert words[thread_pool_state.DEBT] <= thread_pool_state.MOST_DEBT
    assert threads.usage().is_held_up
    assert held_up(task, calm=thread_pool_state.CALM_WORK) == thread_pool_state.CAUTION
    words[thread_pool_state.DEBT] = words[thread_pool_state.CARE] = 0
    assert not threads.usage().is_held_up


def test_it_is_known_how_often_workers_have_joined(allowed: set[int]) -> None:
    task, before = CountingTask(), threads.usage()
    for _ in range(1000):
        wake()
        task.run(50, chunk=1, count=2, spin=1000)
        if threads.usage().joined > before.joined:
            break
    after = threads.usage()
    assert 0 < after.joined - before.joined <= after.divided - before.divided
    threads._stop()
    os.sched_setaffinity(0, {min(allowed)})  # whoever inherits that gets to run when this thread does not
    wake()
    task.run(50, chunk=1, count=2)
    before = threads.usage()
    for _ in range(20):
        task.run(2, chunk=1, count=2)
    after = threads.usage()
    assert after.divided > before.divided and after.joined - before.joined < after.divided - before.divided
    threads._stop()  # others are to have workers that may run anywhere
