"""The admin API: the whole HTTP surface in one table, and what is around every handler.

Owns paths, methods, rights and the turning away of who may not. Every error is
`{"error": "token_in_snake_case", "message": "..."}`. Nothing behind GET changes state. Must not
decide anything about deliveries: its handlers ask `Control`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from aiohttp import web

from supervisor.admin import debug, handlers
from supervisor.admin.access import Access, Denied
from supervisor.admin.answers import error_answer
from supervisor.admin.control import Control
from supervisor.admin.handlers import CONTROL, TABLE, of_evidence
from supervisor.admin.parameters import BadRequest
from supervisor.admin.table import (
    Caller,
    Deed,
    Handler,
    Right,
    Role,
    Route,
    deed_of,
    set_caller,
)
from supervisor.errors import Busy, EvidenceFailed, NotFound, Refused
from supervisor.queue import QueueUnavailable

_log = structlog.get_logger(__name__)

#: Largest request body in bytes: a filter with a full page of ids.
MAX_BODY = 256 * 1024
#: Below it stands the console, and below `_PAGE_ROOT` the whole table once more, for its page: a
#: cookie reaches nothing else.
CONSOLE, _PAGE_ROOT = "/console", "/console/api"
#: What browsers may do with any answer: nothing runs, loads, frames or sends but what is our own.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
#: Of every answer, unless its handler says otherwise. Answers hold strangers' text: no browser
#: guesses what it is, keeps a copy, or tells another site that it was here.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: Hears of everything that was done by hand.
Heard = Callable[[Caller, Deed], None]


class Sessions(Protocol):
    """Who logged in; `supervisor.console.session` implements it."""

    def role_of(self, request: web.Request) -> Role | None:
        """The role that a request's cookie proves, None where it proves none."""


class NoSessions:
    """Nobody logs in where there is no console."""

    def role_of(self, request: web.Request) -> Role | None:
        """None."""
        return None


class AdminApi:
    """The admin API of one service, as an aiohttp application in `app`.

    `rows` are those of other rooms; with some, the whole table stands below `/console/api`, too,
    for callers with a cookie of `sessions`. `heard` is told of what was done by hand.
    """

    def __init__(
        self,
        control: Control,
        access: Access,
        rows: Sequence[Route] = (),
        sessions: Sessions | None = None,
        heard: Heard | None = None,
    ) -> None:
        self._access = access
        self._sessions = NoSessions() if sessions is None else sessions
        self._heard = heard
        self._rows = rows
        self._row_of: dict[web.AbstractRoute, Route] = {}
        #: Whether the rows of other rooms are open now.
        self._are_open = True
        self.app = web.Application(
            middlewares=[self._errors, self._guard], client_max_size=MAX_BODY
        )
        self.app[CONTROL], self.app[TABLE] = control, self._table
        self.app.on_response_prepare.append(_harden)
        for route in (*ROUTES, *rows):
            self._mount(route, "")
            if rows and not route.path.startswith(CONSOLE):
                self._mount(route, _PAGE_ROOT)

    def _mount(self, route: Route, root: str) -> None:
        path = root + route.path
        self._row_of[self.app.router.add_route(route.method, path, route.handler)] = route
        if route.method == "GET" and not route.is_work:
            # Some load balancers probe with it.
            self._row_of[self.app.router.add_route("HEAD", path, route.handler)] = route

    def reconfigure(self, access: Access, *, are_rows_open: bool = True) -> None:
        """Follow a config change: tokens and hosts, and whether the rows of other rooms answer."""
        self._access = access
        self._are_open = are_rows_open

    @staticmethod
    def not_http(status: int, code: str, message: str) -> web.Response:
        """The answer to what no handler is asked for, since it is no HTTP."""
        return error_answer(status, code, message)

    def _table(self) -> Sequence[Route]:
        return (*ROUTES, *(self._rows if self._are_open else ()))

    # --- around every handler --------------------------------------------------

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whatever goes wrong becomes a JSON answer; only what is a bug of ours is logged."""
        try:
            return await handler(request)
        except BadRequest as error:
            return error_answer(400, "bad_request", str(error))
        except NotFound as error:
            return error_answer(404, "not_found", str(error))
        except Busy as error:
            answer = error_answer(409, "busy", str(error))
            answer.headers["Retry-After"] = "1"
            return answer
        except Refused as error:
            return error_answer(409, "refused", str(error))
        except EvidenceFailed as error:
            return error_answer(503, "evidence_failed", str(error))
        except QueueUnavailable as error:
            return error_answer(503, "queue_unavailable", str(error))
        except web.HTTPMethodNotAllowed as error:
            answer = error_answer(
                405,
                "method_not_allowed",
                f"{request.method} is not for {request.path}; it takes "
                + ", ".join(sorted(error.allowed_methods)),
            )
            answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except web.HTTPNotFound:
            return error_answer(
                404, "not_found", f"there is no {request.path[:200]}; see GET / for what there is"
            )
        except web.HTTPRequestEntityTooLarge:
            return error_answer(413, "too_large", f"a body of at most {MAX_BODY} bytes is taken")
        except web.HTTPException as error:
            return error_answer(error.status, "http_error", error.reason)
        except ConnectionResetError:
            # Nobody hears an answer any more; aiohttp ends the connection.
            _log.info("client_went_away", method=request.method, path=request.path)
            raise
        except Exception:  # noqa: BLE001  # the edge of every handler: whatever it is, it is ours
            # A bug in one answer must not take the connection down without a word.
            _log.exception("admin request failed", method=request.method, path=request.path)
            return error_answer(
                500, "internal_error", "a bug in the service; its log has the details"
            )

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        route = self._row_of.get(request.match_info.route)
        is_public = route is not None and route.needs is Right.PUBLIC
        is_page = request.path.startswith(f"{_PAGE_ROOT}/")
        bearer, by_cookie = self._roles_of(request)
        denied = self._access.denial(
            request.headers,
            is_public=is_public,
            # What only our own page asks for, no other one does.
            is_work=route is not None and (route.is_guarded or (is_page and not is_public)),
            by_cookie=by_cookie,
        )
        if denied is not None:
            return _turned_away(denied)
        if route is None:
            return await handler(request)  # which raises what aiohttp found
        if not self._are_open and (is_page or route in self._rows):
            raise web.HTTPNotFound
        if is_public:
            return await handler(request)
        # No form, link or image of another page can send that header.
        if by_cookie and route.is_guarded and request.headers.get("X-Bulkhead") != "1":
            return error_answer(
                403, "wrong_call", "what is done by cookie needs the header X-Bulkhead: 1"
            )
        role = bearer or by_cookie
        assert role is not None, "denial() lets nobody else through"
        if not role.may(route.needs):
            return error_answer(
                403, "forbidden", f"a {role} may not; this is for whoever has admin.token"
            )
        caller = self._access.caller(request.headers, role, request.remote)
        set_caller(request, caller, lambda: self._are_open and self._role_of(request) is role)
        response = await handler(request)
        if (deed := deed_of(request)) is not None:
            self._tell(caller, deed)
        return response

    def _roles_of(self, request: web.Request) -> tuple[Role | None, Role | None]:
        """By its token, and else by its cookie, which is for the console's paths alone."""
        bearer = self._access.bearer(request.headers)
        if bearer is not None or not request.path.startswith(f"{CONSOLE}/"):
            return bearer, None
        return None, self._sessions.role_of(request)

    def _role_of(self, request: web.Request) -> Role | None:
        bearer, by_cookie = self._roles_of(request)
        return bearer or by_cookie

    def _tell(self, caller: Caller, deed: Deed) -> None:
        more = {} if deed.how_many is None else {"how_many": deed.how_many}
        _log.info(
            "done by hand",
            action=deed.action,
            on=deed.on,
            by=caller.name,
            role=caller.role.value,
            **more,
        )
        if self._heard is not None:
            self._heard(caller, deed)


