"""What is compiled beside the program is compiled in another process, if that can be had, and else here."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import compile_process, engine_cache
from janusjit.config import override
from janusjit.pacing import paced

needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or compile_process.processors() < 2, reason="there is no other process here"
)
pytestmark = needs_fork

PROGRAM = """
import os, signal, sys
import numpy as np
import janusjit as jj
from janusjit.backend.llvm import compile_process
{before}

@jj.jit
def step(w, x):
    return np.tanh(w @ x).sum()

def main():
    w, x = np.ones((3, 3)), np.ones(3)
    expected = step.__wrapped__(w, x)
    for _ in range(4):
        assert step(w, x) == expected
    jj.wait()
    assert step(w, x) == expected and step.stats.graph_calls >= 1, step.stats
    {after}
    process = compile_process._process
    print("process", process and process.number)

main()
"""


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Compile beside the program, with an empty cache, and let go of the process in the end."""
    monkeypatch.setattr(compile_process, "_process", None)
    monkeypatch.setattr(compile_process, "_not_before", 0.0)
    monkeypatch.setattr(compile_process, "_PATIENCE", 120.0)  # other tests may have the processors
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    with override(cache=cache, background=True):
        yield cache
        jj.wait()
        compile_process._give_up(0.0)


def settled(function):
    """Return a function jitted, after calls beside which it has been compiled."""
    jitted, x = jj.jit(function), np.linspace(0.0, 1.0, 5)
    for _ in range(4):
        jitted(x)
    jj.wait()
    np.testing.assert_array_equal(jitted(x), function(x))
    assert jitted.stats.graph_calls >= 1 and jitted.stats.deopts == 0
    return jitted


def where(caplog):
    """Return where graphs were compiled, as the log tells."""
    told = [record.getMessage() for record in caplog.records if "is compiled" in record.getMessage()]
    return [text.partition("is compiled ")[2] for text in told]


def run(folder, before="", after="pass", **environment):
    """Run the program, with a cache of its own; return what it prints."""
    program = folder / "program.py"
    program.write_text(PROGRAM.format(before=before, after=after))
    settings = {"JANUSJIT_QUIET": "1", "JANUSJIT_BACKGROUND": "1", "JANUSJIT_CACHE": "1"}
    settings |= {"JANUSJIT_CACHE_DIR": str(folder / "code"), **environment}
    result = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env={**os.environ, **settings}, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_graph_is_compiled_there_and_its_code_loaded_here(beside, caplog):
    caplog.set_level(logging.INFO, "janusjit.compile")
    hits = engine_cache.usage().hits
    settled(lambda x: x * 2.0 + x.sum())
    assert where(caplog) == ["there"]
    assert engine_cache.usage().hits > hits
    first = compile_process._process.number
    settled(lambda x: x - 3.0 * x.sum())
    assert where(caplog) == ["there", "there"] and compile_process._process.number == first


def test_it_is_nobodys_child_and_of_low_priority(beside):
    settled(lambda x: x * 2.0 + x.sum())
    number = compile_process._process.number
    assert is_alive(number)
    with pytest.raises(ChildProcessError):
        os.waitpid(number, os.WNOHANG)
    assert os.getpgid(number) != os.getpgid(0)
    if sys.platform == "linux":
        assert os.getpriority(os.PRIO_PROCESS, number) > os.getpriority(os.PRIO_PROCESS, 0)


def test_one_that_was_killed_is_replaced(beside, caplog):
    caplog.set_level(logging.INFO, "janusjit.compile")
    settled(lambda x: x * 2.0 + x.sum())
    first = compile_process._process.number
    os.kill(first, signal.SIGKILL)
    settled(lambda x: x - 3.0 * x.sum())
    assert where(caplog) == ["there", "there"] and compile_process._process.number != first


def test_one_that_does_not_answer_is_given_up(beside, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "janusjit.compile")
    settled(lambda x: x * 2.0 + x.sum())
    number = compile_process._process.number
    monkeypatch.setattr(compile_process, "_PATIENCE", 0.1)
    os.kill(number, signal.SIGSTOP)
    try:
        settled(lambda x: x - 3.0 * x.sum())
        assert where(caplog) == ["there", "here"] and compile_process._process is None
        settled(lambda x: x * x + 4.0)  # and no other is started soon
        assert where(caplog) == ["there", "here"]
    finally:
        os.kill(number, signal.SIGKILL)


def test_one_that_cannot_be_started_is_done_without(beside, caplog, monkeypatch, tmp_path):
    caplog.set_level(logging.INFO, "janusjit.compile")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    settled(lambda x: x * 2.0 + x.sum())
    assert "there" not in where(caplog) and "cannot be started" in caplog.text


def test_one_that_finds_another_graph_files_nothing(beside, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "janusjit.compile")
    pack = compile_process.pack

    def other(graph):
        graph.threads += 1
        try:
            return pack(graph)
        finally:
            graph.threads -= 1

    monkeypatch.setattr(compile_process, "pack", other)
    settled(lambda x: x * 2.0 + x.sum())
    assert where(caplog) == ["here"]


