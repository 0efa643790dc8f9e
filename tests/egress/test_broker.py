"""The whole way of a worker's connection, from its HTTP session to the server."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web

from sandbox import protocol
from sandbox.protocol import Abandon, Connect, ProtocolError, Taken
from supervisor.egress import broker as broker_module
from supervisor.egress.broker import MOST_UNREAD
from supervisor.egress.names import Resolver
from supervisor.workers.resources import procfs
from tests.egress.conftest import Book, MakeBoth, Serve, egress_policy
from tests.harness.dns import NameServer
from tests.harness.ports import free_port
from tests.harness.proxy import ConnectProxy
from tests.harness.waiting import until


async def hello(request: web.Request) -> web.Response:
    """Says who is connected: the client's port tells connections apart."""
    assert request.transport is not None
    return web.Response(text=str(request.transport.get_extra_info("peername")[1]))


def open_sockets() -> int:
    gc.collect()
    found = (Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
    return sum(link.is_symlink() and os.readlink(link).startswith("socket:") for link in found)


@pytest.fixture
def ca() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture
def trusting(ca: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts it."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def certified(ca: trustme.CA, name: str) -> ssl.SSLContext:
    """A server's context with a certificate for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context


# --- connecting -----------------------------------------------------------------------------


async def test_kept_alive_as_by_aiohttp_itself(both: MakeBoth, serve: Serve) -> None:
    """Requests one after the other share a connection; many at once have one each, and reuse it."""
    port = await serve(hello)
    pair = both(egress_policy(f"127.0.0.1:{port}", allow=[f"127.0.0.1:{port}"]))
    http = pair.session()

    async def get() -> str:
        async with http.get(f"http://127.0.0.1:{port}/") as answer:
            return await answer.text()

    assert len({await get() for _ in range(20)}) == 1
    assert len(set(await asyncio.gather(*(get() for _ in range(10))))) <= 10
    await asyncio.gather(*(get() for _ in range(10)))
    assert pair.counted["c", "connected"] <= 10


async def test_many_connections_at_once(both: MakeBoth, serve: Serve) -> None:
    """More are asked for than a worker may have unanswered: they wait, and all are made."""
    port = await serve(hello)
    pair = both(egress_policy(f"127.0.0.1:{port}", allow=[f"127.0.0.1:{port}"]))
    http = pair.session()

    async def get() -> int:
        headers = {"Connection": "close"}
        async with http.get(f"http://127.0.0.1:{port}/", headers=headers) as answer:
            return answer.status

    assert set(await asyncio.gather(*(get() for _ in range(400)))) == {200}
    assert pair.counted["c", "connected"] == 400
    assert not pair.broken


@pytest.mark.parametrize("answers", [["2001:db8::1", "127.0.0.1"], ["127.0.0.2", "127.0.0.1"]])
async def test_next_address(both: MakeBoth, serve: Serve, answers: list[str]) -> None:
    """Where the first address leads nowhere, the next one is tried."""
    port = await serve(hello)
    pair = both(
        egress_policy(f"a.example:{port}", network="any", allow=["127.0.0.0/8"]),
        names=Book({"a.example": answers}),
    )
    async with pair.session().get(f"http://a.example:{port}/") as answer:
        assert answer.status == 200


async def test_tls_is_checked_in_the_worker(
    both: MakeBoth, serve: Serve, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """A certificate of a trusted authority for this very name is good, and no other is."""
    port = await serve(hello, certified(ca, "a.example"))
    where = egress_policy(f"*.example:{port}", allow=["127.0.0.0/8"])
    names = Book({"a.example": ["127.0.0.1"], "b.example": ["127.0.0.1"]})
    good = both(where, names=names, tls=trusting)
    async with good.session().get(f"https://a.example:{port}/") as answer:
        assert answer.status == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match=r"b\.example"):
        await good.session().get(f"https://b.example:{port}/")
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="certificate verify failed"):
        await both(where, names=names).session().get(f"https://a.example:{port}/")


async def test_errors_are_those_of_aiohttp(both: MakeBoth) -> None:
    """A destination sees the exceptions that it would see with sockets of its own."""
    place = f"127.0.0.1:{free_port()}"
    pair = both(egress_policy(place, allow=[place]))
    http = pair.session()
    with pytest.raises(aiohttp.ClientConnectorError, match="Connection refused") as refused:
        await http.get(f"http://{place}/")
    assert isinstance(refused.value.os_error, ConnectionRefusedError)
    pair = both(egress_policy("no.example"))
    with pytest.raises(aiohttp.ClientConnectorDNSError, match="there is no such host name"):
        await pair.session().get("https://no.example/")


async def test_slow_connects_time_out(both: MakeBoth, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connect that takes too long is the time-out that aiohttp has for it, whoever watches."""

    class Never:
        async def addresses(self, name: str) -> list[None]:
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr(broker_module, "ANSWER_S", 0.05)
    pair = both(egress_policy("a.example"), names=Never())
    with pytest.raises(aiohttp.ConnectionTimeoutError):
        await pair.session().get("https://a.example/")
    assert pair.counted == {("c", "timed_out"): 1}
    monkeypatch.setattr(broker_module, "ANSWER_S", 60.0)
    timeout = aiohttp.ClientTimeout(sock_connect=0.05)
    with pytest.raises(aiohttp.ConnectionTimeoutError):
        await pair.session().get("https://a.example/", timeout=timeout)
    await until(lambda: pair.counted["c", "abandoned"] == 1, 10, "the request is given up")


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://{0}/", "http://localhost:{1}/", "http://[::ffff:127.0.0.1]:{1}/",
        "http://[::1]:{1}/", "http://mapped.example:{1}/", "http://private.example:{1}/",
        "http://undeclared.example/",
    ],
)  # fmt: skip
async def test_refused(both: MakeBoth, serve: Serve, url: str) -> None:
    """What the config does not open is refused, however it is written or resolved."""
    port = await serve(hello)
    pair = both(
        egress_policy("*.example:" + str(port), "localhost:" + str(port)),
        names=Book(
            {
                "localhost": ["127.0.0.1", "::1"],
                "mapped.example": ["::ffff:127.0.0.1"],
                "private.example": ["10.0.0.1", "169.254.169.254"],
            }
        ),
    )
    with pytest.raises(aiohttp.ClientConnectorError, match="egress refused: ") as error:
        await pair.session().get(url.format(f"127.0.0.1:{port}", port))
    assert isinstance(error.value.os_error, PermissionError)
    assert pair.counted["c", "refused"] == 1
    assert pair.broker.refusals["c"].last.startswith("egress refused: ")


