"""The client: one request out, one answer back, over connections that are kept.

Owns how connections come to be and how many there are, the time limits of all exchanges (one
timer for all of them), and when a request is sent a second time. Must not interpret an answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Protocol

from destinations.kit.client.addresses import ServerAddress
from destinations.kit.client.connection import ConnectionLost, HttpConnection
from destinations.kit.client.heads import RequestHeads
from destinations.kit.client.kept import IDLE_S, KeptConnections, lifetime_s
from destinations.kit.requests import Request, Response

#: Connections of one client at once; further exchanges wait.
MOST_CONNECTIONS = 128
#: Methods that may be sent twice (RFC 9110, section 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class Sockets(Protocol):
    """Who makes connections for a client."""

    tls: ssl.SSLContext
    """What https is spoken with."""

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket, not blocking, the caller's to close. Raises OSError."""


class Unconnectable(Exception):
    """There is no connection: `__cause__` is an OSError, an ssl.SSLError, or a TimeoutError."""


class LeanClient:
    """Speaks HTTP/1.1 over the sockets that it is given. Made on a running event loop.

    `keeps`: whether a connection is used again. Who uses a client that keeps them closes it.
    """

    def __init__(self, sockets: Sockets, *, keeps: bool = True) -> None:
        self._sockets = sockets
        self._keeps = keeps
        self._loop = asyncio.get_running_loop()
        self._heads = RequestHeads()
        self._kept: KeptConnections[HttpConnection] = KeptConnections()
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._in_use = 0  # of the room
        self._running: dict[HttpConnection, tuple[float, float]] = {}
        self._deadlines: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def send(self, request: Request, timeout_s: float, most: int) -> Response:
        """The answer, of whose body at most `most` bytes are read, within `timeout_s` seconds.

        It follows no redirect. An answer that is not whole has a `flaw`. On a connection that was
        kept, and that the server closes before it answers, a request that may be sent twice is
        sent once more. Raises InvalidUrl, Unconnectable, ConnectionLost, NotHttp, TooLate; and
        ValueError or TypeError for what is no request.
        """
        address, head = self._heads.head(
            request.method, request.url, request.headers, len(request.body)
        )
        deadline = self._loop.time() + timeout_s
        if self._room.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._room.acquire()
            except TimeoutError as error:
                raise Unconnectable from error
        else:
            await self._room.acquire()
        self._in_use += 1
        try:
            connection = self._kept.take(address, self._loop.time())
            if connection is not None:
                try:
                    return await self._exchange(
                        connection, head, request, deadline, timeout_s, most
                    )
                except ConnectionLost:
                    if request.method not in _IDEMPOTENT:
                        raise
            connection = await self._open(address, deadline)
            return await self._exchange(connection, head, request, deadline, timeout_s, most)
        finally:
            self._in_use -= 1
            self._room.release()

    def close(self) -> None:
        """End all connections."""
        for timer in (self._deadlines, self._idle):
            if timer is not None:
                timer.cancel()
        self._kept.close()
        for connection in list(self._running):
            connection.close()

    async def _exchange(
        self,
        connection: HttpConnection,
        head: bytes,
        request: Request,
        deadline: float,
        timeout_s: float,
        most: int,
    ) -> Response:
        self._running[connection] = deadline, timeout_s
        if self._deadlines is None or self._deadlines.when() > deadline:
            self._wake_at(deadline)
        try:
            response = await connection.exchange(head, request, most)
        finally:
            del self._running[connection]
        if self._keeps:
            self._keep(connection)
        else:
            connection.close()
        return response

    async def _open(self, address: ServerAddress, deadline: float) -> HttpConnection:
        if self._in_use + len(self._kept) > MOST_CONNECTIONS:
            self._kept.drop_oldest()
        try:
            async with asyncio.timeout_at(deadline):
                sock = await self._sockets.connect(address.host, address.port)
                try:
                    _, connection = await self._loop.create_connection(
                        lambda: HttpConnection(address, self._loop.time() + lifetime_s()),
                        sock=sock,
                        ssl=self._sockets.tls if address.is_tls else None,
                        # Certificates contain names without the dot at their end.
                        server_hostname=address.host.rstrip(".") if address.is_tls else None,
                    )
                except BaseException:
                    sock.close()
                    raise
        except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors too
            raise Unconnectable from error
        return connection

    def _keep(self, connection: HttpConnection) -> None:
        now = self._loop.time()
        self._kept.keep(connection, now)
        if self._idle is None and len(self._kept):
            self._idle = self._loop.call_at(now + IDLE_S, self._sweep)

    def _sweep(self) -> None:
        self._idle = None
        now = self._loop.time()
        self._kept.sweep(now)
        if len(self._kept):
            self._idle = self._loop.call_at(now + IDLE_S, self._sweep)

    def _wake_at(self, when: float) -> None:
        if self._deadlines is not None:
            self._deadlines.cancel()
        self._deadlines = self._loop.call_at(when, self._expire)

    def _expire(self) -> None:
        """End exchanges whose time is over; wake up again for the next.

        One timer for all of them: most are over long before, and it costs nothing that they are.
        """
        self._deadlines = None
        now = self._loop.time()
        for connection, (deadline, timeout_s) in list(self._running.items()):
            if deadline <= now:
                connection.give_up(timeout_s)
        waiting = [deadline for deadline, _ in self._running.values() if deadline > now]
        if waiting:
            self._wake_at(min(waiting))