def test_calls_that_wait_compile_themselves(beside, caplog):
    caplog.set_level(logging.INFO, "janusjit.compile")
    jitted = jj.jit(lambda x: x * 2.0 + 1.0, background=False)
    for _ in range(4):
        jitted(np.ones(3))
    assert jitted.stats.graph_calls >= 1
    assert where(caplog) == [] and compile_process._process is None


def test_draws_of_numpys_generators_are_compiled_there(beside, caplog):
    generator = np.random.default_rng(0)

    def drawn(x):
        order = generator.permutation(5)
        generator.shuffle(order)
        return x[np.sort(order)] * 2.0

    caplog.set_level(logging.INFO, "janusjit.compile")
    settled(drawn)
    assert set(where(caplog)) == {"there"} and "not kept as a whole" not in caplog.text


def test_classes_may_have_anything_for_the_name_of_their_module(beside, caplog):
    class Odd:
        scale = 2.0

    Odd.__module__ = threading.Lock()
    odd = Odd()
    caplog.set_level(logging.INFO, "janusjit.compile")
    settled(lambda x: x * odd.scale)
    assert where(caplog) == ["there"]


def test_what_cannot_be_sent_is_compiled_here(beside, caplog, monkeypatch):
    monkeypatch.setattr(compile_process, "pack", lambda graph: pickle.dumps(threading.Lock()))
    caplog.set_level(logging.INFO, "janusjit.compile")
    settled(lambda x: x * 2.0)
    assert where(caplog) == ["here: cannot pickle '_thread.lock' object"]


def test_when_it_is_possible(beside, monkeypatch):
    assert compile_process.is_possible()
    with override(compile_process=False):
        assert not compile_process.is_possible()
    with override(cache=None):
        assert not compile_process.is_possible()
    with monkeypatch.context() as patch:
        patch.setattr(compile_process, "processors", lambda: 1)
        assert not compile_process.is_possible()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/opt/blender/blender")
        assert not compile_process.is_possible()
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        assert not compile_process.is_possible()
    finally:
        signal.signal(signal.SIGCHLD, before)
    compile_process.start_early()
    assert compile_process._process is None  # this thread does not work beside the program
    with paced():
        compile_process.start_early()
    assert compile_process._process is not None and compile_process._process.number is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_the_process_to_its_parent(beside):
    settled(lambda x: x * 2.0 + x.sum())
    number = compile_process._process.number
    child = os.fork()
    if child == 0:
        os._exit(0 if compile_process._process is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    settled(lambda x: x - 3.0 * x.sum())
    assert compile_process._process.number == number


def test_workers_of_multiprocessing_have_none(tmp_path):
    before = "import multiprocessing.process; multiprocessing.process._parent_process = object()"
    assert run(tmp_path, before) == "process None\n"


def test_it_ends_with_the_program(tmp_path):
    word, number = run(tmp_path).split()
    assert word == "process"
    deadline = time.monotonic() + 20.0
    while is_alive(int(number)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(int(number))


def test_a_program_that_waits_for_its_children_does_not_meet_it(tmp_path):
    after = """
    child = os.fork()
    if child == 0:
        os._exit(3)
    assert os.wait() == (child, 3 << 8)
    try:
        os.wait()
    except ChildProcessError:
        print("no more")
"""
    assert run(tmp_path, after=after).startswith("no more\nprocess ")


def test_a_broken_pipe_that_ends_the_program_is_not_made(tmp_path):
    before = "signal.signal(signal.SIGPIPE, signal.SIG_DFL)"
    after = """
    first = compile_process._process.number
    os.kill(first, signal.SIGKILL)
    other = jj.jit(lambda x: np.cos(x) - 1.0)
    for _ in range(4):
        other(np.ones(3))
    jj.wait()
    other(np.ones(3))
    assert other.stats.graph_calls >= 1 and compile_process._process.number != first
"""
    assert run(tmp_path, before, after).startswith("process ")


def test_it_can_be_switched_off(tmp_path):
    assert run(tmp_path, JANUSJIT_COMPILE_PROCESS="0") == "process None\n"


def test_what_a_program_has_asked_for_is_there_for_the_next(tmp_path):
    asking = """
@jj.jit
def other(w, x):
    return (w @ x - 1.0).sum()

def until(done):
    while not done():
        other(np.ones((3, 3)), np.ones(3))
"""
    sent = """
sent, send = [], compile_process.send
compile_process.send = lambda *given: (send(*given), sent.append(1))
until(lambda: sent)
sys.exit()
"""
    found = """
until(lambda: other.stats.graph_calls)
usage = compile_process.engine_cache.usage()
print(usage.hits > 0, usage.writes)
sys.exit()
"""
    assert run(tmp_path, asking + sent) == ""
    deadline = time.monotonic() + 60.0
    while not any(b'"plan"' in file.read_bytes() for file in (tmp_path / "code").glob("*.code")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    told = run(tmp_path, asking + found, JANUSJIT_COMPILE_PROCESS="0").split()
    assert told[0] == "True" and int(told[1]) <= 1  # how settled calls are made is compiled here
