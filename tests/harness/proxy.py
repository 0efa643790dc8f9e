"""A real HTTP proxy on loopback: CONNECT alone, with a password where a test wants one.

It knows names of its own (`hosts`), so that targets need exist nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """`hosts` maps "host:port" to a port on loopback; others are answered with 502.

    `authorization` is what the header has to be, None where none is needed. `extra` is sent right
    behind the answer. `asked` is what was asked for, with its Proxy-Authorization.
    """

    hosts: Mapping[str, int] = field(default_factory=dict)
    authorization: str | None = None
    answer: bytes = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _pumps: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Serve on a free port, which `port` is then."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Serve no more, and cut what is open."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._tunnel(reader, writer)
        except* (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # either side went away; so does the tunnel
        finally:
            await _shut(writer)
            self._pumps.discard(task)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, place, _ = head[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
        authorization = headers.get("proxy-authorization")
        self.asked.append((place, authorization))
        if authorization != self.authorization:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        elif method != "CONNECT" or place not in self.hosts:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        else:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.hosts[place])
            try:
                writer.write(self.answer)
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, far_writer))
                    both.create_task(_pump(far_reader, writer))
            finally:
                await _shut(far_writer)
        await writer.drain()


async def _shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):  # the other side was faster
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
