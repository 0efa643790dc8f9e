"""What a dry run and a self-test make of their workers' words, whatever those are."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from sandbox.protocol import (
    MAX_TRACEBACK,
    BatchDone,
    Connect,
    Declared,
    DryRunBatch,
    FromWorker,
    Limits,
    Log,
    Message,
    OutcomeCode,
    Outcomes,
    OutOfMemory,
    ProtocolError,
    Raised,
    RunSelftest,
    SelftestRan,
    Spawn,
    Stats,
    UnhandledException,
)
from supervisor.config import Connection
from supervisor.core.counted_time import CpuTimes, ThreadTimes
from supervisor.core.effects import ExitReason
from supervisor.dryrun import dry_run, jail_selftest
from supervisor.dryrun.dry_run import MOST_KEPT, DryRun, DryRunListener, EventResult
from supervisor.dryrun.jail_selftest import Attempt, SelftestFailed, run_selftest
from supervisor.egress.broker import Broker
from supervisor.egress.policy import EgressPolicy
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Exit, Listener, WorkerHandle
from supervisor.workers.spawn import PoolSpec
from tests.queue.given import until

POOL = PoolSpec(
    name="default",
    workers=1,
    spares=0,
    batch_timeout_s=1.0,
    limits=Limits(1 << 28, 1 << 27, 256, 1.0),
    profile="strict",
    ca_file=None,
    destinations=(),
    plugin_paths=(),
)


#: A process that waits for a CPU all the time.
STARVED: CpuTimes = {1: ThreadTimes(1.0, 1.0, is_ready=True)}


@dataclass
class ScriptedWorker:
    """Keeps what it is told; `on_message` is what it does with a message."""

    on_message: Callable[[Message], None] = lambda message: None
    told: list[Message] = field(default_factory=list)
    ended: list[tuple[ExitReason, str]] = field(default_factory=list)
    on_end: Callable[[ExitReason, str], None] = lambda reason, detail: None
    #: what it had of the CPUs, and how often that was asked
    had: CpuTimes = field(default_factory=dict)
    looks: int = 0

    @property
    def cpu_times(self) -> CpuTimes:
        """As the test says."""
        self.looks += 1
        return self.had

    @property
    def as_worker(self) -> WorkerHandle:
        """The same, for a listener, which uses what stands here."""
        return cast(WorkerHandle, self)

    def send(self, message: Message) -> None:
        """A message of a self-test."""
        self.told.append(message)
        self.on_message(message)

    def send_batch(self, batch: DryRunBatch) -> None:
        """A batch of a dry run."""
        self.send(batch)

    def configure(self, connection: str, destination: str, settings: dict[str, object]) -> None:
        """The settings come first."""

    def retire(self, reason: ExitReason) -> None:
        """There is nothing left to do."""
        self.kill(reason, "")

    def kill(self, reason: ExitReason, detail: str) -> None:
        """It is to end."""
        self.ended.append((reason, detail))
        self.on_end(reason, detail)


def an_exit(reason: ExitReason, detail: str) -> Exit:
    """How a worker ended."""
    return Exit(reason, detail, was_ready=True, at=0.0, usage=None)


class Bench:
    """A dry run of two events in batches of one, whose worker is ready."""

    def __init__(self, had: CpuTimes | None = None) -> None:
        pending = EventResult("retry", "the worker reported no outcome")
        self.run = DryRun([pending, pending])
        self.worker = ScriptedWorker(had=had or {})
        self.listener = DryRunListener(
            self.run,
            Connection(name="c", source="s", destination="d"),
            cast(EgressPolicy, None),  # nothing connects here
            cast(Broker, None),
            POOL,
            [[(0, b"{}")], [(1, b"{}")]],
        )
        self.listener.ready(self.worker.as_worker, 1, {"seccomp": "on"})

    def say(self, *messages: FromWorker) -> None:
        """As the worker says it."""
        for message in messages:
            self.listener.said(self.worker.as_worker, message)

    def end(self, reason: ExitReason = ExitReason.DRAIN, detail: str = "") -> None:
        """The worker is gone."""
        self.listener.gone(self.worker.as_worker, an_exit(reason, detail))


def outcome(batch: int, code: OutcomeCode, detail: str = "", index: int = 0) -> Outcomes:
    """The outcome of one event."""
    return Outcomes(batch, [(index, code, detail, None)])


@pytest.mark.parametrize("code", OutcomeCode)
async def test_each_code_has_its_word(code: OutcomeCode) -> None:
    """As users know outcomes: a retry is one whatever its cause; here nothing is held."""
    bench = Bench()
    bench.say(outcome(0, code, "why"))
    words = {
        "DELIVERED": "delivered",
        "FAILED": "failed",
        "UNSUPPORTED": "unsupported",
        "UNAUTHORIZED": "failed",
        "LOCKED_OUT": "failed",
    }
    assert bench.run.outcomes[0] == EventResult(words.get(code.name, "retry"), "why")
    bench.end()


async def test_batches_come_one_after_the_other() -> None:
    """The next one is sent once the last is over, and after the last of all the worker ends."""
    bench = Bench()
    assert [cast(DryRunBatch, batch).id for batch in bench.worker.told] == [0]
    bench.say(outcome(0, OutcomeCode.DELIVERED), BatchDone(0))
    assert [cast(DryRunBatch, batch).id for batch in bench.worker.told] == [0, 1]
    bench.say(outcome(1, OutcomeCode.FAILED, "no"), BatchDone(1))
    assert bench.worker.ended == [(ExitReason.DRAIN, "")]
    bench.end()
    assert [result.outcome for result in bench.run.outcomes] == ["delivered", "failed"]


@pytest.mark.parametrize("most_times", [10.0, 0.02])
async def test_a_worker_without_a_cpu_is_not_late(
    monkeypatch: pytest.MonkeyPatch, most_times: float
) -> None:
    """Time counts in which it could have ended its batch; in the end it is ended all the same."""
    monkeypatch.setattr(dry_run, "GRACE_S", -0.96)
    monkeypatch.setattr(dry_run, "MOST_TIMES", 0.96 + most_times)
    bench = Bench(had=STARVED)
    if most_times > 1:
        await until(lambda: bench.worker.looks > 20)
        assert bench.worker.ended == []
        bench.worker.had = {1: ThreadTimes(1.0, 1.0)}
    await until(lambda: bool(bench.worker.ended))
    assert bench.worker.ended == [(ExitReason.TIMEOUT, "longer than 1 s")]
    bench.end()


@pytest.mark.parametrize(
    "messages",
    [
        (outcome(0, OutcomeCode.DELIVERED, index=1),),
        (outcome(0, OutcomeCode.DELIVERED, index=-1),),
        (outcome(1, OutcomeCode.DELIVERED),),
        (outcome(-1, OutcomeCode.DELIVERED),),
        (outcome(0, OutcomeCode.DELIVERED), outcome(0, OutcomeCode.FAILED)),
        (BatchDone(1),),
        (BatchDone(0), BatchDone(1), BatchDone(2)),
        (BatchDone(0), BatchDone(1), outcome(2, OutcomeCode.DELIVERED)),
        (Raised(0, "x" * (MAX_TRACEBACK + 1)),),
        (Declared("d", "why"),),
        (SelftestRan([]),),
    ],
    ids=range(11),
)
async def test_what_is_out_of_turn_is_a_breach(messages: tuple[FromWorker, ...]) -> None:
    """No event that it has not, none twice, no batch before its time or after the last."""
    bench = Bench()
    bench.say(*messages[:-1])
    with pytest.raises(ProtocolError):
        bench.say(messages[-1])
    bench.end(ExitReason.PROTOCOL)


async def test_what_a_worker_leaves_open_is_a_retry_with_the_reason() -> None:
    """What it had reported before it died holds."""
    bench = Bench()
    bench.say(outcome(0, OutcomeCode.DELIVERED))
    bench.end(ExitReason.SIGNAL, "SIGSEGV")
    assert bench.run.outcomes == [
        EventResult("delivered"),
        EventResult("retry", "the worker ended: signal: SIGSEGV"),
    ]


async def test_what_is_kept_of_a_worker_has_an_end() -> None:
    """Log lines, exceptions and tracebacks, each so many and so long."""
    bench = Bench()
    for _ in range(MOST_KEPT + 5):
        bench.say(Log(20, "c", "x" * 5000, 0), UnhandledException("c", "y", 0), Raised(0, "z"))
    bench.say(Stats(0.0, 1), OutOfMemory("c", ""))
    assert len(bench.run.log) == len(bench.run.tracebacks) == MOST_KEPT
    assert max(map(len, bench.run.log)) == 2000
    bench.end()


@dataclass
class SelftestFleet:
    """Its worker answers the request with `answers`, and ends as it is told to or by `dies`."""

    answers: list[FromWorker]
    dies: bool = False
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    breaches: list[str] = field(default_factory=list)
    victim: str = ""

    def spawn(self, order: Spawn, listener: Listener) -> ScriptedWorker:
        """Start the worker."""
        loop = asyncio.get_running_loop()

        def answer(message: Message) -> None:
            assert isinstance(message, RunSelftest)
            self.victim = message.victim
            assert os.path.isfile(message.victim)
            for said in self.answers:
                try:
                    listener.said(worker.as_worker, said)
                except ProtocolError as error:
                    self.breaches.append(str(error))
            if self.dies:
                end(ExitReason.SIGNAL, "SIGKILL")

        def end(reason: ExitReason, detail: str) -> None:
            loop.call_soon(listener.gone, worker.as_worker, an_exit(reason, detail))

        worker = ScriptedWorker(answer, on_end=end)
        loop.call_soon(listener.ready, worker.as_worker, 0, {})
        return worker

    def as_fleet(self) -> WorkerFleet:
        """The same, for the code under test, which uses two members of a fleet."""
        return cast(WorkerFleet, self)


async def test_each_attempt_is_told_by_what_stopped_it() -> None:
    """An errno by its name, a signal by its number, and nothing where it got through."""
    fleet = SelftestFleet([SelftestRan([("a", 1, ["seccomp"]), ("b", -9, []), ("c", 0, [])])])
    found = await run_selftest(fleet.as_fleet(), POOL)
    assert found == [
        Attempt("a", "EPERM: Operation not permitted", ("seccomp",)),
        Attempt("b", "signal 9", ()),
        Attempt("c", "", ()),
    ]
    assert [attempt.is_stopped for attempt in found] == [True, True, False]
    assert not os.path.exists(fleet.victim)  # noqa: ASYNC240 - a look at a folder of this test


async def test_a_self_test_is_answered_once_and_by_nothing_else() -> None:
    """A second answer, or any other message, is a breach."""
    fleet = SelftestFleet([Stats(0.0, 0), SelftestRan([]), SelftestRan([("a", 1, [])])])
    assert await run_selftest(fleet.as_fleet(), POOL) == []
    assert len(fleet.breaches) == 2


async def test_a_worker_that_ends_first_has_tested_nothing() -> None:
    """No answer is no proof that anything was stopped."""
    with pytest.raises(SelftestFailed, match=r"ended first \(signal: SIGKILL\)"):
        await run_selftest(SelftestFleet([], dies=True).as_fleet(), POOL)


async def test_a_worker_that_never_answers_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """All attempts together have their time."""
    monkeypatch.setattr(jail_selftest, "TIMEOUT_S", 0.01)
    with pytest.raises(SelftestFailed, match=r"timeout: no answer within 0.01 s"):
        await run_selftest(SelftestFleet([]).as_fleet(), POOL)


async def test_neither_may_ask_for_what_it_has_no_use_for() -> None:
    """A self-test has no connections."""
    breaches: list[str] = []

    class Asks(SelftestFleet):
        def spawn(self, order: Spawn, listener: Listener) -> ScriptedWorker:
            worker = super().spawn(order, listener)
            with pytest.raises(ProtocolError) as caught:
                listener.asked(worker.as_worker, Connect(1, "c", "host.example", 443))
            breaches.append(str(caught.value))
            return worker

    await run_selftest(Asks([SelftestRan([])]).as_fleet(), POOL)
    assert len(breaches) == 1
