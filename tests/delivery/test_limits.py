"""What breaks a limit is ended or replaced, with a reason; what does not is left alone."""

from __future__ import annotations

import pytest

from sandbox.protocol import OutOfMemory, evidence_allowance
from supervisor.core.effects import ExitReason
from supervisor.core.isolation.facts import ResourcesExhausted
from supervisor.core.isolation.leaks import Leak, Together
from supervisor.core.isolation.responsiveness import Responsiveness
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog.effects import (
    EndWorker,
    ReplaceWorker,
    TakeSnapshot,
    Tell,
    WatchdogEffect,
)
from supervisor.delivery.watchdog.leaks import LeakMonitor
from supervisor.delivery.watchdog.limits import LimitMonitor
from supervisor.workers.handle import Mark
from supervisor.workers.process import MAX_PROCESSES
from supervisor.workers.resources.headroom import Headroom
from tests.delivery.handles import LIMITS, StillWorker, member

MIB = 1 << 20


class Pool:
    """A pool of one worker that is ready and has worked, and its monitor."""

    def __init__(self) -> None:
        self.worker = StillWorker(1, state=ProcessState.READY)
        self.worker.worked["a"] = 10
        self.leaks = LeakMonitor("p")
        self.leaks.soft_limit = LIMITS.memory_soft_limit
        records = PoolRecords()
        records.forked(member(self.worker))
        self.monitor = LimitMonitor(records, Responsiveness(), self.leaks)

    def look(self) -> list[WatchdogEffect]:
        return self.monitor.look(0.25)


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_worker_within_its_limits_is_left_alone(pool: Pool) -> None:
    """Nothing is to be done, look after look."""
    pool.worker.private_bytes = LIMITS.memory_soft_limit // 2
    for _ in range(3):
        pool.worker.beats += 1
        assert pool.look() == []


@pytest.mark.parametrize("state", [ProcessState.STARTING, ProcessState.KILLED, ProcessState.GONE])
def test_worker_that_does_not_serve_is_not_looked_at(pool: Pool, state: ProcessState) -> None:
    """What it took to start is nobody's fault, and one that is dying needs no second end."""
    pool.worker.state, pool.worker.private_bytes = state, 10 * LIMITS.memory_limit
    assert pool.look() == []


def test_hard_limit_ends(pool: Pool) -> None:
    """With what it used, and what it was at."""
    pool.worker.private_bytes = LIMITS.memory_limit + 1
    pool.worker.at = Mark("a", 1, 2, is_running=True)
    why = "it used 100 of 100 MiB of memory, in a step of a, event 2 of its batch"
    assert pool.look() == [EndWorker(1, ExitReason.OOM, why)]


def test_soft_limit_replaces_and_takes_evidence(pool: Pool) -> None:
    """Nobody is charged where nobody is known to leak; it is asked for until it was done."""
    pool.worker.private_bytes = LIMITS.memory_soft_limit
    detail = "60 of 60 MiB of memory used, and nobody's in particular"
    wanted = [
        TakeSnapshot(1, "soft_limit", None),
        ReplaceWorker(1, ExitReason.RECYCLE, detail, None),
    ]
    assert pool.look() == wanted
    assert pool.look() == wanted
    pool.monitor.replaced(1)
    assert pool.look() == []


def test_soft_limit_charges_the_connection_that_leaks(pool: Pool) -> None:
    """The one that left most in this worker; one that never worked there has no part in it."""
    pool.worker.private_bytes = LIMITS.memory_soft_limit
    pool.worker.worked.update(b=100)
    pool.leaks.judge = lambda: None  # type: ignore[method-assign] # nothing was sampled here
    pool.leaks.leaks = {name: Leak(name, 1000.0, 0.0) for name in "abc"}
    (_, replace) = pool.look()
    detail = "b leaks 1000 bytes an event; 60 of 60 MiB used"
    assert replace == ReplaceWorker(1, ExitReason.LEAK, detail, "b", charged="b")


def test_soft_limit_charges_none_of_several(pool: Pool) -> None:
    """One of them leaks, and the others are innocent."""
    pool.worker.private_bytes = LIMITS.memory_soft_limit
    pool.leaks.judge = lambda: None  # type: ignore[method-assign] # nothing was sampled here
    pool.leaks.together = (Together(("a", "b"), 1000.0),)
    replace = pool.look()[1]
    detail = "one of a, b leaks, unknown which; 60 of 60 MiB used"
    assert replace == ReplaceWorker(1, ExitReason.LEAK, detail, None)


