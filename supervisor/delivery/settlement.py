"""From what was said of a batch, or was not said, to verdicts in the queue.

A returned batch and a dead worker go through here alike: every delivery of a
batch gets one verdict, exactly once, and the metrics hear of it. Must not know
workers, slots or turns.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Literal, Protocol

import structlog

from sandbox import protocol
from sandbox.protocol import OutcomeCode, Outcomes, ProtocolError
from supervisor.core.scheduling.credentials import Refusal
from supervisor.core.scheduling.retry import RetryPolicy, backoff_s, next_attempt_s
from supervisor.delivery.activity import Activity
from supervisor.delivery.credentials import CredentialFaults
from supervisor.delivery.records import InflightBatch
from supervisor.insight.attempts import Trial
from supervisor.insight.sample_records import MetBy
from supervisor.queue import (
    DeadLettered,
    Delivered,
    Delivery,
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

#: Reasons that are remembered without the secrets in them.
PLAIN_REASONS = 1024

#: Asked for of every event, so by a name of its own: to read a member off its enum costs 0.2 µs.
_DELIVERED_CODE = OutcomeCode.DELIVERED
#: Causes that say: less at once.
_CONGESTED = frozenset({OutcomeCode.THROTTLED, OutcomeCode.TIMEOUT, OutcomeCode.CONNECT})

_DELIVERED, _UNSUPPORTED, _RELEASE = Delivered(), Unsupported(), Release()


#: What a delivery may meet with: it ended so, it waits for another attempt, or the credentials.
Trouble = Literal["failed", "quarantined", "retry", "credentials"]


class RetryAfter(Protocol):
    """Hears of a destination's wish to be let alone."""

    def __call__(self, connection: str, until: float, why: str) -> None:
        """Nothing of this connection is to go before `until`, of the service's clock.

        `why` tells more than that the destination has asked for it, "" where there is no more.
        """


class DeliveryWatch(Protocol):
    """Hears what deliveries meet with, once a batch and reason, see `insight`."""

    def retried(self, connection: str, n: int) -> None:
        """`n` deliveries wait for another attempt."""

    def troubled(
        self,
        connection: str,
        kind: Trouble,
        reason: str,
        n: int,
        one: MetBy,
        deliveries: Sequence[Delivery],
    ) -> None:
        """`n` deliveries met with this, `one` among them; `deliveries` are all of them."""

    def tried(
        self,
        connection: str,
        outcome: Trial,
        reason: str,
        worker: str,
        deliveries: Sequence[Delivery],
        exit_id: str | None,
    ) -> None:
        """What was done with these since a worker died with them, whose exit is that one."""

    @property
    def wants_samples(self) -> bool:
        """Whether workers are to tell what was sent in attempts that failed."""


