"""From what was said of a batch, or was not said, to verdicts in the queue.

A returned batch and a dead worker go through here alike: every delivery of a
batch gets one verdict, exactly once, and the metrics hear of it. Must not know
workers, slots or turns.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal, Protocol

import structlog

from sandbox import protocol
from sandbox.protocol import OutcomeCode, Outcomes, ProtocolError
from supervisor.core.scheduling.retry import RetryPolicy, next_attempt_s
from supervisor.delivery.activity import Activity
from supervisor.delivery.records import InflightBatch
from supervisor.queue import (
    DeadLettered,
    Delivered,
    Disposition,
    Lease,
    LeaseExpired,
    Outcome,
    Postpone,
    Queue,
    Release,
    Unsupported,
)
from supervisor.runtime.clock import Clock
from supervisor.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

#: Longest wait that an outcome may ask for, in seconds. A destination that asks for more gets the
#: usual back-off; the kit never does.
MAX_OUTCOME_WAIT_S = 7 * 86400.0

#: Asked for of every event, so by a name of its own: to read a member off its enum costs 0.2 µs.
_DELIVERED_CODE = OutcomeCode.DELIVERED
#: Causes that say: less at once.
_CONGESTED = frozenset({OutcomeCode.THROTTLED, OutcomeCode.TIMEOUT, OutcomeCode.CONNECT})

_DELIVERED, _UNSUPPORTED, _RELEASE = Delivered(), Unsupported(), Release()


class RetryAfter(Protocol):
    """Hears of a destination's wish to be let alone."""

    def __call__(self, connection: str, until: float) -> None:
        """Nothing of this connection is to go before `until`, of the service's clock."""


