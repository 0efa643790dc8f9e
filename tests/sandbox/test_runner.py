"""From a batch to its outcomes, with destinations that behave and that do not."""

from __future__ import annotations

import asyncio
import errno
import resource
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import cast

import aiohttp
import msgspec
import pytest

from destinations.kit import (
    Cause,
    Delivered,
    Destination,
    Event,
    Failed,
    Outcome,
    Retry,
    Unsupported,
)
from sandbox.marks import MarkerWriter
from sandbox.protocol import (
    LINES_PER_S,
    MAX_DETAIL,
    STRAY_LINES_PER_S,
    Batch,
    BatchDone,
    Configure,
    Log,
    Message,
    OutcomeCode,
    Outcomes,
    OutOfMemory,
    UnhandledException,
)
from sandbox.runner import Runner

Deliver = Callable[["Scripted", Sequence[Event]], Awaitable[object]]


class Scripted(Destination):
    """Does what the test tells it to."""

    name = "scripted"
    batch_events = 100
    habit: Deliver

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`word` means nothing."""

        word: str = ""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return await type(self).habit(self, events)  # type: ignore[return-value]  # also nonsense


class Bench:
    """A runner with one connection, and what it has said."""

    def __init__(self, habit: Deliver, settings: dict[str, object] | None = None) -> None:
        self.said: list[Message] = []
        self.short_of_files: list[str] = []
        self.starved_s = 0.0
        self.threads: set[int] = set()
        self.done = asyncio.Event()
        self.runner = Runner(
            lambda message: self.hear(message),
            MarkerWriter(),
            lambda _: aiohttp.TCPConnector(),
            self.short_of_files.append,
            lambda: self.starved_s,
        )
        kind = type("Scripted", (Scripted,), {"habit": staticmethod(habit)})
        self.runner.add("scripted", kind)
        self.runner.configure(Configure("c", "scripted", settings or {}))

    def hear(self, message: Message) -> None:
        self.said.append(message)
        self.threads.add(threading.get_ident())
        if isinstance(message, BatchDone):
            self.done.set()

    async def run(self, size: int = 3, timeout_s: float = 5.0) -> list[tuple[int, int, str]]:
        """Run one batch to its end; its outcomes, by index."""
        bodies = [b'{"messageId":"m%d","type":"track","event":"e"}' % n for n in range(size)]
        self.runner.start(Batch(1, "c", timeout_s, bodies))
        await asyncio.wait_for(self.done.wait(), 10)
        told = [item for said in self.said if isinstance(said, Outcomes) for item in said.outcomes]
        await self.runner.close()
        return sorted((index, code, detail) for index, code, detail, _ in told)


async def test_warming_up_is_heard_by_nobody() -> None:
    """A batch that does nothing runs to its end; no word of it leaves, and no destination runs."""
    ran: list[Sequence[Event]] = []

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        ran.append(events)
        return [Delivered()] * len(events)

    bench = Bench(habit)
    await bench.runner.warm_up()
    assert (bench.said, ran, bench.runner.batches) == ([], [], 0)
    assert await bench.run(1) == [(0, OutcomeCode.DELIVERED, "")]


async def test_outcomes_are_passed_on_as_they_are() -> None:
    """Each kind of outcome has its code, and its reason travels with it."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        return [Delivered(), Retry("busy", 7.0), Failed("bad"), Unsupported()]

    assert await Bench(habit).run(4) == [
        (0, OutcomeCode.DELIVERED, ""),
        (1, OutcomeCode.RETRY, "busy"),
        (2, OutcomeCode.FAILED, "bad"),
        (3, OutcomeCode.UNSUPPORTED, ""),
    ]


