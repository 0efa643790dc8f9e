"""Which event loops are kept, and by which connection; none that is merely busy or starved."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervisor.core.counted_time import CpuTimes, ThreadTimes
from supervisor.core.isolation.responsiveness import (
    DEARER,
    LATE_S,
    LEAST_LOOKS,
    ROUND_S,
    TIMES,
    UNRESPONSIVE_S,
    WINDOW_S,
    WITHIN_S,
    BlockedLoopTimer,
    Heartbeats,
    LoopLook,
    Noise,
    NoiseMeter,
    Responsiveness,
    RoundFindings,
)

#: A process that slept all the time.
ASLEEP: CpuTimes = {1: ThreadTimes(1.0, 5.0)}

# --- what keeps loops ---


def look(
    meter: NoiseMeter,
    looks: dict[str | None, int],
    now: float,
    dedicated_to: str | None = None,
    *,
    has_company: bool = True,
) -> None:
    """So many looks at workers found them at a step of which connection."""
    for at, count in looks.items():
        for _ in range(count):
            meter.looked(LoopLook(0, at, None, dedicated_to, has_company), now)


def found(
    looks: dict[str | None, int],
    events: dict[str, int],
    times: int = TIMES,
    *,
    has_company: bool = True,
) -> str | None:
    """What is said of "a" after so many windows alike."""
    meter = NoiseMeter()
    for number in range(times):
        now = number * 2 * WINDOW_S
        look(meter, looks, now, has_company=has_company)
        for connection, count in events.items():
            meter.given(connection, count, now)
        assert meter.found(now + 0.9 * WINDOW_S) == [], "the window is not over"
        said = meter.found(now + 1.01 * WINDOW_S)
        assert {one.connection for one in said} <= {"a"}
        assert number == times - 1 or not said
    assert meter.found(now + 1.01 * WINDOW_S) == [], "the next one is empty"
    return said[0].how if said else None


def test_blocks_in_a_row_are_no_accident() -> None:
    """The third within a while is; and the count begins anew after it."""
    meter = NoiseMeter()
    for _ in range(2):
        for _ in range(TIMES - 1):
            assert meter.blocked("a", 1.0, is_dedicated=False) is None
            assert meter.blocked("b", 1.0, is_dedicated=False) is None
        assert meter.blocked("a", 2.0, is_dedicated=False) == (
            "kept the event loops of its workers from the others 3 times within 10 s; last, it"
            " blocked one"
        )
        meter.forget("b")


def test_what_is_seldom_is_an_accident() -> None:
    """A collection of garbage, a machine that is short of CPUs."""
    meter = NoiseMeter()
    for number in range(100):
        assert meter.blocked("a", number * 0.51 * WITHIN_S, is_dedicated=False) is None


def test_once_is_enough_in_a_dedicated_worker() -> None:
    """Nobody else can have been the cause."""
    said = NoiseMeter().blocked("a", 1.0, is_dedicated=True)
    assert said == "kept the event loop of its worker busy: it blocked one"


def test_connection_that_has_the_loops_and_does_little_is_found() -> None:
    """It is said for how much of the time, and how dear that makes its events."""
    looks: dict[str | None, int] = {"a": 90, "b": 4, "c": 5, None: 1}
    events = {"a": 9, "b": 50, "c": 50}
    assert found(looks, events) == (
        "kept the event loops of its workers from the others 3 times within 10 s; last, it had them"
        " for 90% of the time, at 90 times as much an event as the others"
    )
    assert found(looks, events, TIMES - 1) is None


def test_connection_that_is_busy_with_many_events_is_not_noisy() -> None:
    """However much of the time is its own: each of its events costs what others' do."""
    assert found({"a": 95, "b": 5}, {"a": 950, "b": 50}) is None


