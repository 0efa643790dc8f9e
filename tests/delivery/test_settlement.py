"""From outcomes, and from their absence, to verdicts: each delivery gets one, exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from sandbox.protocol import (
    MAX_DETAIL,
    OutcomeCode,
    Outcomes,
    ProtocolError,
    Sampled,
    SentRequest,
)
from supervisor.core.scheduling.connection import ConnectionSchedule
from supervisor.core.scheduling.retry import RetryPolicy
from supervisor.core.scheduling.scheduler import Ready, Scheduler, Terms
from supervisor.delivery.activity import Activity
from supervisor.delivery.credentials import CredentialFaults
from supervisor.delivery.settlement import MAX_OUTCOME_WAIT_S, Settlement
from supervisor.insight.attempts import Trial
from supervisor.insight.sample_records import MetBy
from supervisor.queue import Delivery, Lease, LeaseExpired
from supervisor.state.credentials import CredentialStore
from supervisor.telemetry.metrics import Metrics
from tests.delivery.handles import a_batch


class Taking:
    """A queue that takes verdicts, or says that a lease is over."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, str]] = []
        self.is_expired = False

    async def settle(self, lease: Lease, dispositions: Sequence[tuple[int, object]]) -> None:
        await asyncio.sleep(0)
        if self.is_expired:
            raise LeaseExpired
        self.taken += [(index, type(disposition).__name__) for index, disposition in dispositions]


class Watching:
    """Implements `DeliveryWatch`."""

    wants_samples = True

    def __init__(self) -> None:
        self.troubles: list[tuple[str, str, int, MetBy]] = []
        self.met: list[list[bytes]] = []
        self.trials: list[tuple[Trial, list[bytes]]] = []

    def retried(self, connection: str, n: int) -> None:
        """Is in the books."""

    def troubled(
        self,
        connection: str,
        kind: str,
        reason: str,
        n: int,
        one: MetBy,
        deliveries: Sequence[Delivery],
    ) -> None:
        """Kept."""
        self.troubles.append((kind, reason, n, one))
        self.met.append([delivery.body for delivery in deliveries])

    def tried(
        self,
        connection: str,
        outcome: Trial,
        reason: str,
        worker: str,
        deliveries: Sequence[Delivery],
        exit_id: str | None,
    ) -> None:
        """Kept."""
        self.trials.append((outcome, [delivery.body for delivery in deliveries]))


class Bench:
    """A settlement on such a queue. Any: a settlement asks no more of its queue."""

    def __init__(self, window_s: float = 100.0) -> None:
        self.queue, self.activity = Taking(), Activity()
        self.watch = Watching()
        self.waits: list[tuple[str, float]] = []
        self.scheduler = Scheduler(lambda connection: Ready(0, None))
        metrics = Metrics("test")
        self.settlement = Settlement(
            queue=cast(Any, self.queue),
            metrics=metrics,
            watch=self.watch,
            clock=lambda: 50.0,
            retry=RetryPolicy(window_s, 1.0, 10.0),
            retry_after=lambda connection, until, why: self.waits.append((connection, until)),
            credentials=CredentialFaults(
                self.scheduler, CredentialStore(Path("/nowhere")), metrics, lambda: 50.0
            ),
            activity=self.activity,
            redact=lambda text: text.replace("SECRET", "[secret]"),
        )

    async def taken(self) -> list[tuple[int, str]]:
        await self.activity.idle()
        return self.queue.taken


def outcomes(*said: tuple[int, OutcomeCode]) -> Outcomes:
    return Outcomes(1, [(index, code, "", None) for index, code in said])


DISPOSITIONS = {
    OutcomeCode.DELIVERED: ("Delivered", "delivered"),
    OutcomeCode.UNSUPPORTED: ("Unsupported", "failed"),
    OutcomeCode.FAILED: ("DeadLettered", "failed"),
    OutcomeCode.RETRY: ("Postpone", "retried"),
    OutcomeCode.RETRY_ALONE: ("Postpone", "retried"),
    OutcomeCode.THROTTLED: ("Postpone", "retried"),
    OutcomeCode.TIMEOUT: ("Postpone", "retried"),
    OutcomeCode.CONNECT: ("Postpone", "retried"),
    OutcomeCode.SERVER: ("Postpone", "retried"),
    # Once, and nobody else was asked: it is tried again.
    OutcomeCode.UNAUTHORIZED: ("Postpone", "retried"),
    OutcomeCode.LOCKED_OUT: ("Release", ""),
    OutcomeCode.SETUP: ("Postpone", "retried"),
}


