"""The counts of a chunk follow from the masks of its connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.queue.sqlite.chunk_progress import Chunk, LogWindow, leased_in

MASKS = st.integers(0, 0b1111)
VERBS = st.sampled_from(["lease", "give back", "settle"])


@given(
    st.lists(MASKS, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), VERBS, MASKS)),
)
def test_chunk_is_finished_when_every_connection_has_settled_all_of_it(
    routes: list[int], steps: list[tuple[int, str, int]]
) -> None:
    """Pins and unfinished connections are what the masks say after every step."""
    chunk = Chunk(1, 4, 1.0, 100)
    windows = [LogWindow() for _ in routes]
    for connection, route in enumerate(routes):
        progress = chunk.add(connection, route)
        if route:
            windows[connection].take_in(progress)
    for connection, verb, mask in steps:
        if connection >= len(routes):
            continue
        progress, window = chunk.progress[connection], windows[connection]
        match verb:
            case "lease":
                progress.lease(mask & progress.unleased)
                window.unlist_if_empty(progress)
            case "give back":
                progress.give_back(mask & progress.leased)
                window.put_back(progress)
            case _:
                had = progress.unsettled
                ended = progress.settle(mask & had, moved=mask & had)
                window.unlist_if_empty(progress)
                assert ended == bool(had and not progress.unsettled)
        chunk.check()
        window.check()
    assert chunk.is_finished == (not any(one.unsettled for one in chunk.progress.values()))
    assert chunk.is_idle == chunk.is_finished
    for connection in range(len(routes)):
        leased = chunk.progress[connection].leased
        assert leased_in([chunk], connection) == ({1: leased} if leased else {})


def test_progress_that_was_read_as_settled_is_not_finished_twice() -> None:
    """The disk knew of an eviction before memory did."""
    chunk = Chunk(7, 2, 1.0, 100)
    evicted = chunk.add(1, 0b11, done=0b11, moved=0b11)
    other = chunk.add(2, 0b01)
    assert not evicted.settle(0b11, moved=0b11)
    assert not chunk.is_finished
    assert other.settle(0b01)
    assert chunk.is_finished
    chunk.check()


def test_window_keeps_the_order_of_the_log() -> None:
    """What is leased and given back stands where it stood, and the place in line counts it."""
    window = LogWindow()
    parts = [Chunk(number, 3, 1.0, 10).add(1, 0b111) for number in (1, 2, 3)]
    for number, progress in enumerate(parts):
        window.arrived(progress, had_none=not number, limit=10)
    parts[0].lease(0b111)
    window.unlist_if_empty(parts[0])
    assert window.ahead_of(3, 1) == 4
    parts[0].give_back(0b001)
    window.put_back(parts[0])
    assert [one.chunk.id for one in window.listed] == [1, 2, 3]
    assert window.ahead_of(3, 1) == 5
    assert window.ahead_of(4, 0) is None
