"""A round of looks at event loops: which workers get nothing more, and what is told of whom."""

from __future__ import annotations

from supervisor.core.isolation.facts import IsolationFact, LoopHogged
from supervisor.core.isolation.grants import WAITING_LOOKS
from supervisor.core.isolation.leaks import Together
from supervisor.core.isolation.machine import Isolation
from supervisor.core.isolation.responsiveness import ROUND_S, Responsiveness
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.delivery.records import PoolWorker
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog.effects import (
    EndWorker,
    GrantBatches,
    MakeSerial,
    Tell,
    WatchdogEffect,
)
from supervisor.delivery.watchdog.leaks import LeakMonitor
from supervisor.delivery.watchdog.limits import LimitMonitor
from supervisor.delivery.watchdog.loops import LoopMonitor
from supervisor.workers.handle import Mark
from tests.delivery.handles import StillWorker, a_batch, member


class Pool:
    """Two workers that serve, each with a batch; time passes by rounds."""

    def __init__(self) -> None:
        self.records, self.now = PoolRecords(), 0.0
        self.responsiveness = Responsiveness()
        self.leaks = LeakMonitor("p")
        limits = LimitMonitor(self.records, self.responsiveness, self.leaks)
        #: connections that wait for a worker
        self.waiting: set[str] = set()
        self.monitor = LoopMonitor(
            self.records,
            Isolation(),
            self.responsiveness,
            limits,
            lambda connection, now: bool(self.waiting - {connection}),
        )
        self.workers = [StillWorker(number, state=ProcessState.READY) for number in (1, 2)]
        self.members: list[PoolWorker] = []
        for worker in self.workers:
            pool_worker = member(worker)
            self.records.forked(pool_worker)
            self.records.assigned(pool_worker, worker.number)
            self.records.handed_over(pool_worker, a_batch(worker.number))
            self.members.append(pool_worker)

    def round(self, *silent: StillWorker) -> list[WatchdogEffect]:
        """All but the silent ones beat."""
        self.now += ROUND_S
        for worker in self.workers:
            worker.beats += worker not in silent
        return list(self.monitor.look(self.now))


def test_worker_that_does_not_come_round_gets_nothing_more_until_it_does() -> None:
    """It is told once, and once again when it beats."""
    pool = Pool()
    first, _ = pool.workers
    assert [pool.round() for _ in range(3)] == [[], [], []]
    told = [effect for _ in range(5) for effect in pool.round(first)]
    assert told == [GrantBatches(1)]
    assert pool.responsiveness.is_unresponsive(1)
    assert pool.round() == [GrantBatches(1)]
    assert not pool.responsiveness.is_unresponsive(1)


def test_no_worker_is_serial_for_long_while_others_wait() -> None:
    """It gets as many batches as ever, within a fifth of a second."""
    pool = Pool()
    pool.leaks.together = (Together(("a", "b"), 1000.0),)
    pool.leaks.judge = lambda: None  # type: ignore[method-assign] # nothing was sampled here
    assert MakeSerial(1) in pool.leaks.look(pool.workers[:1], 1e6)
    pool.records.make_serial(1)
    assert not any(isinstance(one, MakeSerial) for _ in range(20) for one in pool.round())
    pool.waiting.add("a")
    told = [effect for _ in range(WAITING_LOOKS) for effect in pool.round()]
    assert told == [MakeSerial(None)]


def test_worker_without_batches_need_not_beat() -> None:
    """It is not asked to, and what it was found to be before is over."""
    pool = Pool()
    first, _ = pool.workers
    for _ in range(5):
        pool.round(first)
    pool.records.ended(pool.members[0], 1, pool.now)
    assert pool.round(first) == [GrantBatches(1)]
    assert pool.round(first) == []


def blocked_by_a(pool: Pool) -> list[IsolationFact]:
    """What is told while a connection blocks the first worker three times."""
    first, _ = pool.workers
    first.at = Mark("a", 1, None, is_running=True)
    told: list[WatchdogEffect] = []
    for _ in range(3):
        for _ in range(8):
            told += pool.round(first)
        told += pool.round()
    return [effect.fact for effect in told if isinstance(effect, Tell)]


def test_connection_that_blocks_loops_for_others_is_told_of() -> None:
    """After the third time within a while, with what it did: others are in its worker, or wait."""
    beside, queued = Pool(), Pool()
    beside.records.handed_over(beside.members[0], a_batch(3, "b"))
    queued.waiting = {"a", "b"}
    for pool in (beside, queued):
        (fact,) = blocked_by_a(pool)
        assert isinstance(fact, LoopHogged)
        assert fact.connection == "a"


def test_connection_that_blocks_loops_for_nobody_is_not_told_of() -> None:
    """Its own further batches are its own business, and others run elsewhere."""
    pool = Pool()
    pool.waiting = {"a"}
    pool.records.handed_over(pool.members[0], a_batch(3, "a"))
    pool.records.handed_over(pool.members[1], a_batch(4, "b"))
    assert blocked_by_a(pool) == []


def test_worker_over_its_limits_is_ended_and_not_asked() -> None:
    """Its batches are somebody else's from then on."""
    pool = Pool()
    first, _ = pool.workers
    first.excess = "too much"
    ends = [effect for effect in pool.round() if isinstance(effect, EndWorker)]
    assert [effect.worker for effect in ends] == [1]
