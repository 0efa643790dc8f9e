"""The tracking API: Segment's HTTP API in front of the queue.

Owns paths, authentication, status codes and the JSON of answers; what a body
is belongs to `bodies.py`, what an event is to `validation.py`. Answers 200 only
once the events are on disk. Must not know destinations: it asks the router.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from supervisor.config import Api, Source
from supervisor.ingest.bodies import Body, BodyError
from supervisor.ingest.held import BytesInFlight, sender_of
from supervisor.ingest.router import Router
from supervisor.ingest.validation import (
    BadBody,
    Envelope,
    EventReader,
    Rejected,
    read_batch,
    read_single,
)
from supervisor.queue import NewEvent, QueueFull, QueueStats, QueueUnavailable
from supervisor.runtime.clock import Clock

_log = structlog.get_logger(__name__)

#: Events that are looked at before other requests get their turn: about a millisecond.
SLICE = 200
#: Seconds after which to come back: a restart takes so long, and a full disk longer.
RETRY_DRAINING_S, RETRY_UNAVAILABLE_S = 1.0, 5.0
#: Longest wait that a sender's `Retry-After` asks of it, in seconds, however often it came back.
MAX_SENDER_WAIT_S = 60.0

#: What a path takes: a type, or batches.
_BATCH = ""
_SHORT = {"identify": "i", "track": "t", "page": "p", "screen": "s", "group": "g", "alias": "a"}
_NAMES = {
    **{name: name for name in _SHORT},
    **{short: name for name, short in _SHORT.items()},
    **dict.fromkeys(("batch", "b", "import"), _BATCH),
}
_PATHS = {f"/v1/{name}": taken for name, taken in _NAMES.items()}
_SLASHES = re.compile(r"/{2,}")
_HEADER_LIST = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1024}")
_JSON = "application/json"
_OK = b'{"success": true}'


class Intake(Protocol):
    """What is used of the queue, see `supervisor.queue.Queue`."""

    async def append(
        self, source: str, events: Sequence[NewEvent], received_at: float
    ) -> Sequence[bool]:
        """Store events durably; False for repeats. Raises QueueFull or QueueUnavailable."""

    def stats(self) -> QueueStats:
        """Whether it takes events, from memory."""


class IngestMetrics(Protocol):
    """What is counted, see `supervisor.telemetry.metrics`."""

    def received(self, source: str, type: str, n: int) -> None:
        """`n` valid events of one type were stored, or were repeats."""

    def rejected(self, source: str, reason: str, n: int) -> None:
        """`n` events or bodies were not taken; `reason` is the answer's `code`."""

    def duplicate(self, source: str, n: int) -> None:
        """`n` events were repeats."""


class IntakeWatch(Protocol):
    """Hears of what came in and what became of it, once a request, see `insight`."""

    def took(
        self, source: str, events: Sequence[NewEvent], accepted: Sequence[bool], repeats: int
    ) -> None:
        """Events are on disk; `repeats` of them were not `accepted`."""

    def rejected(
        self, source: str, rejected: Sequence[Rejected], items: Sequence[msgspec.Raw]
    ) -> None:
        """Some events were not taken; `items` are all that the request held."""

    def refused(
        self, source: str, code: str, reason: str, n: int, text: msgspec.Raw | bytes = b""
    ) -> None:
        """Nothing of a request of `n` events was taken; `text` is one of them, or its body."""


class _Taken(msgspec.Struct, frozen=True):
    success: bool
    rejected: list[Rejected]


class _Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    rejected: list[Rejected] = []


