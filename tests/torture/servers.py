"""Servers that misbehave, in a process of their own: one way of doing so a path.

Owns the behaviours and the record of what came to each. `python -m tests.torture.servers`
runs it; `ServersProcess` starts that and asks it. All of them answer `{"ok": true}` once
they were told to be well.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
import struct
import sys
import urllib.request
import zlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import trustme

from tests.harness.own_process import OwnProcess

#: Bytes of a body that nobody should read to its end.
GIGABYTE = 1024**3
#: Seconds in `Retry-After`.
RETRY_AFTER_S = 5
_PIECE = bytes(64 * 1024)
#: Seconds between two bytes of a slow answer.
_BYTE_EVERY_S = 1.0


class Record(msgspec.Struct):
    """What a path has seen: requests, bytes that it sent, and connections that it has now."""

    requests: int = 0
    sent_bytes: int = 0
    open: int = 0


class Ports(msgspec.Struct, frozen=True):
    """Where else there are servers: with a certificate that nobody trusts, and one to stay out of.

    Whoever connects to `trap` was led there by a redirect. The certificate at `expired` is one of
    the authority `ca`, in PEM, and has ended.
    """

    tls: int
    trap: int
    expired: int = 0
    ca: str = ""


Misbehave = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Record], Awaitable[None]]


def _answer(status: str, body: bytes = b'{"ok": true}', *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


#: Successes of servers that do not care for HTTP.
_SAYS_TOO_MUCH = (
    b"HTTP/1.1 200 \x1b[31m\xff\r\nX-Long: " + b"a" * 9_000 + b"\r\n" + b"X-Many: a\r\n" * 160
    + b"what is this\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
)  # fmt: skip
_LIES_ABOUT_ITS_PACKING = (
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
)
_BREAKS_ITS_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok\r\nzz\r\n"
_CUTS_ITS_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nok"


class Servers:
    """Behaviours by the first part of the path."""

    def __init__(self) -> None:
        self.ports = Ports(0, 0)
        self._is_well = False
        self._records: dict[str, Record] = {}
        self._servers: list[asyncio.Server] = []
        self._misbehaviour: dict[str, Misbehave] = {
            "throttles": self._says("429 Too Many Requests", f"Retry-After: {RETRY_AFTER_S}"),
            "fails": self._says("500 Internal Server Error"),
            "refuses-its-key": self._says("401 Unauthorized"),
            "refuses-its-grant": self._says("400 Bad Request", body=b'{"error": "invalid_grant"}'),
            "redirects": self._says("302 Found", "Location: http://169.254.169.254/latest/"),
            "leads-outside": self._says("302 Found", "Location: http://169.254.169.254/latest/"),
            "leads-inside": self._leads_inside,
            "is-silent": _is_silent,
            "trickles": _trickles,
            "trickles-its-body": _trickles_its_body,
            "sends-a-gigabyte": _sends_a_gigabyte,
            "sends-a-bomb": _sends_a_bomb,
            "speaks-no-http": _speaks_no_http,
            "hangs-up": _hangs_up,
            "resets": _resets,
            "says-too-much": self._carelessly(_SAYS_TOO_MUCH),
            "lies-about-its-packing": self._carelessly(_LIES_ABOUT_ITS_PACKING),
            "breaks-its-chunks": self._carelessly(_BREAKS_ITS_CHUNKS),
            "cuts-its-body": self._carelessly(_CUTS_ITS_BODY),
        }

    async def start(self) -> int:
        """Listen everywhere; the port of the plain one."""
        untrusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(untrusted)
        tls = await self._listen(self._serve, ssl=untrusted)
        authority, ended = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        authority.issue_cert(
            "127.0.0.1", not_before=yesterday - timedelta(days=9), not_after=yesterday
        ).configure_cert(ended)
        self.ports = Ports(
            tls,
            await self._listen(self._trap),
            await self._listen(self._serve, ssl=ended),
            authority.cert_pem.bytes().decode(),
        )
        return await self._listen(self._serve)

    async def _listen(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        port: int = 0,
        ssl: ssl.SSLContext | None = None,
    ) -> int:
        server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=ssl, backlog=1024)
        self._servers.append(server)
        name: tuple[str, int] = server.sockets[0].getsockname()
        return name[1]

    def _record(self, kind: str) -> Record:
        return self._records.setdefault(kind, Record())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._take(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever was here has had enough, which is what they should have
        finally:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may follow on this connection."""
        first = await reader.readexactly(1)
        if first == b"\x16":  # TLS begins like that, and here it is answered like by any server
            writer.write(_answer("400 Bad Request"))
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        for line in head.splitlines():
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                await reader.readexactly(int(value))
        if method == "GET":
            writer.write(_answer("200 OK", await self._control(path)))
            return True
        kind = path.strip("/").partition("/")[0]
        record = self._record(kind)
        record.requests += 1
        record.open += 1
        try:
            misbehave = None if self._is_well else self._misbehaviour.get(kind)
            if misbehave is None:
                writer.write(_answer("200 OK"))
                return True
            await misbehave(reader, writer, record)
            return False
        finally:
            record.open -= 1

    async def _control(self, path: str) -> bytes:
        what, _, more = path.strip("/").partition("/")
        match what:
            case "ports":
                return msgspec.json.encode(self.ports)
            case "records":
                return msgspec.json.encode(self._records)
            case "be-well":
                self._is_well = True
                await self._listen(self._serve, int(more))
                return b""
            case _:
                raise ValueError(f"nothing is to be had at {path}")

    async def _trap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._record("trap").requests += 1
        writer.close()

    def _says(self, status: str, *headers: str, body: bytes = b"no") -> Misbehave:
        async def misbehave(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
        ) -> None:
            writer.write(_answer(status, body, "Connection: close", *headers))
            await writer.drain()

        return misbehave

    def _carelessly(self, answer: bytes) -> Misbehave:
        async def misbehave(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
        ) -> None:
            writer.write(answer)
            await writer.drain()

        return misbehave

    async def _leads_inside(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
    ) -> None:
        location = f"Location: http://127.0.0.1:{self.ports.trap}/"
        await self._says("307 Temporary Redirect", location)(reader, writer, record)