#: The whole surface of this room; `GET /` lists it with the rows of other rooms.
ROUTES = (
    Route("GET", "/", handlers.index, Right.VIEW),
    Route("GET", "/health", handlers.health, Right.PUBLIC),
    Route("GET", "/ready", handlers.ready, Right.PUBLIC),
    Route("GET", "/metrics", handlers.metrics, Right.VIEW),
    Route("GET", "/status", handlers.status, Right.VIEW),
    Route("GET", "/books", handlers.books, Right.VIEW, is_work=True),
    Route("GET", "/events/{message_id}", handlers.event, Right.VIEW),
    Route("GET", "/deadletters", handlers.dead_letters, Right.VIEW),
    Route("GET", "/deadletters/{id}", handlers.dead_letter, Right.EVIDENCE),
    Route("POST", "/deadletters/replay", handlers.replay, Right.ACT),
    Route("POST", "/deadletters/drop", handlers.drop, Right.ACT),
    Route("POST", "/connections/{name}/pause", handlers.pause, Right.ACT),
    Route("POST", "/connections/{name}/resume", handlers.resume, Right.ACT),
    Route("POST", "/connections/{name}/probe", handlers.probe, Right.ACT),
    Route("POST", "/workers/{id}/recycle", handlers.recycle, Right.ACT),
    Route("GET", "/plan", handlers.plan, Right.ACT, is_work=True),
    Route("POST", "/reload", handlers.reload, Right.ACT),
    Route("GET", "/debug/workers", handlers.workers, Right.VIEW),
    Route("GET", "/debug/exits", handlers.exits, Right.VIEW),
    Route("GET", "/debug/exits/{id}", handlers.exit, Right.EVIDENCE),
    Route("GET", "/debug/workers/{id}/heap", of_evidence(debug.heap), Right.EVIDENCE, is_work=True),
    Route(
        "GET", "/debug/workers/{id}/stacks", of_evidence(debug.stacks), Right.EVIDENCE, is_work=True
    ),
    Route(
        "GET",
        "/debug/workers/{id}/profile",
        of_evidence(debug.profile),
        Right.EVIDENCE,
        is_work=True,
    ),
    Route("GET", "/debug/workers/{id}/loop", of_evidence(debug.loop), Right.EVIDENCE),
    Route("GET", "/debug/snapshots", of_evidence(debug.snapshots), Right.VIEW),
    Route("GET", "/debug/snapshots/{name}", of_evidence(debug.snapshot), Right.EVIDENCE),
    Route("DELETE", "/debug/snapshots/{name}", of_evidence(debug.delete), Right.ACT),
    Route(
        "GET",
        "/debug/snapshots/{name}/report",
        of_evidence(debug.report),
        Right.EVIDENCE,
        is_work=True,
    ),
)


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def _turned_away(denied: Denied) -> web.Response:
    answer = error_answer(denied.status, denied.error, denied.message)
    if denied.status == web.HTTPUnauthorized.status_code:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="bulkhead"'
    return answer
