"""No request makes the admin API fail: each gets a JSON answer, and the service goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from hypothesis import given
from hypothesis import strategies as st

from supervisor.admin.access import Access
from supervisor.admin.dead_letters import read_filter, read_page
from supervisor.admin.parameters import BadRequest
from supervisor.admin.routes import AdminApi
from supervisor.config import Address
from supervisor.runtime.http_errors import HttpRunner
from supervisor.runtime.rfc3339 import parse_rfc3339, rfc3339
from tests.admin.stubs import StubControl

Client = TestClient[Request, Application]

NAMES = ["connection", "outcome", "error", "since", "until", "limit", "after", "other"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=40)), max_size=4))
def test_any_query_is_read_or_refused(query: list[tuple[str, str]]) -> None:
    """A query string is a page or an error, never another exception."""
    with contextlib.suppress(BadRequest):
        assert read_page(query).limit >= 1


@given(
    st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from([*NAMES, "ids", "dry_run"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.lists(st.text()),
        max_size=4,
    ).map(lambda body: json.dumps(body).encode())
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """A body is a filter or an error, never another exception."""
    with contextlib.suppress(BadRequest):
        read_filter(body).where()


@given(st.floats(allow_nan=False))
def test_any_stored_time_can_be_shown(at: float) -> None:
    """A time from whatever clock becomes RFC 3339 that reads back."""
    assert parse_rfc3339(rfc3339(at)) == pytest.approx(min(max(at, 0), 253_402_300_799), abs=0.01)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /events/\xed\xa0\x80 HTTP/1.1",
        b"GET /events/%ED%A0%80 HTTP/1.1",
        b"GET /events/%00%FF HTTP/1.1",
        b"GET /nothing/%ED%A0%80?\xff=%FF HTTP/1.1",
        b"GET /deadletters?%ED%A0%80=1 HTTP/1.1",
        b"GET /deadletters?after=%FF%00 HTTP/1.1",
        b"GET /deadletters?error=%ED%A0%80 HTTP/1.1",
        b"GET /deadletters/..%2F..%2Fetc HTTP/1.1",
        b"POST /connections/%FF/pause HTTP/1.1",
        b"BREW /status HTTP/1.1",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1",
    ],
)
async def test_odd_bytes_are_answered(client: Client, request_line: bytes) -> None:
    """Bytes that are no text, in path or query, are a client's error and not ours."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request_line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert 200 <= int(answer.split(b" ")[1]) < 500
    assert (await client.get("/health")).status == 200


async def test_an_odd_host_is_answered(client: Client) -> None:
    """A Host header that is no text is turned away like any foreign name."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /status HTTP/1.1\r\nHost: \xed\xa0\x80\xff\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert 400 <= int(answer.split(b" ")[1]) < 500


async def test_what_is_no_http_is_answered_in_json(control: StubControl) -> None:
    """With the admin API's own form of an error, and none of the sender's bytes."""
    api = AdminApi(control, Access(Address(host="127.0.0.1", port=9190)))
    runner = HttpRunner(api.app, api.not_http, keep_alive_s=10.0, last_request_s=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for sent, status, error in (
        (b"\x00\x01GARBAGE\r\n\r\n", 400, "bad_http"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
    ):
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(sent)
        said = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.split()[1] == str(status).encode()
        assert json.loads(body)["error"] == error
        assert b"xxx" not in body
    await runner.cleanup()
