"""Tokens that partners have once, one file a connection: kept over restarts, read by nobody else.

Owns the protocol of such a store, so that a cluster can put a replicated one in its place, and the
one on files. Must not decide who renews a token, or know what is in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from sandbox.protocol import MAX_KEPT
from supervisor.runtime.durable import sync_folder, write_durably

_log = structlog.get_logger(__name__)

#: The folder's name in the state directory.
FOLDER = "tokens"
#: Largest file that is read, in bytes: the value as base64, and what is beside it.
_MOST_BYTES = 2 * MAX_KEPT


class TokenRecord(msgspec.Struct, frozen=True):
    """What is kept of one connection.

    `origin` says which text of the settings it stems from, without that text; `value` is empty
    where nothing was renewed yet. `is_doubtful`: a renewal was begun, and nobody has told its end.
    """

    connection: str
    origin: bytes = b""
    version: int = 0
    value: bytes = b""
    is_doubtful: bool = False

    def __repr__(self) -> str:
        return f"<TokenRecord {self.connection} {self.version}>"  # never the value: it is secret


class TokenStore(Protocol):
    """Records by connection. One caller at a time for each connection."""

    async def load(self) -> Mapping[str, TokenRecord]:
        """All that is kept."""

    async def put(self, record: TokenRecord) -> None:
        """Keep it; it outlives whatever happens once this returns. Raises OSError."""


class MemoryTokenStore:
    """Keeps nothing beyond this process: for dry runs. Implements `TokenStore`."""

    async def load(self) -> Mapping[str, TokenRecord]:
        """There is nothing."""
        return {}

    async def put(self, record: TokenRecord) -> None:
        """Whoever put it has it."""


class FileTokenStore:
    """A file for each connection, 0600 in a folder of its own. Implements `TokenStore`."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER

    async def load(self) -> Mapping[str, TokenRecord]:
        """A file that cannot be read is as good as none: its connection says what is to be done."""
        return await asyncio.to_thread(self._load)

    async def put(self, record: TokenRecord) -> None:
        """In a thread: it waits for the disk."""
        await asyncio.to_thread(self._put, record)

    def _load(self) -> dict[str, TokenRecord]:
        found = {}
        for path in self._folder.glob("*.json"):
            try:
                with path.open("rb") as file:
                    data = file.read(_MOST_BYTES)
                record = msgspec.json.decode(data, type=TokenRecord)
                found[record.connection] = record
            except (OSError, msgspec.MsgspecError) as error:
                _log.error(
                    "token_not_read",
                    path=str(path),
                    error=type(error).__name__,
                    consequence="its connection begins again with what its settings say",
                )
        return found

    def _put(self, record: TokenRecord) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # Names of connections are the operator's, and not all of them are names of files.
        name = blake2b(record.connection.encode(), digest_size=16).hexdigest()
        write_durably(self._folder / f"{name}.json", msgspec.json.encode(record))
        sync_folder(self._folder)
