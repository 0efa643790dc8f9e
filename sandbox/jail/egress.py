"""How a jailed worker gets its connections: it asks the supervisor, and is handed sockets.

Owns the worker's side of the broker, and in front of it the kit's client and aiohttp's connector.
TLS and HTTP are done here, as if the socket were the worker's own. It is no
boundary: that is the supervisor's, and seccomp's, which denies sockets of any
other kind.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_exceptions import ClientConnectorDNSError, ClientConnectorError

from destinations.kit.client import LeanClient
from destinations.kit.client.sessions import LeanConnector
from sandbox.protocol import (
    MAX_ASKED,
    MAX_ASKED_PER_CONNECTION,
    Abandon,
    Connect,
    Connected,
    ConnectFailure,
    FromWorkerChannel,
    Taken,
    Unconnected,
)

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

#: HTTP connections that one destination's session keeps at once.
HTTP_CONNECTIONS = 128
#: Seconds for which a refusal is repeated without asking again.
REFUSED_S = 1.0
#: Refusals that are remembered.
MOST_REFUSALS = 256


class NameUnresolved(OSError):
    """The supervisor found no address for a host name; ENOENT: there is no such name."""


class Egress:
    """Asks for connections over the channel; `send` writes to it.

    `on_want_of_files` is called where this process has no descriptor left for one.
    """

    def __init__(
        self,
        send: Callable[[FromWorkerChannel], None],
        tls: ssl.SSLContext,
        on_want_of_files: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._send = send
        self._on_want_of_files = on_want_of_files
        self._tls = tls
        self._last_id = 0
        self._asked: dict[int, tuple[str, asyncio.Future[socket.socket]]] = {}
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_ASKED_PER_CONNECTION)
        )
        self._all_slots = asyncio.Semaphore(MAX_ASKED)
        self._refused: dict[tuple[str, str, int], tuple[float, OSError]] = {}

    def connector(self, connection: str) -> aiohttp.TCPConnector:
        """A connector for a session of `connection`."""
        return BrokeredConnector(self, connection, self._tls)

    async def connect(self, connection: str, host: str, port: int) -> socket.socket:
        """A connected socket, not blocking.

        Raises PermissionError where the config does not allow it, NameUnresolved, TimeoutError, or
        the OSError that connecting has ended with.
        """
        loop = asyncio.get_running_loop()
        place = connection, host, port
        until, refusal = self._refused.get(place, (0.0, None))
        if refusal is not None and loop.time() < until:
            raise PermissionError(refusal.errno, refusal.strerror)
        # Given back when the answer is heard, and not when nobody waits for it any more: the
        # supervisor counts what it has not answered.
        await self._slots[connection].acquire()
        try:
            await self._all_slots.acquire()
        except BaseException:
            self._slots[connection].release()
            raise
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[socket.socket] = loop.create_future()
        self._asked[number] = connection, answer
        self._send(Connect(number, connection, host, port))
        try:
            return await answer
        except PermissionError as error:
            if len(self._refused) >= MOST_REFUSALS:
                self._refused.clear()
            self._refused[place] = loop.time() + REFUSED_S, error
            raise
        except asyncio.CancelledError:
            if number in self._asked:
                self._send(Abandon(number))
            elif not answer.cancelled() and not answer.exception():
                answer.result().close()  # it came in the very turn that we were cancelled in
            raise

    def heard(self, message: Connected | Unconnected, descriptor: int | None) -> None:
        """Take an answer."""
        connection, answer = self._asked.pop(message.id)
        self._slots[connection].release()
        self._all_slots.release()
        match message:
            case Connected(id=number):
                self._send(Taken(number))
                if descriptor is None:
                    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                    _settle(answer, error)
                    # Not by name: the connection that is refused need not be the one with many.
                    self._on_want_of_files("")
                elif answer.done():
                    os.close(descriptor)
                else:
                    sock = socket.socket(fileno=descriptor)
                    sock.setblocking(False)
                    answer.set_result(sock)
            case Unconnected():
                _settle(answer, _error(message))


def _settle(answer: asyncio.Future[socket.socket], error: OSError) -> None:
    if not answer.done():
        answer.set_exception(error)


def _error(message: Unconnected) -> OSError:
    match message.kind:
        case ConnectFailure.REFUSED:
            return PermissionError(errno.EACCES, message.text)
        case ConnectFailure.UNRESOLVED:
            return NameUnresolved(message.errno or errno.EAGAIN, message.text)
        case ConnectFailure.TIMED_OUT:
            return TimeoutError()
        case ConnectFailure.BUSY:
            return OSError(errno.EAGAIN, message.text)
        case ConnectFailure.UNREACHABLE:
            return OSError(message.errno or errno.EIO, message.text)


class _Brokered:
    """Sockets for the lean client of one connection."""

    def __init__(self, egress: Egress, connection: str, tls: ssl.SSLContext) -> None:
        self._egress = egress
        self._connection = connection
        self.tls = tls

    async def connect(self, host: str, port: int) -> socket.socket:
        return await self._egress.connect(self._connection, host, port)


class BrokeredConnector(LeanConnector):
    """aiohttp's own connector but for how a connection comes to be.

    Its pool, keep-alive, TLS and error types are aiohttp's; only the connect is ours, at the
    seam where aiohttp resolves and connects for itself. The kit's helpers use its `client`.
    """

    def __init__(self, egress: Egress, connection: str, tls: ssl.SSLContext) -> None:
        super().__init__(limit=HTTP_CONNECTIONS, ssl=tls, resolver=_NoResolver())
        self._egress = egress
        self._connection = connection
        self.client = LeanClient(_Brokered(egress, connection, tls))

    async def _create_direct_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
        *,
        client_error: type[Exception] = ClientConnectorError,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        tls = self._get_ssl_context(req)
        host, port = req.url.raw_host, req.port
        assert host is not None
        assert port is not None
        try:
            async with asyncio.timeout(timeout.sock_connect):
                sock = await self._egress.connect(self._connection, host, port)
        except TimeoutError:
            raise  # aiohttp's own callers make a ConnectionTimeoutError of it
        except NameUnresolved as error:
            raise ClientConnectorDNSError(req.connection_key, error) from error
        except OSError as error:
            raise client_error(req.connection_key, error) from error
        try:
            transport, protocol = await self._wrap_existing_connection(
                self._factory,
                timeout=timeout,
                ssl=tls,
                sock=sock,
                # Certificates contain names without the dot at their end.
                server_hostname=(req.server_hostname or host).rstrip(".") if tls else None,
                req=req,
                client_error=client_error,
            )
        except BaseException:
            sock.close()
            raise
        if tls is not None and (fingerprint := self._get_fingerprint(req)) is not None:
            try:
                fingerprint.check(transport)
            except aiohttp.ServerFingerprintMismatch:
                transport.close()
                raise
        return transport, protocol


class _NoResolver(AbstractResolver):
    """Names are resolved by the supervisor; aiohttp's own resolver would start a thread for it."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        _unused(host)

    async def close(self) -> None:
        """Nothing is open."""


def _unused(host: str) -> NoReturn:
    raise OSError(errno.EACCES, f"{host}: workers resolve no names")
