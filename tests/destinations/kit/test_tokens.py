"""Tokens are fetched once, shared, renewed in time, and never shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from destinations.kit import Delivered, Failed, Outcome, Response, Retry, Unauthorized
from destinations.kit.keeping import KeptState, MemoryKeeper, NotKept, Renewal, TokenKeeper
from destinations.kit.tokens import Renewed, SharedTokenSource, Token, TokenSource


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


async def test_a_token_that_is_refused_is_no_events_fault() -> None:
    """What a token endpoint says for good is certain for all events: none was in the request."""
    vendor = Vendor()
    vendor.refusal = Failed("400 Bad Request: invalid_grant")
    said = await TokenSource(vendor.fetch).get()
    assert isinstance(said, Unauthorized)
    assert said.is_certain
    assert said.reason == "400 Bad Request: invalid_grant"


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


class Rotating:
    """Takes each refresh token once; gives access tokens `a1`, `a2` and so on."""

    def __init__(self, lifetime_s: float | None = None) -> None:
        self.lifetime_s = lifetime_s
        self.good = "r0"
        self.given = 0
        self.says: Outcome | None = None

    async def renew(self, refresh_token: str) -> Renewed[Token] | Outcome:
        if self.says is not None:
            return self.says
        if refresh_token != self.good:
            return Failed("400 Bad Request: invalid_grant")
        self.given += 1
        self.good = f"r{self.given}"
        return Renewed(Token(f"a{self.given}", self.lifetime_s), self.good)

    def source(
        self, keeper: TokenKeeper, wall: Callable[[], float] = lambda: 0.0
    ) -> SharedTokenSource[Token]:
        """That of one worker."""
        return SharedTokenSource(
            self.renew,
            kind=Token,
            keeper=keeper,
            setting="refresh_token",
            configured="r0",
            wall=wall,
        )


async def test_workers_share_what_one_has_renewed() -> None:
    """The second one is given the token of the first, and renews by its refresh token."""
    vendor, keeper = Rotating(), MemoryKeeper()
    one, two = vendor.source(keeper), vendor.source(keeper)
    first = await one.get()
    assert first == await two.get() == Token("a1")
    assert isinstance(first, Token)
    two.invalidate(first)
    assert await two.get() == Token("a2")
    one.invalidate(first)
    assert await one.get() == Token("a2"), "it was renewed meanwhile"
    assert vendor.given == 2


async def test_a_kept_token_that_has_ended_is_renewed() -> None:
    """By the wall clock, since another run has kept it."""
    vendor, keeper = Rotating(lifetime_s=3600.0), MemoryKeeper()
    await vendor.source(keeper).get()
    kept = await vendor.source(keeper, wall=lambda: 1000.0).get()
    assert kept == Token("a1", 2600.0)
    assert await vendor.source(keeper, wall=lambda: 3590.0).get() == Token("a2", 3600.0)


async def test_a_lost_renewal_is_told_with_the_refusal() -> None:
    """No answer, and then no: what the partner gave may never have come."""
    vendor, keeper = Rotating(), MemoryKeeper()
    source = vendor.source(keeper)
    vendor.says = Retry("no answer within 10 s")
    assert await source.get() == Retry("no answer within 10 s")
    vendor.says, vendor.good = None, "r1"
    said = await source.get()
    assert isinstance(said, Unauthorized)
    assert said.is_certain
    assert said.reason.startswith("400 Bad Request: invalid_grant (")


async def test_what_was_kept_by_another_version_is_renewed() -> None:
    """Nobody has to read what somebody else wrote."""
    vendor, keeper = Rotating(), MemoryKeeper()
    renewal = await keeper.ask("refresh_token", "r0", 0)
    assert isinstance(renewal, Renewal)
    await keeper.keep(renewal, b'{"refresh_token": "r0", "token": {"was": 7}}')
    assert await vendor.source(keeper).get() == Token("a1")


async def test_what_cannot_be_kept_is_not_used() -> None:
    """A token that nobody keeps would be lost with this worker."""

    class Full(MemoryKeeper):
        async def keep(self, renewal: Renewal, value: bytes) -> int:
            raise NotKept("it could not be kept: No space left on device")

    said = await Rotating().source(Full()).get()
    assert said == Retry("no token: it could not be kept: No space left on device")


def test_no_secret_is_shown() -> None:
    """Neither in a log nor in an exception's text."""
    shown = [Renewed(Token("secret"), "secret"), Renewal(1, b"secret", ""), KeptState(1, b"secret")]
    assert "secret" not in repr(shown)
