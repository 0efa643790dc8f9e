"""What is under way can be awaited."""

from __future__ import annotations

import asyncio

import pytest

from supervisor.delivery.activity import Activity


async def test_idle_returns_once_nothing_is_under_way() -> None:
    """As often as it has begun, it has to end."""
    activity = Activity()
    await activity.idle()
    activity.began()
    activity.began()
    waiting = asyncio.ensure_future(activity.idle())
    activity.ended()
    await asyncio.sleep(0)
    assert not waiting.done()
    activity.ended()
    await waiting
    assert activity.is_idle


async def test_what_begins_again_at_once_is_waited_for() -> None:
    """A waiter that wakes up late looks again."""
    activity = Activity()
    activity.began()
    waiting = asyncio.ensure_future(activity.idle())
    await asyncio.sleep(0)
    activity.ended()
    activity.began()
    await asyncio.sleep(0)
    assert not waiting.done()
    activity.ended()
    await waiting


def test_more_ends_than_begins_is_a_bug() -> None:
    """Nothing would ever be idle again, or everything always."""
    with pytest.raises(ValueError, match="more has ended"):
        Activity().ended()