class TrackingApi:
    """The tracking API of one service, as an aiohttp application in `app`."""

    def __init__(
        self,
        *,
        sources: Mapping[str, Source],
        limits: Api,
        router: Router,
        queue: Intake,
        metrics: IngestMetrics,
        watch: IntakeWatch,
        clock: Clock,
        wall: Clock = time.time,
    ) -> None:
        """`wall` gives the time of receipt that events bear, `clock` the one that ages go by."""
        self._queue = queue
        self._metrics = metrics
        self._watch = watch
        self._clock = clock
        self._wall = wall
        self._held = BytesInFlight()
        self._is_draining = False
        self.reconfigure(sources=sources, limits=limits, router=router)
        self.app = web.Application(
            # Bodies are unpacked here and not on the way: limits count what comes out.
            handler_args={"auto_decompress": False, "logger": _http_log()}
        )
        # One route for all: what is not there is answered in JSON too, and it is the cheapest.
        self.app.router.add_route(hdrs.METH_ANY, "/{path:.*}", self._handle)
        self.app.on_response_prepare.append(_share)

    def reconfigure(self, *, sources: Mapping[str, Source], limits: Api, router: Router) -> None:
        """Follow a config change: from the next request on; those that run finish as they began."""
        self._limits = limits
        self._router = router
        self._by_key = {
            key: source.name for source in sources.values() for key in source.write_keys
        }
        self._by_header = {
            "Basic " + base64.b64encode(f"{key}:".encode()).decode(): name
            for key, name in self._by_key.items()
        }

    def start_draining(self) -> None:
        """From now on nothing is taken: 503, and `/ready` says no."""
        self._is_draining = True

    @staticmethod
    def not_http(status: int, code: str, message: str) -> web.Response:
        """The answer to what no handler is asked for, since it is no HTTP; any page may read it."""
        answer = _refused(status, code, message)
        answer.headers["Access-Control-Allow-Origin"] = "*"
        return answer

    # --- requests --------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.Response:
        """Whatever goes wrong becomes a JSON answer; only what is a bug of ours is logged."""
        try:
            path = _path(request)
            path_type = _PATHS.get(path)
            if path_type is not None and request.method == hdrs.METH_POST:
                return await self._track(request, path_type)
            return self._other(request, path)
        except BodyError as error:
            if error.status == web.HTTPServiceUnavailable.status_code:
                return _later(request, 503, error.code, str(error), RETRY_DRAINING_S)
            answer = _refused(error.status, error.code, str(error))
            if not request.content.is_eof():
                answer.force_close()  # its rest is not worth waiting for
            return answer
        except Exception:  # noqa: BLE001  # the edge of every handler: whatever it is, it is ours
            # A bug in one answer must not take the connection down without a word.
            _log.exception("tracking_request_failed", method=request.method)
            return _refused(500, "internal_error", "a bug in the service; its log has the details")

    def _other(self, request: web.Request, path: str) -> web.Response:
        is_read = request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
        if request.method == hdrs.METH_OPTIONS:
            return _preflight(request)
        if path == "/health" and is_read:
            return _answer(200, b'{"status": "ok"}')
        if path == "/ready" and is_read:
            return self._ready()
        if path in ("/health", "/ready") or path in _PATHS:
            allowed = "POST, OPTIONS" if path in _PATHS else "GET, HEAD, OPTIONS"
            answer = _refused(405, "method_not_allowed", f"{path} takes {allowed}")
            answer.headers["Allow"] = allowed
            return answer
        return _refused(
            404,
            "not_found",
            "there is POST /v1/identify, track, page, screen, group, alias, batch, import, and "
            "GET /health, /ready",
        )

    def _ready(self) -> web.Response:
        if self._is_draining:
            return _refused(503, "draining", "the service is stopping")
        intake = self._queue.stats().intake
        if intake != "open":
            return _refused(503, "queue_unavailable", intake)
        return _answer(200, b'{"status": "ready"}')

    async def _track(self, request: web.Request, path_type: str) -> web.Response:
        if self._is_draining:
            answer = _later(
                request, 503, "draining", "the service is stopping; try again", RETRY_DRAINING_S
            )
            answer.force_close()
            return answer
        source = self._authorized(request)
        try:
            return await self._received(request, path_type, source)
        except BodyError as error:
            if source is not None:
                self._metrics.rejected(source, error.code, 1)
                self._watch.refused(source, error.code, str(error), 1)
            raise

    async def _received(
        self, request: web.Request, path_type: str, source: str | None
    ) -> web.Response:
        held = self._held.hold(source, sender_of(request.remote))
        with Body(request, held, self._limits.max_request) as body:
            text = await body.read()
            if path_type != _BATCH and len(text) > self._limits.max_event:
                return self._not_taken(
                    source,
                    text,
                    413,
                    "too_large",
                    f"the event has {len(text)} bytes; at most {self._limits.max_event} are taken "
                    "(api.max_event)",
                )
            try:
                envelope = read_single(text, path_type) if path_type else read_batch(text)
            except BadBody as error:
                return self._not_taken(source, text, 400, error.code, str(error))
            if source is None:
                source = self._by_key.get(envelope.write_key or "")
            if source is None:
                return _unauthorized(has_key=envelope.write_key is not None)
            body.belongs_to(source)
            return await self._take(request, source, envelope)

    async def _take(self, request: web.Request, source: str, envelope: Envelope) -> web.Response:
        received_at = self._wall()
        reader = EventReader(
            envelope,
            source=source,
            route=self._router.route,
            received_at=received_at,
            max_event=self._limits.max_event,
            max_request=self._limits.max_request,
        )
        for start in range(0, len(envelope.items), SLICE):
            if start:
                await asyncio.sleep(0)
            reader.read(start, start + SLICE)
        if reader.events:
            try:
                accepted = await self._queue.append(source, reader.events, self._clock())
            except QueueFull as error:
                self._not_stored(source, reader, "queue_full", str(error))
                return _later(request, 429, "queue_full", str(error), error.retry_after_s)
            except QueueUnavailable as error:
                self._not_stored(source, reader, "queue_unavailable", str(error))
                return _later(request, 503, "queue_unavailable", str(error), RETRY_UNAVAILABLE_S)
            repeats = accepted.count(False)
            self._watch.took(source, reader.events, accepted, repeats)
            self._count(source, reader, repeats)
        elif reader.rejected:
            self._count(source, reader, 0)
        if reader.rejected:
            self._watch.rejected(source, reader.rejected, envelope.items)
        return _outcome(envelope, reader)

    def _count(self, source: str, reader: EventReader, repeats: int) -> None:
        for event_type, n in Counter([event.type for event in reader.events]).items():
            self._metrics.received(source, event_type, n)
        if reader.rejected:
            for code, n in Counter([item.code for item in reader.rejected]).items():
                self._metrics.rejected(source, code, n)
        if repeats:
            self._metrics.duplicate(source, repeats)

    def _not_stored(self, source: str, reader: EventReader, code: str, message: str) -> None:
        events = reader.events
        self._metrics.rejected(source, code, len(events))
        self._watch.refused(source, code, message, len(events), events[-1].body)

    def _not_taken(
        self, source: str | None, text: bytes, status: int, code: str, message: str
    ) -> web.Response:
        if source is not None:
            self._metrics.rejected(source, code, 1)
            self._watch.refused(source, code, message, 1, text)
        return _refused(status, code, message)

    # --- the sender ------------------------------------------------------------

    def _authorized(self, request: web.Request) -> str | None:
        """The source that the header names; None where the body has to.

        Raises BodyError with status 401 for a key that no source has. A Bearer
        token says nothing here: Segment's OAuth sends the write key in the body.
        """
        header = request.headers.get(hdrs.AUTHORIZATION)
        if header is None:
            return None
        source = self._by_header.get(header)
        if source is not None:
            return source
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            key = _basic_user(credentials)
        except (binascii.Error, ValueError) as error:
            raise BodyError(
                401,
                "unauthorized",
                "the Authorization header is not Basic with the base64 of `WRITE_KEY:`",
            ) from error
        if not key:
            return None
        source = self._by_key.get(key)
        if source is None:
            raise BodyError(401, "unauthorized", _UNKNOWN_KEY)
        return source