class Settlement:
    """Gives verdicts and sees that the queue takes them, in order.

    `retry_after` hears of Retry-After, `credentials` of what is refused for them; `activity` goes
    on until the queue has taken every verdict. `redact` replaces the secrets in a text.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        metrics: Metrics,
        watch: DeliveryWatch,
        clock: Clock,
        retry: RetryPolicy,
        retry_after: RetryAfter,
        credentials: CredentialFaults,
        activity: Activity,
        redact: Callable[[str], str],
    ) -> None:
        self.retry = retry
        self._queue = queue
        self._metrics = metrics
        self._watch = watch
        self._clock = clock
        self._retry_after = retry_after
        self._credentials = credentials
        self._activity = activity
        # Partners say again what they were sent. Reasons repeat, and this takes its time.
        self._plain = lru_cache(PLAIN_REASONS)(redact)
        self._waiting: deque[tuple[Lease, list[tuple[int, Disposition]]]] = deque()
        self._settling: asyncio.Task[None] | None = None
        #: Deliveries whose credentials were refused, in what is being settled, by reason.
        self._refusals: dict[str, list[int]] = {}

    def follow(self, retry: RetryPolicy) -> None:
        """A reload: other rules for retries, and maybe other secrets."""
        self.retry = retry
        self._plain.cache_clear()

    def outcomes(self, batch: InflightBatch, message: Outcomes) -> None:
        """Take what a worker says. Raises ProtocolError for nonsense; what came before it holds."""
        dispositions: list[tuple[int, Disposition]] = []
        reported = batch.reported
        size = len(reported)
        now = self._clock()
        has_passed = False
        try:
            for index, code, detail, after_s in message.outcomes:
                if not 0 <= index < size:
                    raise ProtocolError(f"outcome of event {index} in a batch of {size}")
                if reported[index]:
                    continue
                if code is _DELIVERED_CODE:
                    disposition: Disposition = _DELIVERED
                    has_passed = True
                else:
                    if has_passed:  # in the order of the reports: a refusal counts from there
                        self._credentials.passed(batch.connection, batch.started)
                        has_passed = False
                    disposition = self._disposition(batch, index, code, detail, after_s, now)
                reported[index] = 1
                dispositions.append((index, disposition))
        finally:
            if has_passed:
                self._credentials.passed(batch.connection, batch.started)
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
        if code is not OutcomeCode.UNSUPPORTED:
            reason = self._plain(reason)
        match code:
            case OutcomeCode.DELIVERED:
                return _DELIVERED
            case OutcomeCode.UNSUPPORTED:
                return _UNSUPPORTED
            case OutcomeCode.FAILED:
                return DeadLettered(Outcome.FAILED, reason)
            case OutcomeCode.UNAUTHORIZED | OutcomeCode.LOCKED_OUT | OutcomeCode.SETUP:
                return self._refused(batch, index, code, reason, now)
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
                    self._let_alone(batch.connection, after_s, now)
                else:
                    after_s = None
                alone = code is OutcomeCode.RETRY_ALONE
                batch.spoiled += alone
                return self._again(batch, index, reason, after_s, now, alone=alone)

    def _let_alone(self, connection: str, asked_s: float, now: float) -> None:
        """As long as the destination wishes, and no longer than anything is tried at all."""
        window_s = self.retry.window_s
        why = ""
        if asked_s > window_s:
            why = f"it asked for {asked_s:.0f} s, and the retry window is {window_s:.0f} s"
        self._retry_after(connection, now + min(asked_s, window_s), why)

    def _refused(
        self, batch: InflightBatch, index: int, code: OutcomeCode, reason: str, now: float
    ) -> Disposition:
        """It says nothing against the event, unless others pass."""
        delivery = batch.lease.deliveries[index]
        verdict = self._credentials.refused(
            batch.connection,
            hash(delivery.body),
            reason,
            is_certain=code is OutcomeCode.LOCKED_OUT,
            started=batch.started,
        )
        if verdict is not Refusal.ALONE:
            self._refusals.setdefault(reason, []).append(index)
        match verdict:
            case Refusal.WAITS:
                return _RELEASE
            case Refusal.PROBED:
                batch.refused += 1
                return Postpone(0.0, reason)
            case Refusal.UNDECIDED:
                batch.refused += 1
                jitter = random.random()  # noqa: S311 - spreads load, guards nothing
                return Postpone(backoff_s(self.retry, delivery.attempt, jitter), reason)
            case Refusal.ALONE if code is OutcomeCode.SETUP:
                # Another server's certificate, say: it is no more this event's than any other's.
                batch.why = reason
                return self._again(batch, index, reason, None, now)
            case Refusal.ALONE:
                return DeadLettered(Outcome.FAILED, reason)

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
        began = max(began, self._credentials.window_from(batch.connection))
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
        if not dispositions:
            return
        places = batch.places
        if places is None:
            self._settle(batch.lease, dispositions)
        else:
            self._settle(batch.lease, [(places[index], done) for index, done in dispositions])
            self._acquit(batch, dispositions)
        self._count(batch, dispositions)

    def _acquit(self, batch: InflightBatch, dispositions: list[tuple[int, Disposition]]) -> None:
        """It was sent with nothing else in its worker, which has lived to tell of these."""
        deliveries = batch.lease.deliveries
        survived = [deliveries[index] for index, done in dispositions if done is not _RELEASE]
        reason = "it got its outcome with nothing else in its worker"
        self._watch.tried(batch.connection, "innocent", reason, batch.label, survived, None)

    def _count(self, batch: InflightBatch, dispositions: list[tuple[int, Disposition]]) -> None:
        """Tell the metrics, one call for each kind that occurs."""
        results: Counter[str] = Counter()
        outcomes: Counter[tuple[str, bool]] = Counter()
        troubles: dict[tuple[Trouble, str], list[int]] = {}
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
                    if type(disposition) is DeadLettered:
                        is_failed = outcome is Outcome.FAILED
                        kind: Trouble = "failed" if is_failed else "quarantined"
                        troubles.setdefault((kind, disposition.error), []).append(index)
                case Postpone():
                    results["retry"] += 1
                    if disposition.error not in self._refusals:
                        troubles.setdefault(("retry", disposition.error), []).append(index)
                case Release():
                    pass
        if received:
            results["delivered"] = len(received)
            outcomes["delivered", True], outcomes["delivered", False] = first, len(received) - first
            # By the clock that receipt was stored by: a step of the wall clock makes no age.
            self._metrics.delivery_seconds(batch.connection, received, self._clock())
        self._tell(batch, troubles, results["retry"])
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

    def _tell(
        self, batch: InflightBatch, troubles: dict[tuple[Trouble, str], list[int]], retried: int
    ) -> None:
        connection = batch.connection
        if retried:
            self._watch.retried(connection, retried)
        if self._refusals:
            troubles |= {("credentials", reason): met for reason, met in self._refusals.items()}
            self._refusals.clear()
        for (kind, reason), met in troubles.items():
            one, of = _one_of(batch, met), [batch.lease.deliveries[index] for index in met]
            self._watch.troubled(connection, kind, reason, len(met), one, of)

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


def _one_of(batch: InflightBatch, met: Sequence[int]) -> MetBy:
    """One of these deliveries: best one of which the worker has told what was sent."""
    index = next((index for index in met if index in batch.samples), met[0])
    delivery = batch.lease.deliveries[index]
    return MetBy(delivery.body, delivery.attempt, batch.label, batch.samples.get(index))
