"""Tokens are fetched once, shared, renewed in time, and never shown."""

from __future__ import annotations

import asyncio

import pytest

from destinations.kit import Delivered, Failed, Outcome, Response, Retry
from destinations.kit.tokens import Token, TokenSource


class Vendor:
    """Gives tokens `t1`, `t2` and so on, once `open` is set; counts what it is asked."""

    def __init__(self, lifetime_s: float | None = None) -> None:
        self.lifetime_s = lifetime_s
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.refusal: Outcome | None = None

    async def fetch(self) -> Token | Outcome:
        self.asked += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.refusal or Token(f"t{self.asked}", self.lifetime_s)


async def test_fetched_once_for_all() -> None:
    """Whoever asks while a token is fetched waits for that one, and it is kept."""
    vendor = Vendor()
    vendor.open.clear()
    source = TokenSource(vendor.fetch)
    waiting = [asyncio.create_task(source.get()) for _ in range(5)]
    await asyncio.sleep(0)
    vendor.open.set()
    assert await asyncio.gather(*waiting) == [Token("t1")] * 5
    assert await source.get() == Token("t1")
    assert vendor.asked == 1


async def test_one_that_leaves_takes_nothing_away() -> None:
    """Where the one that asked first is cancelled, the others get the token all the same."""
    vendor = Vendor()
    vendor.open.clear()
    source = TokenSource(vendor.fetch)
    first, second = (asyncio.create_task(source.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    vendor.open.set()
    assert await second == Token("t1")
    assert first.cancelled()


@pytest.mark.parametrize(("lifetime_s", "used_s"), [(3600.0, 3540.0), (100.0, 50.0), (10.0, 5.0)])
async def test_renewed_before_its_end(lifetime_s: float, used_s: float) -> None:
    """A token is used until a margin before its end, a short one for half of its time."""
    now = 1000.0
    vendor = Vendor(lifetime_s)
    source = TokenSource(vendor.fetch, clock=lambda: now)
    await source.get()
    now += used_s - 0.1
    await source.get()
    assert vendor.asked == 1
    now += 0.2
    await source.get()
    assert vendor.asked == 2


async def test_refused_token_is_dropped() -> None:
    """A token that was refused is not used again, and a late word of an old one changes nothing."""
    vendor = Vendor()
    source = TokenSource(vendor.fetch)
    first = await source.get()
    assert isinstance(first, Token)
    source.invalidate(first)
    assert await source.get() == Token("t2")
    source.invalidate(first)
    assert await source.get() == Token("t2")


async def test_no_token() -> None:
    """Where there is no token, all have the outcome, and the next one asks again."""
    vendor = Vendor()
    vendor.refusal = Retry("down")
    source = TokenSource(vendor.fetch)
    assert list(await asyncio.gather(source.get(), source.get())) == [Retry("down")] * 2
    vendor.refusal = None
    assert await source.get() == Token("t2")


async def test_fetch_that_raises() -> None:
    """What a fetch raises is told to all that wait, and the next one asks again."""
    vendor = Vendor()
    vendor.error = KeyError("bug")
    source = TokenSource(vendor.fetch)
    said = await asyncio.gather(source.get(), source.get(), return_exceptions=True)
    assert [type(error) for error in said] == [KeyError] * 2
    vendor.error = None
    assert await source.get() == Token("t2")


async def test_use_renews_once() -> None:
    """A request whose token is refused is sent once more with a new one, and never a third time."""
    source = TokenSource(Vendor().fetch)
    seen: list[str] = []
    good = {"t2"}

    async def send(token: Token) -> Response | Outcome:
        seen.append(token.value)
        return Response(200 if token.value in good else 401)

    def is_refused(response: Response) -> bool:
        return response.status == 401

    assert await source.use(send, is_refused) == Response(200)
    assert seen == ["t1", "t2"]
    good.clear()
    assert await source.use(send, is_refused) == Response(401)
    assert seen == ["t1", "t2", "t2", "t3"]


async def test_use_without_a_token_or_an_answer() -> None:
    """Without a token nothing is sent; an outcome instead of an answer refuses no token."""
    vendor = Vendor()
    source = TokenSource(vendor.fetch)

    async def send(token: Token) -> Response | Outcome:
        return Delivered()

    assert await source.use(send, lambda response: True) == Delivered()
    assert vendor.asked == 1
    vendor.refusal = Failed("no")
    other = TokenSource(vendor.fetch)
    assert await other.use(send, lambda response: True) == Failed("no")


def test_a_token_is_never_shown() -> None:
    """A token's text form tells nothing of it."""
    assert "secret" not in f"{Token('secret', 1.0)!r} {Token('secret')}"