async def _is_silent(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    await reader.read()  # until it hangs up


async def _trickles(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    """One byte a second from the first one on."""
    await _slowly(_answer("200 OK"), reader, writer, record)


async def _trickles_its_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    head, _, body = _answer("200 OK").partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    await _slowly(body, reader, writer, record)


async def _slowly(
    text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    for number in range(len(text)):
        writer.write(text[number : number + 1])
        await writer.drain()
        record.sent_bytes += 1
        try:
            async with asyncio.timeout(_BYTE_EVERY_S):
                await reader.read()
        except TimeoutError:
            continue
        return  # it has hung up


async def _sends_a_gigabyte(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n".encode())
    for _ in range(GIGABYTE // len(_PIECE)):
        writer.write(_PIECE)
        await writer.drain()
        record.sent_bytes += len(_PIECE)


async def _sends_a_bomb(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    """A gigabyte in a megabyte."""
    packer = zlib.compressobj(9)
    opening = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush nothing refers to what came before it: the same piece may come again.
    piece = packer.compress(bytes(1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)
    size = len(opening) + 1024 * len(piece)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: {size}\r\n\r\n"
    writer.write(head.encode() + opening)
    for _ in range(1024):
        writer.write(piece)
        await writer.drain()
        record.sent_bytes += len(piece)


async def _speaks_no_http(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()


async def _hangs_up(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    writer.close()


async def _resets(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record
) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ServersProcess(OwnProcess):
    """Those servers in a process of their own; a context manager. `url` ends in a slash."""

    def __init__(self) -> None:
        super().__init__("tests.torture.servers")

    @property
    def address(self) -> str:
        """`host:port` of the plain one."""
        return self.url.removeprefix("http://").rstrip("/")

    @property
    def ports(self) -> Ports:
        """Where the others are."""
        return msgspec.json.decode(self._get("ports"), type=Ports)

    def record(self, kind: str) -> Record:
        """What a path has seen, or "trap"."""
        found = msgspec.json.decode(self._get("records"), type=dict[str, Record])
        return found.get(kind, Record())

    def be_well(self, port: int) -> None:
        """Answer as one should from now on, at this port, too."""
        self._get(f"be-well/{port}")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - http
            body: bytes = answer.read()
            return body


async def _serve() -> None:
    print(await Servers().start(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(_serve())
