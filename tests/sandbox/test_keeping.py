"""How a worker asks for tokens: one question at a time, and no right to renew is left behind."""

from __future__ import annotations

import asyncio

import pytest

from destinations.kit.keeping import KeptState, NotKept, Renewal
from sandbox.keeping import TokenClient
from sandbox.protocol import (
    MAX_KEPT,
    AskToken,
    CurrentToken,
    GiveUpToken,
    KeepToken,
    Message,
    TokenDenied,
    TokenGranted,
    TokenStored,
)


async def test_what_is_kept_is_given() -> None:
    """And the next question may come."""
    said: list[Message] = []
    client = TokenClient(said.append)
    keeper = client.keeper("a")
    for _ in range(2):
        asking = asyncio.create_task(keeper.ask("token", "first", 0))
        await asyncio.sleep(0)
        client.heard(CurrentToken("a", 3, b"kept"))
        assert await asking == KeptState(3, b"kept")
    assert [type(message) for message in said] == [AskToken, AskToken]


async def test_a_right_is_kept_or_given_up_before_the_next_question() -> None:
    """Two instances of a connection, under old and new settings, take turns."""
    said: list[Message] = []
    client = TokenClient(said.append)
    first = asyncio.create_task(client.keeper("a").ask("token", "first", 0))
    second = asyncio.create_task(client.keeper("a").ask("token", "second", 0))
    await asyncio.sleep(0)
    client.heard(TokenGranted("a", 7, b"", ""))
    renewal = await first
    assert renewal == Renewal(7, b"", "")
    await asyncio.sleep(0)
    assert len(said) == 1
    keeping = asyncio.create_task(client.keeper("a").keep(Renewal(7, b"", ""), b"new"))
    await asyncio.sleep(0)
    assert said[-1] == KeepToken("a", 7, b"new")
    client.heard(TokenStored("a", 1))
    assert await keeping == 1
    await asyncio.sleep(0)
    assert len(said) == 3
    client.heard(TokenDenied("a", "no"))
    with pytest.raises(NotKept, match="no"):
        await second


async def test_a_right_that_nobody_waits_for_goes_back() -> None:
    """Else nobody could renew before the supervisor's limit."""
    said: list[Message] = []
    client = TokenClient(said.append)
    asking = asyncio.create_task(client.keeper("a").ask("token", "first", 0))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    client.heard(TokenGranted("a", 7, b"", ""))
    assert said[-1] == GiveUpToken("a", 7, False)


async def test_what_is_too_large_is_not_sent() -> None:
    """The supervisor would end the worker for it."""
    said: list[Message] = []
    client = TokenClient(said.append)
    keeper = client.keeper("a")
    asking = asyncio.create_task(keeper.ask("token", "first", 0))
    await asyncio.sleep(0)
    client.heard(TokenGranted("a", 7, b"", ""))
    renewal = await asking
    assert isinstance(renewal, Renewal)
    with pytest.raises(NotKept, match="at most"):
        await keeper.keep(renewal, bytes(MAX_KEPT + 1))
    assert said[-1] == GiveUpToken("a", 7, True)
