"""An event as the admin API speaks of it: its deliveries, and how each came where it is.

Owns the shape of the answer, and that it is bounded: in attempts of a delivery and of all, and in
samples that are read for it. What of an event and of a reason is seen is `masking`'s to say; what a
viewer sees of the rest stands in `viewers.py`. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from supervisor.admin.control import Control
from supervisor.admin.dead_letters import JsonObject
from supervisor.admin.kept_samples import attempt_json
from supervisor.insight.attempts import AttemptRecord
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking, Sight
from supervisor.insight.sample_records import KeptSample
from supervisor.queue import DeliveryRecord, EventRecord
from supervisor.runtime.rfc3339 import rfc3339

#: Attempts of one delivery and of all of them that an answer has, the newest, and issues whose
#: samples are read for it.
MOST_OF_DELIVERY: Final = 50
MOST_ATTEMPTS: Final = 500
MOST_ISSUES: Final = 8
#: Seconds that samples are waited for: without them the rest is worth showing.
SAMPLES_S: Final = 2.0

#: Why there is no history at all.
NOT_KEPT: Final = "the console is turned off (console.enabled), and nothing is kept for it"

Samples = Mapping[int, Sequence[KeptSample]]


async def event_json(
    control: Control, records: Sequence[EventRecord], *, is_operator: bool
) -> JsonObject:
    """What became of an event: the newest record in front, those of other sources in `others`."""
    insight = control.insight
    sight = control.masking.sight(is_operator=is_operator)
    left = MOST_ATTEMPTS
    told: list[JsonObject] = []
    for record in sorted(records, key=lambda record: record.received_at, reverse=True):
        kept: list[Sequence[AttemptRecord]] = []
        for delivery in record.deliveries:
            most = min(left, MOST_OF_DELIVERY)
            attempts = _newest(insight, record.message_id, delivery.connection, most)
            left -= len(attempts)
            kept.append(attempts)
        samples = {} if insight is None else await _samples(insight, kept)
        told.append(await _record_json(control, record, kept, samples, sight))
    first, *others = told
    return {
        **first,
        "others": others,
        "attempts_since": None if insight is None else rfc3339(insight.attempts.since),
        "attempts_forgotten": 0 if insight is None else insight.attempts.forgotten,
        "attempts_not_kept": NOT_KEPT if insight is None else None,
    }


def _newest(
    insight: Insight | None, message_id: str, connection: str, most: int
) -> Sequence[AttemptRecord]:
    if insight is None or not most:
        return ()
    return insight.attempts.of(connection, message_id)[-most:]


async def _samples(insight: Insight, kept: Sequence[Sequence[AttemptRecord]]) -> Samples:
    """Those of these attempts' issues, the newest attempts' first, as far as they come in time."""
    sampled = [one for attempts in kept for one in attempts if one.sample_at is not None]
    sampled.sort(key=lambda one: one.at, reverse=True)
    issues = list(dict.fromkeys(one.issue for one in sampled if one.issue is not None))
    issues = issues[:MOST_ISSUES]
    try:
        async with asyncio.timeout(SAMPLES_S):
            found = await asyncio.gather(*map(insight.samples.of, issues))
    except TimeoutError:
        return {}
    return dict(zip(issues, found, strict=True))


async def _record_json(
    control: Control,
    record: EventRecord,
    kept: Sequence[Sequence[AttemptRecord]],
    samples: Samples,
    sight: Sight,
) -> JsonObject:
    masking, body = control.masking, record.body
    history = _History(record, masking, samples, sight)
    deliveries = []
    for delivery, attempts in zip(record.deliveries, kept, strict=True):
        if attempts:  # to mask what they say takes its time, and others have their turn
            await asyncio.sleep(0)
        told = _delivery_json(control, delivery)
        deliveries.append({**told, "history": history.of(delivery.connection, attempts)})
    return {
        "message_id": record.message_id,
        "source": record.source,
        "received_at": rfc3339(record.received_at),
        "body": None if body is None else masking.event(body, sight),
        "deliveries": deliveries,
    }


def _delivery_json(control: Control, delivery: DeliveryRecord) -> JsonObject:
    next_at = delivery.next_attempt_at
    is_pending = delivery.state == "pending"
    return {
        "id": delivery.id,
        "connection": delivery.connection,
        "state": delivery.state,
        "outcome": None if delivery.outcome is None else delivery.outcome.value,
        "attempts": delivery.attempts,
        "last_error": delivery.last_error,
        "waiting_for": control.waiting_for(delivery.connection, delivery) if is_pending else None,
        "next_attempt_at": None if next_at is None else rfc3339(next_at),
    }


class _History:
    """Attempts of one event's deliveries, as they may be seen."""

    def __init__(
        self, record: EventRecord, masking: Masking, samples: Samples, sight: Sight
    ) -> None:
        self._record = record
        self._masking = masking
        self._samples = samples
        self._sight = sight
        #: reasons as they are seen; they repeat
        self._seen: dict[str, str | None] = {}
        self._own: Sequence[str] = ()
        if sight is Sight.MASKED and record.body is not None:
            self._own = masking.own_values(record.body)

    def of(self, connection: str, attempts: Sequence[AttemptRecord]) -> list[JsonObject]:
        """Those of one delivery, oldest first."""
        return [
            attempt_json(
                n,
                self._record.source,
                connection,
                self._record.message_id,
                attempt,
                self._reason(attempt.reason),
                self._sample(attempt),
                self._masking,
                self._sight,
            )
            for n, attempt in enumerate(attempts)
        ]

    def _reason(self, reason: str) -> str | None:
        # Without the event nobody can tell what in it is somebody's own; its cause is shown.
        if self._sight is Sight.MASKED and self._record.body is None:
            return None
        if reason not in self._seen:
            self._seen[reason] = self._masking.text(reason, self._sight, self._own)
        return self._seen[reason]

    def _sample(self, attempt: AttemptRecord) -> KeptSample | None:
        if attempt.issue is None or attempt.sample_at is None:
            return None
        kept = self._samples.get(attempt.issue, ())
        return next((one for one in kept if one.at == attempt.sample_at), None)
