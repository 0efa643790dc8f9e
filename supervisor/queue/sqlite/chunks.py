"""What one chunk of the log is made of: pure, events to columns and back.

Owns the layout of a chunk's columns, the routes in it and its bitmaps. A chunk
is a run of events of one source that were committed together; its columns are
fixed-width per event, and a connection's part of it is an integer whose bit i
stands for event i. Must not do I/O or know SQL.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from operator import attrgetter
from zlib import crc32

import msgspec

from supervisor.queue import Delivery, NewEvent, Route

#: Most events of a chunk: bitmaps stay small, and partial progress cheap to write.
MAX_EVENTS = 512
#: Payload bytes past which a chunk takes no further event.
MAX_BYTES = 1024 * 1024
#: Most distinct routes of a chunk: an event's route is one byte.
MAX_ROUTES = 255
#: Bytes of a message key, and of a user key.
KEY_BYTES, USER_BYTES = 16, 4
#: Bytes on disk that an event costs beside its payload.
EVENT_OVERHEAD = KEY_BYTES + USER_BYTES + 4 + 1

_ENDS = "I"
assert array(_ENDS).itemsize == 4

_ROUTES = msgspec.msgpack.Decoder(list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]])
_encode = msgspec.msgpack.Encoder().encode
_body_of = attrgetter("body")
_message_id_of = attrgetter("message_id")
_user_key_of = attrgetter("user_key")


@dataclass(frozen=True, slots=True)
class RouteIds:
    """A route in the numbers of its connections."""

    pending: tuple[int, ...]
    unsupported: tuple[int, ...]
    filtered: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Routing:
    """Which event of a chunk goes where: distinct routes, and one byte an event.

    `which` is empty where all events go the same way.
    """

    routes: tuple[RouteIds, ...]
    which: bytes
    count: int

    def encoded_routes(self) -> bytes:
        """The `routes` column."""
        return _encode([(r.pending, r.unsupported, r.filtered) for r in self.routes])

    @classmethod
    def decoded(cls, routes: bytes, which: bytes, count: int) -> Routing:
        """From columns. Raises msgspec.DecodeError where they are damaged."""
        return cls(tuple(RouteIds(*ids) for ids in _ROUTES.decode(routes)), which, count)

    def route_of(self, index: int) -> RouteIds:
        """Where event `index` goes."""
        return self.routes[self.which[index] if self.which else 0]

    def by_route(self) -> Iterator[tuple[RouteIds, int]]:
        """Each route with the mask of the events that go this way."""
        if not self.which:
            yield self.routes[0], full_mask(self.count)
            return
        backwards = self.which[::-1]
        for number, route in enumerate(self.routes):
            digits = bytearray(b"0" * 256)
            digits[number] = 0x31  # "1": one digit an event makes a binary number at C speed
            yield route, int(backwards.translate(digits), 2)

    def masks(self) -> dict[int, int]:
        """For each connection, the mask of the events that are to be delivered to it."""
        found: dict[int, int] = {}
        for route, mask in self.by_route():
            for connection in route.pending:
                found[connection] = found.get(connection, 0) | mask
        return found


@dataclass(frozen=True, slots=True)
class NewChunk:
    """Events of one source, ready to be written as one row."""

    routing: Routing
    received: float
    keys: bytes
    users: bytes
    ends: bytes
    payload: bytes
    deliveries: list[Delivery]


def full_mask(count: int) -> int:
    """The bits of `count` events."""
    return (1 << count) - 1


def bits_of(mask: int) -> list[int]:
    """Indices of the events in a mask, ascending."""
    return [index for index, digit in enumerate(bin(mask)[:1:-1]) if digit == "1"]


def mask_of(indices: Iterable[int]) -> int:
    """The mask of these events."""
    mask = 0
    for index in indices:
        mask |= 1 << index
    return mask


def to_blob(mask: int) -> bytes:
    """A mask as a column: little-endian, as short as it can be."""
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def from_blob(blob: bytes) -> int:
    """The mask in a column."""
    return int.from_bytes(blob, "little")


def keys_of(source: str, events: Iterable[NewEvent]) -> list[bytes]:
    """`message_key` of each event; the source is hashed once."""
    salt = blake2b(source.encode(), digest_size=16).digest()
    return [
        blake2b(message_id.encode(), digest_size=16, salt=salt).digest()
        for message_id in map(_message_id_of, events)
    ]


def user_hash(user_key: str) -> bytes:
    """What ordering goes by: two users that share it wait for each other, and nothing else."""
    return crc32(user_key.encode("utf-8", "surrogatepass")).to_bytes(USER_BYTES, "little")


def build(
    events: Sequence[NewEvent],
    keys: Sequence[bytes],
    received: float,
    route_ids: Mapping[int, RouteIds],
) -> Iterator[NewChunk]:
    """Cut events of one source into chunks. `route_ids` has the numbers of each route by `id`."""
    start = 0
    while start < len(events):
        end = _end_of_chunk(events, start)
        part = events[start:end] if end - start < len(events) else events
        yield _chunk(part, keys[start:end], received, route_ids)
        start = end


def _end_of_chunk(events: Sequence[NewEvent], start: int) -> int:
    part = events[start : start + MAX_EVENTS]
    sizes = accumulate(len(event.body) for event in part)
    end = start + max(1, sum(1 for size in sizes if size <= MAX_BYTES))
    routes: dict[int, Route] = {}
    for index in range(start, end):
        route = events[index].route
        routes[id(route)] = route
        if len(routes) > MAX_ROUTES:
            return index
    return end


def _chunk(
    events: Sequence[NewEvent],
    keys: Sequence[bytes],
    received: float,
    route_ids: Mapping[int, RouteIds],
) -> NewChunk:
    bodies = list(map(_body_of, events))
    users = list(map(user_hash, map(_user_key_of, events)))
    return NewChunk(
        _routing(events, route_ids),
        received,
        b"".join(keys),
        b"".join(users),
        array(_ENDS, accumulate(map(len, bodies))).tobytes(),
        b"".join(bodies),
        [Delivery(body, 1, received, user) for body, user in zip(bodies, users, strict=True)],
    )


def _routing(events: Sequence[NewEvent], route_ids: Mapping[int, RouteIds]) -> Routing:
    ways = [id(event.route) for event in events]
    numbers = {way: number for number, way in enumerate(dict.fromkeys(ways))}
    routes = tuple(route_ids[way] for way in numbers)
    which = b"" if len(numbers) == 1 else bytes(map(numbers.__getitem__, ways))
    return Routing(routes, which, len(events))


def bodies_of(ends: bytes, payload: bytes) -> list[bytes]:
    """The events of a chunk, byte for byte; empty where compaction has taken one."""
    limits = array(_ENDS, ends)
    return [payload[a:b] for a, b in zip([0, *limits[:-1]], limits, strict=True)]


def place_of(ends: bytes, index: int) -> tuple[int, int]:
    """Where in the payload of a chunk an event begins and ends."""
    limits = array(_ENDS, ends)
    return limits[index - 1] if index else 0, limits[index]


def deliveries_of(received: float, users: bytes, ends: bytes, payload: bytes) -> list[Delivery]:
    """The events of a chunk as first attempts."""
    return [
        Delivery(body, 1, received, users[at : at + USER_BYTES])
        for body, at in zip(bodies_of(ends, payload), range(0, len(users), USER_BYTES), strict=True)
    ]


def compacted(ends: bytes, payload: bytes, alive: int) -> tuple[bytes, bytes] | None:
    """`ends` and `payload` without dead events; None where at least half of it is alive."""
    kept = [
        body if alive >> index & 1 else b"" for index, body in enumerate(bodies_of(ends, payload))
    ]
    smaller = b"".join(kept)
    if 2 * len(smaller) >= len(payload):
        return None
    return array(_ENDS, accumulate(map(len, kept))).tobytes(), smaller


def index_of_key(keys: bytes, key: bytes) -> int | None:
    """Which event of a chunk has this key; None where none has."""
    at = keys.find(key)
    while at >= 0 and at % KEY_BYTES:
        at = keys.find(key, at + 1)
    return None if at < 0 else at // KEY_BYTES