def _path(request: web.Request) -> str:
    """The path as it is looked up: hosts that were configured with a slash at their end, or with a
    prefix of slashes, lead to the same place.
    """
    path = request.path
    if path in _PATHS:
        return path
    # A target that opens with two slashes is an authority to a URL parser, and a path to us.
    if request.raw_path.startswith("/"):
        path = request.raw_path.partition("?")[0]
    return _SLASHES.sub("/", f"/{path}").rstrip("/") or "/"


def _basic_user(credentials: str) -> str:
    """The user name, of base64 in either alphabet, with its padding or without.

    Raises ValueError for what is none.
    """
    plain = credentials.strip().rstrip("=").replace("-", "+").replace("_", "/")
    padded = plain + "=" * (-len(plain) % 4)
    return base64.b64decode(padded, validate=True).partition(b":")[0].decode()


_UNKNOWN_KEY = "no source has this write key; see [sources] in the service's config"


def _unauthorized(*, has_key: bool) -> web.Response:
    return _refused(
        401,
        "unauthorized",
        _UNKNOWN_KEY
        if has_key
        else "a write key is required: as the user name of Basic authentication, or as writeKey "
        "in the body",
    )


# --- answers -------------------------------------------------------------------


def _outcome(envelope: Envelope, reader: EventReader) -> web.Response:
    if not reader.rejected:
        return _answer(200, _OK)
    if envelope.path_type is not None:
        rejected = reader.rejected[0]
        return _refused(400, rejected.code, rejected.message)
    if reader.events:
        return _answer(200, msgspec.json.encode(_Taken(True, reader.rejected)))
    first = reader.rejected[0]
    message = f"none of the batch's {len(reader.rejected)} events can be taken; the first: "
    return _refused(400, first.code, message + first.message, reader.rejected)


