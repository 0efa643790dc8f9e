"""One port that stands in for all partners' servers: HTTP, HTTPS and forward proxy.

Owns the listening socket and what a connection turns out to be: it looks at the
first bytes without taking them. A TLS hello is answered with a certificate for
the host that it names; `CONNECT` is granted for any host, and what comes through
the tunnel is looked at again; everything else is HTTP. What a request is
answered is the responder's business; a relay gives the bytes of a real server's
answer, which nothing here reads or mends. For loopback and trusted networks: it
asks no client for credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from aiohttp import web

from supervisor.tapes.authority import Authority
from supervisor.tapes.matching import TRANSPORT_HEADERS
from supervisor.tapes.tape import MAX_BODY, Answer, Call, unpacked

#: First byte of a TLS record that holds a client's hello.
_TLS_HELLO = b"\x16"
_CONNECT = b"CONNECT "
#: Longest head of a CONNECT request, in bytes.
_MAX_HEAD = 8192
#: Longest line of any other request's head, in bytes, and most of its headers.
_MAX_LINE, _MAX_HEADERS = 256 * 1024, 1000
#: What no header may hold, nor be called (RFC 9110, section 5).
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Seconds that a connection may take to say what it is.
_HELLO_S = 30.0


class HangUp(Exception):
    """The responder wants the connection cut; `after` is what is still sent of an answer."""

    def __init__(self, why: str, after: bytes = b"") -> None:
        super().__init__(why)
        self.after = after


class Responder(Protocol):
    """Who knows the answers."""

    async def answer(self, call: Call) -> Answer:
        """The answer to a request. Raises HangUp."""

    async def connect(self, host: str, port: int) -> Answer | None:
        """Whether a tunnel to that place is granted: None, or the refusal."""


class Client:
    """Who has asked something, as a relay sees it."""

    def __init__(self, transport: asyncio.WriteTransport | None, body: bytes) -> None:
        self._transport = transport
        self.body = body
        """Of its request, as it travelled."""
        self.stays = False
        """Whether its connection may bear another request, once the relay has done its part."""

    def pass_on(self, data: bytes) -> None:
        """Give it bytes of an answer as they came."""
        if self._transport is not None:
            self._transport.write(data)


@runtime_checkable
class Relay(Protocol):
    """Who passes requests on to where the answers are."""

    async def relay(self, call: Call, client: Client) -> None:
        """Give the client its answer. Raises HangUp.

        A body that cannot be unpacked is in the call as it travelled.
        """

    async def connect(self, host: str, port: int) -> Answer | None:
        """Whether a tunnel to that place is granted: None, or the refusal."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Whom a connection speaks to; None where each request says so itself."""

    host: str | None = None
    port: int | None = None
    is_tls: bool = False


class Server:
    """An async context manager; `port` is known inside it. With no `host` it does not listen."""

    def __init__(
        self,
        responder: Responder | Relay,
        authority: Authority,
        host: str | None = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._responder = responder
        self._authority = authority
        self._host = host
        self.port = port
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._web: dict[_Origin, web.Server] = {}

    async def __aenter__(self) -> Server:
        """Listen. Raises OSError where that is not possible."""
        if self._host is None:
            return self
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self.port))
            listening.listen(1024)
        except OSError:
            listening.close()
            raise
        listening.setblocking(False)
        self._listening = listening
        self.port = listening.getsockname()[1]
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listening))
        return self

    async def __aexit__(self, *exception: object) -> None:
        tasks = [*self._connections, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
        for server in self._web.values():
            await server.shutdown(0.01)  # 0 would mean without end

    def adopt(self, connection: socket.socket, host: str, port: int) -> None:
        """Serve a connection, not blocking, of a client that was promised `host`:`port`."""
        self._begin(connection, _Origin(host, port))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                # Out of descriptors, or the client has gone already: others still come.
                await asyncio.sleep(0.05)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._begin(connection, _Origin())

    def _begin(self, connection: socket.socket, origin: _Origin) -> None:
        task = asyncio.get_running_loop().create_task(self._take(connection, origin))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _take(self, connection: socket.socket, promised: _Origin) -> None:
        try:
            async with asyncio.timeout(_HELLO_S):
                origin = await self._hello(connection, promised)
        except (OSError, TimeoutError, _NoTunnel):
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._server(origin),
                connection,
                ssl=self._authority.context(origin.host) if origin.is_tls else None,
            )
        except (OSError, ValueError):  # the handshake failed; the client knows why
            connection.close()

    async def _hello(self, connection: socket.socket, promised: _Origin) -> _Origin:
        """What the connection is. Raises _NoTunnel where there is nothing more to it."""
        host, port = promised.host, promised.port
        if host is None and await _peek(connection, len(_CONNECT)) == _CONNECT:
            host, port = _target(await _head(connection))
            refusal = await self._responder.connect(host, port)
            await asyncio.get_running_loop().sock_sendall(connection, _tunnel_answer(refusal))
            if refusal is not None:
                raise _NoTunnel
        is_tls = await _peek(connection, 1) == _TLS_HELLO
        return _Origin(host, port, is_tls)

    def _server(self, origin: _Origin) -> web.Server:
        if origin not in self._web:

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                return await self._handle(origin, request)

            self._web[origin] = web.Server(
                handle,
                handler_cancellation=True,  # a client that has gone is not waited for
                access_log=None,
                auto_decompress=False,  # `unpacked` bounds what a body unpacks to
                # A long token or a signed URL is the partner's to refuse.
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_LINE,
                max_headers=_MAX_HEADERS,
            )
        return self._web[origin]

    async def _handle(self, origin: _Origin, request: web.BaseRequest) -> web.StreamResponse:
        body = await _body(request)
        if body is None:
            return web.Response(status=413, text=f"the body is larger than {MAX_BODY} bytes\n")
        try:
            plain = unpacked(body, request.headers.get("Content-Encoding"))
        except ValueError as error:
            if not isinstance(self._responder, Relay):
                return web.Response(status=400, text=f"the body {error}\n")
            plain = body  # the partner's to judge
        call = Call(
            request.method,
            _url(origin, request),
            # str: multidict's own kind of key is no plain text to others.
            tuple((str(name), value) for name, value in request.headers.items()),
            plain,
        )
        try:
            if isinstance(self._responder, Relay):
                client = Client(request.transport, body)
                await self._responder.relay(call, client)
                return _Relayed(stays=client.stays)
            return _response(await self._responder.answer(call))
        except HangUp as cut:
            if request.transport is not None:
                request.transport.write(cut.after)
                request.transport.close()
            return web.Response()


