"""The tap keeps a sample within its bytes, tells how much it saw, and does not lose what failed."""

from __future__ import annotations

import random
from sys import getsizeof

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.insight.tap import MOST_AT_ONCE, MOST_REJECTED_BYTES, MOST_ROWS, Tap
from supervisor.queue import NewEvent, Route

ROUTE = Route(pending=("hook",))


def event(number: int, size_bytes: int = 100) -> NewEvent:
    """One of about that size."""
    return NewEvent(f"m{number}", "track", "u", b"{" + b" " * size_bytes + b"}", ROUTE)


def take(tap: Tap, source: str, first: int, n: int, at: float, size_bytes: int = 100) -> None:
    """A request of `n` events."""
    tap.took(source, [event(first + i, size_bytes) for i in range(n)], [True] * n, 0, at)


def ids(
    tap: Tap, source: str = "web", after: int | None = None, limit: int = MOST_ROWS
) -> list[str]:
    """What is kept of a source, oldest first."""
    return [row.message_id for row in tap.page(source, "taken", after, limit).rows]


def test_at_low_rates_every_event_is_kept() -> None:
    """A request of a few events, and a few requests in a tenth of a second."""
    tap = Tap(1 << 20, 0.0)
    take(tap, "web", 0, 3, 10.0)
    take(tap, "web", 3, 1, 10.05)
    take(tap, "web", 4, 2, 10.2)
    assert ids(tap) == [f"m{n}" for n in range(6)]
    page = tap.page("web", "taken", None, 3)
    assert [row.message_id for row in page.rows] == ["m3", "m4", "m5"]
    assert (page.seen, page.kept) == (6, 6)
    assert tap.page("web", "taken", page.next, 9).rows == []


def test_at_high_rates_a_sample_is_told_as_one() -> None:
    """Five rows in a tenth of a second, the last of each request; all are counted."""
    tap = Tap(1 << 20, 0.0)
    for request in range(100):
        take(tap, "web", request * 50, 50, 10.0 + request / 1000)
    assert ids(tap) == ["m45", "m46", "m47", "m48", "m49"]
    page = tap.page("web", "taken", None, 9)
    assert (page.seen, page.kept, page.sampled) == (5000, MOST_AT_ONCE, MOST_AT_ONCE)


def test_who_comes_back_too_late_is_told_of_the_gap() -> None:
    """Rows have made room meanwhile, or do not fit the page; who saw the last one misses none."""
    tap = Tap(1 << 20, 0.0)
    take(tap, "web", 0, 1, 10.0)
    seen = tap.page("web", "taken", None, 9).next
    for n in range(MOST_ROWS):
        take(tap, "web", 1 + n, 1, 11.0 + n)
    page = tap.page("web", "taken", seen, MOST_ROWS)
    assert (len(page.rows), page.is_lossy) == (MOST_ROWS, False)
    assert tap.page("web", "taken", seen, 5).is_lossy
    take(tap, "web", 900, 2, 999.0)
    assert tap.page("web", "taken", seen, MOST_ROWS).is_lossy
    assert not tap.page("web", "taken", page.next, MOST_ROWS).is_lossy
    assert not tap.page("web", "taken", None, 5).is_lossy
    page = tap.page("web", "taken", None, 5)
    # What became a row is counted, and stays so when it has made room.
    assert (page.kept, page.sampled, page.rejected_sampled) == (MOST_ROWS, MOST_ROWS + 3, 0)


def test_what_went_wrong_is_not_pushed_out() -> None:
    """Good events in any number leave the other ring alone; each source has its own."""
    tap = Tap(1 << 20, 0.0)
    tap.rejected("web", [("unknown_type", "type is required", b'{"a": 1}')], 1, 1.0)
    for n in range(2000):
        take(tap, "web", n, 1, 2.0 + n)
    (row,) = tap.page("web", "rejected", None, 9).rows
    assert (row.code, row.body, row.outcome) == ("unknown_type", b'{"a": 1}', "rejected")
    assert len(ids(tap)) == MOST_ROWS
    assert ids(tap, "other") == []


