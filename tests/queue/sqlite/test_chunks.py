"""The columns of a chunk hold what was put into them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.queue import Route, message_key
from supervisor.queue.sqlite.chunks import (
    KEY_BYTES,
    MAX_BYTES,
    MAX_EVENTS,
    MAX_ROUTES,
    NewChunk,
    RouteIds,
    Routing,
    bits_of,
    bodies_of,
    build,
    compacted,
    deliveries_of,
    from_blob,
    index_of_key,
    keys_of,
    mask_of,
    to_blob,
)
from tests.queue.given import event

INDICES = st.sets(st.integers(0, 600))


def built(routes: list[Route], sizes: list[int] | None = None) -> list[NewChunk]:
    """Chunks of events m0, m1, ... that go these ways."""
    sizes = sizes or [5] * len(routes)
    events = [
        event(f"m{n}", route, size=size)
        for n, (route, size) in enumerate(zip(routes, sizes, strict=True))
    ]
    ids = {id(route): RouteIds(tuple(map(int, route.pending)), (), ()) for route in routes}
    return list(build(events, keys_of("web", events), 1.0, ids))


@given(INDICES)
def test_masks(indices: set[int]) -> None:
    """A mask says which events it stands for, as an integer and as a column."""
    mask = mask_of(indices)
    assert bits_of(mask) == sorted(indices)
    assert from_blob(to_blob(mask)) == mask


@given(st.lists(st.text(max_size=30), max_size=20), st.text(max_size=10))
def test_keys(ids: list[str], source: str) -> None:
    """Keys of many events are those that `message_key` gives one by one."""
    assert keys_of(source, [event(one) for one in ids]) == [message_key(source, one) for one in ids]


@given(st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=1, max_size=40))
def test_routing(ways: list[set[int]]) -> None:
    """Each connection's mask has exactly the events whose route names it, also from columns."""
    routes = [Route(pending=tuple(map(str, sorted(way)))) for way in ways]
    (chunk,) = built(routes)
    routing = chunk.routing
    for known in (
        routing,
        Routing.decoded(routing.encoded_routes(), routing.which, routing.count),
    ):
        assert known.masks() == {
            connection: mask_of(n for n, way in enumerate(ways) if connection in way)
            for connection in set().union(*ways)
        }
        assert [set(known.route_of(n).pending) for n in range(len(ways))] == ways


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30))
def test_bodies(sizes: list[int]) -> None:
    """Bodies come out as they went in, from memory and from columns."""
    route = Route(pending=("1",))
    (chunk,) = built([route] * len(sizes), sizes)
    again = deliveries_of(chunk.received, chunk.users, chunk.ends, chunk.payload)
    assert again == chunk.deliveries
    assert [len(one.body) for one in again] == [
        len(event(f"m{n}", size=size).body) for n, size in enumerate(sizes)
    ]
    for n in range(len(sizes)):
        assert index_of_key(chunk.keys, message_key("web", f"m{n}")) == n
    assert index_of_key(chunk.keys, message_key("web", "other")) is None


def test_key_out_of_line() -> None:
    """Bytes that look like a key across two others are no key."""
    keys = bytes(range(3 * KEY_BYTES))
    assert index_of_key(keys, keys[5 : 5 + KEY_BYTES]) is None
    assert index_of_key(keys, keys[KEY_BYTES : 2 * KEY_BYTES]) == 1


def test_limits() -> None:
    """A chunk is cut by number, by bytes and by distinct routes; a large event stands alone."""
    one = Route(pending=("1",))
    assert [c.routing.count for c in built([one] * (MAX_EVENTS + 1))] == [MAX_EVENTS, 1]
    sizes = [10, MAX_BYTES * 2, 10, MAX_BYTES // 2, MAX_BYTES // 2]
    assert [c.routing.count for c in built([one] * 5, sizes)] == [1, 1, 2, 1]
    many = [Route(pending=(str(n),)) for n in range(MAX_ROUTES + 3)]
    assert [c.routing.count for c in built(many)] == [MAX_ROUTES, 3]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.data())
def test_compaction(sizes: list[int], data: st.DataObject) -> None:
    """Compaction empties dead events only, keeps indices, and happens where it frees half."""
    (chunk,) = built([Route(pending=("1",))] * len(sizes), sizes)
    alive = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
    before = bodies_of(chunk.ends, chunk.payload)
    smaller = compacted(chunk.ends, chunk.payload, mask_of(alive))
    if smaller is None:
        assert 2 * sum(len(before[n]) for n in alive) >= len(chunk.payload)
    else:
        assert bodies_of(*smaller) == [b if n in alive else b"" for n, b in enumerate(before)]
        assert 2 * len(smaller[1]) < len(chunk.payload)
