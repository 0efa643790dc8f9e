"""What a lying worker says: frames of the wire and datagrams of the channel, by a seed.

Pure: a `random.Random` in, bytes out. Most cases are what an honest worker might say, at the
wrong time or of the wrong thing; the rest are honest ones with some damage, and a few are noise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from sandbox.protocol import (
    MAX_DETAIL,
    MAX_HEADER,
    MAX_HEADER_NAME,
    MAX_HEADERS,
    MAX_REQUEST_BODY,
    MAX_URL,
)

#: Share of cases that are damaged; most of these cost the worker its life.
DAMAGED = 0.03
_INTS = (0, 1, -1, 2, 7, 255, 2**31, 2**32, 2**63 - 1, -(2**63), 2**64 - 1)
_TEXTS = ("", "x", "hook", "\0", "é" * 50, "x" * MAX_DETAIL, "x" * (MAX_DETAIL + 1), "../../etc")
_HEADS = (
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xdb\x7f\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\xc1", b"\x91" * 2000, b"\x81\xc0" * 600, b"\xd4\x01\x02",
)  # fmt: skip


@dataclass(slots=True)
class Known:
    """What the worker has been told, and so can speak of: its batches with what is untold yet."""

    batches: dict[int, set[int]] = field(default_factory=dict)
    connections: set[str] = field(default_factory=set)
    foreign_batches: Callable[[], Sequence[int]] = tuple
    asked: int = 0
    to_take: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes for the wire, to be cut anywhere, or one datagram for the channel."""

    kind: str
    data: bytes
    is_for_channel: bool


def case(random: random.Random, known: Known, places: Sequence[tuple[str, int]]) -> Case:
    """The next thing to say. `places` are hosts and ports to ask for."""
    names = list(_HONEST)
    kind = random.choices(names, [_HONEST[name][0] for name in names])[0]
    _, make, is_for_channel = _HONEST[kind]
    message = make(random, known, places)
    if random.random() >= DAMAGED:
        return Case(kind, msgspec.msgpack.encode(message), is_for_channel)
    damage = random.choice(list(_DAMAGES))
    return Case(f"{kind}, {damage}", _DAMAGES[damage](random, message), is_for_channel)


# --- what an honest worker might say -----------------------------------------------------------

Message = list[object]


def _outcomes(random: random.Random, known: Known, places: object) -> Message:
    if not known.batches:
        return _stats(random, known, places)
    batch = random.choice(list(known.batches))
    untold = known.batches[batch]
    told = random.sample(sorted(untold), random.randint(0, len(untold)))
    untold.difference_update(told)
    delay = random.choice((None, None, 0.0, 1.5, -3.0, 1e300, float("nan"), float("inf")))
    return [19, batch, [[index, random.randint(0, 11), _text(random), delay] for index in told]]


def _done(random: random.Random, known: Known, places: object) -> Message:
    for batch, untold in known.batches.items():
        if not untold:
            del known.batches[batch]
            return [20, batch]
    return _stats(random, known, places)


def _stats(random: random.Random, known: Known, places: object) -> Message:
    # What is none costs the worker its life: seldom, or it would say nothing else.
    lags = (0.0, 0.001, 1e9) if random.random() < 0.99 else (-1.0, float("nan"), float("inf"))
    return [21, random.choice(lags), random.choice(_INTS[:6])]


def _log(random: random.Random, known: Known, places: object) -> Message:
    level = random.choice((0, 10, 20, 50, 60, 10**9, -5))
    return [22, level, random.choice(_TEXTS[:5]), _text(random), random.choice(_INTS[:8])]


def _connect(random: random.Random, known: Known, places: Sequence[tuple[str, int]]) -> Message:
    if not known.connections:
        return _log(random, known, places)
    known.asked += 1
    host, port = random.choice(places)
    return [48, known.asked, random.choice(sorted(known.connections)), host, port]


def _token(random: random.Random, known: Known, places: object) -> Message:
    if not known.connections:
        return _log(random, known, places)
    connection, number = random.choice(sorted(known.connections)), random.choice(_INTS[:8])
    value = random.randbytes(random.choice((0, 16, 32, 16 * 1024)))
    return random.choice(
        (
            [64, connection, _text(random), value[:16], number],
            [65, connection, number, value],
            [66, connection, number, random.random() < 0.5],
        )
    )


