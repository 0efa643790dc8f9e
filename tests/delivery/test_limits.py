"""What breaks a limit is ended or replaced, with a reason; what does not is left alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sandbox.protocol import OutOfMemory, evidence_allowance
from supervisor.core.counted_time import ThreadTimes
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
from supervisor.delivery.watchdog.limits import SEEN, LimitMonitor
from supervisor.workers.handle import Mark
from supervisor.workers.resources.headroom import Headroom
from tests.delivery.handles import LIMITS, StillWorker, member

MIB = 1 << 20
Found = Callable[["Pool"], list[WatchdogEffect]]


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

    def well(self) -> None:
        """Nothing is found, twice: what shows late would show by then."""
        for _ in range(2):
            assert self.look() == []
            assert self.monitor.told_open_files(self.worker, 20) == []


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
    assert pool.look() == [EndWorker(1, ExitReason.OOM, why, connection="a")]


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
    charged = ResourcesExhausted("b", ExitReason.LEAK, detail)
    assert replace == ReplaceWorker(1, ExitReason.LEAK, detail, "b", charged=charged)


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
        ReplaceWorker(
            1,
            ExitReason.OOM,
            "MemoryError in deliver",
            "a",
            charged=ResourcesExhausted("a", ExitReason.OOM, "MemoryError in deliver"),
            is_urgent=True,
            ends_instead=True,
        ),
        TakeSnapshot(1, "memory_error", "a"),
    ]
    assert pool.monitor.ran_out(pool.worker, OutOfMemory("a", "again")) == [], "it comes once"
    pool.monitor.replaced(1)
    most = LIMITS.memory_limit + evidence_allowance(LIMITS.memory_limit)
    pool.worker.private_bytes = most
    assert pool.look() == []
    pool.worker.private_bytes = most + 1
    assert [effect.reason for effect in pool.look() if isinstance(effect, EndWorker)] == ["oom"]


@pytest.mark.parametrize("named", ["a", "b", "c"])
def test_report_of_a_shared_worker_has_the_one_tried_that_it_names(pool: Pool, named: str) -> None:
    """Its word may be any of theirs: the others are known for when that one is innocent."""
    pool.worker.worked["c"] = 1
    pool.worker.running.update(b=3, c=0)
    *_, tell = pool.monitor.ran_out(pool.worker, OutOfMemory(named, "MemoryError"))
    company = frozenset("abc") - {named}
    assert tell == Tell(ResourcesExhausted(named, ExitReason.OOM, "MemoryError", company=company))


def test_report_of_a_shared_worker_names_nobody_on_its_record(pool: Pool) -> None:
    """Nor on the snapshot: its word alone is no evidence against one of several."""
    pool.worker.worked["b"] = 1
    effects = pool.monitor.ran_out(pool.worker, OutOfMemory("a", "MemoryError"))
    assert effects[:2] == [
        ReplaceWorker(1, ExitReason.OOM, "MemoryError", None, is_urgent=True),
        TakeSnapshot(1, "memory_error", None),
    ]


def test_open_files_near_the_limit(pool: Pool) -> None:
    """Who met the limit is tried, and others may have done it; else who was there alone."""
    assert pool.monitor.told_open_files(pool.worker, 255, "b") == [], "it was not looked at yet"
    pool.look()
    assert pool.monitor.told_open_files(pool.worker, 200) == []
    why = "255 of 256 open files"
    for told, named, accused, others, detail in (
        ("b", None, "b", "a", f"{why}, met in b"),
        ("a", "a", "a", "", why),
        ("", "a", "a", "", why),
    ):
        (effect,) = pool.monitor.told_open_files(pool.worker, 255, told)
        assert effect == ReplaceWorker(
            1,
            ExitReason.LIMIT,
            detail,
            named,
            charged=ResourcesExhausted(
                accused, ExitReason.LIMIT, detail, company=frozenset(others)
            ),
            is_urgent=True,
            ends_instead=True,
        )
    pool.monitor.replaced(1)
    assert pool.monitor.told_open_files(pool.worker, 255, "b") == []


def test_open_files_are_as_many_as_the_kernel_counts(pool: Pool) -> None:
    """A worker that says more has none to give back; one that says less is told right."""
    pool.look()
    pool.worker.open_files = 20
    assert pool.monitor.told_open_files(pool.worker, 255, "a") == []
    pool.worker.open_files = 240
    (effect,) = pool.monitor.told_open_files(pool.worker, 255, "a")
    assert isinstance(effect, ReplaceWorker)
    assert effect.detail == "240 of 256 open files"


def test_open_files_of_several_name_and_charge_nobody(pool: Pool) -> None:
    """To run at that moment is no proof, and nobody is known to have met the limit."""
    pool.look()
    pool.worker.worked["b"] = 1
    pool.worker.at = Mark("b", 1, None, is_running=True)
    (effect,) = pool.monitor.told_open_files(pool.worker, 255)
    assert isinstance(effect, ReplaceWorker)
    assert (effect.connection, effect.charged) == (None, None)


def test_processes_and_files_end(pool: Pool) -> None:
    """A worker that forks without end, or fills its folder, is ended at once.

    Where all that had a batch since it was within limits have one still, its end says whose it was.
    """
    pool.worker.running["a"] = 1
    pool.worker.unasked_processes = 2
    (effect,) = pool.look()
    why = "it has started 2 processes of its own"
    assert effect == EndWorker(1, ExitReason.LIMIT, why, connection="a")
    pool.worker.unasked_processes, pool.worker.excess = 0, "its folder holds 300 of 256 MiB"
    (effect,) = pool.look()
    why = "its folder holds 300 of 256 MiB"
    assert effect == EndWorker(1, ExitReason.LIMIT, why, connection="a")


def test_traces_are_looked_at_where_a_worker_waits_to_be_replaced(pool: Pool) -> None:
    """A worker over its soft limit has its other limits all the same."""
    pool.worker.private_bytes = LIMITS.memory_soft_limit
    pool.worker.excess = "too much"
    pool.worker.running["a"] = 1
    kinds = [type(effect) for effect in pool.look()]
    assert kinds == [TakeSnapshot, ReplaceWorker, EndWorker]


def test_what_an_ended_batch_left_behind_is_its_connections(pool: Pool) -> None:
    """The only one whose batches ended since all was well is named and charged, and no other."""
    pool.well()
    pool.worker.worked["b"] = 3
    pool.worker.excess = "too much"
    (effect,) = pool.monitor.batch_ended(pool.worker)
    assert isinstance(effect, ReplaceWorker)
    assert (effect.reason, effect.detail, effect.connection) == (ExitReason.LIMIT, "too much", "b")
    assert effect.charged == ResourcesExhausted("b", ExitReason.LIMIT, "too much")
    assert (effect.is_urgent, effect.ends_instead) == (True, True)


def test_what_is_found_while_several_have_batches_may_be_anybodys(pool: Pool) -> None:
    """The worker's page says who runs at its end, which is not who did it."""
    pool.worker.running.update({"a": 1, "b": 1})
    pool.worker.excess = "too much"
    (effect,) = pool.look()
    assert isinstance(effect, EndWorker)
    assert effect.is_anybodys


