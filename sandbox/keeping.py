"""Tokens that the supervisor keeps: how a worker's destinations ask for them.

Owns the worker's side: one question at a time for each connection, and that a right to renew which
nobody waits for any more goes back. Must not know what a token is, or keep one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from hashlib import blake2b

from destinations.kit.keeping import KeptState, NotKept, Renewal
from sandbox.protocol import (
    MAX_KEPT,
    AskToken,
    CurrentToken,
    GiveUpToken,
    KeepToken,
    Message,
    TokenDenied,
    TokenGranted,
    TokenStored,
)

_Answer = CurrentToken | TokenGranted | TokenStored | TokenDenied


class TokenClient:
    """Asks for all connections of a worker; `send` writes to the supervisor."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._asked: dict[str, asyncio.Future[_Answer]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def keeper(self, connection: str) -> ConnectionKeeper:
        """That of one connection."""
        return ConnectionKeeper(self, connection, self._turns[connection])

    def heard(self, message: _Answer) -> None:
        """Take an answer."""
        asked = self._asked.pop(message.connection, None)
        if asked is not None and not asked.done():
            asked.set_result(message)
        elif isinstance(message, TokenGranted):
            self.tell(GiveUpToken(message.connection, message.grant, is_lost=False))

    def tell(self, message: Message) -> None:
        """Say what has no answer."""
        self._send(message)

    async def ask(self, message: AskToken | KeepToken) -> _Answer:
        """Ask, and wait for the answer, which comes as long as the supervisor lives."""
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._asked[message.connection] = answer
        self._send(message)
        return await answer


class ConnectionKeeper:
    """Implements the kit's `TokenKeeper` for one connection.

    Instances under old and new settings take turns: who has the right to renew keeps its turn.
    """

    def __init__(self, client: TokenClient, connection: str, turn: asyncio.Lock) -> None:
        self._client = client
        self._connection = connection
        self._turn = turn

    async def ask(self, setting: str, configured: str, seen: int) -> KeptState | Renewal:
        """See `TokenKeeper.ask`."""
        await self._turn.acquire()
        answer: _Answer | None = None
        try:
            digest = blake2b(configured.encode(), digest_size=16).digest()
            answer = await self._client.ask(AskToken(self._connection, setting, digest, seen))
        finally:
            if not isinstance(answer, TokenGranted):
                self._turn.release()
        match answer:
            case CurrentToken(version=version, value=value):
                return KeptState(version, value)
            case TokenGranted(grant=grant, value=value, doubt=doubt):
                return Renewal(grant, value, doubt)
            case _:
                raise NotKept(_why(answer))

    async def keep(self, renewal: Renewal, value: bytes) -> int:
        """See `TokenKeeper.keep`."""
        if len(value) > MAX_KEPT:
            self.give_up(renewal, is_lost=True)
            raise NotKept(f"what came with the token has {len(value)} bytes, of {MAX_KEPT} at most")
        try:
            answer = await self._client.ask(KeepToken(self._connection, renewal.grant, value))
        finally:
            self._turn.release()
        if isinstance(answer, TokenStored):
            return answer.version
        raise NotKept(_why(answer))

    def give_up(self, renewal: Renewal, *, is_lost: bool) -> None:
        """See `TokenKeeper.give_up`."""
        self._client.tell(GiveUpToken(self._connection, renewal.grant, is_lost))
        self._turn.release()


def _why(answer: _Answer) -> str:
    return answer.reason if isinstance(answer, TokenDenied) else "the supervisor's answer is odd"
