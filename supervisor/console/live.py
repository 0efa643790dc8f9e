"""What changes by itself: one stream a tab, of server-sent events.

Owns who listens, and that nobody costs more for being slow. Looks are made once for all, once a
second, while somebody listens; each listener has a slot of the newest of each, and what was not
sent when a newer one came is never sent. Rows of a tap come once each, or their gap is told. How a
look is made is the business of whoever offers it.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import structlog
from aiohttp import web

from supervisor.admin.answers import error_answer
from supervisor.admin.parameters import BadRequest, read_parameters
from supervisor.admin.table import Right, Route, caller_of, is_still_allowed
from supervisor.console.session import LIVE_STREAMS
from supervisor.errors import NotFound

_log = structlog.get_logger(__name__)

#: Looks of one stream at most.
MOST_LOOKS = 10
#: Largest look, in bytes; as many of them as streams are the most that slots hold.
MOST_LOOK_BYTES = 256 * 1024
#: Seconds between two looks, at least, and at most, and the share of the time that they may take.
EVERY_S, MOST_EVERY_S, SHARE = 1.0, 10.0, 0.03
#: Seconds without progress after which a stream is ended, and between two looks at that.
STALLED_S, LOOK_AT_STALLED_S = 10.0, 0.1
#: Seconds between two signs of life, and between two looks whether anybody is there still.
PING_S, LOOK_AT_CLOSED_S = 15.0, 0.5
#: Bytes that are handed to a connection at once; it has sent them before it gets more.
PIECE_BYTES = 32 * 1024
#: Milliseconds after which a browser comes back.
_RETRY = b"retry: 2000\n\n"
_PING = b": ping\n\n"
#: What `Last-Event-ID` holds: the number of the last row of each tap.
_LAST_ID = re.compile(r"([\w.:-]{1,200})=([0-9]{1,18})")

Json = dict[str, Any]  # Any: JSON


class LookMaker(NamedTuple):
    """How looks of one kind are made.

    `make` is given the name behind the colon, the `where` of the request and whether a viewer
    looks. It raises NotFound, or BadRequest. The same object as the last time is not sent again.
    """

    make: Callable[[str, str, bool], Awaitable[object]]
    is_named: bool


class TapMaker(NamedTuple):
    """How rows of one kind of tap are had.

    `page` is given the source, the number of the last row that was sent (None: none so far) and
    whether a viewer looks. It answers `rows`, `next`, and whether it is `lossy`: rows in between
    are not there. It raises NotFound.
    """

    page: Callable[[str, int | None, bool], Awaitable[Json]]


@dataclass(slots=True, eq=False)
class _Stream:
    """One listener. `slot` is what is to be sent, by look; `rows` what its taps are at then."""

    looks: tuple[str, ...]
    where: str
    is_viewer: bool
    is_allowed: Callable[[], bool]
    after: dict[str, int]
    slot: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False

    def put(self, look: str, data: bytes) -> None:
        self.slot[look] = data
        self.wake.set()

    def taken(self) -> bytes:
        """All that there is, which is as good as sent from now on."""
        self.wake.clear()
        data = b"".join(self.slot.values())
        self.slot = {}
        if self.rows:
            self.after |= self.rows
            self.rows = {}
            told = ";".join(f"{look}={n}" for look, n in self.after.items())
            # An event without data moves the id and is shown to nobody.
            data += f"id: {told}\n\n".encode()
        return data


class Live:
    """Of one service."""

    def __init__(self, looks: Mapping[str, LookMaker], taps: Mapping[str, TapMaker]) -> None:
        self._looks = looks
        self._taps = taps
        self._streams: list[_Stream] = []
        self._opening = 0
        self._rounds: asyncio.Task[None] | None = None
        self._last: dict[tuple[str, str, bool], tuple[object, bytes]] = {}

    def rows(self) -> tuple[Route, ...]:
        """The one row."""
        return (Route("GET", "/live", self.live, Right.VIEW, is_work=True),)

    async def close(self) -> None:
        """End all streams."""
        for stream in self._streams:
            stream.is_over = True
            stream.wake.set()
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)

    async def live(self, request: web.Request) -> web.StreamResponse:
        """A stream, until the client goes away."""
        asked = read_parameters(list(request.query.items()), ("look", "where"))
        looks = self._read_looks(asked.get("look", ""))
        if len(self._streams) + self._opening >= LIVE_STREAMS:
            answer = error_answer(
                503, "too_many_streams", f"{LIVE_STREAMS} streams are open; fetch, or come back"
            )
            answer.headers["Retry-After"] = "10"
            return answer
        stream = _Stream(
            looks,
            asked.get("where", ""),
            caller_of(request).is_viewer,
            lambda: is_still_allowed(request),
            _read_last_id(request.headers.get("Last-Event-ID", ""), looks),
        )
        self._opening += 1
        try:
            # What cannot be looked at is an error now, and not an event later.
            await self._fill(stream)
            response = web.StreamResponse()
            response.content_type = "text/event-stream"
            response.headers["X-Accel-Buffering"] = "no"
            await response.prepare(request)
        finally:
            self._opening -= 1
        self._streams.append(stream)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._go_round())
        try:
            await self._send(stream, request, response)
        except ConnectionResetError as error:
            # A tab was closed, or took nothing for too long: how most streams end.
            _log.debug("stream_ended", why=str(error))
        finally:
            self._streams.remove(stream)
        return response

    def _read_looks(self, text: str) -> tuple[str, ...]:
        looks = tuple(dict.fromkeys(filter(None, text.split(","))))
        if not looks or len(looks) > MOST_LOOKS:
            raise BadRequest(f"look: name from 1 to {MOST_LOOKS} looks, with commas between them")
        for look in looks:
            kind, colon, name = look.partition(":")
            maker = self._looks.get(kind)
            is_named = kind in self._taps or (maker is not None and maker.is_named)
            if (maker is None and kind not in self._taps) or bool(colon and name) is not is_named:
                known = [f"{k}:NAME" if m.is_named else k for k, m in self._looks.items()]
                known += [f"{kind}:SOURCE" for kind in self._taps]
                raise BadRequest(f"look: {look[:100]!r} is none of {', '.join(known)}")
            if not look.isprintable():
                raise BadRequest("look: a name is printable")
        return looks

    # --- making ---------------------------------------------------------------

    async def _go_round(self) -> None:
        while self._streams:
            # Of this thread alone, what it does for others in between included.
            began, cost = time.monotonic(), time.thread_time()
            try:
                await self._round()
            except Exception:  # noqa: BLE001 - a bug in one look must not end all streams for good
                _log.exception("live_failed")
            cost_s, took_s = time.thread_time() - cost, time.monotonic() - began
            await asyncio.sleep(max(EVERY_S - took_s, min(MOST_EVERY_S, cost_s / SHARE), 0.0))
        self._last.clear()

    async def _round(self) -> None:
        for stream in list(self._streams):
            if not stream.is_allowed():
                # A logout, an expiry, a changed token: it may come back and say who it is.
                stream.is_over = True
                stream.wake.set()
        pages: dict[tuple[str, int | None, bool], Json | None] = {}
        made: dict[tuple[str, str, bool], bytes | None] = {}
        for stream in list(self._streams):
            for look in stream.looks:
                if look.partition(":")[0] in self._taps:
                    key = look, stream.after.get(look), stream.is_viewer
                    if key not in pages:
                        pages[key] = await self._page(key)
                    self._put_rows(stream, look, pages[key])
                else:
                    of = look, stream.where, stream.is_viewer
                    if of not in made:
                        made[of] = await self._remade(of)
                    if (data := made[of]) is not None:
                        stream.put(look, data)

    async def _fill(self, stream: _Stream) -> None:
        for look in stream.looks:
            if look.partition(":")[0] in self._taps:
                kind, _, name = look.partition(":")
                page = await self._taps[kind].page(name, stream.after.get(look), stream.is_viewer)
                self._put_rows(stream, look, page)
            else:
                value = await self._value(look, stream.where, stream.is_viewer)
                stream.put(look, _event(look, value))

    async def _page(self, key: tuple[str, int | None, bool]) -> Json | None:
        look, after, is_viewer = key
        kind, _, name = look.partition(":")
        try:
            return await self._taps[kind].page(name, after, is_viewer)
        except NotFound:
            return None  # a reload has removed it; the stream may have other looks

    def _put_rows(self, stream: _Stream, look: str, page: Json | None) -> None:
        if page is None or (not page["rows"] and look in stream.after):
            return
        stream.rows[look] = page["next"]
        stream.put(look, _event(look, page))

    async def _value(self, look: str, where: str, is_viewer: bool) -> object:
        kind, _, name = look.partition(":")
        return await self._looks[kind].make(name, where, is_viewer)

    async def _remade(self, of: tuple[str, str, bool]) -> bytes | None:
        """A look as it is now; None where it is the same as before, or gone."""
        look, where, is_viewer = of
        try:
            value = await self._value(look, where, is_viewer)
        except (NotFound, BadRequest):
            return None  # a reload has removed it; the stream may have other looks
        before = self._last.get(of)
        if before is not None and before[0] is value:
            return None
        data = _event(look, value)
        if len(self._last) > LIVE_STREAMS * MOST_LOOKS:
            self._last.clear()
        self._last[of] = value, data
        return data

    # --- sending --------------------------------------------------------------

    async def _send(
        self, stream: _Stream, request: web.Request, response: web.StreamResponse
    ) -> None:
        await _write(request, response, _RETRY)
        sent_at = time.monotonic()
        while not stream.is_over:
            try:
                async with asyncio.timeout(LOOK_AT_CLOSED_S):
                    await stream.wake.wait()
            except TimeoutError:
                # A closed tab must not keep another one out until there is something to say.
                if request.transport is None or request.transport.is_closing():
                    raise ConnectionResetError("the client went away") from None
                if time.monotonic() - sent_at < PING_S:
                    continue
                data = _PING
            else:
                data = stream.taken()
            await _write(request, response, data)
            sent_at = time.monotonic()


def _event(look: str, value: object) -> bytes:
    data = msgspec.json.encode(value).replace(b"\n", b" ")
    if len(data) > MOST_LOOK_BYTES:
        data = msgspec.json.encode(
            {
                "error": "too_large",
                "look": look,
                "message": f"this look has {len(data)} bytes; fetch its row",
            }
        )
        return b"event: too-large\ndata: " + data + b"\n\n"
    return b"event: " + look.encode() + b"\ndata: " + data + b"\n\n"


def _read_last_id(text: str, looks: Iterable[str]) -> dict[str, int]:
    """Where each tap was; what is none of ours is as if it were not there."""
    found: dict[str, int] = {}
    for part in text[:2000].split(";"):
        matched = _LAST_ID.fullmatch(part)
        if matched is not None and matched[1] in looks:
            found[matched[1]] = int(matched[2])
    return found


async def _write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Returns when all of it is with the kernel. Raises ConnectionResetError."""
    for start in range(0, len(data), PIECE_BYTES):
        await response.write(data[start : start + PIECE_BYTES])
        await _sent(request.transport)


async def _sent(transport: asyncio.Transport | None) -> None:
    """Returns when a connection has nothing left to send.

    Raises ConnectionResetError where it is gone, or has sent nothing for too long.
    """
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client went away")
    left, since = transport.get_write_buffer_size(), time.monotonic()
    while left:
        await asyncio.sleep(LOOK_AT_STALLED_S)
        if transport.is_closing():
            raise ConnectionResetError("the client went away")
        now_left = transport.get_write_buffer_size()
        if now_left < left:
            left, since = now_left, time.monotonic()
        elif time.monotonic() - since > STALLED_S:
            transport.abort()
            raise ConnectionResetError("the client takes nothing")
