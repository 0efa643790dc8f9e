"""What the scheduler hands out and is told, and what it says of a connection, as values."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.core.scheduling.connection import Blocked


@dataclass(frozen=True, slots=True)
class Take:
    """Lease up to `max_events` for `connection` and send them to `worker`."""

    connection: str
    worker: int
    retries: bool
    max_events: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch that was `started` then; the counts are of deliveries.

    `failed` are answers too, only final ones. `congested` are those of the
    `retried` that met a limit of the destination: 429, a timeout, no connection;
    `spoiled` those that go again singly, since one of them may have spoiled it for all.
    `why` is the error of one of them. What was refused for its credentials is in none of them.
    """

    delivered: int = 0
    failed: int = 0
    retried: int = 0
    congested: int = 0
    spoiled: int = 0
    retries: bool = False
    started: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """What a connection may do: the rule that its next delivery waits for, and its limits now.

    `tripped_since` and `tripped_for` are of the last time that its breaker opened. `concurrency` is
    in batches at once, `batch_events` in events, the next two in events a second. `credentials` is
    why it is held for them, "" where it is not.
    """

    blocked: Blocked
    is_breaker_closed: bool
    tripped_since: float | None
    tripped_for: str
    trips: int
    concurrency: int
    batch_events: int
    proven_per_s: float
    retries_per_s: float
    credentials: str = ""
