"""Which failed attempts a worker tells, through its runner, and how much of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from destinations.kit import Delivered, Event, Failed, Outcome, Request, Response, Retry
from destinations.kit.exchanged import current_exchanged
from sandbox import samples
from sandbox.protocol import (
    MAX_ANSWER_BODY,
    MAX_HEADER,
    MAX_HEADERS,
    MAX_REQUEST_BODY,
    MAX_URL,
    SAMPLES_PER_S,
    FrameReader,
    FromWorker,
    Outcomes,
    Sampled,
    encode,
)
from sandbox.samples import A_REASON, MOST_WAITING, Sampling
from tests.sandbox.test_runner import Bench, Scripted

Habit = Callable[[Scripted, Sequence[Event]], Awaitable[object]]
REQUEST = Request("https://p.example/a", b'{"n":1}', {"Authorization": "Bearer x"})
ANSWER = Response(400, {"Content-Type": "text/plain"}, b"no")


def tell(outcome: Outcome, request: Request = REQUEST, said: Response | Outcome = ANSWER) -> None:
    heard = current_exchanged.get()
    if heard is not None:
        heard(outcome, request, said)


def told(bench: Bench) -> list[Sampled]:
    return [message for message in bench.said if isinstance(message, Sampled)]


@pytest.mark.parametrize("is_early", [True, False])
async def test_what_was_sent_and_answered_comes_before_its_outcome(
    is_early: bool,
) -> None:
    """Whether the outcome is reported early or returned; without credentials."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        failed = Failed("400")
        tell(failed)
        if is_early:
            self.report(1, failed)
        return [Delivered(), failed, Failed("400")]

    bench = Bench(habit)
    bench.runner.sampling.is_wanted = True
    await bench.run(3)
    (sampled,) = told(bench)
    assert (sampled.batch, sampled.index) == (1, 1)
    assert sampled.request.headers == {"Authorization": "Bearer (left out)"}
    assert (sampled.request.url, sampled.request.body) == (REQUEST.url, REQUEST.body)
    assert sampled.answer is not None
    assert (sampled.answer.status, sampled.answer.body) == (400, b"no")
    first = next(place for place, said in enumerate(bench.said) if isinstance(said, Outcomes))
    assert bench.said.index(sampled) < first


async def test_nothing_is_told_until_it_is_wanted() -> None:
    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        failed = Failed("400")
        tell(failed)
        return [failed]

    bench = Bench(habit)
    await bench.run(1)
    assert told(bench) == []


class Desk:
    """A `Sampling` with a clock of the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[Any] = []  # Any: messages
        self.sampling = Sampling(self.sent.append, lambda: self.now)

    def fail(self, reason: str, request: Request = REQUEST, said: Any = ANSWER) -> None:
        """Any: what a destination's code may hand over."""
        batch = self.sampling.of_batch("c", 1, {"key": "settings-1"})
        failed = Retry(reason)
        batch.exchanged(failed, request, said)
        batch.failed(0, failed)


def test_few_of_one_reason_are_told_whatever_numbers_are_in_it() -> None:
    """And another reason has its turn all the same; after ten minutes there are more."""
    desk = Desk()
    for n in range(30):
        desk.now += 1
        desk.fail(f"400 Bad Request: user {n}a7f is unknown")
    assert len(desk.sent) == A_REASON
    desk.fail("503 Service Unavailable")
    assert len(desk.sent) == A_REASON + 1
    desk.now += samples.WITHIN_S
    desk.fail("400 Bad Request: user 7 is unknown")
    assert len(desk.sent) == A_REASON + 2


def test_few_are_told_in_a_second_and_few_reasons_are_remembered() -> None:
    desk = Desk()
    for n in range(100):
        desk.fail("x" * (n % 50) + "y")
    assert len(desk.sent) == SAMPLES_PER_S
    for n in range(2 * samples.MOST_REASONS):
        desk.now += 1
        desk.fail(chr(0x400 + n))
    assert len(desk.sampling._told) == samples.MOST_REASONS


def test_whatever_is_sent_and_answered_fits_the_wire() -> None:
    """What is too long is told by its length and digest, and never cut: half a secret is one."""
    desk = Desk()
    desk.fail(
        "large",
        Request(
            "https://p.example/" + "u" * MAX_URL,
            b"b" * (MAX_REQUEST_BODY + 1),
            {f"X-{n}": "\x1b" * MAX_HEADER for n in range(50)} | {"X-é\n" * 40: "v"},
            "M" * 40,
        ),
        Response(400, {"X": "v" * 10_000}, b"a" * 1_000_000),
    )
    (sampled,) = desk.sent
    reader = FrameReader(FromWorker, 64 * 1024)
    assert reader.feed(encode(sampled)) == [sampled]
    request, answer = sampled.request, sampled.answer
    assert (request.body, request.size_bytes, len(request.digest)) == (b"", 4097, 16)
    assert (answer.body, answer.size_bytes) == (b"", 1_000_000)
    assert len(request.headers) == MAX_HEADERS
    assert answer.headers == {"X": "(10000 characters)"}
    assert request.url == f"({18 + MAX_URL} characters)"
    assert len(answer.body) <= MAX_ANSWER_BODY


def test_a_destination_that_tells_without_end_is_not_heard_without_end() -> None:
    desk = Desk()
    batch = desk.sampling.of_batch("c", 1, {})
    failures = [Retry("again") for _ in range(1000)]
    for failure in failures:
        batch.exchanged(failure, REQUEST, ANSWER)
    assert len(batch._waiting) == MOST_WAITING


async def test_batches_that_run_at_once_tell_each_its_own() -> None:
    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        failed = Failed(str(events[0].message_id))
        await asyncio.sleep(0)
        tell(failed, Request("https://p.example/", events[0].raw))
        return [failed] + [Delivered()] * (len(events) - 1)

    bench = Bench(habit)
    bench.runner.sampling.is_wanted = True
    await bench.run(2)
    (sampled,) = told(bench)
    assert b'"m0"' in sampled.request.body
