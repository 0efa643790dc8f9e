"""A pending delivery knows its place in the queue."""

from __future__ import annotations

from supervisor.queue import Queue
from tests.queue.given import T0, events, ids_in, take


async def place(queue: Queue, message_id: str) -> int | None:
    """How many go before it."""
    (record,) = await queue.find(message_id)
    return record.deliveries[0].ahead


async def test_place_is_what_goes_before_it(queue: Queue) -> None:
    """Counted over chunks, and without what is with workers already."""
    await queue.append("web", events(range(10)), T0)
    await queue.append("web", events(range(10, 20)), T0)
    assert await place(queue, "m0") == 0
    assert await place(queue, "m14") == 14
    lease = await take(queue, most=5)
    assert ids_in(lease) == [f"m{n}" for n in range(5)]
    assert await place(queue, "m14") == 9
