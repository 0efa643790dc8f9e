"""Names: asked once, remembered within bounds, and no bad one is in the way of others."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from supervisor.egress import names
from supervisor.egress.names import Overloaded, Resolver, Unresolved
from tests.harness.dns import NameServer
from tests.harness.waiting import until

A, B = (ipaddress.ip_address(text) for text in ("192.0.2.7", "192.0.2.8"))
V6 = ipaddress.ip_address("2001:db8::1")


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


Start = Callable[[NameServer], Awaitable[tuple[Resolver, Clock]]]


@pytest.fixture
async def resolver() -> AsyncIterator[Start]:
    """Starts a name server, and a resolver that asks it."""
    made: list[tuple[Resolver, NameServer]] = []

    async def start(server: NameServer) -> tuple[Resolver, Clock]:
        clock = Clock()
        one = Resolver([await server.start()], clock)
        made.append((one, server))
        return one, clock

    yield start
    for one, server in made:
        await one.close()
        await server.stop()


async def test_addresses_of_both_families(resolver: Start) -> None:
    """A name has its IPv4 and IPv6 addresses, and localhost those of /etc/hosts."""
    one, _ = await resolver(NameServer({"a.example": [[str(A), str(V6)]]}))
    assert set(await one.addresses("a.example")) == {A, V6}
    assert ipaddress.ip_address("127.0.0.1") in await one.addresses("localhost")


async def test_mapped_answers_are_what_they_lead_to(resolver: Start) -> None:
    """An IPv6 answer that only wraps an IPv4 address is that address."""
    one, _ = await resolver(NameServer({"a.example": [["::ffff:127.0.0.1"]]}))
    assert list(await one.addresses("a.example")) == [ipaddress.ip_address("127.0.0.1")]


async def test_one_query_for_many_askers(resolver: Start) -> None:
    """However many ask at once, the name server is asked once, and not again while it holds."""
    server = NameServer({"a.example": [[str(A)]]})
    one, clock = await resolver(server)
    await asyncio.gather(*(one.addresses("a.example") for _ in range(100)))
    clock.now = server.ttl_s - 1
    await one.addresses("a.example")
    assert server.asked["a.example"] == 1


@pytest.mark.parametrize("by_reload", [False, True])
async def test_name_servers_that_change(tmp_path: Path, by_reload: bool) -> None:
    """A file that names other servers is followed, by a look or a reload, replaced or rewritten."""
    old, new = NameServer({"a.example": [[str(A)]]}), NameServer({"a.example": [[str(B)]]})
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {await old.start()}\n")
    clock = Clock()
    one = Resolver((), clock, str(conf))
    assert list(await one.addresses("a.example")) == [A]
    there = await new.start()
    conf.unlink()  # for a moment there is none
    clock.now = names.LOOK_EVERY_S
    assert list(await one.addresses("a.example")) == [A]
    conf.write_text(f"nameserver {there}\n")
    assert list(await one.addresses("a.example")) == [A]
    if by_reload:
        one.follow()
    else:
        clock.now = 2 * names.LOOK_EVERY_S
    assert list(await one.addresses("a.example")) == [B]
    assert old.asked["a.example"] == 1
    await one.close()
    await old.stop()
    await new.stop()


async def test_a_look_up_under_way_ends_where_it_began(tmp_path: Path) -> None:
    """Who asked the old name servers hears their answer; who asks after the change, the new one."""
    old = NameServer({"a.example": [[str(A)]]}, silent={"a.example"})
    new = NameServer({"a.example": [[str(B)]]})
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {await old.start()}\n")
    one = Resolver((), Clock(), str(conf))
    first = asyncio.create_task(one.addresses("a.example"))
    await until(lambda: old.asked["a.example"] == 1, 10, "the old one is asked")
    conf.write_text(f"nameserver {await new.start()}\n")
    one.follow()
    assert list(await one.addresses("a.example")) == [B]
    old.silent.clear()
    assert list(await first) == [A]
    assert list(await one.addresses("a.example")) == [B]
    await one.close()
    await old.stop()
    await new.stop()


async def test_answers_end_with_their_ttl(resolver: Start) -> None:
    """A name that moves is found where it is, once its TTL is over and not before."""
    one, clock = await resolver(NameServer({"a.example": [[str(A)], [str(B)]]}, ttl_s=0))
    assert list(await one.addresses("a.example")) == [A]
    clock.now = names.LEAST_TTL_S / 2
    assert list(await one.addresses("a.example")) == [A]
    clock.now = names.LEAST_TTL_S * 2
    assert list(await one.addresses("a.example")) == [B]


@pytest.mark.parametrize(
    ("name", "reason"), [("no.example", "there is no such host name"), ("bad.example", "SERVFAIL")]
)
async def test_failures_have_reasons(resolver: Start, name: str, reason: str) -> None:
    """A name without addresses is told with what the name server said."""
    one, _ = await resolver(NameServer(failing={"bad.example"}))
    with pytest.raises(Unresolved, match=reason):
        await one.addresses(name)


async def test_silence_delays_nobody_else(resolver: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a name server is silent about some names, others are answered at once."""
    monkeypatch.setattr(names, "LOOKUP_S", 2.5)
    silent = {f"silent-{n}.example" for n in range(40)}
    one, _ = await resolver(NameServer({"a.example": [[str(A)]]}, silent=silent))
    waiting = [asyncio.ensure_future(one.addresses(name)) for name in silent]
    await asyncio.sleep(0)
    assert list(await one.addresses("a.example")) == [A]
    assert not any(task.done() for task in waiting)
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert "no name server answered in time" in str(error)


async def test_one_that_gives_up_takes_it_from_nobody(resolver: Start) -> None:
    """An asker that is cancelled leaves the answer to the others."""
    one, _ = await resolver(NameServer({"a.example": [[str(A)]]}))
    first = asyncio.ensure_future(one.addresses("a.example"))
    second = asyncio.ensure_future(one.addresses("a.example"))
    await asyncio.sleep(0)
    first.cancel()
    assert list(await second) == [A]


async def test_old_answers_bridge_an_outage(resolver: Start) -> None:
    """While name servers fail, the last answer is used a while longer; "no such name" ends it."""
    server = NameServer({"a.example": [[str(A)]]}, ttl_s=0)
    one, clock = await resolver(server)
    await one.addresses("a.example")
    server.failing.add("a.example")
    clock.now = 60.0
    assert list(await one.addresses("a.example")) == [A]
    clock.now = names.LEAST_TTL_S + names.STALE_S + 1
    with pytest.raises(Unresolved, match="SERVFAIL"):
        await one.addresses("a.example")
    server.failing.clear()
    clock.now += 10.0
    assert list(await one.addresses("a.example")) == [A]
    server.zone.clear()
    clock.now += 10.0
    with pytest.raises(Unresolved, match="no such host name"):
        await one.addresses("a.example")


async def test_memory_is_bounded(resolver: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names past the bound are forgotten, the oldest first; look-ups past theirs are refused."""
    monkeypatch.setattr(names, "MOST_NAMES", 10)
    monkeypatch.setattr(names, "MOST_LOOKUPS", 20)
    server = NameServer({f"n{n}.example": [[str(A)]] for n in range(20)}, ttl_s=0)
    one, _ = await resolver(server)
    for n in range(20):
        await one.addresses(f"n{n}.example")
    await one.addresses("n19.example")
    await one.addresses("n0.example")
    assert (server.asked["n19.example"], server.asked["n0.example"]) == (1, 2)
    answers = await asyncio.gather(
        *(one.addresses(f"x{n}.example") for n in range(25)), return_exceptions=True
    )
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 5
