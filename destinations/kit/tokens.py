"""Access tokens: fetched once, shared by all requests of a destination, renewed before they end.

Owns when a token is fetched and how long it is used. Must not know how a vendor
gives one, and never logs or shows one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec

from destinations.kit.outcomes import Outcome
from destinations.kit.requests import Response

#: Seconds before its end that a token is no longer used: clocks differ, and requests take time.
MARGIN_S = 60.0


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
    none. However many ask at once, it runs once. `clock` is seconds that never
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