async def test_redirects_are_asked_for_like_anything_else(both: MakeBoth, serve: Serve) -> None:
    """A redirect that a destination follows leads nowhere that it may not go itself."""
    inside = await serve(hello)

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.1:{inside}/")

    port = await serve(away)
    pair = both(egress_policy(f"127.0.0.1:{port}", allow=[f"127.0.0.1:{port}"]))
    with pytest.raises(aiohttp.ClientConnectorError, match="egress refused"):
        await pair.session().get(f"http://127.0.0.1:{port}/")


async def test_rebinding(both: MakeBoth, serve: Serve) -> None:
    """A name that is public when it is judged and private when it is connected to is not reached.

    The answer that was judged is the one that is connected to, and the next one is judged anew.
    """
    port = await serve(hello)
    server = NameServer({"a.example": [["192.0.2.1", "127.0.0.1"], ["127.0.0.1"]]}, ttl_s=0)
    resolver = Resolver([await server.start()])
    try:
        pair = both(egress_policy(f"a.example:{port}"), names=resolver)
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectorError, match="egress refused"):
                await pair.session().get(f"http://a.example:{port}/")
            pair.egress._refused.clear()
        assert pair.counted == {("c", "refused"): 3}
    finally:
        await resolver.close()
        await server.stop()


