"""What is kept of a connection for all workers, over restarts: tokens that a partner takes once.

Owns what a destination may ask of whoever keeps it, and a keeper in memory for where there is no
service: tests, `bulkhead try`. Must not know what a token is: values are bytes.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

import msgspec


class NotKept(Exception):
    """It cannot be had or kept now; the text says why."""


class KeptState(msgspec.Struct, frozen=True):
    """What is kept; versions count up."""

    version: int
    value: bytes

    def __repr__(self) -> str:
        return f"<KeptState {self.version}>"  # never the value: it would end in a log


class Renewal(msgspec.Struct, frozen=True):
    """The right to renew: nobody else does meanwhile, until it is kept or given up.

    `value` is what is kept so far, empty where nothing is. `doubt` says why a partner may know it
    as used already, "" where that cannot be.
    """

    grant: int
    value: bytes
    doubt: str

    def __repr__(self) -> str:
        return f"<Renewal {self.grant}>"


class TokenKeeper(Protocol):
    """Keeps one value for a connection."""

    async def ask(self, setting: str, configured: str, seen: int) -> KeptState | Renewal:
        """What is kept, if newer than version `seen`; else the right to renew it.

        It stems from `configured`, the text in the connection's `setting` (a dotted path): what
        was kept by another text is void. Waits while somebody else renews it. Raises NotKept.
        """

    async def keep(self, renewal: Renewal, value: bytes) -> int:
        """Keep a new value, of 16 KiB at most; on disk, with this version, when it returns.

        It must not be used before. Raises NotKept.
        """

    def give_up(self, renewal: Renewal, *, is_lost: bool) -> None:
        """Nothing was renewed. `is_lost`: or it was, and the answer has not come."""


class MemoryKeeper:
    """Keeps it for as long as this object lives. Implements `TokenKeeper`, for one who asks."""

    def __init__(self) -> None:
        self._state = KeptState(0, b"")
        self._doubt = ""

    async def ask(self, setting: str, configured: str, seen: int) -> KeptState | Renewal:
        """At once: nobody else renews it."""
        if self._state.version > seen:
            return self._state
        return Renewal(1, self._state.value, self._doubt)

    async def keep(self, renewal: Renewal, value: bytes) -> int:
        """At once."""
        self._state, self._doubt = KeptState(self._state.version + 1, value), ""
        return self._state.version

    def give_up(self, renewal: Renewal, *, is_lost: bool) -> None:
        """What is kept stays."""
        if is_lost:
            self._doubt = "the answer to the renewal before it was lost"


#: Who keeps tokens for the destination that is made. The runner sets it.
current_keeper: ContextVar[TokenKeeper | None] = ContextVar("current_keeper", default=None)