def test_dear_connection_that_leaves_the_loops_to_others_is_not_noisy() -> None:
    """Most of the time is free for them; half of it is the bound."""
    assert found({"a": 40, "b": 1, None: 59}, {"a": 1, "b": 1000}) is None
    assert found({"a": 49, "b": 1, None: 50}, {"a": 1, "b": 1000}) is None
    assert found({"a": 50, "b": 1, None: 49}, {"a": 1, "b": 1000}) is not None


def test_connection_that_is_alone_keeps_nothing_from_anybody() -> None:
    """As one that is the only one with events."""
    assert found({"a": 100}, {"a": 1}) is None


def test_connection_with_no_company_in_its_worker_keeps_nothing_from_anybody() -> None:
    """Others have batches elsewhere, where it is not."""
    looks: dict[str | None, int] = {"a": 90, "b": 4, "c": 5, None: 1}
    events = {"a": 9, "b": 50, "c": 50}
    assert found(looks, events, has_company=False) is None


def test_company_is_another_that_had_work_of_late() -> None:
    """Given or seen at it; one's own work is no company."""
    meter = NoiseMeter()
    assert not meter.had_company("a", 0.0)
    meter.given("a", 1, 0.0)
    assert not meter.had_company("a", 0.0)
    assert meter.had_company("b", 0.0)
    look(meter, {"b": 1}, 1.0)
    for now in (2.0, 3.0):
        meter.given("a", 1, now)
    assert meter.had_company("a", 1.0 + WITHIN_S)
    assert not meter.had_company("a", 1.1 + WITHIN_S)
    assert meter.had_company("b", 1.1 + WITHIN_S)


@pytest.mark.parametrize(("looks", "is_enough"), [(LEAST_LOOKS - 1, False), (LEAST_LOOKS, True)])
def test_few_looks_say_nothing(looks: int, is_enough: bool) -> None:
    """Workers that had batches for a moment only."""
    assert (found({"a": looks}, {"b": 1000}) is not None) is is_enough


@pytest.mark.parametrize(("events", "is_noisy"), [(5, True), (500, False)])
def test_dedicated_connection_is_judged_by_its_own_worker(events: int, is_noisy: bool) -> None:
    """It is noisy as long as its events cost that much more than those of the others elsewhere."""
    meter = NoiseMeter()
    look(meter, {"b": 10, None: 90}, 0.0)
    look(meter, {"a": 60, None: 10}, 0.0, dedicated_to="a")
    meter.given("a", events, 0.0)
    meter.given("b", 100, 0.0)
    noisy = meter.found(WINDOW_S)
    assert [one.connection for one in noisy] == (["a"] if is_noisy else [])
    assert not any(one.others for one in noisy)


@pytest.mark.parametrize(
    ("looks", "is_noisy"), [(int(DEARER * 10) - 1, False), (int(DEARER * 10), True)]
)
def test_it_takes_as_much_as_is_said(looks: int, is_noisy: bool) -> None:
    """Just below the bound nobody is found, at it one is."""
    assert (found({"a": looks, "b": 9}, {"a": 9, "b": 10}) is not None) is is_noisy


# --- heartbeats ---


def test_worker_that_beats_is_responsive() -> None:
    """However long its batches take."""
    heartbeats = Heartbeats()
    assert not any(heartbeats.looked(beats, beats * 0.8 * UNRESPONSIVE_S) for beats in range(100))
    assert not heartbeats.is_unresponsive


def test_worker_that_does_not_beat_is_unresponsive_until_it_does() -> None:
    """Each change is told once."""
    heartbeats = Heartbeats()
    assert not heartbeats.looked(7, 10.0)
    assert not heartbeats.looked(7, 10.0 + 0.9 * UNRESPONSIVE_S)
    assert heartbeats.looked(7, 10.0 + 1.1 * UNRESPONSIVE_S)
    assert not heartbeats.looked(7, 10.0 + 3 * UNRESPONSIVE_S)
    assert heartbeats.is_unresponsive
    assert heartbeats.looked(8, 10.0 + 4 * UNRESPONSIVE_S)
    assert not heartbeats.is_unresponsive