def test_worker_that_ran_out_is_replaced_and_may_leave_evidence(pool: Pool) -> None:
    """It may go beyond its hard limit by what the jail allows it for that, and no further."""
    effects = pool.monitor.ran_out(pool.worker, OutOfMemory("a", "MemoryError in deliver"))
    assert effects == [
        TakeSnapshot(1, "memory_error", "a"),
        ReplaceWorker(1, ExitReason.OOM, "MemoryError in deliver", "a", is_urgent=True),
        Tell(ResourcesExhausted("a", ExitReason.OOM, "MemoryError in deliver")),
    ]
    pool.monitor.replaced(1)
    most = LIMITS.memory_limit + evidence_allowance(LIMITS.memory_limit)
    pool.worker.private_bytes = most
    assert pool.look() == []
    pool.worker.private_bytes = most + 1
    assert [effect.reason for effect in pool.look() if isinstance(effect, EndWorker)] == ["oom"]


def test_open_files_near_the_limit(pool: Pool) -> None:
    """Whose own code met the limit is charged; else the only connection that worked there."""
    assert pool.monitor.told_open_files(pool.worker, 255, "b") == [], "it was not looked at yet"
    pool.look()
    assert pool.monitor.told_open_files(pool.worker, 200) == []
    for told, charged in (("b", "b"), ("", "a")):
        (effect,) = pool.monitor.told_open_files(pool.worker, 255, told)
        assert effect == ReplaceWorker(
            1,
            ExitReason.LIMIT,
            "255 of 256 open files",
            charged,
            charged=charged,
            is_urgent=True,
            ends_instead=True,
        )
    pool.monitor.replaced(1)
    assert pool.monitor.told_open_files(pool.worker, 255, "b") == []


def test_open_files_of_several_name_who_runs_and_charge_nobody(pool: Pool) -> None:
    """To run at that moment is no proof."""
    pool.look()
    pool.worker.worked["b"] = 1
    pool.worker.at = Mark("b", 1, None, is_running=True)
    (effect,) = pool.monitor.told_open_files(pool.worker, 255)
    assert isinstance(effect, ReplaceWorker)
    assert (effect.connection, effect.charged) == ("b", None)


def test_processes_and_files_end(pool: Pool) -> None:
    """A worker that forks without end, or fills its folder, is ended at once."""
    pool.worker.descendants = MAX_PROCESSES + 1
    (effect,) = pool.look()
    assert effect == EndWorker(1, ExitReason.LIMIT, f"more than {MAX_PROCESSES} processes")
    pool.worker.descendants, pool.worker.excess = 0, "its folder holds 300 of 256 MiB"
    (effect,) = pool.look()
    assert effect == EndWorker(1, ExitReason.LIMIT, "its folder holds 300 of 256 MiB")


def test_traces_are_looked_at_where_a_worker_waits_to_be_replaced(pool: Pool) -> None:
    """A worker over its soft limit has its other limits all the same."""
    pool.worker.private_bytes = LIMITS.memory_soft_limit
    pool.worker.excess = "too much"
    kinds = [type(effect) for effect in pool.look()]
    assert kinds == [TakeSnapshot, ReplaceWorker, EndWorker]


@pytest.mark.parametrize(
    ("headroom", "may_raise", "ends"),
    [
        (Headroom.SOME, False, False),
        (Headroom.MORE_ON_DEMAND, True, False),
        (Headroom.MORE_ON_DEMAND, False, True),
        (Headroom.NONE, True, True),
    ],
)
def test_silent_worker_that_wants_memory(
    pool: Pool, headroom: Headroom, may_raise: bool, ends: bool
) -> None:
    """It is let go on once, where that is allowed; after that it had all there is."""
    pool.worker.headroom, pool.worker.may_raise = headroom, may_raise
    silent = pool.monitor
    silent._responsiveness.silent_s = lambda *_: 0.5  # type: ignore[method-assign] # by the clock
    effects = pool.look()
    assert [type(effect) for effect in effects] == ([EndWorker] if ends else [])


def test_blocked_loop_ends_for_nothing_else(pool: Pool) -> None:
    """A worker that is silent for its block timeout is ended for that, whatever else it broke."""
    pool.worker.private_bytes, pool.worker.excess = 10 * LIMITS.memory_limit, "too much"
    silent = pool.monitor
    silent._responsiveness.silent_s = lambda *_: 1.04  # type: ignore[method-assign] # by the clock
    why = "its event loop was blocked for 1.0 s"
    assert pool.look() == [EndWorker(1, ExitReason.TIMEOUT, why)]