def test_every_code_has_its_row() -> None:
    """A new one is decided here, too."""
    assert DISPOSITIONS.keys() == set(OutcomeCode)


@pytest.mark.parametrize("code", OutcomeCode)
async def test_outcome_becomes_a_verdict(code: OutcomeCode) -> None:
    """And is counted for the batch, by which its connection learns."""
    bench, batch = Bench(), a_batch(1, size=1)
    disposition, count = DISPOSITIONS[code]
    bench.settlement.outcomes(batch, outcomes((0, code)))
    assert await bench.taken() == [(0, disposition)]
    if count:
        assert getattr(batch, count) == 1
    assert not batch.unreported
    assert batch.congested == (
        code in (OutcomeCode.THROTTLED, OutcomeCode.TIMEOUT, OutcomeCode.CONNECT)
    )
    assert batch.spoiled == (code is OutcomeCode.RETRY_ALONE)


async def test_first_outcome_of_a_delivery_counts() -> None:
    """What is said of it again is not heard."""
    bench, batch = Bench(), a_batch(1, size=2)
    bench.settlement.outcomes(batch, outcomes((0, OutcomeCode.DELIVERED)))
    bench.settlement.outcomes(
        batch, outcomes((0, OutcomeCode.FAILED), (1, OutcomeCode.UNSUPPORTED))
    )
    assert await bench.taken() == [(0, "Delivered"), (1, "Unsupported")]


@pytest.mark.parametrize(("index", "detail"), [(3, ""), (-1, ""), (1, "x" * (MAX_DETAIL + 1))])
async def test_nonsense_is_refused_and_what_came_before_it_holds(index: int, detail: str) -> None:
    """An honest outcome is not lost for the next one's sake."""
    bench, batch = Bench(), a_batch(1, size=3)
    message = Outcomes(
        1,
        [(0, OutcomeCode.DELIVERED, "", None), (index, OutcomeCode.FAILED, detail, None)],
    )
    with pytest.raises(ProtocolError):
        bench.settlement.outcomes(batch, message)
    assert await bench.taken() == [(0, "Delivered")]
    assert batch.unreported == 2


@pytest.mark.parametrize(
    ("after_s", "waits"),
    [
        (7.0, [("a", 57.0)]),
        (86400.0, [("a", 150.0)]),
        (0.0, []),
        (-1.0, []),
        (MAX_OUTCOME_WAIT_S + 1, []),
        (None, []),
    ],
)
async def test_a_wish_to_be_let_alone_is_heard_where_it_is_sensible(
    after_s: float | None, waits: list[tuple[str, float]]
) -> None:
    """For the whole connection, for the retry window at most; nonsense gets the usual back-off."""
    bench, batch = Bench(), a_batch(1, size=1)
    message = Outcomes(1, [(0, OutcomeCode.THROTTLED, "429", after_s)])
    bench.settlement.outcomes(batch, message)
    assert await bench.taken() == [(0, "Postpone")]
    assert bench.waits == waits


async def test_retries_end_with_their_window() -> None:
    """It runs from the first attempt; after it, a retry is a failure."""
    bench, batch = Bench(window_s=0.0), a_batch(1, size=1)
    bench.settlement.outcomes(batch, outcomes((0, OutcomeCode.RETRY)))
    assert await bench.taken() == [(0, "DeadLettered")]


async def test_probe_settles_in_what_was_leased() -> None:
    """A part, and a part of a part: indices are those of the batch that was leased."""
    bench, batch = Bench(), a_batch(1, size=6)
    part = batch.part(2, 1, (1, 3, 5), 0.0, 30.0)
    again = part.part(3, 1, (0, 2), 0.0, 30.0)
    bench.settlement.outcomes(part, outcomes((1, OutcomeCode.DELIVERED)))
    bench.settlement.released(again, (0, 1))
    assert await bench.taken() == [(3, "Delivered"), (1, "Release"), (5, "Release")]
    # What has its outcome there is cleared; what was not sent at all is not.
    assert bench.watch.trials == [("innocent", [b"a3"]), ("innocent", [])]