async def test_a_reason_is_one_line_of_print() -> None:
    """Whatever of a server's bytes a reason quotes, nothing in it is obeyed by who shows it."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        return [Failed("a\r\nb\x1b[31m\x00\u202e\udcff"), Retry("x\n" * 100_000)]

    for _, _, reason in await Bench(habit).run(2):
        assert reason.isprintable()
        assert len(reason) <= MAX_DETAIL


async def test_each_cause_of_a_retry_has_a_code_of_its_own() -> None:
    """A cause is told by a code, and a word that a destination made up for one is a plain retry."""

    async def habit(self: Scripted, events: Sequence[Event]) -> list[Outcome]:
        causes = [*Cause, cast(Cause, "my own")]
        return [Retry("busy", cause=cause) for cause in causes]

    told = await Bench(habit).run(len(Cause) + 1)
    codes = [code for _, code, _ in told]
    assert codes[-1] is OutcomeCode.RETRY
    assert dict(zip(Cause, codes, strict=False)) == {
        Cause.THROTTLED: OutcomeCode.THROTTLED,
        Cause.TIMEOUT: OutcomeCode.TIMEOUT,
        Cause.CONNECT: OutcomeCode.CONNECT,
        Cause.SERVER: OutcomeCode.SERVER,
        Cause.SETUP: OutcomeCode.SETUP,
        Cause.OTHER: OutcomeCode.RETRY,
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no good"), "ValueError: no good"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (TimeoutError("theirs"), "TimeoutError: theirs"),
        (MemoryError(), "MemoryError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_deliver_raises_is_a_retry_of_what_was_not_reported(
    error: BaseException, text: str
) -> None:
    """What was reported holds; the rest goes on singly, with the exception's type and message."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        self.report(1, Delivered())
        raise error

    told = await Bench(habit).run()
    assert [(index, code) for index, code, _ in told] == [
        (0, OutcomeCode.RETRY_ALONE),
        (1, OutcomeCode.DELIVERED),
        (2, OutcomeCode.RETRY_ALONE),
    ]
    assert told[0][2] == f"deliver raised {text}"


async def test_exception_that_cannot_be_printed_is_told_all_the_same() -> None:
    """An exception whose own text raises does not get past the runner."""

    class Spiteful(Exception):
        def __str__(self) -> str:
            sys.exit(1)

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        raise Spiteful

    assert (await Bench(habit).run(1))[0][2].endswith("(its text raised SystemExit)")


@pytest.mark.parametrize(
    ("returned", "word"),
    [
        ([Delivered()], "1 outcomes for 3 events"),
        ([Delivered()] * 4, "4 outcomes for 3 events"),
        (None, "NoneType"),
        ("yes", "str"),
        ([Delivered(), True, Delivered()], "bool is not an outcome"),
    ],
)
async def test_wrong_outcomes_are_the_destinations_error(returned: object, word: str) -> None:
    """Too few, too many or no outcomes at all: what nobody spoke of is a retry that says so."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        self.report(0, Delivered())
        return returned

    told = await Bench(habit).run()
    assert [index for index, _, _ in told] == [0, 1, 2]
    assert told[0][1] == OutcomeCode.DELIVERED
    assert told[2][1] == OutcomeCode.RETRY_ALONE
    assert word in told[2][2]


@pytest.mark.parametrize("after_s", ["soon", Decimal(3), 10**400, [1]], ids=lambda x: str(x)[:9])
async def test_a_wait_that_is_no_number_is_the_destinations_error(after_s: object) -> None:
    """It would be no frame, and cost the worker its life; early it raises where it is said."""
    raised: list[str] = []

    async def habit(self: Scripted, events: Sequence[Event]) -> list[Outcome]:
        odd = Retry("busy", cast(float, after_s))
        try:
            self.report(0, odd)
        except TypeError as error:
            raised.append(str(error))
        return [odd, Delivered()]

    bench = Bench(habit)
    told = await bench.run(2)
    assert [(index, code) for index, code, _ in told] == [
        (0, OutcomeCode.RETRY_ALONE),
        (1, OutcomeCode.RETRY_ALONE),
    ]
    assert raised[0] == told[0][2]
    assert "after_s is" in raised[0]


async def test_batch_past_its_time_is_cancelled_and_retried_together() -> None:
    """A soft timeout keeps what was reported; the rest is retried as a batch."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        self.report(0, Delivered())
        await asyncio.Event().wait()
        return []

    told = await Bench(habit).run(2, timeout_s=0.05)
    assert told == [
        (0, OutcomeCode.DELIVERED, ""),
        (1, OutcomeCode.TIMEOUT, "not finished within 0.05 s"),
    ]


