"""What is no HTTP, or too much of it, on a raw socket: JSON, as every other answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from supervisor.ingest.api import TrackingApi
from supervisor.runtime.http_errors import HttpRunner

#: Seconds for an answer that takes a millisecond on a quiet machine.
PATIENCE_S = 30.0


@pytest.fixture
async def port(api: TrackingApi) -> AsyncIterator[int]:
    """The API as the service runs it."""
    runner = HttpRunner(api.app, api.not_http, keep_alive_s=10.0, last_request_s=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    yield address[1]
    await runner.cleanup()


async def answer_to(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case and body; the connection is closed after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(PATIENCE_S):
        said = await reader.read()
    writer.close()
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


LARGE = b"x" * 9000
POST = b"POST /v1/t HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "bad_http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_http"),
        (b"POST /v1/t HTTP/9.9\r\nHost: x\r\n\r\n", 400, "bad_http"),
        (b"POST /v1/t HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "bad_http"),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_http"),
        (b"POST /v1/t HTTP/1.1\r\nHo st: x\r\n\r\n", 400, "bad_http"),
        (b"POST /v1/t HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400, "bad_http"),
        (b"POST /v1/t HTTP/1.1\r\nHost: x\r\nX: " + LARGE + b"\r\n\r\n", 431, "headers_too_large"),
        (b"POST /" + LARGE + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "headers_too_large"),
        (POST + b"X: y\r\n" * 300 + b"\r\n", 431, "headers_too_large"),
    ],
)  # fmt: skip
async def test_it_is_answered_in_json(port: int, sent: bytes, status: int, code: str) -> None:
    """With a code and a message, readable by any page, and none of the sender's bytes."""
    got, headers, body = await answer_to(port, sent)
    told = json.loads(body)
    assert (got, told["code"]) == (status, code)
    assert headers["content-type"].startswith("application/json")
    assert headers["access-control-allow-origin"] == "*"
    assert "x" * 100 not in told["message"]


async def test_framing_that_breaks_in_the_body_is_answered_in_json(port: int) -> None:
    """A chunk without a length comes after the handler was asked."""
    got, _, body = await answer_to(
        port,
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    )
    assert got == 400
    assert json.loads(body)["code"] in ("bad_http", "invalid_body")


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/t", "//v1/t", "///v1/t", "//v1//t//", "/v1/t?x=//v1/b", "//v1//track//?y"),
        *("/v1/t/", "/%76%31/t", "http://x/v1/t", "http://x:1//v1//t"),
    ],
)
async def test_slashes_too_many_lead_to_the_same_place(port: int, path: str) -> None:
    """SDKs put a path behind a host that was configured with slashes of its own."""
    body = b'{"userId":"ann","event":"x","writeKey":"key"}'
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
    got, _, said = await answer_to(port, head.encode() + b"\r\n\r\n" + body)
    assert (got, said) == (200, b'{"success": true}')


@pytest.mark.parametrize("path", ["//health", "/health/", "///ready//"])
async def test_probes_too(port: int, path: str) -> None:
    """Load balancers are configured by the same people."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await answer_to(port, head.encode()))[0] == 200
