"""Compiling in another process what is compiled beside the program.

Owns `compile_elsewhere` and the process it asks. Invariant: what comes back is code in the cache, filed under the
fingerprint of the very graph that was asked for; whatever goes wrong, there is none, and the graph is compiled here.
Why: emission is Python, and takes the interpreter from the program; a process of its own takes a processor only, one
that the program leaves it. It is started when it is first of use, is nobody's child, so no program that waits for its
own children meets it, and ends a while after the last graph, or with the program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

from janusjit.backend import calibration
from janusjit.backend.llvm import engine_cache
from janusjit.backend.llvm.compile_messages import FILED, announced, answer, send
from janusjit.backend.llvm.fingerprint import NotPortable
from janusjit.backend.llvm.gemm_tiling import processors
from janusjit.backend.llvm.graph_transport import pack
from janusjit.config import Config, current
from janusjit.ir.graph import Graph
from janusjit.pacing import aside, is_paced, is_stopped

#: settings that a process of its own has its own of
_NOT_SENT = frozenset({"log", "dump", "events", "quiet", "fail_guard"})
#: how many seconds an answer is waited for, at least and for each byte of a request; how long a process that did not
#: answer is not replaced
_PATIENCE, _PATIENCE_A_BYTE, _RESPITE = 30.0, 1e-4, 600.0
#: The process leaves its parent behind before it imports anything, while it has one thread. Of the package it imports
#: what compiles graphs, and not what the package imports for its users, which takes most of the time.
_PROGRAM = """
import os, sys, types
if os.fork():
    os._exit(0)
os.setsid()
descriptor, package, *sys.path[:] = sys.argv[1:]
sys.modules["janusjit"] = types.ModuleType("janusjit")
sys.modules["janusjit"].__path__ = [package]
from janusjit.backend.llvm.compile_service import main
main(int(descriptor))
"""
#: what `pickle` raises for what it cannot write
_NOT_PICKLED = (pickle.PicklingError, TypeError, AttributeError, RecursionError)
_log = logging.getLogger("janusjit.compile")


class CompileProcess:
    """The process, seen from the program.

    Attributes
    ----------
    number : int or None
        The system's, once the process has compiled something.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self) -> None:
        self._connection, other = socket.socketpair()
        try:
            with other:
                _start(other.fileno())
        except BaseException:
            self._connection.close()
            raise
        self.number: int | None = None

    def compile(self, request: bytes) -> bool:
        """Have a graph compiled; return whether its code is filed.

        Raises
        ------
        OSError
            If the process does not answer.
        """
        self._connection.settimeout(_PATIENCE + _PATIENCE_A_BYTE * len(request))
        send(self._connection, request)
        if self.number is None:
            self.number = announced(self._connection)
        return answer(self._connection) == FILED

    def close(self) -> None:
        """Let go of the process, which ends when it has compiled what it was sent."""
        self._connection.close()

    def leave(self) -> None:
        """Let go of the process while another thread waits for it, which will be told that it has ended."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _start(descriptor: int) -> None:
    """Start the process, which leaves this one at once, with one end of a socket.

    Raises
    ------
    OSError
        If that cannot be done.
    """
    package = Path(__file__).parents[2]
    path = [os.path.abspath(entry) for entry in sys.path if entry]  # noqa: PTH100 - entries may be of any kind
    options = ["-I", "-S", *["-O"] * sys.flags.optimize]
    command = [sys.executable, *options, "-c", _PROGRAM, str(descriptor), str(package), *path]
    first = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        cwd="/",
    )
    if first.wait() != 0:
        raise OSError(f"{sys.executable} cannot be started")


_lock = threading.Lock()
_process: CompileProcess | None = None
_not_before = 0.0


def compile_elsewhere(graph: Graph, exact: bool, name: str) -> bool:
    """Have a graph compiled in another process, if this thread works beside the program; return whether it was.

    Parameters
    ----------
    graph : Graph
        The graph, after all transforms.
    exact : bool
        As for `compile_graph`.
    name : str
        What its code is to be filed under.
    """
    if not is_paced() or not is_possible():
        return False
    try:
        content = pack(graph)
    except (NotPortable, *_NOT_PICKLED) as reason:
        _log.info("compile process: %s is compiled here: %s", graph.name, reason)
        return False
    given = current()
    settings = {field.name: getattr(given, field.name) for field in fields(Config) if field.name not in _NOT_SENT}
    request = pickle.dumps((name, exact, settings, calibration.current().to_json(), content))
    compiled = aside(lambda: _ask(request))
    _log.info("compile process: %s is compiled %s", graph.name, "there" if compiled else "here")
    return compiled


def start_early() -> None:
    """Start the process, if it is going to be of use: it takes as long to get ready as a graph takes to be captured."""
    if is_paced() and is_possible():
        aside(_started)


def is_possible() -> bool:
    """Return whether another process may be asked: there is a processor for it, and a cache between the two."""
    if not hasattr(os, "fork") or processors() < 2 or os.getpid() == 1 or not current().compile_process:
        return False
    if signal.getsignal(signal.SIGCHLD) != signal.SIG_DFL:  # the program has an eye on its children
        return False
    if _is_one_of_many():
        return False
    known = Path(sys.executable or "").name.startswith(("python", "pypy"))
    return known and time.monotonic() >= _not_before and engine_cache.is_writable()


def _is_one_of_many() -> bool:
    """Return whether this process has been made by `multiprocessing`, as workers are."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _started() -> CompileProcess | None:
    """Return the process, started if there is none; None if it cannot be."""
    global _process, _not_before
    with _lock:
        if _process is None:
            try:
                _process = CompileProcess()
            except OSError as reason:
                _log.info("compile process: it cannot be started: %s", reason)
                _not_before = time.monotonic() + _RESPITE
        return _process


def _ask(request: bytes) -> bool:
    """Send a request, a second time where a process has ended meanwhile."""
    for _ in range(2):
        process = _started()
        if process is None:
            return False
        try:
            return process.compile(request)
        except TimeoutError:
            _give_up(_RESPITE)
            return False
        except OSError as reason:
            if is_stopped():  # its code will be there for other processes
                return False
            _log.info("compile process: %s", reason)
            _give_up(0.0)
    _give_up(_RESPITE)
    return False


def _give_up(seconds: float) -> None:
    global _process, _not_before
    with _lock:
        if _process is not None:
            _process.close()
        _process, _not_before = None, time.monotonic() + seconds


def leave() -> None:
    """Wait no more for the process: the program has come to its end."""
    process = _process
    if process is not None:
        process.leave()


def _forget() -> None:
    """Leave the process to the parent of this one, which goes on with it."""
    global _process, _lock
    _lock = threading.Lock()
    if _process is not None:
        with contextlib.suppress(OSError):
            _process.close()
    _process = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