def _answer(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type=_JSON)


async def _share(request: web.Request, answer: web.StreamResponse) -> None:
    """Let the page that asked read the answer, with cookies or without.

    Beacons are always sent with credentials, for which `*` does not count. The API knows
    nothing by cookies, so that no page gets more than it sent itself.
    https://fetch.spec.whatwg.org/#cors-protocol-and-credentials
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        answer.headers["Access-Control-Allow-Origin"] = "*"
    else:
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Access-Control-Allow-Credentials"] = "true"
    answer.headers["Vary"] = "Origin"
    answer.headers["Access-Control-Expose-Headers"] = "Retry-After"


def _refused(
    status: int, code: str, message: str, rejected: list[Rejected] | None = None
) -> web.Response:
    return _answer(status, msgspec.json.encode(_Refusal(code, message, rejected or [])))


def _later(
    request: web.Request, status: int, code: str, message: str, after_s: float
) -> web.Response:
    """Refused for now. Who comes back again and again is told to wait longer."""
    answer = _refused(status, code, message)
    wait_s = min(after_s * 2 ** _retry_count(request), max(after_s, MAX_SENDER_WAIT_S))
    answer.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(wait_s)))
    return answer


def _retry_count(request: web.Request) -> int:
    """`X-Retry-Count` of Segment's SDKs, 0 to 6; what is no number counts as 0."""
    text = request.headers.get("X-Retry-Count", "")
    return min(int(text), 6) if len(text) <= 4 and text.isascii() and text.isdigit() else 0


def _preflight(request: web.Request) -> web.Response:
    """What a browser asks before it sends JSON or a key to another origin: all of it is fine."""
    wanted = request.headers.get("Access-Control-Request-Headers", "")
    answer = web.Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    answer.headers["Access-Control-Allow-Headers"] = (
        wanted
        if _HEADER_LIST.fullmatch(wanted)
        else "Authorization, Content-Encoding, Content-Type, X-Retry-Count"
    )
    answer.headers["Access-Control-Max-Age"] = "86400"
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        # A page of the internet that reports to a service in its user's own network.
        answer.headers["Access-Control-Allow-Private-Network"] = "true"
    return answer


def _http_log() -> logging.Logger:
    """aiohttp's log, without a trace for each request that is no HTTP: anyone can send those."""
    log = logging.getLogger("aiohttp.server.tracking")
    log.addFilter(_is_ours)
    return log


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