async def test_time_without_a_cpu_does_not_count_for_a_batch() -> None:
    """It has as much longer, also where it is without one again meanwhile, and no more."""
    looks: list[float] = []

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        await asyncio.Event().wait()
        return []

    bench = Bench(habit)
    loop = asyncio.get_running_loop()

    def starve() -> float:
        # As many seconds as have passed, until the batch had twice its time.
        looks.append(loop.time() - began)
        return min(looks[-1], 0.2)

    bench.runner._starved_s = starve
    began = loop.time()
    assert await bench.run(1, timeout_s=0.1) == [
        (0, OutcomeCode.TIMEOUT, "not finished within 0.1 s")
    ]
    assert loop.time() - began >= 0.29
    assert len(looks) >= 4


async def test_batch_that_swallows_its_cancellation_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its events are retried with that reason, its end is not said, and later reports are void."""
    monkeypatch.setattr("sandbox.runner.CANCEL_S", 0.05)
    end = asyncio.Event()

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        self.report(0, Delivered())
        return [Delivered()]

    bench = Bench(habit)
    # Long enough for it to have begun: what is cancelled before that swallows nothing.
    task = asyncio.ensure_future(bench.run(1, timeout_s=0.5))
    while not bench.said:  # noqa: ASYNC110 - the runner tells nobody but the supervisor
        await asyncio.sleep(0)
    reason = "not finished within 0.5 s, and does not end when it is cancelled"
    assert bench.said == [Outcomes(1, [(0, OutcomeCode.TIMEOUT, reason, None)])]
    end.set()
    assert await task == [(0, OutcomeCode.TIMEOUT, reason)]


async def test_first_word_on_an_event_counts() -> None:
    """What was reported early is not changed by what is returned later."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        self.report(0, Failed("first"))
        self.report(0, Delivered())
        return [Delivered(), Delivered()]

    assert await Bench(habit).run(2) == [
        (0, OutcomeCode.FAILED, "first"),
        (1, OutcomeCode.DELIVERED, ""),
    ]


async def test_reports_stream_while_the_batch_runs() -> None:
    """An outcome is sent within milliseconds of its report, long before the batch is over."""
    go_on = asyncio.Event()

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        self.report(0, Delivered())
        await go_on.wait()
        return [Delivered()] * 2

    bench = Bench(habit)
    task = asyncio.ensure_future(bench.run(2))
    while not bench.said:  # noqa: ASYNC110 - the runner tells nobody but the supervisor
        await asyncio.sleep(0)
    assert bench.said == [Outcomes(1, [(0, OutcomeCode.DELIVERED, "", None)])]
    go_on.set()
    assert len(await task) == 2


async def test_report_of_nonsense_is_told_to_the_destination() -> None:
    """An index that is none and an outcome that is none raise where they are reported."""
    raised = []

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        for index, outcome in ((3, Delivered()), (-1, Delivered()), (0, None)):
            try:
                self.report(index, outcome)  # type: ignore[arg-type]  # nonsense on purpose
            except (IndexError, TypeError) as error:
                raised.append(type(error))
        return [Delivered()] * 3

    await Bench(habit).run()
    assert raised == [IndexError, IndexError, TypeError]


