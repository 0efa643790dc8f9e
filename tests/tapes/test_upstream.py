"""What passes between a destination and a real server, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from supervisor.tapes import upstream as upstream_module
from supervisor.tapes.server import Client, HangUp
from supervisor.tapes.tape import Answer, Call, packed
from supervisor.tapes.upstream import Kept, Upstream
from tests.harness.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: Has been said of an answer that goes on.
BEGUN = b"HTTP/1.1 202 Taken\r\nContent-Length: 9\r\n\r\nok"


class Sent(asyncio.WriteTransport):
    """A client's end of a connection: what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""
        self.data += data


class Partner:
    """A server that says one thing, and what it was asked; where it `stays`, it does not close."""

    def __init__(self, said: bytes, *, stays: bool = False) -> None:
        self.said = said
        self.stays = stays
        self.asked: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        with contextlib.suppress(ConnectionError):
            self.asked.append(await reader.read(100_000))
            writer.write(self.said)
            await writer.drain()
            if self.stays:
                await reader.read()
        writer.close()

    async def connect(self) -> socket.socket:
        """A connection to it."""
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return sock


Relayed = Callable[[Partner], Awaitable[Upstream]]


@pytest.fixture
def kept() -> Kept:
    """What is kept."""
    return Kept()


@pytest.fixture
async def relaying(kept: Kept) -> AsyncIterator[Relayed]:
    """Starts a server, and a relay that was handed a connection to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(partner: Partner) -> Upstream:
            server = await asyncio.start_server(partner.serve, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            partner.port = server.sockets[0].getsockname()[1]
            relay = await stack.enter_async_context(Upstream(ssl.create_default_context(), kept))
            relay.hand("api.example", 80, await partner.connect(), partner.connect)
            return relay

        yield start


def a_call(method: str = "POST", body: bytes = b"{}", **headers: str) -> tuple[Call, Client, Sent]:
    """A request for a server by that name, its client, and what the client is given."""
    sent = Sent()
    length = {"Content-Length": str(len(body))} if body else {}
    pairs = tuple((name.replace("_", "-"), value) for name, value in (length | headers).items())
    return Call(method, "http://api.example/a%2Fb?c=%2B", pairs, body), Client(sent, body), sent


async def test_bytes_are_passed_on_as_they_are(relaying: Relayed, kept: Kept) -> None:
    """The request's and the answer's, packed as they were; what is kept is unpacked."""
    said = b"HTTP/1.1 200 Ja\r\nX:  a\r\nContent-Encoding: gzip\r\n\r\n" + packed(b"ok")
    partner = Partner(said)
    relay = await relaying(partner)
    body = zlib.compress(b"{}")
    call, client, sent = a_call("PUT", body, Content_Encoding="deflate", x_Odd="\udcff")
    await relay.relay(call, client)
    head = (
        b"PUT /a%2Fb?c=%2B HTTP/1.1\r\nContent-Length: 10\r\n"
        b"Content-Encoding: deflate\r\nx-Odd: \xff\r\n\r\n"
    )
    assert partner.asked == [head + body]
    assert sent.data == said
    headers = (("X", "a"), ("Content-Encoding", "gzip"))
    assert kept.calls == [(call, Answer(200, "Ja", headers, b"ok"))]


async def test_one_connection_a_request(relaying: Relayed) -> None:
    """A client's connection lives on where the server's could, and each request gets a new one."""
    partner = Partner(OK)
    relay = await relaying(partner)
    for _ in range(3):
        call, client, sent = a_call("GET", b"")
        await relay.relay(call, client)
        assert (sent.data, client.stays) == (OK, True)
    assert partner.asked == [b"GET /a%2Fb?c=%2B HTTP/1.1\r\n\r\n"] * 3


async def test_a_body_without_its_length_gets_one(relaying: Relayed) -> None:
    """As a client sends that does not know it beforehand, or waits to be asked for it."""
    partner = Partner(OK)
    relay = await relaying(partner)
    call, client, _ = a_call("POST", b"", Transfer_Encoding="chunked", Expect="100-continue")
    client.body = b"{}"
    await relay.relay(call, client)
    assert partner.asked == [b"POST /a%2Fb?c=%2B HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"]


async def test_no_answer(relaying: Relayed, kept: Kept) -> None:
    """What is none is passed on as well, and the reason is kept."""
    for said, why in (
        (b"SSH-2.0-OpenSSH\r\n", "its answer is not HTTP; it begins with 'SSH-2.0-OpenSSH'"),
        (b"", "it closed the connection before it answered"),
    ):
        relay = await relaying(Partner(said))
        call, client, sent = a_call()
        with pytest.raises(HangUp, match=f"^{why}$"):
            await relay.relay(call, client)
        assert sent.data == said
        assert kept.calls[-1] == (call, why)


async def test_no_connection(relaying: Relayed, kept: Kept) -> None:
    """What cannot be reached any more, or was never asked for, is told with the reason."""
    partner = Partner(OK)
    relay = await relaying(partner)
    call, client, _ = a_call()
    await relay.relay(call, client)

    async def refused() -> socket.socket:
        raise ConnectionError("there is no such host name")

    relay.hand("api.example", 80, await partner.connect(), refused)
    await relay.relay(call, client)
    with pytest.raises(HangUp, match="ConnectionError: there is no such host name"):
        await relay.relay(call, client)
    for url in ("http://other.example/", "http://[/"):
        with pytest.raises(HangUp):
            await relay.relay(Call("GET", url), client)
    assert len(kept.calls) == 5
    assert len(kept.exchanges) == 2


async def test_answers_have_bounds(
    relaying: Relayed, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of time and of size: the status counts, and its body's flaw is told."""
    monkeypatch.setattr(upstream_module, "MAX_BODY", 1000)
    relay = await relaying(Partner(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, stays=True))
    call, client, _ = a_call()
    await relay.relay(call, client)
    (large,) = kept.exchanges
    assert (large.answer.status, len(large.answer.body)) == (200, 1000)
    assert large.answer.flaw == "larger than 1000 bytes"
    assert not client.stays
    monkeypatch.setattr(upstream_module, "_ANSWER_S", 0.2)
    relay = await relaying(Partner(BEGUN, stays=True))
    await relay.relay(call, client)
    assert kept.exchanges[1].answer.flaw == "not finished within 0.2 s"
    relay = await relaying(Partner(b"", stays=True))
    with pytest.raises(HangUp, match=r"^not finished within 0.2 s$"):
        await relay.relay(call, client)


@pytest.mark.parametrize(
    ("said", "has_answer"), [(BEGUN, True), (b"HTTP/1.1 200 O", True), (b"HTTP/1.1 2", False)]
)
async def test_a_client_that_leaves(
    relaying: Relayed, kept: Kept, said: bytes, has_answer: bool
) -> None:
    """It has what it was given: where the status counts for it, the answer is kept."""
    relay = await relaying(Partner(said, stays=True))
    call, client, sent = a_call()
    passing = asyncio.create_task(relay.relay(call, client))
    await until(lambda: sent.data == said, 10, "it was given")
    passing.cancel()
    await asyncio.wait([passing])
    assert passing.cancelled() is not has_answer
    answer = kept.calls[-1][1]
    if has_answer:
        assert isinstance(answer, Answer)
        assert answer.flaw == "not read to its end"
    else:
        assert answer == "no answer was waited for"
