"""What a program and its compile process say to each other.

Owns the messages, for both ends of a socket. Invariant: the program sends graphs, each behind its length, and gets one
byte for each; no signal tells it that nobody receives them, whatever it does about such signals.
"""

from __future__ import annotations

import socket

#: what is answered: ready for graphs, the code of one is filed, it has none here
READY, FILED, REFUSED = b"R", b"F", b"-"
_LENGTH_BYTES = 8
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
