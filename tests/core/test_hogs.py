"""Who keeps event loops from the others is found, and nobody who is merely busy."""

from __future__ import annotations

from supervisor.core.hogs import DEARER, LEAST_LOOKS, TIMES, WINDOW_S, WITHIN_S, Hogs


def look(hogs: Hogs, looks: dict[str | None, int], now: float, only: str | None = None) -> None:
    """So many looks at workers found them at a step of whom."""
    for at, count in looks.items():
        for _ in range(count):
            hogs.looked(at, only, now)


def found(looks: dict[str | None, int], events: dict[str, int], times: int = TIMES) -> str | None:
    """What is said of "a" after so many windows alike."""
    hogs = Hogs()
    for number in range(times):
        now = number * 2 * WINDOW_S
        look(hogs, looks, now)
        for connection, count in events.items():
            hogs.given(connection, count)
        assert hogs.found(now + 0.9 * WINDOW_S) == {}, "the window is not over"
        said = hogs.found(now + 1.01 * WINDOW_S)
        assert said.keys() <= {"a"}
        assert number == times - 1 or not said
    assert hogs.found(now + 1.01 * WINDOW_S) == {}, "the next one is empty"
    return said.get("a")


def test_blocks_in_a_row_are_no_accident() -> None:
    """The third within a while is; and the count begins anew after it."""
    hogs = Hogs()
    for _ in range(2):
        for _ in range(TIMES - 1):
            assert hogs.blocked("a", 1.0, is_apart=False) is None
            assert hogs.blocked("b", 1.0, is_apart=False) is None
        assert hogs.blocked("a", 2.0, is_apart=False) == (
            "kept the event loops of its workers from the others 3 times within 10 s; last, it"
            " blocked one"
        )
        hogs.forget("b")


def test_what_is_seldom_is_an_accident() -> None:
    """A collection of garbage, a machine that is short of CPUs."""
    hogs = Hogs()
    for number in range(100):
        assert hogs.blocked("a", number * WITHIN_S, is_apart=False) is None


def test_once_is_enough_of_who_runs_apart() -> None:
    """Nobody else can have been the cause."""
    said = Hogs().blocked("a", 1.0, is_apart=True)
    assert said == "kept the event loop of its worker busy: it blocked one"


def test_who_has_the_loops_and_does_little_is_found() -> None:
    """It is said for how much of the time, and how dear that makes its events."""
    looks: dict[str | None, int] = {"a": 90, "b": 4, "c": 5, None: 1}
    events = {"a": 9, "b": 50, "c": 50}
    assert found(looks, events) == (
        "kept the event loops of its workers from the others 3 times within 10 s; last, it had them"
        " for 90% of the time, at 90 times as much an event as the others"
    )
    assert found(looks, events, TIMES - 1) is None


def test_who_is_busy_with_many_events_is_none() -> None:
    """However much of the time is its own: each of its events costs what others' do."""
    assert found({"a": 95, "b": 5}, {"a": 950, "b": 50}) is None


def test_who_is_dear_and_leaves_the_loops_to_others_is_none() -> None:
    """Most of the time is free for them."""
    assert found({"a": 40, "b": 1, None: 59}, {"a": 1, "b": 1000}) is None


def test_who_is_alone_keeps_nothing_from_anybody() -> None:
    """As one that is the only one with events."""
    assert found({"a": 100}, {"a": 1}) is None


def test_few_looks_say_nothing() -> None:
    """Workers that had batches for a moment only."""
    assert found({"a": LEAST_LOOKS - 1}, {"b": 1000}) is None


def test_who_runs_apart_is_judged_by_its_own_worker() -> None:
    """It is one as long as its events cost that much more than those of the others elsewhere."""
    for events, is_hog in ((5, True), (500, False)):
        hogs = Hogs()
        look(hogs, {"b": 10, None: 90}, 0.0)
        look(hogs, {"a": 60, None: 10}, 0.0, only="a")
        hogs.given("a", events)
        hogs.given("b", 100)
        assert ("a" in hogs.found(WINDOW_S)) is is_hog


def test_it_takes_as_much_as_is_said() -> None:
    """Just below the bound nobody is found, at it one is."""
    for looks, is_hog in ((int(DEARER * 10) - 1, False), (int(DEARER * 10), True)):
        assert (found({"a": looks, "b": 9}, {"a": 9, "b": 10}) is not None) is is_hog