async def test_own_ports(both: MakeBoth, serve: Serve) -> None:
    """A block of addresses does not open the service's own ports, on any of this machine's."""
    port = await serve(hello)
    pair = both(egress_policy(network="any", allow=["127.0.0.0/8"]))
    pair.broker.follow(None, {port})
    for host in ("127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"):  # noqa: S104 - asked, not bound
        with pytest.raises(aiohttp.ClientConnectorError, match="this service itself"):
            await pair.session().get(f"http://{host}:{port}/")


async def test_repeated_refusals_are_not_asked_again(both: MakeBoth) -> None:
    """A batch of events for a host that is not declared costs the supervisor one question."""
    pair = both(egress_policy("a.example"))
    http = pair.session()
    for _ in range(50):
        with pytest.raises(aiohttp.ClientConnectorError, match="not declared"):
            await http.get("http://b.example/")
    assert pair.counted["c", "refused"] == 1


# --- a worker that is hostile ---------------------------------------------------------------


async def test_asking_on_and_on_ends_the_worker(both: MakeBoth) -> None:
    """A worker that goes on asking for what it may not reach is ended for it."""
    pair = both(egress_policy("a.example"))
    # Some are forgiven meanwhile, on a busy machine more.
    for number in range(4 * int(broker_module.MOST_REFUSALS)):
        pair.egress_session.said(Connect(number, "c", f"h{number}.evil.net", 443))
        if not number % 32:
            await until(lambda: not pair.egress_session._errands, 10, "all are answered")
        if pair.condemned:
            break
    assert "may not reach" in pair.condemned[0]


@pytest.mark.parametrize(
    "messages",
    [
        [Connect(1, "not mine", "a.example", 443)],
        [Connect(1, "c", "a.example", 443), Connect(1, "c", "a.example", 443)],
        [Connect(2, "c", "a.example", 443), Connect(1, "c", "a.example", 443)],
        [Taken(7)],
        [Connect(1, "c", "a.example", 443), Taken(1)],
        [Connect(n, "c", "a.example", 443) for n in range(protocol.MAX_ASKED_PER_CONNECTION + 1)],
    ],
    ids=["foreign", "twice", "backwards", "took nothing", "took too early", "too many"],
)
async def test_out_of_turn(both: MakeBoth, messages: list[Connect | Taken | Abandon]) -> None:
    """What no honest worker says is a breach of protocol."""
    pair = both(egress_policy("a.example"))
    *before, last = messages
    for message in before:
        pair.egress_session.said(message)
    with pytest.raises(ProtocolError):
        pair.egress_session.said(last)


async def test_unread_descriptors_are_few(both: MakeBoth, serve: Serve) -> None:
    """A worker that reads nothing has few descriptors on their way, and the rest are closed."""
    port = await serve(hello)
    pair = both(egress_policy(f"127.0.0.1:{port}", allow=[f"127.0.0.1:{port}"]))
    sent: list[object] = []

    def swallow(message: object, sock: object) -> None:
        sent.append(sock)
        sock.close()  # type: ignore[attr-defined]  # a socket in all of these

    pair.egress_session._send = swallow
    for number in range(40):
        pair.egress_session.said(Connect(number, "c", "127.0.0.1", port))
    await until(lambda: pair.counted["c", "connected"] == 40, 10, "all are connected")
    assert len(sent) == MOST_UNREAD
    for number in range(MOST_UNREAD):
        pair.egress_session.said(Taken(number))
    assert len(sent) == 2 * MOST_UNREAD
    pair.egress_session.close()


