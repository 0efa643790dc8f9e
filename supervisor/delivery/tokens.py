"""Tokens that partners have once: what workers get of them, who renews, and that it is kept first.

The shell around `core/renewal.py`, one for the service. Owns what is kept of each connection, and
the order: the mark that a renewal has begun is on disk before a worker may begin, and what it got
is on disk before anybody uses it. It speaks to no partner. Must not read a value, but for taking
its texts out of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec
import structlog

from sandbox.protocol import (
    AskToken,
    CurrentToken,
    GiveUpToken,
    KeepToken,
    ProtocolError,
    TokenDenied,
    TokenGranted,
    TokenStored,
)
from supervisor.core.renewal import MOST_GRANTS, WITHIN_S, RenewalRight, Turn
from supervisor.state.tokens import TokenRecord, TokenStore
from supervisor.workers.handle import WorkerHandle

_log = structlog.get_logger(__name__)

#: Shorter texts of a value are in every second line of a log, and no tokens.
SHORTEST_SECRET = 16
#: Most texts of one value that are taken out of the log.
MOST_SECRETS = 8

#: Why a worker gets nothing that has a connection's old settings.
CHANGED = "the connection's settings have changed: it is tried again"
#: Why a partner may refuse what is kept, in words that follow its own.
DOUBT = (
    "the worker that renewed the token before ended, or had no answer, before the new one was kept:"
    " if the partner takes a refresh token once only, authorize the app anew and change the setting"
)


@dataclass(slots=True, eq=False)
class _Entry:
    """What is kept of one connection, and who waits for it. `saving` is one write at a time.

    `waiting` are workers by number, each with the version that it has seen.
    """

    record: TokenRecord
    right: RenewalRight = field(default_factory=RenewalRight)
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: whether the disk has what `record` says
    is_saved: bool = True
    #: whether it was doubtful before the right was given that is out now
    was_doubtful: bool = False
    #: whether what was renewed is on its way to the disk
    is_keeping: bool = False
    waiting: dict[int, tuple[WorkerHandle, int]] = field(default_factory=dict)
    alarm: asyncio.TimerHandle | None = None


class TokenBroker:
    """For the event loop's thread. `follow_secrets` hears which texts have no place in the log."""

    def __init__(
        self, store: TokenStore, follow_secrets: Callable[[str, Iterable[str]], None]
    ) -> None:
        self._store = store
        self._follow_secrets = follow_secrets
        self._entries: dict[str, _Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Read what earlier runs have kept."""
        for connection, record in (await self._store.load()).items():
            self._entries[connection] = _Entry(record)
            self._follow_secrets(connection, secrets_in(record.value))

    async def close(self) -> None:
        """Return when all that workers said is kept."""
        for entry in self._entries.values():
            self._disarm(entry)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def said(
        self,
        worker: WorkerHandle,
        settings: Mapping[str, Any] | None,  # Any: the destination's schema decides
        message: AskToken | KeepToken | GiveUpToken,
    ) -> None:
        """A worker asks or tells; `settings` are its connection's now, None where that is gone.

        That the connection is the worker's own is the caller's to know. Raises ProtocolError where
        it is out of turn.
        """
        entry = self._entries.get(message.connection)
        if entry is None:
            entry = self._entries[message.connection] = _Entry(TokenRecord(message.connection))
        match message:
            case AskToken():
                self._asked(entry, worker, settings or {}, message)
            case KeepToken():
                if not entry.right.may_keep(worker.number, message.grant):
                    self._deny(entry, worker, "another worker was given the right to renew it")
                    return
                if entry.is_keeping:
                    raise ProtocolError("keeps a token twice by one right")
                entry.is_keeping = True
                self._disarm(entry)
                self._run(self._keep(entry, worker, message))
            case GiveUpToken():
                self._given_up(entry, worker, message)

    def gone(self, worker: int) -> None:
        """A worker has ended: what it was renewing is in doubt, and others may begin."""
        for entry in self._entries.values():
            entry.waiting.pop(worker, None)
            if not entry.is_keeping and entry.right.gone(worker):
                self._lost(entry, "its worker has ended")

    # --- asking ---

    def _asked(
        self, entry: _Entry, worker: WorkerHandle, settings: Mapping[str, Any], message: AskToken
    ) -> None:
        configured = _text_at(settings, message.setting)
        origin = (
            b"" if configured is None else blake2b(configured.encode(), digest_size=16).digest()
        )
        if configured is None or origin != message.digest:
            self._deny(entry, worker, CHANGED)
            return
        if worker.number in entry.waiting:
            raise ProtocolError("asks for a token while it waits for it")
        if entry.record.origin != origin:
            # Whoever changed the setting knows better than what was kept, and who waits for that.
            entry.right.void()
            self._disarm(entry)
            for other, _ in entry.waiting.values():
                self._deny(entry, other, CHANGED)
            entry.waiting.clear()
            entry.record = TokenRecord(message.connection, origin, entry.record.version)
        self._answer(entry, worker, message.seen)

    def _answer(self, entry: _Entry, worker: WorkerHandle, seen: int) -> None:
        record = entry.record
        if record.value and record.version > seen:
            if entry.is_saved:
                worker.send(CurrentToken(record.connection, record.version, record.value))
            else:
                self._run(self._save_and_tell(entry, worker))
            return
        now = asyncio.get_running_loop().time()
        match entry.right.ask(worker.number, now):
            case Turn.GRANTED:
                entry.was_doubtful = record.is_doubtful
                self._arm(entry)
                self._run(self._grant(entry, worker, entry.right.grant))
            case Turn.WAITS:
                entry.waiting[worker.number] = worker, seen
            case Turn.REFUSED:
                self._deny(entry, worker, f"renewed {MOST_GRANTS} times within {WITHIN_S:g} s")

    async def _grant(self, entry: _Entry, worker: WorkerHandle, grant: int) -> None:
        """The mark that it has begun comes first: it is all that is left when all processes die."""
        entry.record = msgspec.structs.replace(entry.record, is_doubtful=True)
        error = await self._save(entry)
        record = entry.record
        if error is not None:
            entry.right.ended(worker.number, grant)
            self._deny(entry, worker, f"it could not be kept: {error}")
            self._next(entry)
        elif entry.right.may_keep(worker.number, grant):
            doubt = DOUBT if entry.was_doubtful else ""
            worker.send(TokenGranted(record.connection, grant, record.value, doubt))
        else:
            self._deny(entry, worker, CHANGED)

    # --- renewing ---

    async def _keep(self, entry: _Entry, worker: WorkerHandle, message: KeepToken) -> None:
        before = entry.record
        self._follow_secrets(before.connection, secrets_in(message.value))
        entry.record = TokenRecord(
            before.connection, before.origin, before.version + 1, message.value
        )
        error = await self._save(entry)
        entry.is_keeping = False
        entry.right.ended(worker.number, message.grant)
        if error is not None:
            # It is the only one that is good, so it is tried again with whoever asks next.
            self._deny(entry, worker, f"it could not be kept: {error}")
        else:
            _log.info("token_renewed", connection=before.connection, version=before.version + 1)
            worker.send(TokenStored(before.connection, before.version + 1))
        self._next(entry)

    def _given_up(self, entry: _Entry, worker: WorkerHandle, message: GiveUpToken) -> None:
        if not entry.right.ended(worker.number, message.grant):
            return  # it has lost it already
        self._disarm(entry)
        if message.is_lost:
            self._lost(entry, "no answer came")
            return
        entry.record = msgspec.structs.replace(entry.record, is_doubtful=entry.was_doubtful)
        entry.is_saved = False
        self._run(self._save_aside(entry))
        self._next(entry)

    def _lost(self, entry: _Entry, why: str) -> None:
        self._disarm(entry)
        _log.warning("token_renewal_lost", connection=entry.record.connection, reason=why)
        self._next(entry)

    def _next(self, entry: _Entry) -> None:
        """Whoever waits gets what is there now, or the right."""
        waiting, entry.waiting = entry.waiting, {}
        for worker, seen in waiting.values():
            self._answer(entry, worker, seen)

    # --- time and disk ---

    def _arm(self, entry: _Entry) -> None:
        self._disarm(entry)
        loop = asyncio.get_running_loop()
        entry.alarm = loop.call_at(entry.right.until, self._overdue, entry)

    @staticmethod
    def _disarm(entry: _Entry) -> None:
        if entry.alarm is not None:
            entry.alarm.cancel()
            entry.alarm = None

    def _overdue(self, entry: _Entry) -> None:
        entry.alarm = None
        if entry.right.lapsed(asyncio.get_running_loop().time()):
            self._lost(entry, "its worker has taken too long")

    async def _save(self, entry: _Entry) -> str | None:
        """Write the record as it is then; why that failed, None where it has not."""
        entry.is_saved = False
        async with entry.saving:
            record = entry.record
            try:
                await self._store.put(record)
            except OSError as error:
                _log.error("token_not_kept", connection=record.connection, error=str(error))
                return error.strerror or type(error).__name__
            entry.is_saved = entry.record is record
            return None

    async def _save_aside(self, entry: _Entry) -> None:
        await self._save(entry)

    async def _save_and_tell(self, entry: _Entry, worker: WorkerHandle) -> None:
        error = await self._save(entry)
        record = entry.record
        if error is not None:
            self._deny(entry, worker, f"it could not be kept: {error}")
        else:
            worker.send(CurrentToken(record.connection, record.version, record.value))

    @staticmethod
    def _deny(entry: _Entry, worker: WorkerHandle, reason: str) -> None:
        worker.send(TokenDenied(entry.record.connection, reason))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:  # Any: nothing is sent or thrown in
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def secrets_in(value: bytes) -> list[str]:
    """Texts in a kept value that are no addresses: it is not ours to know, but to hide."""
    try:
        found = msgspec.json.decode(value) if value else None
    except msgspec.MsgspecError:
        return []
    texts: list[str] = []
    left = [found]
    while left and len(texts) < MOST_SECRETS:
        match left.pop():
            case str() as text if len(text) >= SHORTEST_SECRET and "://" not in text:
                texts.append(text)
            case dict() as fields:
                left += fields.values()
            case list() as items:
                left += items
            case _:
                pass
    return texts


def _text_at(settings: Mapping[str, Any], path: str) -> str | None:  # Any: JSON
    found: Any = settings
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None