def test_rest_does_not_count() -> None:
    """A worker without batches need not beat; its silence begins with the next batch."""
    heartbeats = Heartbeats()
    heartbeats.looked(7, 10.0)
    heartbeats.looked(7, 11.0)
    assert heartbeats.rested()
    assert not heartbeats.rested()
    assert not heartbeats.looked(7, 20.0)
    assert not heartbeats.is_unresponsive


def absent(heartbeats: Heartbeats, beats: int, since: float) -> float:
    """It has not beaten for long; when that was seen."""
    heartbeats.looked(beats, since)
    now = since + 1.1 * UNRESPONSIVE_S
    assert heartbeats.looked(beats, now)
    return now


def busy(used_s: float, waited_s: float) -> CpuTimes:
    """One thread that was ready to run all the time, and had so much of it."""
    return {1: ThreadTimes(used_s, waited_s, is_ready=True)}


def test_step_in_which_it_is_found_twice_keeps_it() -> None:
    """It is told once an absence, and again in the next one; asleep or at work."""
    asleep: Callable[[float], CpuTimes] = lambda at: ASLEEP  # noqa: E731 - a table of two
    at_work: Callable[[float], CpuTimes] = lambda at: busy(at, 5.0)  # noqa: E731
    for times in (asleep, at_work):
        heartbeats = Heartbeats()
        for beats, since in ((1, 10.0), (2, 20.0)):
            now = absent(heartbeats, beats, since)
            assert not heartbeats.is_kept("a", times(now), now)
            assert heartbeats.is_kept("a", times(now + 0.02), now + 0.02)
            assert not heartbeats.is_kept("a", times(now + 0.04), now + 0.04)
            heartbeats.looked(99, now + 0.06)


def test_step_that_changes_or_waits_for_a_cpu_keeps_nothing() -> None:
    """Nor what was seen in another absence. Half of the time without a CPU is the bound."""
    heartbeats = Heartbeats()
    now = absent(heartbeats, 1, 10.0)
    assert not heartbeats.is_kept("a", busy(1.0, 5.0), now)
    assert not heartbeats.is_kept("b", busy(1.02, 5.0), now + 0.02)
    assert not heartbeats.is_kept("b", busy(1.029, 5.011), now + 0.04)
    assert not heartbeats.is_kept("b", busy(1.029, 5.011), now + 0.06), "it waits since then"
    assert heartbeats.is_kept("b", busy(1.040, 5.020), now + 0.08)
    heartbeats.looked(2, now + 0.09)
    now = absent(heartbeats, 3, now + 1.0)
    assert not heartbeats.is_kept("b", busy(1.040, 5.020), now)


# --- blocked loops ---


def test_silence_adds_up_while_the_loop_does_not_come_round() -> None:
    """Each look adds what counts since the last one; a beat ends the silence."""
    timer = BlockedLoopTimer()
    assert timer.looked(7, 0.25) == 0.0
    assert timer.looked(7, 0.25) == 0.25
    assert timer.looked(7, 0.0) == 0.25
    assert timer.looked(7, 0.25) == 0.5
    assert timer.looked(8, 0.25) == 0.0
    assert timer.looked(8, 0.25) == 0.25


# --- rounds ---


def rounds(
    loops: Responsiveness,
    n: int,
    at: LoopLook | None,
    *,
    began: float = 0.0,
    every_s: float = ROUND_S,
) -> list[RoundFindings]:
    """So many looks at worker 1, each of which finds the same."""
    return [loops.round({1: at}, began + i * every_s) for i in range(n)]


def test_round_tells_changes_and_what_keeps_a_loop() -> None:
    """A worker that one step blocks is unresponsive; three times, and a connection is noisy."""
    loops = Responsiveness()
    noisy: list[Noise] = []
    for n in range(TIMES):
        findings = rounds(loops, 8, LoopLook(n, "a", ASLEEP, has_company=True), began=n * 1.0)
        if n == 0:
            assert [one.changed for one in findings] == [(), (), (), (1,), (), (), (), ()]
        assert loops.is_unresponsive(1)
        noisy += [hog for one in findings for hog in one.noisy]
        assert loops.round({1: None}, n + 0.2).changed == (1,)
        assert not loops.is_unresponsive(1)
    assert [one.connection for one in noisy] == ["a"]
    assert "it blocked one" in noisy[0].how