def test_repeats_are_told_apart() -> None:
    """The second time is a repeat."""
    tap = Tap(1 << 20, 0.0)
    tap.took("web", [event(1), event(2)], [False, True], 1, 1.0)
    assert [row.outcome for row in tap.page("web", "taken", None, 9).rows] == ["repeat", "taken"]
    assert tap.intake_of("web").repeats == 1


def test_who_follows_sees_what_is_new_over_a_restart() -> None:
    """Numbers go on upwards, since they begin at the time of the start."""
    first = Tap(1 << 20, 1000.0)
    take(first, "web", 0, 1, 1001.0)
    seen = first.page("web", "taken", None, 9).next
    second = Tap(1 << 20, 1002.0)
    take(second, "web", 7, 1, 1003.0)
    assert ids(second, after=seen) == ["m7"]
    assert [row.message_id for _, row in second.since(seen)] == ["m7"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 5_000, 60_000, 1 << 20]), st.integers(1, 80))
def test_it_is_never_over_its_bytes(seed: int, budget_bytes: int, sources: int) -> None:
    """Counted by what rows hold; of many sources those that were quiet longest lose theirs."""
    dice = random.Random(seed)
    tap = Tap(budget_bytes, 0.0)
    for n in range(300):
        source = f"s{dice.randrange(sources)}"
        if dice.random() < 0.3:
            text = b"x" * dice.choice([0, 10, 3000, 2 * MOST_REJECTED_BYTES])
            tap.rejected(source, [("code", "y" * dice.randrange(900), text)] * 3, 3, float(n))
        else:
            take(tap, source, n, 3, float(n), dice.choice([10, 500, 30_000]))
        held = 0
        for name in tap.intake():
            for ring in ("taken", "rejected"):
                rows = tap.page(name, ring, None, MOST_ROWS).rows
                held += sum(getsizeof(r) + getsizeof(r.body) + getsizeof(r.reason) for r in rows)
        assert held <= budget_bytes
        assert tap.size_bytes <= max(budget_bytes, 8 * 1024)


def test_a_row_keeps_no_request_alive() -> None:
    """What was rejected is a copy: the request that it was part of may be large."""
    body = b'{"batch":[' + b'{"type":"x"},' * 1000 + b'{"type":"y"}]}'
    items = msgspec.json.decode(body, type=dict[str, list[msgspec.Raw]])["batch"]
    tap = Tap(1 << 20, 0.0)
    tap.rejected("web", [("unknown_type", "why", items[-1])], 1001, 1.0)
    (row,) = tap.page("web", "rejected", None, 9).rows
    assert type(row.body) is bytes
    assert row.body == b'{"type":"y"}'
    assert tap.page("web", "rejected", None, 9).rejected_seen == 1001


@pytest.mark.parametrize("size_bytes", [0, MOST_REJECTED_BYTES + 1])
def test_what_has_no_body_or_too_large_a_one_is_told_by_its_size(size_bytes: int) -> None:
    """A compressed body that cannot be unpacked, say."""
    tap = Tap(1 << 20, 0.0)
    tap.rejected("web", [("too_large", "why", b"x" * size_bytes)], 1, 1.0)
    (row,) = tap.page("web", "rejected", None, 9).rows
    assert (row.body, row.size_bytes) == (None, size_bytes)


def test_a_reload_forgets_sources_that_are_gone_and_shrinks() -> None:
    """Counts as well as rows."""
    tap = Tap(1 << 20, 0.0)
    for n in range(50):
        take(tap, "web", n, 3, float(n), 2000)
        take(tap, "gone", n, 3, float(n))
    tap.follow({"web"}, 20_000)
    assert ids(tap, "gone") == []
    assert set(tap.intake()) == {"web"}
    assert 0 < tap.size_bytes <= 20_000