async def test_batches_of_one_connection_report_each_for_itself() -> None:
    """Two batches that run at once on one instance do not mix up their outcomes."""
    both = asyncio.Barrier(2)

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        await both.wait()
        self.report(0, Delivered() if len(events) == 1 else Failed("of two"))
        return [Delivered()] * len(events)

    bench = Bench(habit)
    bench.runner.start(Batch(1, "c", 5.0, [b"{}"]))
    bench.runner.start(Batch(2, "c", 5.0, [b"{}", b"{}"]))
    while sum(isinstance(said, BatchDone) for said in bench.said) < 2:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    told = {
        (said.batch, *item[:3])
        for said in bench.said
        if isinstance(said, Outcomes)
        for item in said.outcomes
    }
    await bench.runner.close()
    assert told == {
        (1, 0, OutcomeCode.DELIVERED, ""),
        (2, 0, OutcomeCode.FAILED, "of two"),
        (2, 1, OutcomeCode.DELIVERED, ""),
    }


async def test_destination_that_could_not_be_loaded_says_so_for_each_event() -> None:
    """A worker without the destination's class answers, and lives."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        return []

    bench = Bench(habit)
    bench.runner.add("gone", "it could not be loaded in this worker: no such file")
    bench.runner.configure(Configure("c", "gone", {}))
    ((_, code, detail),) = await bench.run(1)
    assert code == OutcomeCode.RETRY_ALONE
    assert "no such file" in detail


async def test_log_lines_are_sent_at_a_bounded_rate_and_the_rest_is_counted() -> None:
    """A destination that logs without end neither blocks nor floods the supervisor."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        for number in range(10 * LINES_PER_S):
            self.log.info("line %d", number)
        self.log.info("%d", "no number")
        return [Delivered()]

    bench = Bench(habit)
    await bench.run(1)
    lines = [said for said in bench.said if isinstance(said, Log)]
    assert LINES_PER_S <= len(lines) <= 2 * LINES_PER_S
    assert lines[0].text == "line 0"
    assert lines[0].connection == "c"


async def test_stray_exception_is_told_with_its_connection() -> None:
    """What was raised where nobody catches it is told, at a bounded rate, printable or not."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        return []

    class Spiteful(Exception):
        def __str__(self) -> str:
            sys.exit(1)

    bench = Bench(habit)
    bench.runner.configure(Configure("d", "scripted", {}, 7))
    bench.runner.unhandled(7, "ignored in f", Spiteful())
    for _ in range(10 * LINES_PER_S):
        bench.runner.unhandled(0, "thread x ended", ValueError("left behind"))
    told = [said for said in bench.said if isinstance(said, UnhandledException)]
    assert told[0].connection == "d"
    assert told[0].text == "ignored in f: Spiteful: (its text raised SystemExit)"
    assert told[1] == UnhandledException("", "thread x ended: ValueError: left behind", 0)
    assert len(told) <= 2 * STRAY_LINES_PER_S + 1


async def test_threads_of_a_destination_may_log() -> None:
    """A line from another thread is sent by the loop's, which alone may use the wire."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        await asyncio.to_thread(self.log.warning, "from a thread")
        return [Delivered()]

    bench = Bench(habit)
    bench.runner.attach(asyncio.get_running_loop())
    await bench.run(1)
    assert [said.text for said in bench.said if isinstance(said, Log)] == ["from a thread"]
    assert bench.threads == {threading.get_ident()}


async def test_want_of_memory_is_told_once() -> None:
    """A MemoryError anywhere in what deliver raises is told, and its events go on singly."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError("hidden") from error

    bench = Bench(habit)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    assert (await bench.run(1))[0][1] == OutcomeCode.RETRY_ALONE
    resource.setrlimit(resource.RLIMIT_DATA, before)
    bench.runner.unhandled(0, "again", MemoryError())
    told = [said for said in bench.said if isinstance(said, OutOfMemory)]
    assert told == [OutOfMemory("c", "ValueError: hidden")]


async def test_who_meets_the_limit_of_files_first_is_told() -> None:
    """Its own code did, and not a request of its neighbours."""

    async def habit(self: Scripted, events: Sequence[Event]) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    bench = Bench(habit)
    assert (await bench.run(1))[0][1] == OutcomeCode.RETRY_ALONE
    assert bench.short_of_files == ["c"]