def test_of_several_all_are_suspected_and_nobody_is_named(pool: Pool) -> None:
    """Who has a batch when it is found may have come when it was done."""
    pool.well()
    pool.worker.worked["b"] = 3
    pool.worker.running["a"] = 1
    pool.worker.excess = "too much"
    (effect,) = pool.monitor.batch_ended(pool.worker)
    assert isinstance(effect, ReplaceWorker)
    assert effect.connection is None
    others = frozenset({"b"})
    assert effect.charged == ResourcesExhausted("a", ExitReason.LIMIT, "too much", others, others)


def test_of_several_the_one_is_tried_first_whose_step_runs(pool: Pool) -> None:
    """It is named nowhere for that."""
    pool.well()
    pool.worker.worked.update("bc")
    pool.worker.running["a"] = 1
    pool.worker.excess = "too much"
    others = frozenset("ac")
    pool.worker.at = Mark("b", 1, 2, is_running=True)
    (effect,) = pool.look()
    assert isinstance(effect, ReplaceWorker)
    assert effect.connection is None
    assert effect.charged == ResourcesExhausted("b", ExitReason.LIMIT, "too much", company=others)


@pytest.mark.parametrize(
    "mark", [None, Mark("b", 1, 2, is_running=False), Mark("d", 1, 2, is_running=True)]
)
def test_of_several_all_are_tried_where_none_of_them_runs(pool: Pool, mark: Mark | None) -> None:
    """Nor was any seen to run at the last looks."""
    pool.well()
    pool.worker.worked.update("bc")
    pool.worker.running["a"] = 1
    pool.worker.excess, pool.worker.at = "too much", mark
    (effect,) = pool.look()
    assert accused(effect) == frozenset("abc")


