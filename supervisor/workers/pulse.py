"""Whether a worker's event loop reads its wire: it is asked there, and has to answer.

Owns the question that is open and the count of answers. Beats and marks are memory that any thread
of a worker can write, and frames are bytes that any thread can send. An answer takes the number
that was asked, which stands nowhere but in the wire, and whoever looks at it there without taking
it is found out by what the kernel still counts as unread. A thread that takes the wire over
altogether, frames for the loop included, can still answer in its place: it has its batches until
their time is up (`delivery/watchdog/deadlines.py`), and no company (`core/isolation/grants.py`).
Must not decide what silence means.
"""

from __future__ import annotations

import fcntl
import random
import socket
import struct
import termios
from collections.abc import Callable

from sandbox.protocol import Message, Ping, ProtocolError


class Pulse:
    """That of one worker; `send` writes to its wire."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.answered = 0
        self.wire: socket.socket | None = None
        """Our end, once there is one."""
        self._send = send
        self._open: int | None = None
        self._is_last = False

    def ask(self) -> int:
        """Ask, where nothing is asked yet; how often it has answered so far."""
        if self._open is None:
            self._open = random.getrandbits(62)
            self._send(Ping(self._open))
            self._is_last = True
        return self.answered

    def wrote(self) -> None:
        """Something else was written to it, which may be unread when the question is answered."""
        self._is_last = False

    def heard(self, id: int) -> None:
        """It answers. Raises ProtocolError where that was not asked."""
        if id != self._open:
            raise ProtocolError("an answer to what it was not asked")
        if not (self._is_last and self._has_unread()):
            self.answered += 1
            self._open = None

    def _has_unread(self) -> bool:
        """Whether the worker has something of ours in its wire that nobody has taken."""
        if self.wire is None:
            return False
        answer = fcntl.ioctl(self.wire.fileno(), termios.TIOCOUTQ, bytes(4))
        return bool(struct.unpack("i", answer)[0])
