"""One port that stands in for all servers."""

from __future__ import annotations

import asyncio
import io
import random
import ssl
from datetime import UTC, datetime

import aiohttp
import pytest

from supervisor.tapes.authority import Authority
from supervisor.tapes.faults import Faults, parse
from supervisor.tapes.player import Player
from supervisor.tapes.server import Server
from supervisor.tapes.tape import About, Answer, Call, Exchange, Tape, packed

ABOUT = About(destination="x", provenance="doc", at=datetime(2026, 1, 1, tzinfo=UTC))
CALL = Call("POST", "https://api.example.com/in", (), b'{"a":1}')
TAPE = Tape(ABOUT, (Exchange(CALL, Answer(202, "Taken", (("X-Is", "here"),), b"done")),))


class Listening:
    """Answers everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.refuses = False

    async def answer(self, call: Call) -> Answer:
        self.calls.append(call)
        return Answer(200, "OK", (), b"heard")

    async def connect(self, host: str, port: int) -> Answer | None:
        return Answer(403, "Not There", (), b"no") if self.refuses else None


async def test_https_through_the_proxy(
    authority: Authority, trust: ssl.SSLContext, http: aiohttp.ClientSession
) -> None:
    """A client that has it as its proxy reaches any host by TLS, whose certificate it trusts."""
    async with (
        Server(Player([TAPE]), authority) as server,
        http.post(
            "https://api.example.com/in",
            json={"a": 1},
            proxy=f"http://127.0.0.1:{server.port}",
            ssl=trust,
        ) as answer,
    ):
        assert (answer.status, answer.reason) == (202, "Taken")
        assert answer.headers["X-Is"] == "here"
        assert await answer.read() == b"done"


async def test_url_of_each_way(
    authority: Authority, trust: ssl.SSLContext, http: aiohttp.ClientSession
) -> None:
    """What is asked has its whole URL, by whichever way it came."""
    heard = Listening()
    async with Server(heard, authority) as server:
        proxy = f"http://127.0.0.1:{server.port}"
        here = f"127.0.0.1:{server.port}"
        async with http.get("http://plain.example.com:81/a?b=%20", proxy=proxy) as answer:
            assert answer.status == 200
        async with http.get("https://tls.example.com:444/a", proxy=proxy, ssl=trust) as answer:
            assert answer.status == 200
        async with http.get(f"http://{here}/direct") as answer:
            assert answer.status == 200
        async with http.get(
            f"https://{here}/direct",
            ssl=trust,
            server_hostname="sni.example.com",
            headers={"Host": "sni.example.com"},
        ) as answer:
            assert answer.status == 200
    assert [call.url for call in heard.calls] == [
        "http://plain.example.com:81/a?b=%20",
        "https://tls.example.com:444/a",
        f"http://{here}/direct",
        "https://sni.example.com/direct",
    ]


async def test_kept_alive(authority: Authority, trust: ssl.SSLContext) -> None:
    """One connection carries many requests, a tunnel as well."""
    heard = Listening()
    async with (
        Server(heard, authority) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
    ):
        proxy = f"http://127.0.0.1:{server.port}"
        for _ in range(20):
            async with http.post("https://a.example/", data=b"x", proxy=proxy, ssl=trust) as got:
                assert await got.read() == b"heard"
        assert len(heard.calls) == 20


async def test_tunnel_refused(
    authority: Authority, trust: ssl.SSLContext, http: aiohttp.ClientSession
) -> None:
    """A tunnel that is not granted is refused with the reason."""
    heard = Listening()
    heard.refuses = True
    async with Server(heard, authority) as server:
        with pytest.raises(aiohttp.ClientHttpProxyError, match="Not There"):
            await http.get("https://a.example/", proxy=f"http://127.0.0.1:{server.port}", ssl=trust)


async def test_bodies_are_unpacked(authority: Authority, http: aiohttp.ClientSession) -> None:
    """A packed body is matched by what is in it; one that is not what it says is refused."""
    async with Server(Player([TAPE]), authority) as server:
        url = f"http://127.0.0.1:{server.port}/in"
        headers = {"Content-Encoding": "gzip"}
        async with http.post(url, data=packed(b'{"a":1}'), headers=headers) as answer:
            assert answer.status == 202
        async with http.post(url, data=b"x", headers=headers) as answer:
            assert answer.status == 400


async def test_requests_are_taken_whole(authority: Authority, http: aiohttp.ClientSession) -> None:
    """A body that comes in many pieces, and headers as long as tokens become."""
    heard = Listening()
    async with Server(heard, authority) as server:
        url = f"http://127.0.0.1:{server.port}/{'u' * 20_000}"
        body = bytes(range(256)) * 20_000
        headers = {"Authorization": "t" * 100_000, **{f"X-{n}": "a" for n in range(300)}}
        async with http.post(url, data=io.BytesIO(body), headers=headers) as answer:
            assert answer.status == 200
    (call,) = heard.calls
    assert call.body == body
    assert call.header("Authorization") == "t" * 100_000
    assert call.url == url


async def test_what_careless_servers_said_is_played(
    authority: Authority, http: aiohttp.ClientSession
) -> None:
    """A tape holds what was said; what HTTP cannot carry of it is left out, and no more."""
    headers = (("X-Is", "a\x00\n\x7fb"), ("Odd Name", "c"), ("Größe", "d"), ("X-Ü", "ü"))
    tape = Tape(ABOUT, (Exchange(CALL, Answer(299, "Ja, ü", headers, b"done")),))
    async with (
        Server(Player([tape]), authority) as server,
        http.post(f"http://127.0.0.1:{server.port}/in", json={"a": 1}) as answer,
    ):
        assert (answer.status, answer.headers["X-Is"]) == (299, "a   b")
        assert not {"Odd Name", "Größe", "X-Ü"} & set(answer.headers)
        assert await answer.read() == b"done"


async def test_not_on_tape(authority: Authority, http: aiohttp.ClientSession) -> None:
    """What no tape has is answered with what it was, and never with a success."""
    player = Player([TAPE])
    async with (
        Server(player, authority) as server,
        http.post(f"http://127.0.0.1:{server.port}/out?token=t") as answer,
    ):
        assert answer.status == 501
        assert await answer.text() == "no tape has POST 127.0.0.1/out\n"
    assert (player.played, player.unknown) == (0, 1)


async def test_faults(authority: Authority, http: aiohttp.ClientSession) -> None:
    """Each fault looks like the real one: 429 with its wait, 500, a cut answer, or none."""
    rules = [parse("429=1/2"), parse("500=1/3"), parse("cut=1/5"), parse("hang=1/7")]
    player = Player([TAPE], Faults(rules, (0, 0), random.Random(1)), retry_after_s=7)
    async with Server(player, authority) as server:
        seen: list[object] = []
        for _ in range(7):
            try:
                async with http.post(
                    f"http://127.0.0.1:{server.port}/in",
                    data=b"{}",
                    timeout=aiohttp.ClientTimeout(total=1.0),
                ) as answer:
                    await answer.read()
                    seen.append((answer.status, answer.headers.get("Retry-After")))
            except aiohttp.ClientPayloadError:
                seen.append("cut")
            except TimeoutError:
                seen.append("hang")
    throttled = (429, "7")
    assert seen == [(202, None), throttled, (500, None), throttled, "cut", throttled, "hang"]


@pytest.mark.parametrize(
    "said", [b"", b"\x16", b"CONNECT", b"CONNECT x\r\n\r\n", b"CONNECT a:0x HTTP/1.1\r\n\r\n", b"?"]
)
async def test_strangers(authority: Authority, http: aiohttp.ClientSession, said: bytes) -> None:
    """Whatever connects, others are answered."""
    async with Server(Listening(), authority) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(said)
        if said:
            await writer.drain()
        if len(said) < 2:
            writer.write_eof()
        async with http.get(f"http://127.0.0.1:{server.port}/") as answer:
            assert answer.status == 200
        writer.close()
    assert await reader.read() is not None