class _Relayed(web.StreamResponse):
    """Stands for an answer whose bytes the client has already."""

    def __init__(self, *, stays: bool) -> None:
        super().__init__()
        self._stays = stays

    @property
    def keep_alive(self) -> bool:
        """Whether the connection is used again."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> None:
        """There is no head to send."""

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing to end."""


async def _body(request: web.BaseRequest) -> bytes | None:
    """All of a request's body, as it travelled; None where it is too large."""
    body = bytearray()
    while piece := await request.content.readany():
        body += piece
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _response(answer: Answer) -> web.Response:
    """What HTTP can carry of an answer: tapes hold what careless servers said as well."""
    response = web.Response(
        status=answer.status, reason=answer.reason or None, body=answer.body or None
    )
    for name, value in answer.headers:
        if name.lower() not in TRANSPORT_HEADERS and _TOKEN.fullmatch(name):
            response.headers.add(name, _CONTROL.sub(" ", value))
    return response


class _NoTunnel(Exception):
    """The client asked for a tunnel and does not get it."""


async def _peek(connection: socket.socket, size: int) -> bytes:
    """The next bytes, left where they are. Raises OSError where the connection ends."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            seen = connection.recv(size, socket.MSG_PEEK)
            # Fewer are enough where they decide it already.
            if not seen:
                raise ConnectionResetError
            if len(seen) == size or not _CONNECT.startswith(seen):
                return seen
        await _readable(loop, connection)


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection.fileno(), wake)
    try:
        await ready
    finally:
        loop.remove_reader(connection.fileno())


async def _head(connection: socket.socket) -> bytes:
    """The head of a CONNECT request, and not a byte of what follows it."""
    loop = asyncio.get_running_loop()
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if len(head) >= _MAX_HEAD:
            raise _NoTunnel
        byte = await loop.sock_recv(connection, 1)
        if not byte:
            raise _NoTunnel
        head += byte
    return head


def _target(head: bytes) -> tuple[str, int]:
    try:
        _, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        parts = urlsplit(f"//{target}")
        if parts.hostname is None or parts.port is None:
            raise _NoTunnel
    except ValueError as error:
        raise _NoTunnel from error
    return parts.hostname, parts.port


def _tunnel_answer(refusal: Answer | None) -> bytes:
    if refusal is None:
        return b"HTTP/1.1 200 Connection established\r\n\r\n"
    head = f"HTTP/1.1 {refusal.status} {refusal.reason}\r\nContent-Length: {len(refusal.body)}"
    return f"{head}\r\nConnection: close\r\n\r\n".encode() + refusal.body


def _url(origin: _Origin, request: web.BaseRequest) -> str:
    """The whole URL: of the tunnel, of a proxy's request, else by the Host header."""
    if request.raw_path.startswith("http://"):
        return request.raw_path
    scheme = "https" if origin.is_tls else "http"
    if origin.host is not None:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        standard = 443 if origin.is_tls else 80
        place = host if origin.port == standard else f"{host}:{origin.port}"
    else:
        place = request.headers.get("Host", "localhost")
    return f"{scheme}://{place}{request.raw_path}"
