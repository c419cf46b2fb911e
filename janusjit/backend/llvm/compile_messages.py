"""What a program and its compile process say to each other.

Owns the messages, for both ends of a socket. Invariant: the process tells its number when it is ready; the program
sends graphs, each behind its length, and gets one byte for each; no signal tells it that nobody receives them, whatever
it does about such signals.
"""

from __future__ import annotations

import socket

#: what is answered: the code of a graph is filed, or not
FILED, REFUSED = b"F", b"-"
#: how many bytes tell the length of a graph, and the number of a process
_LENGTH_BYTES, _NUMBER_BYTES = 8, 8
_PART = 1 << 20
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


def send(connection: socket.socket, content: bytes) -> None:
    """Send a graph.

    Raises
    ------
    OSError
        If nobody receives it, or not soon.
    """
    for part in (len(content).to_bytes(_LENGTH_BYTES, "little"), content):
        rest = memoryview(part)
        while rest:
            rest = rest[connection.send(rest, _NO_SIGNAL) :]


def number(process: int) -> bytes:
    """Return what a process of this number says when it is ready for graphs."""
    return process.to_bytes(_NUMBER_BYTES, "little")


def announced(connection: socket.socket) -> int:
    """Return the number of the process, once it is ready.

    Raises
    ------
    OSError
        If there is none, or not soon.
    """
    found = _exactly(connection, _NUMBER_BYTES)
    if found is None:
        raise ConnectionResetError("the process has not begun")
    return int.from_bytes(found, "little")


def answer(connection: socket.socket) -> bytes:
    """Return the next answer.

    Raises
    ------
    OSError
        If there is none, or not soon.
    """
    found = connection.recv(1)
    if not found:
        raise ConnectionResetError("the process has ended")
    return found


def receive(connection: socket.socket) -> bytes | None:
    """Return the next graph; None if there is none any more.

    Raises
    ------
    OSError
        If nothing comes for as long as the connection waits.
    """
    length = _exactly(connection, _LENGTH_BYTES)
    return None if length is None else _exactly(connection, int.from_bytes(length, "little"))


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        part = connection.recv(min(count - len(received), _PART))
        if not part:
            return None
        received += part
    return bytes(received)
