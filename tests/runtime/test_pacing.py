"""What is compiled beside the program leaves the interpreter to it."""

import gc
import threading
import time
import types

import llvmlite.binding as llvm
import numpy as np
import pytest

import janusjit as jj
from janusjit import pacing
from janusjit.backend.llvm import engine
from janusjit.collection import collection_rare


@pytest.fixture
def rests(monkeypatch):
    found = []
    clocks = types.SimpleNamespace(**vars(time) | {"sleep": found.append})  # of this module only
    monkeypatch.setattr(pacing, "time", clocks)
    return found


def run_for(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pacing.pause()


def test_only_the_compilers_thread_pauses(rests):
    run_for(0.01)
    with pacing.paced():
        thread = threading.Thread(target=run_for, args=(0.01,))
        thread.start()
        thread.join()
    assert rests == []


def test_it_rests_five_times_as_long_as_it_runs_while_the_program_is_busy(monkeypatch, rests):
    monkeypatch.setattr(pacing, "_others_run", lambda seconds: True)
    with pacing.paced():
        run_for(0.02)
    assert 2 <= len(rests) <= 20 and min(rests) >= pacing.REST * pacing.SLICE - pacing._GLANCE


def test_it_hardly_rests_while_the_program_is_not(monkeypatch, rests):
    monkeypatch.setattr(pacing, "_others_run", lambda seconds: False)
    with pacing.paced():
        run_for(0.1)
        assert pacing._pace.length == pacing.LONGEST_SLICE
    assert rests == []


def test_whether_others_run_is_what_the_process_uses():
    def work():
        while not done.is_set():
            sum(range(100))

    assert not pacing._others_run(0.02)
    done, worker = threading.Event(), threading.Thread(target=work)
    worker.start()
    try:
        found = any(pacing._others_run(0.02) for _ in range(200))  # a busy machine may keep the thread from it
    finally:
        done.set()
        worker.join()
    assert found


def test_collections_are_rare_beside_the_program_and_as_before_afterwards():
    before = gc.get_threshold()
    with collection_rare():
        assert gc.get_threshold()[0] > before[0] and gc.isenabled()
    assert gc.get_threshold() == before
    try:
        with collection_rare():
            gc.set_threshold(123, 4, 5)
        assert gc.get_threshold() == (123, 4, 5)
    finally:
        gc.set_threshold(*before)


def test_compiling_in_the_background_is_paced(monkeypatch):
    threads = set()

    def rest(self, ran):
        threads.add(threading.current_thread().name)

    monkeypatch.setattr(pacing._Pace, "rest", rest)
    step = jj.jit(background=True)(lambda x: np.tanh(x * 2.0 + 1.0).sum())
    expected = np.tanh(np.ones(5) * 2.0 + 1.0).sum()
    for _ in range(3):
        assert step(np.ones(5)) == pytest.approx(expected, rel=1e-15)
    assert step.wait(60)
    assert step(np.ones(5)) == pytest.approx(expected, rel=1e-15) and step.stats.graph_calls == 1
    assert len(threads) == 1 and next(iter(threads)).startswith("janusjit-compiler")


def test_the_text_of_a_module_is_llvmlites(monkeypatch):
    texts = []
    text_of = engine.text_of
    monkeypatch.setattr(engine, "text_of", lambda module: texts.append((text_of(module), str(module))) or texts[-1][0])
    step = jj.jit(background=False)(lambda x: (np.exp(x @ x.T) * 2.0).sum(axis=0))
    for _ in range(3):
        step(np.ones((17, 17)))
    assert step.stats.graph_calls == 1 and texts
    for ours, theirs in texts:
        here, there = (str(llvm.parse_assembly(text)).split("\n", 2)[2] for text in (ours, theirs))
        assert here == there
