"""What is compiled beside the program leaves the interpreter to it."""

import gc
import os
import sys
import threading
import time
import types

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

import janusjit as jj
from janusjit import pacing
from janusjit.backend.llvm import engine, machine_code, paced_builder
from janusjit.collection import collection_rare
from janusjit.ir import graph
from janusjit.runtime import background


@pytest.fixture(autouse=True)
def alone():
    """Let what other tests have left to compile, for functions that may be gone, come to its end first."""
    background.submit(int).result(timeout=120)  # the compiler has one thread


@pytest.fixture
def rests(monkeypatch):
    found = []
    clocks = types.SimpleNamespace(**vars(time) | {"sleep": found.append})  # of this module only
    monkeypatch.setattr(pacing, "time", clocks)
    return found


@pytest.fixture
def busy(monkeypatch):
    """Let the program be busy all the time."""
    began = time.perf_counter()
    monkeypatch.setattr(pacing, "_others_seconds", lambda: time.perf_counter() - began)


@pytest.fixture
def crowded(monkeypatch):
    """Let the program want all processors."""
    monkeypatch.setattr(pacing._Pace, "has_room", lambda self: False)


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(pacing, "_others_seconds", lambda: 0.0)


@pytest.fixture
def switch_interval():
    before = sys.getswitchinterval()
    yield sys.setswitchinterval
    sys.setswitchinterval(before)


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


@pytest.mark.parametrize(
    ("call_seconds", "part"),
    [(None, 0.0002), (0.00005, 0.001), (0.0009, 0.001), (0.001, 0.0002), (0.002, 0.0004), (0.1, 0.001)],
)
def test_it_rests_so_many_times_as_long_as_it_runs_beside_a_busy_program(monkeypatch, busy, rests, call_seconds, part):
    monkeypatch.setattr(pacing.time, "thread_time", time.perf_counter)  # as if nobody else had the processor
    with pacing.paced(call_seconds):
        run_for(0.02)
    assert 2 <= len(rests) <= 0.02 / part and min(rests) >= pacing.REST * (part + pacing.HAND_OVER)
    assert max(rests) <= pacing.REST * (pacing._LONGEST_MADE_UP + pacing.HAND_OVER)


def test_it_does_not_make_up_for_waiting(busy, rests):
    with pacing.paced(0.00001):
        threading.Event().wait(0.01)  # for the interpreter, or for a thread
        pacing.pause()
    assert len(rests) == 1 and rests[0] < pacing.REST * 0.005


def test_it_rests_once_while_the_program_is_not(idle, rests):
    with pacing.paced():
        run_for(0.05)
    assert len(rests) == 1  # which is how it finds out


def test_it_rests_again_when_the_program_goes_on(monkeypatch, idle, rests):
    with pacing.paced():
        run_for(0.01)
        assert len(rests) == 1
        began = time.perf_counter()
        monkeypatch.setattr(pacing, "_others_seconds", lambda: time.perf_counter() - began)
        run_for(0.01)
        assert len(rests) > 1


def test_a_program_that_does_not_let_go_of_the_interpreter_is_asked_to_give_way(monkeypatch, busy):
    sleep = time.sleep
    late = types.SimpleNamespace(**vars(time) | {"sleep": lambda seconds: sleep(seconds + 2 * pacing._STARVED)})
    monkeypatch.setattr(pacing, "time", late)
    with pacing.paced(0.00001):
        run_for(0.002)
        assert pacing._pace.meets == pacing._MEETINGS
        run_for(0.01)
        assert pacing._pace.meets == 0  # nobody has come


def test_slices_are_when_the_program_gives_way(monkeypatch, busy):
    met, end_offer = [], pacing._Pace._end_offer
    monkeypatch.setattr(pacing._Pace, "_end_offer", lambda self: met.append(self.offer) or end_offer(self))
    done = threading.Event()

    def work():
        with pacing.paced(0.00001):
            while not done.is_set():
                pacing._pace.meets = 1000
                pacing.pause()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        deadline = time.perf_counter() + 20
        while sum(offer is not None for offer in met) < 5:
            assert time.perf_counter() < deadline
            pacing.give_way()
    finally:
        done.set()
        worker.join()
    assert pacing._pace.thread == 0 and pacing._pace.offer is None


def test_nobody_gives_way_to_nobody(rests):
    pacing.give_way()
    with pacing.paced():
        pacing.give_way()  # the compiler itself, in a call it makes
    assert rests == []


def test_others_are_what_the_process_uses():
    def work():
        while not done.is_set():
            sum(range(100))

    def others_run():
        before = pacing._others_seconds()
        time.sleep(0.02)
        return pacing._others_seconds() - before > 0.001

    assert not others_run()
    done, worker = threading.Event(), threading.Thread(target=work)
    worker.start()
    try:
        found = any(others_run() for _ in range(200))  # a busy machine may keep the thread from it
    finally:
        done.set()
        worker.join()
    assert found


@pytest.mark.parametrize("own", [0.005, 0.003, 0.0007, 0.0010009])
def test_threads_hand_the_interpreter_over_sooner_meanwhile(switch_interval, own):
    switch_interval(own)
    before = sys.getswitchinterval()
    with pacing.paced():
        assert sys.getswitchinterval() == pytest.approx(pacing.SWITCH_INTERVAL)
    assert sys.getswitchinterval() == before