def _sampled(random: random.Random, known: Known, places: object) -> Message:
    """Of an event that it has, mostly, and at the bounds of what one may hold."""
    if not known.batches:
        return _stats(random, known, places)
    batch, untold = random.choice([*known.batches.items()])
    index = random.choice([*untold, 0]) if random.random() < 0.98 else random.choice(_INTS)
    answer = _exchanged(random, random.choice((0, 200, 400, 503, 9999)))
    url = random.choice(
        (*_TEXTS[:5], "https://x.example/" + "u" * random.choice((1, MAX_URL - 18)))
    )
    request = [_text(random)[:16], url, *_exchanged(random, 0)[1:]]
    return [67, batch, index, request, random.choice((answer, None))]


def _exchanged(random: random.Random, status: int) -> list[object]:
    bound = random.random() < 0.1
    headers = {
        f"x-{n}".ljust(MAX_HEADER_NAME if bound else 0, "x"): _text(random)[:MAX_HEADER]
        for n in range(random.choice((0, 1, MAX_HEADERS)))
    }
    size = MAX_REQUEST_BODY // 2 if bound else random.choice((0, 2, 60))
    body = random.choice((random.randbytes(size), b'{"a":"' + b"b" * max(0, size - 8) + b'"}'))
    told = random.choice((*_INTS[:2], *_INTS[3:7], 2**53))
    return [status, headers, body, told, random.choice(("", "", "0123456789abcdef"))]


def _taken(random: random.Random, known: Known, places: Sequence[tuple[str, int]]) -> Message:
    if not known.to_take:
        return _connect(random, known, places)
    return [49, known.to_take.pop()]


def _foreign(random: random.Random, known: Known, places: object) -> Message:
    batches = known.foreign_batches() or _INTS
    return [19, random.choice(batches), [[0, random.randint(0, 11), "not mine", None]]]


def _abandon(random: random.Random, known: Known, places: object) -> Message:
    return [50, random.randint(0, known.asked + 2)]


#: kind → how often, what, and whether it is for the channel.
_HONEST: Mapping[str, tuple[int, Callable[..., Message], bool]] = {
    "outcomes": (30, _outcomes, False),
    "done": (15, _done, False),
    "stats": (15, _stats, False),
    "log": (3, _log, False),
    "token": (3, _token, False),
    "sample": (4, _sampled, False),
    "connect": (12, _connect, True),
    "taken": (12, _taken, True),
    "abandon": (8, _abandon, True),
    "another's batch": (1, _foreign, False),
}


def _text(random: random.Random) -> str:
    return random.choice(_TEXTS[:5])


# --- damage ------------------------------------------------------------------------------------


def _flipped(random: random.Random, message: Message) -> bytes:
    data = bytearray(msgspec.msgpack.encode(message))
    for _ in range(random.randint(1, 4)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def _cut_off(random: random.Random, message: Message) -> bytes:
    data = msgspec.msgpack.encode(message)
    return data[: random.randrange(1, len(data) + 1)]


def _noise(random: random.Random, message: Message) -> bytes:
    return random.randbytes(random.choice((1, 2, 7, 64, 1000, 5000)))


def _claims(random: random.Random, message: Message) -> bytes:
    return random.choice(_HEADS) + random.randbytes(random.choice((0, 10, 4000)))


def _other_field(random: random.Random, message: Message) -> bytes:
    changed = list(message)
    values: tuple[object, ...] = (
        random.choice(_INTS), random.choice(_TEXTS), None, True, 0.5, b"bytes", [], [[]], {},
        {"a": 1}, [0] * 300, "x" * 100_000, [[0, 0, "", None]] * 500,
    )  # fmt: skip
    changed[random.randrange(len(changed))] = random.choice(values)
    return msgspec.msgpack.encode(changed)


def _fewer(random: random.Random, message: Message) -> bytes:
    return msgspec.msgpack.encode(message[: random.randrange(len(message))])


def _more(random: random.Random, message: Message) -> bytes:
    return msgspec.msgpack.encode([*message, random.choice(_INTS)])


def _other_kind(random: random.Random, message: Message) -> bytes:
    return msgspec.msgpack.encode([random.randint(-2, 60), *message[1:]])


def _twice(random: random.Random, message: Message) -> bytes:
    return msgspec.msgpack.encode(message) * random.choice((2, 3, 200))


_DAMAGES: Mapping[str, Callable[[random.Random, Message], bytes]] = {
    "bits flipped": _flipped,
    "cut off": _cut_off,
    "noise": _noise,
    "claims": _claims,
    "another field": _other_field,
    "fewer fields": _fewer,
    "more fields": _more,
    "another kind": _other_kind,
    "over again": _twice,
}