class Settlement:
    """Gives verdicts and sees that the queue takes them, in order.

    `retry_after` hears of Retry-After; `activity` goes on until the queue has taken every verdict.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        metrics: Metrics,
        clock: Clock,
        retry: RetryPolicy,
        retry_after: RetryAfter,
        activity: Activity,
    ) -> None:
        self.retry = retry
        self._queue = queue
        self._metrics = metrics
        self._clock = clock
        self._retry_after = retry_after
        self._activity = activity
        self._waiting: deque[tuple[Lease, list[tuple[int, Disposition]]]] = deque()
        self._settling: asyncio.Task[None] | None = None

    def outcomes(self, batch: InflightBatch, message: Outcomes) -> None:
        """Take what a worker says. Raises ProtocolError for nonsense; what came before it holds."""
        dispositions: list[tuple[int, Disposition]] = []
        reported = batch.reported
        size = len(reported)
        now = self._clock()
        try:
            for index, code, detail, after_s in message.outcomes:
                if not 0 <= index < size:
                    raise ProtocolError(f"outcome of event {index} in a batch of {size}")
                if reported[index]:
                    continue
                if code is _DELIVERED_CODE:
                    disposition: Disposition = _DELIVERED
                else:
                    disposition = self._disposition(batch, index, code, detail, after_s, now)
                reported[index] = 1
                dispositions.append((index, disposition))
        finally:
            self._pass(batch, dispositions)

    def released(self, batch: InflightBatch, indices: Iterable[int]) -> None:
        """As if these were never sent."""
        self._pass(batch, [(index, _RELEASE) for index in indices])

    def postponed(self, batch: InflightBatch, indices: Iterable[int], reason: str) -> None:
        """Their worker died, and it is not found out whose fault it was: each alone, later."""
        now = self._clock()
        batch.why = reason
        self._pass(
            batch,
            [
                (index, self._again(batch, index, reason, None, now, alone=True))
                for index in indices
            ],
        )

    def quarantined(
        self, batch: InflightBatch, index: int, reason: str, exit_id: str | None
    ) -> None:
        """It kills the worker that runs it; `exit_id` names the evidence."""
        self._pass(batch, [(index, DeadLettered(Outcome.QUARANTINED, reason, exit_id))])

    def unsent(self, lease: Lease) -> None:
        """There was nobody to send it to after all."""
        self._settle(lease, [(index, _RELEASE) for index in range(len(lease.deliveries))])

    def _disposition(
        self,
        batch: InflightBatch,
        index: int,
        code: OutcomeCode,
        detail: str,
        after_s: float | None,
        now: float,
    ) -> Disposition:
        if len(detail) > protocol.MAX_DETAIL:
            raise ProtocolError(f"a reason of {len(detail)} characters")
        reason = detail or "no reason given"
        match code:
            case OutcomeCode.DELIVERED:
                return _DELIVERED
            case OutcomeCode.UNSUPPORTED:
                return _UNSUPPORTED
            case OutcomeCode.FAILED:
                return DeadLettered(Outcome.FAILED, reason)
            case (
                OutcomeCode.RETRY
                | OutcomeCode.RETRY_ALONE
                | OutcomeCode.THROTTLED
                | OutcomeCode.TIMEOUT
                | OutcomeCode.CONNECT
                | OutcomeCode.SERVER
            ):
                batch.why = reason
                if code in _CONGESTED or after_s is not None:
                    batch.congested += 1
                if after_s is not None and 0 < after_s <= MAX_OUTCOME_WAIT_S:
                    self._retry_after(batch.connection, now + after_s)
                else:
                    after_s = None
                alone = code is OutcomeCode.RETRY_ALONE
                batch.spoiled += alone
                return self._again(batch, index, reason, after_s, now, alone=alone)

    def _again(
        self,
        batch: InflightBatch,
        index: int,
        reason: str,
        after_s: float | None,
        now: float,
        *,
        alone: bool = False,
    ) -> Disposition:
        """Another attempt, or none where the retry window is over."""
        delivery = batch.lease.deliveries[index]
        began = batch.started if delivery.first_attempt_at is None else delivery.first_attempt_at
        delay = next_attempt_s(
            self.retry,
            attempt=delivery.attempt,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
            since_first_s=now - began,
            retry_after_s=after_s,
        )
        if delay is None:
            return DeadLettered(Outcome.FAILED, f"retry window is over; last error: {reason}")
        return Postpone(delay, reason, alone)

    def _pass(self, batch: InflightBatch, dispositions: list[tuple[int, Disposition]]) -> None:
        if dispositions:
            places = batch.places
            self._settle(
                batch.lease,
                dispositions
                if places is None
                else [(places[index], disposition) for index, disposition in dispositions],
            )
            self._count(batch, dispositions)

    def _count(self, batch: InflightBatch, dispositions: list[tuple[int, Disposition]]) -> None:
        """Tell the metrics, one call for each kind that occurs."""
        results: Counter[str] = Counter()
        outcomes: Counter[tuple[str, bool]] = Counter()
        deliveries = batch.lease.deliveries
        received = []
        first = 0
        for index, disposition in dispositions:
            delivery = deliveries[index]
            if disposition is _DELIVERED:
                received.append(delivery.received_at)
                first += delivery.attempt == 1
                continue
            match disposition:
                case Delivered():
                    pass  # there is but one, and it was counted above
                case Unsupported() | DeadLettered():
                    outcome = disposition.outcome
                    results[outcome.value] += 1
                    outcomes[outcome.value, delivery.attempt == 1] += 1
                case Postpone():
                    results["retry"] += 1
                case Release():
                    pass
        if received:
            results["delivered"] = len(received)
            outcomes["delivered", True], outcomes["delivered", False] = first, len(received) - first
            # Receipt is wall time, so this is too: the histogram is of what a sender sees.
            self._metrics.delivery_seconds(batch.connection, received, time.time())
        batch.delivered += results["delivered"]
        batch.failed += results["failed"] + results["unsupported"]
        batch.retried += results["retry"]
        for result, n in results.items():
            if n:
                self._metrics.attempt(batch.connection, result, n)
        for (ended, is_first), n in outcomes.items():
            attempt: Literal["first", "retry"] = "first" if is_first else "retry"
            if n:
                self._metrics.outcome(batch.connection, batch.destination, ended, attempt, n)

    def _settle(self, lease: Lease, dispositions: list[tuple[int, Disposition]]) -> None:
        self._waiting.append((lease, dispositions))
        if self._settling is None:
            self._activity.began()
            self._settling = asyncio.get_running_loop().create_task(self._settle_all())

    async def _settle_all(self) -> None:
        try:
            while self._waiting:
                lease, dispositions = self._waiting.popleft()
                try:
                    await self._queue.settle(lease, dispositions)
                except LeaseExpired:
                    # They are pending again and will be sent once more: repeats, not losses.
                    _log.warning("lease_expired", connection=lease.connection, n=len(dispositions))
        finally:
            self._settling = None
            self._activity.ended()