def test_nice_threads_do_not_ask_for_the_interpreter_soon(switch_interval, crowded):
    switch_interval(0.004)
    with pacing.paced():
        assert pacing.aside(sys.getswitchinterval) == 0.004
        assert sys.getswitchinterval() == pytest.approx(pacing.SWITCH_INTERVAL)
    assert sys.getswitchinterval() == 0.004


def test_work_aside_is_done_where_there_are_no_more_threads(monkeypatch, crowded):
    def start(self):
        raise RuntimeError("can't start new thread")

    with pacing.paced():
        monkeypatch.setattr(threading.Thread, "start", start)
        assert pacing.aside(threading.get_ident) == threading.get_ident()


@pytest.mark.parametrize("own", [0.00005, 0.00009])
def test_a_program_that_hands_it_over_sooner_yet_goes_on_to(switch_interval, own):
    switch_interval(own)
    before = sys.getswitchinterval()
    with pacing.paced():
        assert sys.getswitchinterval() == before
    assert sys.getswitchinterval() == before


def test_an_interval_the_program_sets_meanwhile_stays(switch_interval):
    with pacing.paced():
        switch_interval(0.003)
    assert sys.getswitchinterval() == 0.003


def test_work_aside_is_done_here_unless_beside_the_program(crowded):
    assert pacing.aside(threading.get_ident) == threading.get_ident()
    with pacing.paced():
        assert pacing.aside(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            pacing.aside(lambda: 1 // 0)


@pytest.mark.parametrize(("processors", "wanted", "has_room"), [(2, 1.0, True), (2, 1.9, False), (1, 0.9, False)])
def test_work_aside_is_done_here_where_there_is_a_processor_for_it(monkeypatch, processors, wanted, has_room):
    began = time.perf_counter()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(pacing, "_others_seconds", lambda: wanted * (time.perf_counter() - began))
    with pacing.paced():
        assert pacing.aside(threading.get_ident) != threading.get_ident()  # nobody has looked yet
        run_for(0.005)
        assert (pacing.aside(threading.get_ident) == threading.get_ident()) is has_room


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has priorities of threads")
def test_threads_aside_are_nice_and_no_other(crowded):
    def priority():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    with pacing.paced():
        assert pacing.aside(priority) == min(before + pacing.NICER, 19)
    assert priority() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_the_usual_switch_interval_and_no_pace():
    before = sys.getswitchinterval()
    with pacing.paced():
        child = os.fork()
        if child == 0:
            os._exit(0 if sys.getswitchinterval() == before and not pacing.is_paced() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


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


def test_compiling_in_the_background_is_paced(monkeypatch, crowded):
    threads, aside, slices = set(), set(), set()
    optimize = machine_code.PartCompiler.optimize

    def rest(self, ran):
        threads.add(threading.current_thread().name)
        slices.add(self.slice)

    def watched(self):
        aside.add(threading.current_thread().name)
        optimize(self)

    monkeypatch.setattr(pacing._Pace, "rest", rest)
    monkeypatch.setattr(machine_code.PartCompiler, "optimize", watched)
    step = jj.jit(background=True)(lambda x: np.tanh(x * 2.0 + 1.0).sum())
    expected = np.tanh(np.ones(5) * 2.0 + 1.0).sum()
    for _ in range(3):
        assert step(np.ones(5)) == pytest.approx(expected, rel=1e-15)
    assert step.wait(60)
    assert step(np.ones(5)) == pytest.approx(expected, rel=1e-15) and step.stats.graph_calls == 1
    assert len(threads) == 1 and next(iter(threads)).startswith("janusjit-compiler")
    assert pacing.MOST_SLICE in slices  # it has been told that the calls are short
    assert aside and not any(name.startswith("janusjit-compiler") for name in aside)


def test_emitting_instructions_pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(paced_builder, "pause", lambda: pauses.append(None))
    function = ir.Function(ir.Module(), ir.FunctionType(ir.DoubleType(), [ir.DoubleType()]), "double")
    builder = paced_builder.PacedBuilder(function.append_basic_block())
    builder.ret(builder.fadd(function.args[0], function.args[0]))
    assert len(pauses) == 2 and len(function.blocks[0].instructions) == 2


def test_the_text_of_a_module_is_llvmlites(monkeypatch):
    texts = []
    text_of = engine.text_of
    # llvmlite's first: ours numbers the values that have no name
    monkeypatch.setattr(engine, "text_of", lambda module: texts.append((str(module), text_of(module))) or texts[-1][1])
    step = jj.jit(background=False)(lambda x: (np.exp(x @ x.T) * 2.0).sum(axis=0))
    for _ in range(3):
        step(np.ones((17, 17)))
    assert step.stats.graph_calls == 1 and texts
    machine = engine.create_target_machine()
    for theirs, ours in texts:
        there, here = (machine.emit_object(llvm.parse_assembly(text)) for text in (theirs, ours))
        assert here == there


def test_a_long_region_is_walked_with_pauses(monkeypatch):
    region = graph.Region()
    region.nodes += [graph.Node("constant", attributes={"value": n}) for n in range(100)]
    inner = graph.Region()
    inner.nodes += [graph.Node("constant", attributes={"value": n}) for n in range(100, 150)]
    region.nodes.insert(50, graph.Node("if", regions=(inner,)))
    pauses = []
    monkeypatch.setattr(graph, "pause", lambda: pauses.append(True))
    found = [node.attributes.get("value") for node in graph.walk(region)]
    assert found == [*range(50), None, *range(100, 150), *range(50, 100)]
    assert len(pauses) == len(found) // 16