def test_of_several_the_one_is_tried_first_that_ran_at_most_looks(pool: Pool) -> None:
    """What comes between its steps runs now and then; what ran long ago has no part in it."""
    pool.look()
    for name in "b" * SEEN + "caca":
        pool.worker.at = Mark(name, 1, 2, is_running=True)
        pool.monitor._watched[1].traces_at = 0.0  # the next look is not put off
        assert pool.monitor.look_closely(pool.worker) == []
    pool.worker.running.update("abc")
    pool.worker.at, pool.worker.excess = Mark("c", 1, 2, is_running=True), "too much"
    (effect,) = pool.look()
    assert isinstance(effect, EndWorker)
    assert effect.hint == pool.worker.at


def test_of_several_the_one_is_tried_first_in_whose_step_it_forked(pool: Pool) -> None:
    """Whoever runs when that is found; what was forked long ago is nothing of what it has made."""
    pool.worker.running.update("abc")
    pool.worker.at = Mark("c", 1, 2, is_running=True)
    for forked, hint in ((Mark("b", 1, 2, is_running=True), "b"), (Mark("d", 1, 2, True), "c")):
        pool.worker.unasked_processes, pool.worker.forked = 1, forked
        (effect,) = pool.look()
        assert isinstance(effect, EndWorker)
        assert effect.hint is not None
        assert effect.hint.connection == hint
    pool.worker.unasked_processes, pool.worker.excess = 0, "too much"
    pool.worker.forked = Mark("b", 1, 2, is_running=True)
    (effect,) = pool.look()
    assert isinstance(effect, EndWorker)
    assert effect.hint == pool.worker.at


def too_many_files(pool: Pool) -> list[WatchdogEffect]:
    """In its folder, without a name, or mapped: whatever a count of it says."""
    pool.worker.excess = "too much"
    return pool.look()


def too_many_processes(pool: Pool) -> list[WatchdogEffect]:
    """Living ones, and such as had lost their parent."""
    pool.worker.unasked_processes = 1
    return pool.look()


def too_much_memory(pool: Pool) -> list[WatchdogEffect]:
    """With that of descendants, shared maps and files in a tmpfs."""
    pool.worker.private_bytes = LIMITS.memory_limit + 1
    return pool.look()


def no_memory_left(pool: Pool) -> list[WatchdogEffect]:
    """Its loop is silent meanwhile."""
    pool.worker.headroom = Headroom.NONE
    pool.monitor._responsiveness.silent_s = lambda *_: 0.5  # type: ignore[method-assign] # by the clock
    return pool.look()


def too_many_descriptors(pool: Pool) -> list[WatchdogEffect]:
    """As it says itself."""
    return pool.monitor.told_open_files(pool.worker, 255)


def too_many_descriptors_while_blocked(pool: Pool) -> list[WatchdogEffect]:
    """As the kernel says."""
    pool.worker.open_files = LIMITS.max_open_files
    pool.monitor._responsiveness.silent_s = lambda *_: 1.04  # type: ignore[method-assign] # by the clock
    return pool.look()


@pytest.mark.parametrize(
    "found",
    [
        too_many_files,
        too_many_processes,
        too_much_memory,
        no_memory_left,
        too_many_descriptors,
        too_many_descriptors_while_blocked,
    ],
)
@pytest.mark.parametrize(
    ("ended", "running", "at", "named"),
    [
        ("b", "", "b", "b"),
        ("", "b", "b", "b"),
        ("b", "b", "b", "b"),
        ("b", "c", "c", None),
        ("bc", "", "c", None),
        ("b", "bc", "b", None),
        ("", "bc", "c", None),
        ("", "", "c", None),
    ],
)
def test_what_a_look_finds_names_who_was_there_alone(
    pool: Pool, found: Found, ended: str, running: str, at: str, named: str | None
) -> None:
    """Of several, since all was well, nobody is named: not who runs at the look, nor who ended.

    Who had a batch there and has none at its end is told with it, where the limit is not one that
    all come to together.
    """
    pool.worker.worked.update(dict.fromkeys("abc", 10))
    pool.well()
    pool.worker.worked.update(ended)
    pool.worker.running.update(running)
    pool.worker.at = Mark(at, 1, 2, is_running=False)
    effects = found(pool)
    end = next(one for one in effects if isinstance(one, EndWorker | ReplaceWorker))
    assert end.connection == named
    if named is None:
        assert "in a step" not in end.detail
    tried = {name for one in effects for name in accused(one)}
    since = {*ended, *running} or {*"abc"}
    if found is too_many_descriptors:
        assert not tried
    elif named is None:
        suspected = {*running, *end.ended} if isinstance(end, EndWorker) else tried
        assert suspected == since
        facts = [fact for one in effects if (fact := exhausted(one)) is not None]
        assert all(fact.company for fact in facts), "nobody is charged"