async def test_too_many_connects_at_once(both: MakeBoth) -> None:
    """Past its own limit the supervisor says so, and goes on."""

    class Never:
        async def addresses(self, name: str) -> list[None]:
            await asyncio.Event().wait()
            return []

    pair = both(egress_policy("a.example"), names=Never(), most_connecting=2)
    http = pair.session()
    waiting = [asyncio.ensure_future(http.get("https://a.example/")) for _ in range(2)]
    await until(lambda: pair.broker._connecting == 2, 10, "both are under way")
    with pytest.raises(aiohttp.ClientConnectorError, match="being made already"):
        await http.get("https://a.example/")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await until(lambda: pair.broker._connecting == 0, 10, "both are given up")


# --- nothing leaks --------------------------------------------------------------------------


async def test_lost_descriptors_are_told(both: MakeBoth, serve: Serve) -> None:
    """A worker that is at its limit of open files is told so, and asks again with success."""
    port = await serve(hello)
    pair = both(egress_policy(f"127.0.0.1:{port}", allow=[f"127.0.0.1:{port}"]))
    http = pair.session()
    pair.lose_descriptors = True
    for _ in range(200):
        with pytest.raises(aiohttp.ClientConnectorError, match="Too many open files"):
            await http.get(f"http://127.0.0.1:{port}/")
    pair.lose_descriptors = False
    async with http.get(f"http://127.0.0.1:{port}/") as answer:
        assert answer.status == 200


async def test_no_descriptor_outlives_its_worker(both: MakeBoth, serve: Serve) -> None:
    """A worker that goes in the middle of its connects leaves none of them behind."""
    port = await serve(hello)
    before = open_sockets()
    for moment in range(8):
        pair = both(
            egress_policy(f"a.example:{port}", allow=["127.0.0.0/8"]),
            names=Book({"a.example": ["127.0.0.1", "127.0.0.2"]}),
        )
        asking = [
            asyncio.ensure_future(pair.egress.connect("c", "a.example", port)) for _ in range(30)
        ]
        for _ in range(moment):
            await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await pair.close()
    await until(lambda: open_sockets() <= before, 10, "no socket is left")


# --- proxies --------------------------------------------------------------------------------


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    """A proxy that asks for a password."""
    one = ConnectProxy(authorization="Basic dXNlcjpwQHNz")  # user:p@ss
    await one.start()
    yield one
    await one.stop()


async def test_through_a_proxy(
    both: MakeBoth,
    serve: Serve,
    proxy: ConnectProxy,
    ca: trustme.CA,
    trusting: ssl.SSLContext,
) -> None:
    """All goes through the proxy, by name and with its password, and TLS ends in the worker."""
    proxy.hosts = {"a.example:443": await serve(hello, certified(ca, "a.example"))}
    pair = both(egress_policy("a.example"), tls=trusting)
    pair.broker.follow(f"http://user:p%40ss@127.0.0.1:{proxy.port}", ())
    http = pair.session()
    ports = set()
    for _ in range(3):
        async with http.get("https://a.example/") as answer:
            ports.add(await answer.text())
    assert len(ports) == 1
    assert proxy.asked == [("a.example:443", proxy.authorization)]
    with pytest.raises(aiohttp.ClientConnectorError, match="not declared"):
        await http.get("https://b.example/")
    with pytest.raises(aiohttp.ClientConnectorError, match="not declared"):
        await http.get(f"http://127.0.0.1:{proxy.port}/")
    assert len(proxy.asked) == 1


