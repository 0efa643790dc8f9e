"""The helpers that most destinations subclass: they send, the destination only maps.

Owns concurrency within one `deliver`, splitting into requests, early reports
and what happens where a mapping raises. Subclasses write two pure methods, one
from event to request and one from response to outcomes; both are tested
without HTTP.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, TypeVar

import msgspec

from destinations.kit.contract import Destination
from destinations.kit.event import Event
from destinations.kit.exchange import Limits, exchange
from destinations.kit.exchanged import tell
from destinations.kit.outcomes import Cause, Delivered, Failed, Outcome, Retry, Unauthorized
from destinations.kit.requests import (
    JSON_HEADERS,
    Request,
    Response,
    guarded,
    gzipped,
    told,
)

_Mapped = TypeVar("_Mapped")


class Split(msgspec.Struct, frozen=True):
    """Said of a request with several events: it was refused as a whole, find out which one is bad.

    It is sent again in smaller and smaller parts, so that a few bad events of
    two thousand take a few dozen requests to be found; one that is refused
    alone has failed with the reason.
    """

    reason: str


class Endpoint(msgspec.Struct, frozen=True):
    """One call of an API that takes several items at once, and its limits.

    The body is `opening`, the items joined by commas, and `closing`: a JSON
    array by default. `max_bytes` counts the body before compression. Items
    travel together that have the very same endpoint, so make it once, not in
    the mapping.
    """

    url: str
    max_items: int
    max_bytes: int
    headers: Mapping[str, str] = msgspec.field(default_factory=lambda: JSON_HEADERS)
    gzip: bool = False
    opening: bytes = b"["
    closing: bytes = b"]"

    def request(self, items: Sequence[bytes]) -> Request:
        """The request that carries these items."""
        body = self.opening + b",".join(items) + self.closing
        if not self.gzip:
            return Request(self.url, body, self.headers)
        return Request(self.url, gzipped(body), {**self.headers, "Content-Encoding": "gzip"})


class Item(msgspec.Struct, frozen=True):
    """What one event becomes: a piece of JSON for an endpoint.

    Items of one `deliver` with equal `key` and endpoint go one after the other
    in requests of their own: for APIs that refuse two changes of one record in
    a request, or let them overtake each other.
    """

    endpoint: Endpoint
    body: bytes
    key: str | None = None


class Part(msgspec.Struct, frozen=True):
    """Items for one request, and the indices of their events."""

    endpoint: Endpoint
    items: list[bytes]
    indices: list[int]

    def body_of(self, place: int) -> bytes:
        """The body as it would be with that item alone, and uncompressed."""
        return self.endpoint.opening + self.items[place] + self.endpoint.closing


class Sending(Destination):
    """What both helpers share: limits, and a fixed set of senders in a `deliver`."""

    concurrency: ClassVar[int] = 8
    """Most requests at once within one `deliver`."""
    timeout_s: ClassVar[float] = 10.0
    """Seconds from the start of a request to the end of its answer."""
    answer_bytes: ClassVar[int] = 1024 * 1024
    """Most bytes of an answer that are read."""
    _limits: ClassVar[Limits] = Limits(timeout_s, answer_bytes)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._limits = Limits(cls.timeout_s, cls.answer_bytes)

    async def exchange(self, request: Request) -> Response | Outcome:
        """Send one request; to override where it takes a token that may have to be renewed."""
        return await exchange(self.http, request, self._limits)


class Hold:
    """Whether nothing more of this `deliver` is to be sent: `answer` is what the others get then.

    The server has asked to be let alone, or nothing passes before somebody has mended something:
    that was certain, or two events in a row got it.
    """

    def __init__(self) -> None:
        self.answer: Outcome | None = None
        self._refused = 0

    def seen(self, outcome: Outcome) -> Outcome:
        """Take note of an outcome, and return it."""
        is_refused = isinstance(outcome, Unauthorized) or (
            isinstance(outcome, Retry) and outcome.cause is Cause.SETUP
        )
        self._refused = self._refused + 1 if is_refused else 0
        if self.answer is not None:
            return outcome
        match outcome:
            case Retry(after_s=after_s) if after_s:
                self.answer = Retry(_unsent(outcome), after_s, outcome.cause)
            case Unauthorized(is_certain=is_certain) if is_certain or self._refused > 1:
                self.answer = Unauthorized(_unsent(outcome), is_certain)
            case Retry(cause=Cause.SETUP) if self._refused > 1:
                self.answer = Retry(_unsent(outcome), cause=Cause.SETUP)
            case _:
                pass
        return outcome


def _unsent(outcome: Retry | Failed) -> str:
    return f"not sent, since another event got {outcome.reason}"


class PerEvent(Sending):
    """One request an event; each outcome is reported as soon as it is there."""

    @abstractmethod
    def request(self, event: Event) -> Request | Outcome:
        """What the event becomes; an outcome where nothing is to be sent for it."""

    def outcome(self, response: Response, event: Event) -> Outcome:
        """What the answer means; by default what its status means."""
        return response.outcome()

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [UNSENT] * len(events)
        queue = iter(enumerate(events))
        hold = Hold()

        async def send() -> None:
            for index, event in queue:
                self.at(index)
                outcome = hold.answer or hold.seen(await self._deliver_one(event))
                outcomes[index] = outcome
                self.report(index, outcome)

        await together(send, min(self.concurrency, len(events)))
        return outcomes

    async def _deliver_one(self, event: Event) -> Outcome:
        request = guarded("mapping", lambda: self.request(event))
        if not isinstance(request, Request):
            return request
        response = await self.exchange(request)
        outcome = self._read(response, event) if isinstance(response, Response) else response
        if not isinstance(outcome, Delivered):
            tell(outcome, response)
        return outcome

    def _read(self, response: Response, event: Event) -> Outcome:
        try:
            return self.outcome(response, event)
        except Exception as error:  # noqa: BLE001 - the server's answer is not the event's fault
            return Retry(f"reading the answer raised {told(error)}")


class Batched(Sending):
    """Several events a request, split by what the API allows."""

    concurrency: ClassVar[int] = 4

    @abstractmethod
    def item(self, event: Event) -> Item | Outcome:
        """What the event becomes; an outcome where nothing is to be sent for it."""

    @abstractmethod
    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        """What the answer means for the `count` items of its request, in order.

        One outcome holds for all of them. Split: it does not say which are bad.
        """

    def request(self, part: Part) -> Request:
        """The request for a part; to override where it must be signed."""
        return part.endpoint.request(part.items)

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [UNSENT] * len(events)

        def settle(index: int, outcome: Outcome) -> None:
            outcomes[index] = outcome
            self.report(index, outcome)

        items: list[tuple[int, Item]] = []
        for index, item in self.each_mapped(events, self.item):
            if isinstance(item, Item):
                items.append((index, item))
            else:
                settle(index, item)
        await self.deliver_items(items, settle)
        return outcomes

    def each_mapped(
        self, events: Sequence[Event], mapping: Callable[[Event], _Mapped]
    ) -> Iterator[tuple[int, _Mapped | Failed]]:
        """What a mapping makes of each event, with its index; of one that raises, its failure.

        For a `deliver` of one's own: it says which event is at work, see `Destination.at`.
        """
        for index, event in enumerate(events):
            self.at(index)
            yield index, guarded("mapping", partial(mapping, event))
        self.at(-1)

    async def deliver_items(
        self, items: Sequence[tuple[int, Item]], settle: Callable[[int, Outcome], None]
    ) -> None:
        """Send items, each with the index of its event; `settle` is told each one's outcome."""
        hold = Hold()
        for wave in _waves(items):
            await self._deliver_wave(wave, settle, hold)

    async def _deliver_wave(
        self,
        items: Sequence[tuple[int, Item]],
        settle: Callable[[int, Outcome], None],
        hold: Hold,
    ) -> None:
        parts, too_large = split(items)
        for index, failed in too_large:
            settle(index, failed)
        queue = deque(parts)

        async def send() -> None:
            while queue:
                part = queue.popleft()
                if hold.answer is not None:
                    for index in part.indices:
                        settle(index, hold.answer)
                    continue
                said = await self._send_part(part)
                if isinstance(said, Split):
                    queue.extend(_smaller(part))
                    continue
                for index, outcome in zip(part.indices, said, strict=True):
                    settle(index, hold.seen(outcome))

        await together(send, min(self.concurrency, len(queue)))

    async def _send_part(self, part: Part) -> Sequence[Outcome] | Split:
        count = len(part.indices)
        request = guarded("building the request", lambda: self.request(part))
        if not isinstance(request, Request):
            return [request] * count
        response = await self.exchange(request)
        if not isinstance(response, Response):
            tell(response, response, part.body_of(0))
            return [response] * count
        try:
            said = _spread(self.outcomes(response, part.endpoint, count), count)
        except Exception as error:  # noqa: BLE001 - the server's answer is not the events' fault
            said = [Retry(f"reading the answer raised {told(error)}")] * count
        if isinstance(said, Split):
            return said
        for place, outcome in _first_failures(said):
            tell(outcome, response, part.body_of(place))
        return said


