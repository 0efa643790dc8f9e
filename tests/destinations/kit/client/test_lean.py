"""The client against real sockets: what is kept, what is sent twice, what ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme

from destinations.kit import Request
from destinations.kit.client import (
    ConnectionLost,
    LeanClient,
    NotHttp,
    TooLate,
    Unconnectable,
)
from destinations.kit.client import lean as lean_module
from tests.destinations.kit.client.careless import TABLE, Careless
from tests.harness.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
AUTHORITY = trustme.CA()
LONG_S = 30.0
MOST = 100_000

Say = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]


class Loopback:
    """Sockets to this machine, counted."""

    def __init__(self) -> None:
        self.tls = ssl.create_default_context()
        AUTHORITY.configure_trust(self.tls)
        self.made = 0

    async def connect(self, host: str, port: int) -> socket.socket:
        self.made += 1
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return sock


class Server:
    """Reads requests with a length, and has `say` answer the n-th of a connection."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.say: Say = self.ok
        self.url = ""
        self.is_silent = False
        """Whether it only waits for the client to leave."""

    async def ok(self, number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                mark = head.lower().find(b"content-length:")
                size = int(head[mark + 15 :].split(b"\r\n")[0]) if mark >= 0 else 0
                self.requests.append(head + await reader.readexactly(size))
                if self.is_silent:
                    await reader.read()
                await self.say(number, self.requests[-1], writer)
                await writer.drain()
                number += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server, which says OK."""
    made = Server()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as started:
        made.url = f"http://localhost:{started.sockets[0].getsockname()[1]}/"
        yield made


@pytest.fixture
def sockets() -> Loopback:
    """Where connections come from."""
    return Loopback()


@pytest.fixture
async def client(sockets: Loopback) -> AsyncIterator[LeanClient]:
    """A client, closed in the end."""
    made = LeanClient(sockets)
    yield made
    made.close()


async def test_connections_are_kept(client: LeanClient, server: Server) -> None:
    """Requests one after the other take one connection, and bodies arrive whole."""
    for size in (0, 1, 5, 300_000):
        response = await client.send(Request(server.url, b"x" * size), LONG_S, MOST)
        assert (response.status, response.body, response.flaw) == (200, b"ok", "")
        assert server.requests[-1].endswith(b"\r\n\r\n" + b"x" * size)
    assert server.connections == 1


async def test_many_at_once(client: LeanClient, server: Server) -> None:
    """Requests beside each other take connections of their own, and no more than there may be."""
    most = lean_module.MOST_CONNECTIONS
    await asyncio.gather(
        *(client.send(Request(server.url, b"x"), LONG_S, MOST) for _ in range(3 * most))
    )
    assert len(server.requests) == 3 * most
    assert 1 < server.connections <= most


async def test_waiting_for_room_is_bounded(client: LeanClient, server: Server) -> None:
    """Who gets no connection in time is told so, and takes none from the others."""

    server.is_silent = True
    tasks = [
        asyncio.create_task(client.send(Request(server.url), LONG_S, MOST))
        for _ in range(lean_module.MOST_CONNECTIONS)
    ]
    await until(lambda: len(server.requests) == len(tasks), 30, "all are under way")
    with pytest.raises(Unconnectable):
        await client.send(Request(server.url), 0.05, MOST)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: server.open == 0, 10, "whoever was cancelled has closed its connection")
    server.is_silent = False
    assert (await client.send(Request(server.url), LONG_S, MOST)).status == 200


async def test_other_servers_make_room(
    client: LeanClient, server: Server, sockets: Loopback
) -> None:
    """Idle connections to one server do not keep another's requests from getting any."""
    other = Server()
    async with await asyncio.start_server(other.serve, "127.0.0.1", 0) as started:
        other.url = f"http://localhost:{started.sockets[0].getsockname()[1]}/"
        for each in (server, other):
            await asyncio.gather(
                *(
                    client.send(Request(each.url), LONG_S, MOST)
                    for _ in range(lean_module.MOST_CONNECTIONS)
                )
            )
        await until(lambda: server.open + other.open <= lean_module.MOST_CONNECTIONS, 10, "room")


@pytest.mark.parametrize(("method", "times"), [("PUT", 2), ("GET", 2), ("POST", 1)])
async def test_closed_while_idle(
    client: LeanClient, server: Server, method: str, times: int
) -> None:
    """Where a kept connection is closed instead of an answer, what may be sent twice is, once."""

    async def once(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        if number:
            writer.transport.abort()
        else:
            writer.write(OK)

    server.say = once
    assert (await client.send(Request(server.url), LONG_S, MOST)).status == 200
    if times == 1:
        with pytest.raises(ConnectionLost):
            await client.send(Request(server.url, method=method), LONG_S, MOST)
    else:
        response = await client.send(Request(server.url, method=method), LONG_S, MOST)
        assert response.status == 200
    assert len(server.requests) == 1 + times


async def test_never_a_third_time(client: LeanClient, server: Server) -> None:
    """A server that closes every connection is not asked on and on."""

    async def once(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) > 1:
            writer.transport.abort()
        else:
            writer.write(OK)

    server.say = once
    await client.send(Request(server.url), LONG_S, MOST)
    with pytest.raises(ConnectionLost):
        await client.send(Request(server.url, method="PUT"), LONG_S, MOST)
    assert len(server.requests) == 3


async def test_servers_that_close_after_each_answer(client: LeanClient, server: Server) -> None:
    """A connection that ended after its answer, said or not, is not used for the next."""

    async def closing(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    server.say = closing
    for _ in range(40):
        assert (await client.send(Request(server.url, b"x"), LONG_S, MOST)).status == 200
        await until(lambda: server.open == 0, 10, "the server has closed it")
        await asyncio.sleep(0)  # the end of the connection is read in this turn
    assert len(server.requests) == 40


@pytest.mark.parametrize("careless", TABLE, ids=lambda careless: careless.name)
async def test_careless(client: LeanClient, server: Server, careless: Careless) -> None:
    """Over a real socket, each careless answer comes to what the table says, and ends there."""

    async def say(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(careless.said)
        if len(server.requests) == 1:
            writer.close()

    server.say = say
    request = Request(server.url, b"x")
    if careless.status is None:
        with pytest.raises((ConnectionLost, NotHttp)):
            await client.send(request, LONG_S, MOST)
        return
    response = await client.send(request, LONG_S, MOST)
    assert response.status == careless.status
    if careless.body is None:
        assert response.flaw
    else:
        assert (response.body, response.flaw) == (careless.body, "")


@pytest.mark.parametrize(
    "careless",
    [one for one in TABLE if one.status is not None and one.said.startswith(b"HTTP")],
    ids=lambda careless: careless.name,
)
async def test_careless_answers_leave_no_doubt(
    client: LeanClient, server: Server, careless: Careless
) -> None:
    """After an odd answer on a connection that stays open, the next request gets its own."""

    async def say(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(careless.said if b"first" in request else OK)

    server.say = say
    first = await client.send(Request(server.url, b"first"), 0.2, MOST)
    assert first.status == careless.status
    second = await client.send(Request(server.url, b"second"), LONG_S, MOST)
    assert (second.status, second.body) == (200, b"ok")


async def test_continue(client: LeanClient, server: Server) -> None:
    """An interim answer is passed over, whenever it comes."""

    async def say(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        writer.write(OK)

    server.say = say
    for _ in range(2):
        response = await client.send(Request(server.url, b"x"), LONG_S, MOST)
        assert (response.status, response.body) == (200, b"ok")
    assert server.connections == 1


async def test_an_answer_before_the_request_was_read(client: LeanClient) -> None:
    """A server that answers 413 to the head alone is understood, and its connection given up."""

    left: list[int] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        left.append(1)

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as started:
        url = f"http://localhost:{started.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            response = await client.send(Request(url, b"x" * 30_000_000), LONG_S, MOST)
            assert response.status == 413
        await until(lambda: len(left) == 2, 10, "both connections were given up")


async def test_time_is_over(client: LeanClient, server: Server) -> None:
    """Exchanges end at their own time, in any order, and those that are quicker are not touched."""

    server.is_silent = True
    loop = asyncio.get_running_loop()
    ends: list[float] = []

    async def ask(timeout_s: float) -> None:
        with pytest.raises(TooLate):
            await client.send(Request(server.url), timeout_s, MOST)
        ends.append(timeout_s)

    began = loop.time()
    await asyncio.gather(*(ask(timeout_s) for timeout_s in (0.3, 0.1, 0.2, 0.1)))
    assert ends == [0.1, 0.1, 0.2, 0.3]
    assert loop.time() - began >= 0.3
    await until(lambda: server.open == 0, 10, "all are closed")


async def test_a_slow_connection_is_late_too() -> None:
    """The time limit holds for connecting."""

    class Never(Loopback):
        async def connect(self, host: str, port: int) -> socket.socket:
            await asyncio.Event().wait()
            raise AssertionError

    client = LeanClient(Never())
    with pytest.raises(Unconnectable) as raised:
        await client.send(Request("http://h/"), 0.05, MOST)
    assert isinstance(raised.value.__cause__, TimeoutError)
    client.close()


async def test_tls(client: LeanClient) -> None:
    """TLS is spoken over the same connections, which are kept."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    made = Server()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context) as started:
        url = f"https://localhost.:{started.sockets[0].getsockname()[1]}/"
        for _ in range(3):
            assert (await client.send(Request(url, b"x" * 100_000), LONG_S, MOST)).body == b"ok"
        assert made.connections == 1
        client.close()
        await until(lambda: made.open == 0, 10, "the server knows that it is over")


async def test_closing_ends_what_waits(sockets: Loopback, server: Server) -> None:
    """A client that is closed leaves no exchange waiting and no connection open."""

    server.is_silent = True
    client = LeanClient(sockets)
    task = asyncio.create_task(client.send(Request(server.url), LONG_S, MOST))
    await until(lambda: bool(server.requests), 10, "it was asked")
    client.close()
    with pytest.raises(ConnectionLost):
        await task
    await until(lambda: server.open == 0, 10, "closed")
