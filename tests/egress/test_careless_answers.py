"""What `self.http` gives of careless servers' answers: in a worker's session, over the broker."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from destinations.kit.client import careful
from destinations.kit.client.addresses import parted
from tests.destinations.kit.client.careless import TABLE, Careless
from tests.egress.conftest import MakeBoth, Serve, egress_policy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: What our client shows of a body, and aiohttp, which unpacks it whatever it is, does not.
UNREAD = frozenset({"said to be gzip, and is not"})

Say = Callable[[Callable[[], bytes]], Awaitable[int]]


@pytest.fixture
async def say() -> AsyncIterator[Say]:
    """Serves whatever a function gives, in pieces, and closes the connection; gives the port."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(answer: Callable[[], bytes]) -> int:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    while True:
                        await reader.readuntil(b"{}")
                        said = answer()
                        writer.write(said)
                        await writer.drain()
                        if said != OK:
                            return
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass  # the client has left
                finally:
                    writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            port: int = server.sockets[0].getsockname()[1]
            return port

        yield start


async def asked(http: aiohttp.ClientSession, port: int) -> tuple[int, bytes | None]:
    """The status of an answer, and its body where it can be read."""
    async with http.post(f"http://127.0.0.1:{port}/", data=b"{}") as answer:
        try:
            return answer.status, await answer.read()
        except aiohttp.ClientError:
            return answer.status, None


@pytest.mark.parametrize("careless", TABLE, ids=lambda careless: careless.name)
async def test_careless(both: MakeBoth, say: Say, careless: Careless) -> None:
    """A session takes what the kit's client takes: where a status was read, it is given."""
    port = await say(lambda: careless.said)
    http = both(egress_policy(allow=[f"127.0.0.1:{port}"])).session()
    if careless.status is None:
        with pytest.raises(aiohttp.ClientError) as raised:
            await asked(http, port)
        assert all(c.isprintable() for c in str(raised.value))
        return
    status, body = await asked(http, port)
    assert status == careless.status
    if careless.body is not None and careless.name not in UNREAD:
        assert body == careless.body


async def test_the_usual(both: MakeBoth, serve: Serve) -> None:
    """Headers, packed and chunked bodies are as they were, and connections are used again."""
    big = b"x" * 3_000_000

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-A": "b"})
        response.headers.add("X-A", "c")
        if request.path == "/packed":
            response.headers["Content-Encoding"] = "gzip"
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(gzip.compress(big) if request.path == "/packed" else big)
        return response

    port = await serve(handle)
    http = both(egress_policy(allow=[f"127.0.0.1:{port}"])).session()
    places = set()
    for path in ("/", "/packed", "/"):
        async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
            assert answer.connection is not None
            assert answer.connection.transport is not None
            places.add(answer.connection.transport.get_extra_info("sockname"))
            assert answer.headers.getall("X-A") == ["b", "c"]
            assert await answer.read() == big
    async with http.head(f"http://127.0.0.1:{port}/") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    assert len(places) == 1


@pytest.mark.parametrize(
    "target",
    ["/a%2Fb%2f?sig=a%2Bb%40&d=a+b%20c", "/a/../b//c", "/%7E{}|'()?x={}&&=", "/ä b?ü", "?a=%2F"],
)
async def test_urls_go_out_as_they_were_written(both: MakeBoth, serve: Serve, target: str) -> None:
    """A session's URL is byte for byte what was given, but for what HTTP cannot carry."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=request.raw_path)

    port = await serve(handle)
    http = both(egress_policy(allow=[f"127.0.0.1:{port}"])).session()
    async with http.get(f"HTTP://127.0.0.1:{port}{target}#part") as answer:
        said = await answer.text()
    assert said == parted(f"http://h{target}")[1]
    if target.isascii():
        assert said.removeprefix("/") == target.removeprefix("/")
    async with http.get(f"http://127.0.0.1:{port}/a%2Fb", params={"c": "d"}) as answer:
        assert await answer.text() == "/a%2Fb?c=d"


async def test_sockets_that_change_protocol(both: MakeBoth, serve: Serve) -> None:
    """What becomes a websocket goes by untouched."""

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        async for message in socket:
            await socket.send_str(message.data * 2)
        return socket

    port = await serve(handle)
    http = both(egress_policy(allow=[f"127.0.0.1:{port}"])).session()
    async with http.ws_connect(f"http://127.0.0.1:{port}/") as socket:
        assert await socket.receive_str() == "hello"
        await socket.send_str("ab")
        assert await socket.receive_str() == "abab"


async def test_waiting_for_continue(both: MakeBoth, serve: Serve) -> None:
    """Who waits for an interim answer hears of it."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    port = await serve(handle)
    http = both(egress_policy(allow=[f"127.0.0.1:{port}"])).session()
    async with http.post(f"http://127.0.0.1:{port}/", data=b"{}", expect100=True) as answer:
        assert await answer.read() == b"{}"


async def test_the_longest_life(
    both: MakeBoth, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session's connection is given up when its life is over, however busy it is."""
    ports: list[int] = []

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text="ok")

    port = await serve(handle)
    http = both(egress_policy(allow=[f"127.0.0.1:{port}"])).session()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(careful, "lifetime_s", lambda: 0.2)
    began = loop.time()
    while loop.time() < began + 0.5:
        await asked(http, port)
    connections = len(set(ports))
    assert 2 <= connections < len(ports)