async def test_lease_that_is_over_is_no_error() -> None:
    """Its deliveries are pending again and are sent once more; what comes behind it is settled."""
    bench = Bench()
    bench.queue.is_expired = True
    bench.settlement.outcomes(a_batch(1, size=1), outcomes((0, OutcomeCode.DELIVERED)))
    assert await bench.taken() == []
    bench.queue.is_expired = False
    bench.settlement.quarantined(a_batch(2, size=1), 0, "it kills", "exit-1")
    assert await bench.taken() == [(0, "DeadLettered")]


def known(bench: Bench) -> ConnectionSchedule:
    """The schedule of the connection that batches are of."""
    terms = Terms(batch_events=10, batch_bytes=1 << 20, max_concurrency=1)
    bench.scheduler.opened("a", terms)
    return bench.scheduler.schedules["a"]


@pytest.mark.parametrize(
    ("code", "in_the_end"),
    [(OutcomeCode.UNAUTHORIZED, "DeadLettered"), (OutcomeCode.SETUP, "Postpone")],
)
async def test_a_refusal_while_others_pass(code: OutcomeCode, in_the_end: str) -> None:
    """Tried once more, it is that event's; but never where no event can be to blame."""
    bench = Bench()
    known(bench)
    others = outcomes((0, OutcomeCode.DELIVERED), (1, code), (2, OutcomeCode.DELIVERED))
    bench.settlement.outcomes(a_batch(1), others)
    bench.settlement.outcomes(a_batch(2, started=1.0), outcomes((1, code)))
    assert (await bench.taken())[-2:] == [(2, "Delivered"), (1, in_the_end)]


async def test_the_second_in_a_row_holds_the_connection() -> None:
    """From then on they are as if they were never sent, whatever their windows say."""
    bench = Bench(window_s=0.0)
    schedule = known(bench)
    batch = a_batch(1)
    code = OutcomeCode.UNAUTHORIZED
    bench.settlement.outcomes(batch, outcomes((0, code), (1, code), (2, code)))
    assert await bench.taken() == [(0, "Postpone"), (1, "Release"), (2, "Release")]
    assert schedule.credentials.is_held
    assert (batch.retried, batch.refused, batch.unreported) == (1, 1, 0)


@pytest.mark.parametrize(("ended_at", "becomes"), [(0.0, "DeadLettered"), (45.0, "Postpone")])
async def test_a_retry_window_did_not_run_while_the_connection_was_held(
    ended_at: float, becomes: str
) -> None:
    """It begins anew where the hold has ended."""
    bench = Bench(window_s=10.0)
    known(bench).credentials.ended_at = ended_at
    bench.settlement.outcomes(a_batch(1, size=1), outcomes((0, OutcomeCode.SERVER)))
    assert await bench.taken() == [(0, becomes)]


async def test_what_deliveries_met_with_is_told_once_a_reason_with_one_that_has_a_sample() -> None:
    """Where a worker has told what was sent with one of them; without secrets."""
    bench, batch = Bench(), a_batch(1, size=4, label="default-1")
    request = SentRequest("POST", "https://p.example/", {}, b"", 0, "")
    batch.samples[2] = Sampled(1, 2, request, None)
    failed, retry = OutcomeCode.FAILED, OutcomeCode.UNAUTHORIZED
    bench.settlement.outcomes(
        batch,
        Outcomes(
            1,
            [
                (0, OutcomeCode.DELIVERED, "", None),
                (1, failed, "400 SECRET", None),
                (2, failed, "400 SECRET", None),
                (3, retry, "401", None),
            ],
        ),
    )
    await bench.taken()
    (first, second) = bench.watch.troubles
    assert first[:3] == ("failed", "400 [secret]", 2)
    assert bench.watch.met == [[b"a1", b"a2"], [b"a3"]]
    assert first[3] == MetBy(b"a2", 1, "default-1", batch.samples[2])
    assert second == ("credentials", "401", 1, MetBy(b"a3", 1, "default-1", None))