UNSENT = Retry("not sent")
#: Items of which each may as well be asked alone.
_FEW = 4
#: Failed items of one request that are told with what was sent and answered.
MOST_TOLD = 3


async def together(send: Callable[[], Coroutine[None, None, None]], senders: int) -> None:
    """Run as many senders as there is work for; a single one needs no task of its own."""
    if senders <= 1:
        await send()
        return
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(senders):
                group.create_task(send())
    except BaseExceptionGroup as several:
        # The first one becomes the events' reason, and "unhandled errors in a TaskGroup" is none.
        raise several.exceptions[0] from several


def split(items: Sequence[tuple[int, Item]]) -> tuple[list[Part], list[tuple[int, Failed]]]:
    """Parts for as few requests as the endpoints' limits allow, and the events that fit in none.

    Events keep their order within an endpoint.
    """
    parts: list[Part] = []
    too_large: list[tuple[int, Failed]] = []
    open_parts: dict[int, tuple[Part, int]] = {}  # by the endpoint's identity
    for index, item in items:
        endpoint, body = item.endpoint, item.body
        frame = len(endpoint.opening) + len(endpoint.closing)
        if len(body) + frame > endpoint.max_bytes:
            limit = endpoint.max_bytes
            reason = f"{len(body)} bytes as the API wants it, and it takes at most {limit}"
            too_large.append((index, Failed(reason)))
            continue
        part, size = open_parts.get(id(endpoint), (None, 0))
        if (
            part is None
            or len(part.items) >= endpoint.max_items
            or size + 1 + len(body) > endpoint.max_bytes
        ):
            part, size = Part(endpoint, [], []), frame
            parts.append(part)
        part.items.append(body)
        part.indices.append(index)
        open_parts[id(endpoint)] = part, size + len(body) + 1
    return parts, too_large