def exhausted(effect: WatchdogEffect) -> ResourcesExhausted | None:
    """What isolation is told of it."""
    return effect.charged if isinstance(effect, ReplaceWorker) else None


def accused(effect: WatchdogEffect) -> frozenset[str]:
    """Who is to be tried for it."""
    fact = exhausted(effect)
    return frozenset() if fact is None else fact.present | {fact.connection}


@pytest.mark.parametrize("found", [too_many_files, too_many_processes])
def test_worker_that_is_leaving_names_nobody_for_who_is_left_in_it(
    pool: Pool, found: Found
) -> None:
    """It was replaced for what ended; who finishes in it meanwhile has nothing to do with it."""
    pool.well()
    pool.worker.worked["b"] = 3
    pool.worker.running["c"] = 1
    pool.monitor.replaced(1)
    end = found(pool)[0]
    assert isinstance(end, EndWorker)
    assert (end.is_anybodys, end.connection) == (True, None)


def test_what_shows_late_is_not_that_ones_who_came_since(pool: Pool) -> None:
    """A look finds nothing yet of what was done just before it."""
    pool.well()
    pool.worker.worked["b"] = 3
    assert pool.look() == []
    pool.worker.running["c"] = 1
    pool.worker.unasked_processes = 1
    assert {one.connection for one in pool.look() if isinstance(one, ReplaceWorker)} == {None}


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


def test_worker_that_reads_nothing_is_blocked_whatever_its_page_says(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beats can be forged; time without a CPU does not count, nor does time without batches."""
    now, waited_s = 100.0, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pool.worker.running["a"] = 1

    def looks(seconds: float, *, starved_s: float = 0.0, reads: bool = False) -> list[type]:
        nonlocal now, waited_s
        found: list[type] = []
        for _ in range(round(seconds / 0.25)):
            now += 0.25
            pool.worker.beats += 1
            pool.worker.answers += reads
            waited_s += starved_s
            pool.worker.cpu_times = {1: ThreadTimes(0.0, waited_s)}
            found += map(type, pool.look())
        return found

    assert looks(5.0, reads=True) == []
    assert looks(0.75) == []
    assert looks(5.0, starved_s=0.25) == []
    pool.worker.running["a"] = 0
    assert looks(5.0) == []
    pool.worker.running["a"] = 1
    assert looks(1.0) == []
    now += 0.25
    pool.worker.beats += 1
    (end,) = pool.look()
    assert isinstance(end, EndWorker)
    assert end.reason is ExitReason.TIMEOUT
    assert "read nothing of its wire" in end.detail


def silent(pool: Pool) -> list[EndWorker]:
    """Why a worker is ended that is silent for its block timeout."""
    monitor = pool.monitor
    monitor._responsiveness.silent_s = lambda *_: 1.04  # type: ignore[method-assign] # by the clock
    return [effect for effect in pool.look() if isinstance(effect, EndWorker)]


def test_blocked_loop_is_its_end(pool: Pool) -> None:
    """A worker that is silent for its block timeout, and met no limit, is ended for that."""
    why = "its event loop was blocked for 1.0 s"
    assert silent(pool) == [EndWorker(1, ExitReason.TIMEOUT, why)]


def test_blocked_loop_is_ended_for_the_limit_that_it_met(pool: Pool) -> None:
    """It hangs for that: what the kernel counts is the better reason, memory first."""
    pool.worker.open_files = LIMITS.max_open_files
    (end,) = silent(pool)
    assert (end.reason, end.detail) == (ExitReason.LIMIT, "256 of 256 open files")
    pool.monitor.ran_out(pool.worker, OutOfMemory("a", "deliver raised MemoryError"))
    (end,) = silent(pool)
    assert end.reason is ExitReason.OOM
    assert "deliver raised MemoryError" in end.detail
    pool.worker.private_bytes = 10 * LIMITS.memory_limit
    (end,) = silent(pool)
    assert end.reason is ExitReason.OOM
    assert "of memory" in end.detail
