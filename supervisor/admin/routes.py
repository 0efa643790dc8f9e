"""The admin API: the whole HTTP surface in one table, and its handlers.

Owns paths, methods and the JSON around answers. Every error is
`{"error": "token_in_snake_case", "message": "..."}`. Nothing behind GET
changes state. Must not decide anything about deliveries: it asks `Control`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec
import structlog
from aiohttp import web

from supervisor.admin import debug
from supervisor.admin.access import Access
from supervisor.admin.control import Control
from supervisor.admin.dead_letters import (
    MAX_TEXT,
    BadRequest,
    events_json,
    letter_json,
    read_filter,
    read_page,
)
from supervisor.admin.exits import exit_json, read_exit_page
from supervisor.errors import EvidenceFailed, NotFound, Refused
from supervisor.queue import QueueUnavailable, Selection
from supervisor.telemetry import metrics
from supervisor.telemetry.steps import in_steps

_log = structlog.get_logger(__name__)

#: Largest request body in bytes: a filter with a full page of ids.
MAX_BODY = 256 * 1024

_Handler = Callable[["AdminApi", web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    `is_public` needs no token, since it says nothing of customers; `is_work` has a worker or a
    process do something, which no HEAD asks for.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: _Handler
    is_public: bool = False
    is_work: bool = False


class AdminApi:
    """The admin API of one service, as an aiohttp application in `app`."""

    def __init__(self, control: Control, access: Access) -> None:
        self.control = control
        self._access = access
        self.app = web.Application(
            middlewares=[self._errors, self._guard], client_max_size=MAX_BODY
        )
        for route in ROUTES:
            self.app.router.add_route(route.method, route.path, self._bound(route.handler))
            if route.method == "GET" and not route.is_work:
                # Some load balancers probe with it.
                self.app.router.add_route("HEAD", route.path, self._bound(route.handler))

    def reconfigure(self, access: Access) -> None:
        """Follow a config change: the token that is asked for from now on."""
        self._access = access

    def _bound(self, handler: _Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def bound(request: web.Request) -> web.StreamResponse:
            return await handler(self, request)

        return bound

    # --- around every handler --------------------------------------------------

    @web.middleware
    async def _errors(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Whatever goes wrong becomes a JSON answer; only what is a bug of ours is logged."""
        try:
            return await handler(request)
        except BadRequest as error:
            return _error(400, "bad_request", str(error))
        except NotFound as error:
            return _error(404, "not_found", str(error))
        except Refused as error:
            return _error(409, "refused", str(error))
        except EvidenceFailed as error:
            return _error(503, "evidence_failed", str(error))
        except QueueUnavailable as error:
            return _error(503, "queue_unavailable", str(error))
        except web.HTTPMethodNotAllowed as error:
            answer = _error(
                405,
                "method_not_allowed",
                f"{request.method} is not for {request.path}; it takes "
                + ", ".join(sorted(error.allowed_methods)),
            )
            answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except web.HTTPNotFound:
            return _error(
                404, "not_found", f"there is no {request.path[:200]}; see GET / for what there is"
            )
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "too_large", f"a body of at most {MAX_BODY} bytes is taken")
        except web.HTTPException as error:
            return _error(error.status, "http_error", error.reason)
        except ConnectionResetError:
            # Nobody hears an answer any more; aiohttp ends the connection.
            _log.info("client_went_away", method=request.method, path=request.path)
            raise
        except Exception:  # noqa: BLE001  # the edge of every handler: whatever it is, it is ours
            # A bug in one answer must not take the connection down without a word.
            _log.exception("admin request failed", method=request.method, path=request.path)
            return _error(500, "internal_error", "a bug in the service; its log has the details")

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        denied = self._access.denial(request.headers, is_public=request.path in _PUBLIC)
        if denied is None:
            return await handler(request)
        answer = _error(denied.status, denied.error, denied.message)
        if denied.status == web.HTTPUnauthorized.status_code:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="bulkhead"'
        return answer

    # --- the service -----------------------------------------------------------

    async def index(self, request: web.Request) -> web.StreamResponse:
        """What there is: the table below."""
        return _json({"requests": [f"{route.method} {route.path}" for route in ROUTES]})

    async def health(self, request: web.Request) -> web.StreamResponse:
        """The process lives."""
        return _json({"status": "ok"})

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """It takes events, or 503 and why not."""
        why = self.control.not_ready()
        return _json({"status": "ready"}) if why is None else _error(503, "not_ready", why)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Prometheus text."""
        page = await self.control.metrics.scrape()
        return web.Response(body=page, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Pools, workers, queues, books."""
        status = await self.control.status()
        # Encoded in steps, too: what goes into the whole are pieces of text.
        queues = [
            msgspec.Raw(msgspec.json.encode(queue))
            async for some in in_steps(status.queues)
            for queue in some
        ]
        return _json(msgspec.structs.replace(status, queues=queues))

    async def books(self, request: web.Request) -> web.StreamResponse:
        """The books with `pending` counted anew in the store, and those of each connection."""
        audited = await self.control.queue.audit()
        return _json(
            {
                "books": audited,
                "balanced": audited.is_balanced,
                "connections": self.control.queue.books_by_connection(),
            }
        )

    # --- events and dead letters -----------------------------------------------

    async def event(self, request: web.Request) -> web.StreamResponse:
        """Where each delivery of an event is."""
        message_id = _name(request, "message_id")
        records = await self.control.queue.find(message_id)
        if not records:
            raise NotFound(
                f"no event with the message id {message_id!r} is known: it was never accepted, or "
                "it finished so long ago that it is no longer explainable (queue.history)"
            )
        return _json(events_json(records, self.control.waiting_for))

    async def dead_letters(self, request: web.Request) -> web.StreamResponse:
        """A page of dead letters, newest first."""
        page = read_page(list(request.query.items()))
        # One more than asked for tells whether there is a next page.
        letters = await self.control.queue.dead_letters(
            page.where, limit=page.limit + 1, after=page.after
        )
        shown = letters[: page.limit]
        return _json(
            {
                "deadletters": [letter_json(letter) for letter in shown],
                "next": shown[-1].id if len(letters) > page.limit else None,
            }
        )

    async def dead_letter(self, request: web.Request) -> web.StreamResponse:
        """One dead letter with its event."""
        letter_id = _name(request, "id")
        letter = await self.control.queue.dead_letter(letter_id)
        if letter is None:
            raise NotFound(f"there is no dead letter {letter_id!r}; it may be replayed or dropped")
        return _json(letter_json(letter))

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """Dead letters back to pending."""
        asked = read_filter(await request.read())
        done = await self.control.queue.replay(asked.where(), dry_run=asked.dry_run)
        return _selected("replayed", done)

    async def drop(self, request: web.Request) -> web.StreamResponse:
        """Dead letters forgotten."""
        asked = read_filter(await request.read())
        done = await self.control.queue.drop(asked.where(), dry_run=asked.dry_run)
        return _selected("dropped", done)

    # --- connections and workers -----------------------------------------------

    async def pause(self, request: web.Request) -> web.StreamResponse:
        """Hold a connection's queue."""
        return await self._by_hand(request, "name", self.control.pause)

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Let a paused connection go on."""
        return await self._by_hand(request, "name", self.control.resume)

    async def probe(self, request: web.Request) -> web.StreamResponse:
        """Let one batch of a connection through now."""
        return await self._by_hand(request, "name", self.control.probe)

    async def recycle(self, request: web.Request) -> web.StreamResponse:
        """Drain a worker and replace it."""
        return await self._by_hand(request, "id", self.control.recycle)

    async def _by_hand(
        self, request: web.Request, key: str, act: Callable[[str], Awaitable[None]]
    ) -> web.StreamResponse:
        name = _name(request, key)
        await act(name)
        _log.info("done by hand", action=request.path.rpartition("/")[2], on=name)
        return _json({"done": True})

    async def workers(self, request: web.Request) -> web.StreamResponse:
        """The workers of `/status`, flat."""
        pools = self.control.pools()
        return _json(
            {
                "workers": [
                    {"pool": pool.name, **msgspec.to_builtins(worker)}
                    for pool in pools
                    for worker in pool.workers
                ]
            }
        )

    # --- exits -----------------------------------------------------------------

    async def exits(self, request: web.Request) -> web.StreamResponse:
        """A page of worker exits, newest first."""
        page = read_exit_page(list(request.query.items()))
        found = self.control.exits.list(page.where, limit=page.limit + 1, after=page.after)
        shown = found[: page.limit]
        return _json(
            {
                "exits": [exit_json(record) for record in shown],
                "next": shown[-1].id if len(found) > page.limit else None,
            }
        )

    async def exit(self, request: web.Request) -> web.StreamResponse:
        """One exit with the text of its stacks."""
        exit_id = _name(request, "id")
        record = self.control.exits.get(exit_id)
        if record is None:
            raise NotFound(
                f"there is no exit {exit_id!r}: it may be too long ago; see /debug/exits"
            )
        stacks = await asyncio.to_thread(self.control.exits.stacks, record)
        return _json(exit_json(record, stacks))


def _debug(
    handler: Callable[[debug.Evidence, web.Request], Awaitable[web.StreamResponse]],
) -> _Handler:
    async def bound(api: AdminApi, request: web.Request) -> web.StreamResponse:
        return await handler(api.control.evidence, request)

    return bound


#: The whole surface.
ROUTES = (
    Route("GET", "/", AdminApi.index),
    Route("GET", "/health", AdminApi.health, is_public=True),
    Route("GET", "/ready", AdminApi.ready, is_public=True),
    Route("GET", "/metrics", AdminApi.metrics),
    Route("GET", "/status", AdminApi.status),
    Route("GET", "/books", AdminApi.books),
    Route("GET", "/events/{message_id}", AdminApi.event),
    Route("GET", "/deadletters", AdminApi.dead_letters),
    Route("GET", "/deadletters/{id}", AdminApi.dead_letter),
    Route("POST", "/deadletters/replay", AdminApi.replay),
    Route("POST", "/deadletters/drop", AdminApi.drop),
    Route("POST", "/connections/{name}/pause", AdminApi.pause),
    Route("POST", "/connections/{name}/resume", AdminApi.resume),
    Route("POST", "/connections/{name}/probe", AdminApi.probe),
    Route("POST", "/workers/{id}/recycle", AdminApi.recycle),
    Route("GET", "/debug/workers", AdminApi.workers),
    Route("GET", "/debug/exits", AdminApi.exits),
    Route("GET", "/debug/exits/{id}", AdminApi.exit),
    Route("GET", "/debug/workers/{id}/heap", _debug(debug.heap), is_work=True),
    Route("GET", "/debug/workers/{id}/stacks", _debug(debug.stacks), is_work=True),
    Route("GET", "/debug/workers/{id}/profile", _debug(debug.profile), is_work=True),
    Route("GET", "/debug/workers/{id}/loop", _debug(debug.loop)),
    Route("GET", "/debug/snapshots", _debug(debug.snapshots)),
    Route("GET", "/debug/snapshots/{name}", _debug(debug.snapshot)),
    Route("DELETE", "/debug/snapshots/{name}", _debug(debug.delete)),
    Route("GET", "/debug/snapshots/{name}/report", _debug(debug.report), is_work=True),
)

_PUBLIC = frozenset(route.path for route in ROUTES if route.is_public)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


def _error(status: int, error: str, message: str) -> web.Response:
    return _json({"error": error, "message": message}, status)


def _selected(what: str, selection: Selection) -> web.Response:
    _log.info(f"dead letters {what}", matched=selection.matched, done=selection.done)
    return _json(selection)


def _name(request: web.Request, key: str) -> str:
    name = request.match_info[key]
    if len(name) > MAX_TEXT:
        raise BadRequest(f"{key}: longer than {MAX_TEXT} characters")
    return name