async def test_what_a_proxy_may_answer(both: MakeBoth, proxy: ConnectProxy) -> None:
    """A proxy's refusal is told as it said it, with what to do about a password."""
    pair = both(egress_policy("a.example"))
    pair.broker.follow(f"http://127.0.0.1:{proxy.port}", ())
    with pytest.raises(aiohttp.ClientConnectorError, match=r"407 .*sandbox\.proxy"):
        await pair.session().get("https://a.example/")
    pair.broker.follow(f"http://user:p%40ss@127.0.0.1:{proxy.port}", ())
    with pytest.raises(aiohttp.ClientConnectorError, match="502 Bad Gateway"):
        await pair.session().get("https://a.example/")
    await proxy.stop()
    with pytest.raises(aiohttp.ClientConnectorError, match=r"the proxy 127.0.0.1:\d+: Connection"):
        await pair.session().get("https://a.example/")


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"\r\n\r\n", b"x" * 20_000,
     b"HTTP/1.1 200 OK\r\n\r\nmore"],
)  # fmt: skip
async def test_proxies_that_are_none(
    both: MakeBoth, serve: Serve, proxy: ConnectProxy, answer: bytes
) -> None:
    """What is no answer to CONNECT ends the attempt, not the supervisor."""
    proxy.authorization = None
    proxy.hosts = {"a.example:443": await serve(hello)}
    proxy.answer = answer + (b"" if answer else b"\r\n")
    pair = both(egress_policy("a.example"))
    pair.broker.follow(f"http://127.0.0.1:{proxy.port}", ())
    broken = aiohttp.ClientConnectorError
    request = asyncio.ensure_future(pair.session().get("https://a.example/"))
    if not answer:
        await until(lambda: bool(proxy.asked), 10, "the proxy is asked")
        await proxy.stop()  # it closes without an answer
    with pytest.raises(broken, match="proxy"):
        await request


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.0 200 OK\n\n", b"http/1.1  200\r\n\r\n", b"HTTP/2 299 \xff\r\nno header\n\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"a" * 60_000 + b"\r\n\r\n"],
)  # fmt: skip
async def test_careless_proxies_that_connect(
    both: MakeBoth,
    serve: Serve,
    proxy: ConnectProxy,
    ca: trustme.CA,
    trusting: ssl.SSLContext,
    answer: bytes,
) -> None:
    """Where the status was read, it counts."""
    proxy.authorization = None
    proxy.hosts = {"a.example:443": await serve(hello, certified(ca, "a.example"))}
    proxy.answer = answer
    pair = both(egress_policy("a.example"), tls=trusting)
    pair.broker.follow(f"http://127.0.0.1:{proxy.port}", ())
    async with pair.session().get("https://a.example/") as said:
        assert said.status == 200


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 403 Not you\n\n<html>", b"HTTP/1.1 403 Not you", b"HTTP/1.1 403 Not you\r\n"],
)
async def test_careless_proxies_that_refuse(both: MakeBoth, answer: bytes) -> None:
    """A refusal is told as it was said, however it ends."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        pair = both(egress_policy("a.example"))
        pair.broker.follow(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ())
        with pytest.raises(aiohttp.ClientConnectorError, match="the proxy answered 403 Not you"):
            await pair.session().get("https://a.example/")


async def test_loopback_is_no_proxys_business(
    both: MakeBoth, serve: Serve, proxy: ConnectProxy
) -> None:
    """What is allowed on this machine is connected to here: at the proxy it is something else."""
    port = await serve(hello)
    pair = both(egress_policy(f"127.0.0.1:{port}", allow=[f"127.0.0.1:{port}"]))
    pair.broker.follow(f"http://user:p%40ss@127.0.0.1:{proxy.port}", ())
    async with pair.session().get(f"http://127.0.0.1:{port}/") as answer:
        assert answer.status == 200
    assert not proxy.asked


async def test_what_a_worker_took_is_known_by_its_inode(both: MakeBoth, serve: Serve) -> None:
    """So the kernel can be asked what it still has open; what it gave back is not among that."""
    port = await serve(hello)
    pair = both(egress_policy(f"127.0.0.1:{port}", allow=[f"127.0.0.1:{port}"]))
    http = pair.session()
    async with http.get(f"http://127.0.0.1:{port}/") as answer:
        await answer.read()
        given = dict(pair.egress_session.given)
        assert list(given.values()) == ["c"]
        held = procfs.open_sockets(os.getpid())
        assert held is not None
        assert given.keys() <= held
        assert given.keys() <= procfs.tcp_sockets()
    await http.close()
    await until(
        lambda: not given.keys() & (procfs.open_sockets(os.getpid()) or set()), 10, "it is closed"
    )
