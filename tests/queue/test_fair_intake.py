"""A queue that is nearly full refuses those who fill it before those who do not."""

from __future__ import annotations

from supervisor.config import QueueConfig
from supervisor.queue import ConnectionSpec, Queue, QueueFull, Route
from tests.queue.conftest import OpenQueue
from tests.queue.given import T0, event

SPECS = {"flood": ConnectionSpec("loud", 10**9), "drip": ConnectionSpec("quiet", 10**9)}
LOUD, QUIET = Route(pending=("flood",)), Route(pending=("drip",))


async def flood(queue: Queue) -> int:
    """Large events, until one is refused; how many were taken."""
    for n in range(200):
        try:
            await queue.append("loud", [event(f"l{n}", LOUD, size=10_000)], T0)
        except QueueFull:
            return n
    raise AssertionError("the queue took more than it may hold")


async def test_source_that_floods_is_refused_before_the_others(open_queue: OpenQueue) -> None:
    """The last twentieth is for sources that use less than an equal part."""
    queue = await open_queue(QueueConfig(max_pending=1_000_000), SPECS)
    await queue.append("quiet", [event("q0", QUIET)], T0)
    taken = await flood(queue)
    assert 90 <= taken <= 96
    for n in range(1, 4):
        assert list(await queue.append("quiet", [event(f"q{n}", QUIET, size=1000)], T0)) == [True]
    assert queue.stats().evicted == 0


async def test_source_alone_may_fill_the_queue(open_queue: OpenQueue) -> None:
    """Where nobody else has anything, there is nobody to keep room for."""
    queue = await open_queue(QueueConfig(max_pending=1_000_000), SPECS)
    assert await flood(queue) >= 97
