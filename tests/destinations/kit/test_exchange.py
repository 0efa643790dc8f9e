"""One exchange against servers that pack their answers, or prove who they are, well or badly."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from destinations.kit import Cause, Failed, Outcome, Request, Response, Retry
from destinations.kit.exchange import Limits, exchange

LIMITS = Limits(timeout_s=20.0, answer_bytes=64 * 1024)
#: Most memory that reading an answer may take, in bytes: a few of the reader's chunks.
MEMORY_BYTES = 8 * 1024 * 1024


@asynccontextmanager
async def server(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that says these bytes to whoever asks; gives its URL."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has read enough
        finally:
            writer.close()

    scheme = "http" if context is None else "https"
    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context) as started:
        yield f"{scheme}://localhost:{started.sockets[0].getsockname()[1]}/"


def packed(body: bytes, encoding: str = "gzip") -> bytes:
    """A whole answer with this body, said to be packed."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def said(answer: bytes, http: aiohttp.ClientSession) -> Response | Outcome:
    async with server(answer) as url:
        return await exchange(http, Request(url), LIMITS)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_packed(
    http: aiohttp.ClientSession, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """What is packed is unpacked, to the last byte that is allowed."""
    body = b'{"ok":true}' + b" " * (LIMITS.answer_bytes - 11)
    response = await said(packed(pack(body), encoding), http)
    assert isinstance(response, Response)
    assert (response.status, response.body, response.flaw) == (200, body, "")


@pytest.mark.parametrize("members", [1, 64])
async def test_a_bomb(http: aiohttp.ClientSession, members: int) -> None:
    """An answer that unpacks to 128 MiB takes a few of them, and is called too large."""
    megabytes = 128 // members
    pack = zlib.compressobj(9, wbits=31)
    member = b"".join(pack.compress(bytes(1024 * 1024)) for _ in range(megabytes)) + pack.flush()
    answer = packed(member * members)
    tracemalloc.start()
    try:
        response = await said(answer, http)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(response, Response)
    assert response.flaw == f"larger than {LIMITS.answer_bytes} bytes"
    assert len(response.body) == LIMITS.answer_bytes
    assert peak_bytes < MEMORY_BYTES


@pytest.mark.parametrize(
    "answer",
    [
        packed(b"no gzip at all"),
        packed(gzip.compress(b'{"ok":true}')[:-12]),
        packed(b"\x8b\x05\x80{}\x03", "br"),
    ],
    ids=["no gzip", "cut off", "unknown"],
)
async def test_what_cannot_be_unpacked(http: aiohttp.ClientSession, answer: bytes) -> None:
    """An answer whose packing is broken, cut off or unknown says nothing; its status holds."""
    response = await said(answer, http)
    if isinstance(response, Response):
        assert response.status == 200
        assert response.json() is None
    else:
        assert isinstance(response, Retry)


AUTHORITY = trustme.CA()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def certified(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    """The server's side of TLS, with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    return context


@asynccontextmanager
async def trusting(ca: trustme.CA) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that trusts a private authority, as `sandbox.ca_file` makes it."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


async def test_a_private_authority() -> None:
    """A server with a certificate of a private authority is believed by who trusts that."""
    async with server(OK, certified(AUTHORITY, "localhost")) as url, trusting(AUTHORITY) as http:
        response = await exchange(http, Request(url), LIMITS)
    assert isinstance(response, Response)
    assert response.body == b"ok"


@pytest.mark.parametrize(
    ("ca", "name"), [(trustme.CA(), "localhost"), (AUTHORITY, "elsewhere.example")]
)
async def test_a_certificate_that_proves_nothing(ca: trustme.CA, name: str) -> None:
    """Another authority, or another host's certificate, is a retry that says so: it is mended."""
    async with server(OK, certified(ca, name)) as url, trusting(AUTHORITY) as http:
        outcome = await exchange(http, Request(url), LIMITS)
    assert isinstance(outcome, Retry)
    assert outcome.cause is Cause.SETUP
    assert "its TLS certificate is not trusted" in outcome.reason


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOENT, Cause.SETUP),
        (socket.EAI_NONAME, Cause.SETUP),
        (errno.EAGAIN, Cause.CONNECT),
        (socket.EAI_AGAIN, Cause.CONNECT),
    ],
)
async def test_a_name_that_is_not_there(number: int, cause: Cause) -> None:
    """A name server's no has to be mended by somebody; one that does not answer comes back."""

    class Resolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise OSError(number, "no such name")

        async def close(self) -> None:
            pass

    connector = aiohttp.TCPConnector(resolver=Resolver())
    async with aiohttp.ClientSession(connector=connector) as http:
        outcome = await exchange(http, Request("http://nowhere.example/"), LIMITS)
    assert isinstance(outcome, Retry)
    assert outcome.cause is cause


async def test_what_is_no_request(http: aiohttp.ClientSession) -> None:
    """Headers that HTTP cannot carry have failed before anything is sent."""
    async with server(OK) as url:
        outcome = await exchange(http, Request(url, b"", {"A": "b\r\nC: d"}), LIMITS)
    assert isinstance(outcome, Failed)
    assert "could not be sent" in outcome.reason
