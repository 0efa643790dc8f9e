"""What the queue's tests start from: events, a clock that is set by hand, leases of everything.

Must not assert: what holds is for the tests to say.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from supervisor.config import QueueConfig
from supervisor.queue import (
    ConnectionSpec,
    Delivered,
    Disposition,
    Lease,
    NewEvent,
    Queue,
    Route,
)
from supervisor.queue.sqlite.engine import SqliteQueue
from supervisor.runtime.clock import Anchored

TO_A = Route(pending=("a",))
TO_B = Route(pending=("b",))
TO_BOTH = Route(pending=("a", "b"))
SPECS = {"a": ConnectionSpec("web"), "b": ConnectionSpec("web")}

#: How far ahead a retry may lie after a restart, seconds.
MAX_RETRY_DELAY_S = 600.0

#: Where the clock of the tests starts, epoch seconds.
T0 = 1_800_000_000.0


class SetClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


def event(
    message_id: str, route: Route = TO_A, *, user: str = "u", size: int = 0, kind: str = "track"
) -> NewEvent:
    """An event whose body names it; `size` bytes of padding."""
    body = json.dumps({"messageId": message_id, "padding": "x" * size}).encode()
    return NewEvent(message_id, kind, user, body, route)


def events(ids: Iterable[int], route: Route = TO_A, *, size: int = 0) -> list[NewEvent]:
    """Events named m0, m1, ..."""
    return [event(f"m{number}", route, size=size) for number in ids]


def id_of(body: bytes) -> str:
    """The message id in a stored event."""
    name = json.loads(body)["messageId"]
    assert isinstance(name, str)
    return name


def ids_in(lease: Lease | None) -> list[str]:
    """What was leased."""
    return [] if lease is None else [id_of(delivery.body) for delivery in lease.deliveries]


def sqlite_queue(
    state_dir: Path,
    clock: Callable[[], float],
    config: QueueConfig | None = None,
    *,
    anchored: Anchored | None = None,
) -> SqliteQueue:
    """The engine, with its defaults."""
    return SqliteQueue(
        state_dir,
        config or QueueConfig(),
        clock,
        max_retry_delay_s=MAX_RETRY_DELAY_S,
        anchored=anchored or Anchored(),
    )


async def take(
    queue: Queue,
    connection: str = "a",
    *,
    most: int = 1000,
    retries: bool = False,
    max_bytes: int = 1 << 30,
    term_s: float = 60.0,
    exclude_users: frozenset[bytes] = frozenset(),
) -> Lease | None:
    """Lease with generous limits."""
    return await queue.lease(
        connection,
        max_events=most,
        max_bytes=max_bytes,
        term_s=term_s,
        retries=retries,
        exclude_users=exclude_users,
    )


async def taken(queue: Queue, connection: str = "a", *, retries: bool = False) -> Lease:
    """Lease what is sure to be there."""
    lease = await take(queue, connection, retries=retries)
    assert lease is not None
    return lease


def all_of(lease: Lease, disposition: Disposition) -> list[tuple[int, Disposition]]:
    """The same disposition for every delivery."""
    return [(index, disposition) for index in range(len(lease.deliveries))]


async def settle_all(queue: Queue, lease: Lease, disposition: Disposition) -> None:
    """Decide a whole lease."""
    await queue.settle(lease, all_of(lease, disposition))


async def deliver_everything(queue: Queue, connections: Sequence[str] = ("a", "b")) -> list[str]:
    """Deliver what is pending and due; message ids in the order of their delivery."""
    delivered: list[str] = []
    for connection in connections:
        for retries in (False, True):
            while (lease := await take(queue, connection, retries=retries)) is not None:
                delivered += ids_in(lease)
                await settle_all(queue, lease, Delivered())
    return delivered


async def until(holds: Callable[[], bool]) -> None:
    """Return when a condition holds; fail after ten seconds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event to wait on
            await asyncio.sleep(0.002)
