"""What a destination's mapping costs an event: CPU from stored bytes to the request's body.

Owns the events, of 460 bytes each and of every type that a destination takes,
and the way through each kind of helper. Nothing is sent and nothing awaited:
what HTTP costs is `deliver`'s.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from destinations.kit import Batched, Destination, Event, Item, PerEvent, Request, Stepwise
from destinations.kit.sending import split
from scripts.benchmarks.comparison import Figure, difference
from scripts.benchmarks.load import EVENT_BYTES
from tests.harness.destinations import NAMES, destination
from tests.harness.usual import COMMON, EVENTS

#: Most µs of CPU that a mapping may take without a reason.
GOAL_US = 60.0
#: Events in a batch; where the API takes several, they share a request.
BATCH = 100
#: Batches in a round, so that a round takes milliseconds at least.
BATCHES = 20


def run(*, rounds: int) -> list[Figure]:
    """One figure a destination and type, and what decoding alone costs; each a median."""
    reading = [_cost_us(_read, _events("track")) for _ in range(rounds + 1)]
    figures = [_figure("decoding alone", reading, None)]
    for name in NAMES:
        one = destination(name)
        for event_type in sorted(one.types):
            events = _events(event_type)
            if not _made(one, events):
                continue  # a type that these settings have no use for
            costs = [_cost_us(partial(_made, one), events) for _ in range(rounds + 1)]
            figures.append(_figure(f"{name} {event_type}", costs, GOAL_US))
    return figures


def _figure(name: str, costs_us: list[float], goal_us: float | None) -> Figure:
    rounds = costs_us[1:]  # the first one warms caches up
    noise = difference(statistics.median(rounds[::2]), statistics.median(rounds[1::2]))
    return Figure.median(name, rounds, "µs", goal_us, is_more_better=False, noise=noise)


def _cost_us(made: Callable[[list[bytes]], int], raws: list[bytes]) -> float:
    # CPU time of this process: what others do on the machine is not in it.
    started = time.process_time()
    for _ in range(BATCHES):
        made(raws)
    return (time.process_time() - started) * 1e6 / (BATCHES * len(raws))


def _read(raws: list[bytes]) -> int:
    return sum(Event(raw).type is not None for raw in raws)


def _made(one: Destination, raws: list[bytes]) -> int:
    """The requests that events become; of a conversation the first one."""
    match one:
        case Batched():
            items = [
                (index, item)
                for index, raw in enumerate(raws)
                if isinstance(item := one.item(Event(raw)), Item)
            ]
            parts, _ = split(items)
            return len([one.request(part) for part in parts])
        case PerEvent():
            return sum(isinstance(one.request(Event(raw)), Request) for raw in raws)
        case Stepwise():
            count = 0
            for raw in raws:
                event = Event(raw)
                one.key(event)
                steps = one.steps(event)
                if isinstance(steps, _GENERATOR):
                    next(steps)
                    count += 1
            return count
        case _:
            raise TypeError(f"{one.name} uses no helper of the kit")


_GENERATOR = type(_ for _ in ())


def _events(event_type: str) -> list[bytes]:
    """Events of one type by different users, each of 460 bytes, and of this moment."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [_event(event_type, number, at) for number in range(BATCH)]


def _event(event_type: str, number: int, at: str) -> bytes:
    fields: dict[str, Any] = {  # Any: JSON
        "type": event_type,
        **COMMON,
        **EVENTS[event_type],
        "userId": f"user-{number}",
        "messageId": f"message-{number:04}",
        "timestamp": at,
        "receivedAt": at,
    }
    place = "traits" if event_type in ("identify", "group") else "properties"
    parts = dict(fields.get(place) or {})
    # As many traits or properties as there is room for, and the rest in the last one.
    for count in range(EVENT_BYTES):
        room = EVENT_BYTES - len(_encoded(fields | {place: parts | {f"attribute_{count}": ""}}))
        parts[f"attribute_{count}"] = "x" * (room if room < 2 * _ATTRIBUTE_BYTES else 10)
        if room < 2 * _ATTRIBUTE_BYTES:
            break
    return _encoded(fields | {place: parts})


#: What one more of them takes, with its name and marks.
_ATTRIBUTE_BYTES = len(',"attribute_0":"xxxxxxxxxx"')


def _encoded(fields: dict[str, Any]) -> bytes:  # Any: JSON
    return json.dumps(fields, separators=(",", ":")).encode()
