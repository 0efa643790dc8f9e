"""Answers from tapes: leniently as a stand-in, strictly for tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

from supervisor.tapes import matching
from supervisor.tapes.faults import Faults, Kind
from supervisor.tapes.server import HangUp
from supervisor.tapes.tape import Answer, Call, Exchange, Tape

#: Differences to the nearest request on the tape that are told.
_TOLD = 8


class Player:
    """Plays any number of tapes as their servers, as often as asked. Implements `Responder`."""

    def __init__(
        self, tapes: Sequence[Tape], faults: Faults | None = None, retry_after_s: int = 1
    ) -> None:
        self._exchanges = [exchange for tape in tapes for exchange in tape.exchanges]
        self._faults = faults
        self._retry_after_s = retry_after_s
        self.played = 0
        self.unknown = 0

    async def connect(self, host: str, port: int) -> Answer | None:
        """Any place is granted."""
        return None

    async def answer(self, call: Call) -> Answer:
        """The recorded answer, once what goes wrong on purpose has."""
        kind: Kind | None = None
        if self._faults is not None:
            latency_s, kind = self._faults.next(urlsplit(call.url).hostname or "")
            await asyncio.sleep(latency_s)
        match kind:
            case Kind.THROTTLED:
                wait = (("Retry-After", str(self._retry_after_s)),)
                return Answer(429, "Too Many Requests", wait, b"throttled on purpose\n")
            case Kind.BROKEN:
                return Answer(500, "Internal Server Error", (), b"broken on purpose\n")
            case Kind.HANGS:
                await asyncio.Event().wait()  # until the client has had enough
            case Kind.CUT:
                raise HangUp("cut on purpose", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            case None:
                pass
        exchange = matching.find(call, self._exchanges)
        if exchange is None:
            self.unknown += 1
            parts = urlsplit(call.url)
            text = f"no tape has {call.method} {parts.hostname}{parts.path}\n"
            return Answer(501, "Not On Tape", (("Content-Type", "text/plain"),), text.encode())
        self.played += 1
        return matching.fitted(call, exchange)


class StrictPlayer:
    """Plays one tape once. What was asked and is not on it, and what was not asked, is noted.

    Requests may come in another order than on the tape, as those of one
    `deliver` do; equal ones are answered in its order. Implements `Responder`.
    """

    def __init__(self, tape: Tape) -> None:
        self._left: deque[Exchange] = deque(tape.exchanges)
        self._all = tape.exchanges
        self.mismatches: list[str] = []

    @property
    def unplayed(self) -> list[str]:
        """Requests of the tape that were not made."""
        return [f"{one.call.method} {one.call.url}" for one in self._left]

    async def connect(self, host: str, port: int) -> Answer | None:
        """Any place is granted: what is asked there is what counts."""
        return None

    async def answer(self, call: Call) -> Answer:
        """The recorded answer; 501 where the tape has none, which the test will tell."""
        for index, exchange in enumerate(self._left):
            if not matching.differences(call, exchange.call):
                del self._left[index]
                return exchange.answer
        self.mismatches.append(self._mismatch(call))
        return Answer(501, "Not On Tape", (), b"this request is not on the tape")

    def _mismatch(self, call: Call) -> str:
        asked = f"{call.method} {call.url}"
        nearest = min(
            (matching.differences(call, one.call) for one in self._left or self._all),
            key=len,
            default=None,
        )
        if not self._left:
            return f"{asked}: all that the tape has was played already"
        lines = [f"  {line}" for line in (nearest or [])[:_TOLD]]
        return "\n".join(
            [f"{asked}: not on the tape; the nearest request there differs in", *lines]
        )
