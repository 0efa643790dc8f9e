"""Accepts connections on a listening socket, so many at once.

Owns the listening socket and what happens where there is no room: past its share of descriptors a
client is told so and let go, and where the kernel has none left, those that wait stay in line.
Not the event loop's own server: uvloop closes a listening socket for good at the first error that
it cannot get round. Must not know HTTP, nor who listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

import structlog

from supervisor.runtime.descriptors import REFUSED

_log = structlog.get_logger(__name__)

#: Connections that are accepted before others have their turn.
IN_A_ROW = 64
#: Seconds until it is tried again where the kernel refuses.
REST_S = 0.1
#: Seconds between two lines of the log that say so.
SAY_EVERY_S = 10.0


class Acceptor:
    """Accepts for `name`, at most `most` connections at once.

    `make_protocol` gives each its protocol, and `count` how many there are now; `refusal` is what a
    client is told for whom there is no room.
    """

    def __init__(
        self,
        name: str,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        most: int,
        count: Callable[[], int],
        refusal: bytes,
    ) -> None:
        self.name = name
        self._socket = listening
        self._make_protocol = make_protocol
        self._most = most
        self._count = count
        self._refusal = refusal
        #: As many as there may be: to count them takes long, where there are many.
        self._at_most_open = 0
        self._turned_away = 0
        self._said_at = float("-inf")
        self._rest: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Begin to accept."""
        self._socket.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept nobody any more; connections that are there stay."""
        if self._rest is not None:
            self._rest.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _listen(self) -> None:
        self._rest = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(IN_A_ROW):
            try:
                accepted, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in REFUSED:
                    continue  # of that one connection: it was reset while it waited
                self._say(errno.errorcode.get(error.errno or 0, str(error)))
                self._loop.remove_reader(self._socket.fileno())
                self._rest = self._loop.call_later(REST_S, self._listen)
                return
            accepted.setblocking(False)
            if self._has_room():
                task = self._loop.create_task(self._connect(accepted))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)
            else:
                self._turn_away(accepted)

    def _has_room(self) -> bool:
        if self._at_most_open >= self._most:
            self._at_most_open = self._count() + len(self._connecting)
        if self._at_most_open >= self._most:
            return False
        self._at_most_open += 1
        return True

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, accepted)
        except OSError as error:
            accepted.close()
            self._say(str(error))

    def _turn_away(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):  # it is gone already
            accepted.send(self._refusal)
            # What it has sent is read: closed over unread bytes, it would be reset and not told.
            accepted.shutdown(socket.SHUT_WR)
            accepted.recv(65_536)
        self._turned_away += 1
        self._say(f"{self._most} connections are open, which is its share of open files")

    def _say(self, reason: str) -> None:
        now = self._loop.time()
        if now < self._said_at + SAY_EVERY_S:
            return
        self._said_at = now
        turned_away, self._turned_away = self._turned_away, 0
        _log.warning(
            "connections_not_taken", listener=self.name, reason=reason, turned_away=turned_away
        )
