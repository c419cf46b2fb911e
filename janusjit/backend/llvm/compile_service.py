"""The other end of `compile_process`: a process that compiles graphs and files their code.

Owns `serve`. Invariant: nothing of the program's is in this process but what it is sent, and nothing goes back but one
byte: the code is in the cache, whose files say themselves whether they are whole. It ends when the program does, when
it has been idle, and whenever something is not as it should be.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys

from janusjit import config
from janusjit.backend import calibration
from janusjit.backend.calibration import Calibration
from janusjit.backend.llvm.compile import compile_and_file
from janusjit.backend.llvm.compile_messages import FILED, REFUSED, number, receive
from janusjit.backend.llvm.fingerprint import NotPortable
from janusjit.backend.llvm.graph_transport import unpack
from janusjit.errors import CompileError
from janusjit.pacing import NICER

#: seconds without a graph after which the process ends
IDLE_SECONDS = 20.0


def serve(descriptor: int) -> None:
    """Compile what comes over a socket until there is an end to it.

    Parameters
    ----------
    descriptor : int
        The file descriptor of the socket.
    """
    connection = socket.socket(fileno=descriptor)
    connection.settimeout(IDLE_SECONDS)
    sys.setrecursionlimit(100_000)
    with contextlib.suppress(OSError):  # the program has nothing to compile for a while
        _tell(connection, number(os.getpid()))
        while (request := receive(connection)) is not None:
            _tell(connection, FILED if _compile(request) else REFUSED)


def _tell(connection: socket.socket, content: bytes) -> None:
    """Send what a program that has ended need not know; what it has asked for is done all the same."""
    with contextlib.suppress(OSError):
        connection.sendall(content)


def _compile(request: bytes) -> bool:
    """Compile a graph; return whether its code is filed under the name it was asked for."""
    name, exact, settings, figures, content = pickle.loads(request)
    calibration.install(Calibration.from_json(figures))
    with config.override(**settings):
        try:
            return compile_and_file(unpack(content), exact, name)
        except (NotPortable, CompileError):
            return False


def main(descriptor: int) -> None:
    """Serve, with a low priority, in a process that does nothing else; see `serve`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICER)
    serve(descriptor)
