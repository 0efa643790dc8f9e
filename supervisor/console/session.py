"""Logging in and out, and who a cookie says that it is.

Owns the rows of the login and the pace of wrong tries: they are slowed, by address and in all; a
right token never is. A logout holds over a restart, which logs nobody out. What a cookie proves is
`cookies.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec
import structlog
from aiohttp import web

from supervisor import VERSION
from supervisor.admin.access import Access
from supervisor.admin.answers import error_answer, json_answer
from supervisor.admin.parameters import BadRequest
from supervisor.admin.table import Right, Role, Route, caller_of
from supervisor.console.cookies import LIFETIME_S, Cookies, Proof
from supervisor.state.logouts import LogoutStore

_log = structlog.get_logger(__name__)

#: Of a cookie that came over TLS, which no page without it can set; and of one that did not.
SECURE_COOKIE, PLAIN_COOKIE = "__Secure-bulkhead", "bulkhead"
#: Live streams at once, of all tabs together.
LIVE_STREAMS = 16
#: Largest body of a login, in bytes.
MOST_LOGIN = 4096
#: Seconds that the first wrong try waits for its answer, doubled up to the most.
FIRST_WAIT_S, MOST_WAIT_S = 0.1, 4.0
#: Wrong tries that wait at once; a further one is told to come back.
MOST_WAITING = 32
#: Wrong tries from all addresses that count as one of each address.
_SHARED = 10
#: Addresses whose wrong tries are counted, and for how many seconds after the last one.
_MOST_ADDRESSES, _FORGET_S = 1000, 600.0


class _Token(msgspec.Struct, frozen=True):
    token: str


class WrongTries:
    """How many there were lately. `now` gives seconds that never go back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._by_address: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._in_all = (0, 0.0)
        self.waiting = 0

    def wait_s(self, address: str) -> float:
        """Counts one more, and says how long its answer waits."""
        count = self._next(self._by_address.pop(address, (0, 0.0)))
        self._by_address[address] = count
        if len(self._by_address) > _MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        self._in_all = self._next(self._in_all)
        tries = max(count[0], self._in_all[0] // _SHARED)
        return min(MOST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries - 1, 16))

    def _next(self, count: tuple[int, float]) -> tuple[int, float]:
        tries, last = count
        now = self._now()
        return (1 if now - last > _FORGET_S else tries + 1, now)


class LoginSessions:
    """Of one service; implements `admin.routes.Sessions`. `payloads` is what `/me` tells of it.

    Reads `logouts` when it is made.
    """

    def __init__(self, access: Access, payloads: str, logouts: LogoutStore) -> None:
        self._access = access
        self._payloads = payloads
        self._logouts = logouts
        kept = logouts.read()
        self._cookies = Cookies(access, ended=kept)
        self._wrong = WrongTries()
        self._keeping = asyncio.Lock()
        self._is_kept = kept is not None

    async def start(self) -> None:
        """Before the first request: what could not be read is replaced."""
        await self._keep()

    def follow(self, access: Access, payloads: str) -> None:
        """A reload."""
        self._access, self._payloads = access, payloads
        self._cookies.follow(access)

    def role_of(self, request: web.Request) -> Role | None:
        """The role that a request's cookie proves, None where it proves none."""
        proof = self._proof(request)
        return None if proof is None else proof.role

    def _proof(self, request: web.Request) -> Proof | None:
        for name in (SECURE_COOKIE, PLAIN_COOKIE):
            cookie = request.cookies.get(name)
            if cookie is not None and (proof := self._cookies.proof(cookie)) is not None:
                return proof
        return None

    def rows(self) -> tuple[Route, ...]:
        """Login and logout, which need no token, and who the caller is."""
        return (
            Route("POST", "/console/login", self.login, Right.PUBLIC),
            Route("POST", "/console/logout", self.logout, Right.PUBLIC),
            Route("GET", "/me", self.me, Right.VIEW),
        )

    async def login(self, request: web.Request) -> web.StreamResponse:
        """A token for a cookie."""
        token = _token(request.content_type, await request.read())
        if self._access.token is None:
            return web.Response(status=204)  # whoever can call may do everything already
        role = self._access.role_of(token)
        if role is None:
            return await self._refused(request)
        answer = web.Response(status=204)
        answer.headers.add("Set-Cookie", _cookie(request, self._cookies.made(role), LIFETIME_S))
        _log.info("logged_in", role=role.value, by=request.remote)
        return answer

    async def _refused(self, request: web.Request) -> web.Response:
        wait_s = self._wrong.wait_s(request.remote or "")
        _log.warning("login_refused", by=request.remote, wait_s=wait_s)
        if self._wrong.waiting >= MOST_WAITING:
            answer = error_answer(429, "too_many_tries", "too many wrong tries wait just now")
            answer.headers["Retry-After"] = f"{MOST_WAIT_S:.0f}"
            return answer
        self._wrong.waiting += 1
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._wrong.waiting -= 1
        return error_answer(
            401, "wrong_token", "this is neither admin.token nor admin.view_token of the config"
        )

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """Ends the session of the request's cookie."""
        if (proof := self._proof(request)) is not None:
            self._cookies.end(proof)
            self._is_kept = False
            await self._keep()
        answer = web.Response(status=204)
        for name in (SECURE_COOKIE, PLAIN_COOKIE):
            if name in request.cookies:
                answer.headers.add("Set-Cookie", _cookie(request, "", 0, name))
        return answer

    async def _keep(self) -> None:
        """All sessions that ended are on disk when this returns; one write is for all who wait."""
        async with self._keeping:
            if self._is_kept:
                return
            self._is_kept = True
            try:
                await asyncio.to_thread(self._logouts.write, self._cookies.ended())
            except OSError as error:
                self._is_kept = False
                _log.error(
                    "logout_not_kept",
                    reason=str(error),
                    consequence="after a restart that session is open again until it expires",
                )

    async def me(self, request: web.Request) -> web.StreamResponse:
        """Who the caller is, and what the page has to know before it asks for anything."""
        caller = caller_of(request)
        return json_answer(
            {
                "role": caller.role,
                "name": caller.name,
                "needs_login": self._access.token is not None,
                "payloads": self._payloads,
                "version": VERSION,
                "live_streams": LIVE_STREAMS,
            }
        )


def _token(content_type: str, body: bytes) -> str:
    """The token in a JSON object or a form. Raises BadRequest."""
    wanted = 'send {"token": "..."} as JSON, or a form with the field token'
    if len(body) > MOST_LOGIN:
        raise BadRequest(f"the body is longer than {MOST_LOGIN} bytes; {wanted}")
    try:
        if content_type == "application/x-www-form-urlencoded":
            (token,) = parse_qs(body.decode(), max_num_fields=10)["token"]
            return token
        return msgspec.json.decode(body, type=_Token).token
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise BadRequest(f"the body holds no token; {wanted}") from error


def _cookie(request: web.Request, value: str, age_s: int, name: str | None = None) -> str:
    """A header's value. It has no Path, so that it reaches the console alone, below any prefix."""
    is_tls = request.headers.get("Origin", "").startswith("https://")
    name = name or (SECURE_COOKIE if is_tls else PLAIN_COOKIE)
    secure = "; Secure" if name == SECURE_COOKIE else ""
    return f"{name}={value}; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"