def test_whoever_ever_had_a_batch_there_may_have_kept_the_loop() -> None:
    """The page says who; in a worker that no other ever had it needs not say it."""
    loops = Responsiveness()
    for number, (ever, owner, others) in enumerate(
        [("ab", None, {"b"}), ("a", None, set()), ("abc", None, {"b", "c"}), ("abc", "a", set())]
    ):
        loops.batch_given("b", 1, number * 100.0)
        noisy: list[Noise] = []
        for n in range(TIMES):
            look = LoopLook(n, "a", ASLEEP, owner, has_company=True, ever=ever)
            for one in rounds(loops, 8, look, began=number * 100.0 + n):
                noisy += one.noisy
            loops.round({1: None}, number * 100.0 + n + 0.2)
        assert {one.connection for one in noisy} == {"a"}
        assert all(one.others == others for one in noisy), noisy


def test_many_short_steps_may_be_anothers_too() -> None:
    """Of a window all that ever had a batch where the page named one."""
    meter = NoiseMeter()
    for number in range(TIMES):
        for _ in range(30):
            meter.looked(LoopLook(0, "a", None, has_company=True, ever="abc"), number * 1.0)
        meter.given("b", 100, number * 1.0)
        noisy = meter.found(number + 1.01 * WINDOW_S)
    (one,) = noisy
    assert (one.connection, one.others) == ("a", frozenset("bc"))


def test_connection_alone_in_its_worker_may_keep_its_loop() -> None:
    """However often it blocks it: there is nobody that it keeps it from."""
    loops = Responsiveness()
    for n in range(3 * TIMES):
        findings = rounds(loops, 8, LoopLook(n, "a", ASLEEP), began=n * 1.0)
        assert loops.is_unresponsive(1)
        assert not any(one.noisy for one in findings)
        loops.round({1: None}, n + 0.2)


@pytest.mark.parametrize(("since_s", "is_noisy"), [(0.9 * WITHIN_S, True), (1.1 * WITHIN_S, False)])
def test_dedicated_connection_is_noisy_while_others_have_work(
    since_s: float, is_noisy: bool
) -> None:
    """They are not beside it, but would be if it were trusted."""
    loops = Responsiveness()
    loops.batch_given("b", 1, 0.0)
    findings = rounds(loops, 8, LoopLook(1, "a", ASLEEP, "a"), began=since_s)
    assert any(one.noisy for one in findings) is is_noisy


def test_late_rounds_find_nobody_noisy() -> None:
    """What they find may be the fault of a machine that stalled."""
    loops = Responsiveness()
    loops.batch_given("b", 1, 0.0)
    findings = rounds(loops, 100, LoopLook(1, "a", ASLEEP, "a"), every_s=1.1 * LATE_S)
    assert not any(one.noisy for one in findings)
    assert loops.is_unresponsive(1)


def test_gone_workers_and_connections_are_forgotten() -> None:
    """The next one of that number or name begins anew."""
    loops = Responsiveness()
    rounds(loops, 8, LoopLook(1, "a", ASLEEP))
    loops.silent_s(1, 1, 0.0)
    loops.counted_s(1, ASLEEP, 0.0, 1.0)
    loops.forget_worker(1)
    assert not loops.is_unresponsive(1)
    assert loops.silent_s(1, 1, 9.0) == 0.0
    assert loops.counted_s(1, ASLEEP, 9.0, 1.0) == 0.0
    for n in range(TIMES):
        loops.forget_connection("a")
        look = LoopLook(n, "a", ASLEEP, has_company=True)
        findings = rounds(loops, 8, look, began=10.0 + n)
        assert not any(one.noisy for one in findings)
