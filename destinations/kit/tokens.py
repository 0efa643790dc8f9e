"""Access tokens: fetched once, shared by all requests of a destination, renewed before they end.

Owns when a token is fetched and how long it is used, and that one which the partner has once is
renewed once for all workers. Must not know how a vendor gives one, and never logs or shows one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec

from destinations.kit.keeping import KeptState, NotKept, Renewal, TokenKeeper
from destinations.kit.outcomes import Failed, Outcome, Retry, Unauthorized
from destinations.kit.requests import Response

#: Seconds before its end that a token is no longer used: clocks differ, and requests take time.
MARGIN_S = 60.0
#: Seconds that a renewal may take; the supervisor gives the right to another one some time later.
RENEW_S = 45.0
#: Times that a keeper is asked for one token: for what is kept, which may be over, and to renew it.
_MOST_ASKS = 3


class Token(msgspec.Struct, frozen=True):
    """An access token. `lifetime_s` is seconds from now, None where only a refusal tells its end.

    Destinations derive from it what else comes with their tokens.
    """

    value: str
    lifetime_s: float | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # never the token: it would end in a log


_Token = TypeVar("_Token", bound=Token)


class TokenSource(Generic[_Token]):
    """The token of one connection in this worker.

    `fetch` gets a new one, or the outcome that all events have where there is
    none; a failure is `Unauthorized` for certain, since no event was in the
    request. However many ask at once, it runs once. `clock` is seconds that never
    go back.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[_Token | Outcome]],
        *,
        margin_s: float = MARGIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._margin_s = margin_s
        self._clock = clock
        self._token: _Token | None = None
        self._until: float | None = None
        self._fetching: asyncio.Task[_Token | Outcome] | None = None

    async def get(self) -> _Token | Outcome:
        """A token that may be used now. What `fetch` raises is raised to all that wait for it."""
        token = self._token
        if token is not None and (self._until is None or self._clock() < self._until):
            return token
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._renew())
            self._fetching.add_done_callback(self._fetched)
        # One that no longer waits must not take the token from those that still do.
        return await asyncio.shield(self._fetching)

    def invalidate(self, token: _Token) -> None:
        """Say that a token was refused. One that was renewed meanwhile stays."""
        if self._token is not None and self._token.value == token.value:
            self._token = None

    async def use(
        self,
        send: Callable[[_Token], Awaitable[Response | Outcome]],
        is_refused: Callable[[Response], bool],
    ) -> Response | Outcome:
        """Send with a token; where the answer refuses it, renew it and send once more."""
        token = await self.get()
        if not isinstance(token, Token):
            return token
        response = await send(token)
        if not (isinstance(response, Response) and is_refused(response)):
            return response
        self.invalidate(token)
        token = await self.get()
        if not isinstance(token, Token):
            return token
        return await send(token)

    async def _renew(self) -> _Token | Outcome:
        asked_at = self._clock()
        token = await self._fetch()
        if isinstance(token, Failed):
            return Unauthorized(token.reason, is_certain=True)
        if isinstance(token, Token):
            lifetime_s = token.lifetime_s
            self._token = token
            # Vendors that give the same token again until it has ended would be asked for each
            # request of its last minute; half of what is left bounds that.
            self._until = (
                None
                if lifetime_s is None
                else asked_at + max(lifetime_s - self._margin_s, lifetime_s / 2)
            )
        return token

    def _fetched(self, task: asyncio.Task[_Token | Outcome]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not log what all waiters have been told


class Renewed(msgspec.Struct, Generic[_Token], frozen=True):
    """A new access token, and the refresh token for the next one where the partner gave another."""

    token: _Token
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "<Renewed>"


class _Record(msgspec.Struct, frozen=True):
    """What is kept: the token as JSON, `until` in epoch seconds, and what the next one comes by."""

    refresh_token: str
    token: msgspec.Raw
    until: float | None = None


class SharedTokenSource(TokenSource[_Token]):
    """The token of one connection in all workers, renewed by a refresh token.

    For partners that take a refresh token once and give the next one with the access token: one
    worker renews it while the others wait, and what came is on disk before it is used.
    `renew` gets a token by a refresh token; `kind` is the class of tokens. `configured` is the
    first refresh token, which stands in the connection's `setting` (a dotted path): where that is
    changed, what was kept is void. `wall` is epoch seconds.
    """

    def __init__(
        self,
        renew: Callable[[str], Awaitable[Renewed[_Token] | Outcome]],
        *,
        kind: type[_Token],
        keeper: TokenKeeper,
        setting: str,
        configured: str,
        margin_s: float = MARGIN_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(self._ask, margin_s=margin_s, clock=clock)
        self._renew_by = renew
        self._kind = kind
        self._keeper = keeper
        self._setting = setting
        self._configured = configured
        self._wall = wall
        self._seen = 0

    async def _ask(self) -> _Token | Outcome:
        try:
            for _ in range(_MOST_ASKS):
                said = await self._keeper.ask(self._setting, self._configured, self._seen)
                if isinstance(said, Renewal):
                    return await self._renewed(said)
                token = self._usable(said)
                self._seen = said.version
                if token is not None:
                    return token
        except NotKept as error:
            return Retry(f"no token: {error}")
        return Retry("no token: others renew it, and what they get is over at once")

    def _usable(self, kept: KeptState) -> _Token | None:
        """The token that is kept; None where it has ended, or nobody can read it."""
        record = _decoded(kept.value)
        if record is None:
            return None
        try:
            token = msgspec.json.decode(record.token, type=self._kind)
        except msgspec.MsgspecError:
            return None  # an older version of the destination has kept it
        if record.until is None:
            return token
        left_s = record.until - self._wall()
        if left_s <= self._margin_s:
            return None
        return msgspec.structs.replace(token, lifetime_s=left_s)

    async def _renewed(self, renewal: Renewal) -> _Token | Outcome:
        record = _decoded(renewal.value)
        by = self._configured if record is None else record.refresh_token
        try:
            async with asyncio.timeout(RENEW_S):
                renewed = await self._renew_by(by)
        except BaseException as error:
            self._keeper.give_up(renewal, is_lost=True)
            if isinstance(error, TimeoutError):
                return Retry(f"no token within {RENEW_S:g} s")
            raise
        if not isinstance(renewed, Renewed):
            self._keeper.give_up(renewal, is_lost=isinstance(renewed, Retry))
            if isinstance(renewed, Failed) and renewal.doubt:
                return Failed(f"{renewed.reason} ({renewal.doubt})")
            return renewed
        token = renewed.token
        until = None if token.lifetime_s is None else self._wall() + token.lifetime_s
        kept = _Record(renewed.refresh_token or by, msgspec.Raw(msgspec.json.encode(token)), until)
        self._seen = await self._keeper.keep(renewal, msgspec.json.encode(kept))
        return token


def _decoded(value: bytes) -> _Record | None:
    try:
        return msgspec.json.decode(value, type=_Record) if value else None
    except msgspec.MsgspecError:
        return None
