"""Time that counts, of processes that sleep, work, wait for a CPU, or starve themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.counted_time import LATE_S, CountedTime, CpuTimes, ThreadTimes, is_late

ASLEEP = ThreadTimes(1.0, 1.0)


def counted(before: CpuTimes, after: CpuTimes, passed: float = 1.0) -> float:
    """What counts of so many seconds between two looks."""
    clock = CountedTime()
    assert clock.looked(before, 10.0) == 0.0
    found = clock.looked(after, 10.0 + passed)
    assert clock.lost_s == pytest.approx(passed - found)
    return found


def after(used_s: float, waited_s: float, *, is_ready: bool = False) -> ThreadTimes:
    """What was asleep has had so much more by now."""
    return ThreadTimes(1.0 + used_s, 1.0 + waited_s, is_ready)


@pytest.mark.parametrize(
    ("thread", "counts_s"),
    [
        pytest.param(after(0.0, 0.0), 1.0, id="asleep"),
        pytest.param(after(1.0, 0.0, is_ready=True), 1.0, id="at work"),
        pytest.param(after(0.2, 0.0), 1.0, id="now and then at work"),
        pytest.param(after(0.1, 0.9, is_ready=True), 0.1, id="at work for a tenth"),
        pytest.param(after(0.0, 0.0, is_ready=True), 0.0, id="waits, not accounted yet"),
        pytest.param(after(0.1, 0.6), 0.4, id="waited, then slept"),
        pytest.param(after(0.0, 7.0), 0.0, id="waited before the last look too"),
    ],
)
def test_what_one_thread_waits_for_a_cpu_does_not_count(
    thread: ThreadTimes, counts_s: float
) -> None:
    """What it runs and sleeps does."""
    assert counted({1: ASLEEP}, {1: thread}) == pytest.approx(counts_s)


def test_thread_that_waits_excuses_the_others() -> None:
    """They may wait for it, as for the interpreter's lock."""
    others = {1: ASLEEP, 2: ASLEEP}
    assert counted(others, {1: ASLEEP, 2: after(0.1, 0.9, is_ready=True)}) == pytest.approx(0.1)
    assert counted(others, {1: after(0.1, 0.9), 2: after(0.2, 0.7)}) == pytest.approx(0.3)


def test_process_that_starves_itself_is_excused_by_nothing() -> None:
    """All CPU time that its threads had counts, up to the time that went by."""
    before = {thread: ThreadTimes(0.0, 0.0) for thread in range(100)}
    threads = {thread: ThreadTimes(0.02, 0.98, is_ready=True) for thread in range(100)}
    assert counted(before, threads) == 1.0


def test_new_threads_and_those_that_ended_say_nothing() -> None:
    """How long they waited is not known."""
    assert counted({1: ASLEEP, 2: ASLEEP}, {1: ASLEEP, 3: after(0.0, 9.0, is_ready=True)}) == 1.0


def test_where_nobody_counts_all_of_it_does() -> None:
    """A kernel without the account, or a process that is gone."""
    assert counted({}, {}) == 1.0


def test_late_look_counts_no_more_than_one_in_time() -> None:
    """A supervisor that was away itself holds only the usual time against anybody."""
    clock = CountedTime()
    clock.looked({1: ASLEEP}, 10.0, 0.5)
    assert clock.looked({1: ASLEEP}, 99.0, 0.5) == 0.5
    clock.looked({1: after(0.0, 0.0, is_ready=True)}, 100.0, 0.5)
    assert clock.looked({1: after(0.1, 1.9, is_ready=True)}, 102.0, 0.5) == pytest.approx(0.1)


def test_look_is_late_where_the_supervisor_did_not_run() -> None:
    """By more than a loop is late on a busy machine."""
    assert not is_late(10.0, 10.0 + 0.9 * LATE_S)
    assert is_late(10.0, 10.0 + 1.1 * LATE_S)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5),
            st.dictionaries(
                st.integers(1, 3),
                st.builds(ThreadTimes, st.floats(0, 50), st.floats(0, 50), st.booleans()),
            ),
        ),
        max_size=30,
    )
)
def test_what_counts_is_within_the_time(looks: list[tuple[float, CpuTimes]]) -> None:
    """Whatever the kernel says, it is between nothing and all the time that went by."""
    clock, now = CountedTime(), 0.0
    for passed, times in looks:
        now += passed
        assert 0.0 <= clock.looked(times, now) <= passed + 1e-9