def _waves(items: Sequence[tuple[int, Item]]) -> list[list[tuple[int, Item]]]:
    """Items that may travel together; the n-th item of a key is in the n-th wave."""
    waves: list[list[tuple[int, Item]]] = []
    seen: dict[tuple[int, str], int] = {}
    for index, item in items:
        wave = 0
        if item.key is not None:
            # By the endpoint's identity: equal keys at another endpoint are another record.
            place = (id(item.endpoint), item.key)
            wave = seen.get(place, 0)
            seen[place] = wave + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append((index, item))
    return waves


def _first_failures(said: Sequence[Outcome]) -> Iterator[tuple[int, Outcome]]:
    """Of the outcomes of one request, the first few that are failures of their own."""
    last: Outcome | None = None
    left = MOST_TOLD
    for place, outcome in enumerate(said):
        if outcome is last:
            continue
        last = outcome
        if isinstance(outcome, Delivered):
            continue
        yield place, outcome
        left -= 1
        if not left:
            return


def _smaller(part: Part) -> list[Part]:
    """Halves of a part, or its items one by one, where there are only a few."""
    count = len(part.items)
    step = 1 if count <= _FEW else (count + 1) // 2
    return [
        Part(part.endpoint, part.items[start : start + step], part.indices[start : start + step])
        for start in range(0, count, step)
    ]


def _spread(said: Sequence[Outcome] | Outcome | Split, count: int) -> Sequence[Outcome] | Split:
    """One outcome an event. A split of one event is its failure."""
    if isinstance(said, Split):
        return said if count > 1 else [Failed(said.reason)]
    if isinstance(said, Sequence):
        if len(said) != count:
            raise ValueError(f"{len(said)} outcomes for {count} events")
        return said
    return [said] * count
