"""What goes wrong, by its cause: how often, since when, and when last.

Owns a bounded table: `MOST_CAUSES` of each connection and source, `MOST_ISSUES` in all, those that
were not seen for longest go first. An issue is closed by itself after an hour without one. Must not
know what a cause means, see `core.causes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final, Literal, get_args

import msgspec

from supervisor.core.causes import cause_of, known_cause
from supervisor.insight.disk import Database, Disk

#: Causes of one connection or source, and issues of all.
MOST_CAUSES: Final = 32
MOST_ISSUES: Final = 20_000
#: Seconds without one after which an issue is closed.
OPEN_S: Final = 3600.0
#: Reasons that nobody has met before, of one connection and in a minute: each costs a hundred
#: microseconds or more, and who invents new ones for each event is not to cost more than that.
MOST_NEW_REASONS: Final = 100
#: The cause of the rest of them.
TOO_MANY: Final = "too many different reasons to tell apart"
_MINUTE_S: Final = 60
#: Issues that are written in one step.
_SLICE: Final = 1000

Kind = Literal["failed", "retry", "quarantined", "rejected", "credentials"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Issue:
    """One cause of one connection, or of one source where it is of intake. Times: epoch seconds.

    `unwritten` are those that the disk does not have yet.
    """

    __slots__ = (
        "cause",
        "count",
        "first_seen",
        "is_source",
        "kind",
        "last_seen",
        "number",
        "owner",
        "unwritten",
    )

    def __init__(self, kind: Kind, owner: str, is_source: bool, cause: str, now: float) -> None:
        self.kind: Kind = kind
        self.owner = owner
        self.is_source = is_source
        self.cause = cause
        self.number = _number(kind, owner, is_source, cause)
        self.count = 0
        self.unwritten = 0
        self.first_seen = self.last_seen = now

    @property
    def id(self) -> str:
        """The same for the same cause over all restarts."""
        return issue_id(self.number)

    @property
    def connection(self) -> str | None:
        """Whose it is; None where it is a source's."""
        return None if self.is_source else self.owner

    @property
    def source(self) -> str | None:
        """Whose it is; None where it is a connection's."""
        return self.owner if self.is_source else None

    def is_open(self, now: float) -> bool:
        """Whether it was seen within the hour."""
        return now - self.last_seen < OPEN_S


def issue_id(number: int) -> str:
    """What people know an issue by."""
    return f"{number:015x}"


def _number(kind: Kind, owner: str, is_source: bool, cause: str) -> int:
    text = "\0".join((kind, "source" if is_source else "connection", owner, cause))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 4


class StoredIssue(msgspec.Struct, frozen=True, gc=False):
    """As the disk has it; `minute_n` of them were in the minute that it is written in."""

    number: int
    kind: str
    connection: str | None
    source: str | None
    cause: str
    count: int
    first_seen: float
    last_seen: float
    minute_n: int = 0


class Issues:
    """Those of one service. For the event loop's thread."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        # The one that was not seen for longest first: of all, of a connection, of a source.
        self._all: dict[int, Issue] = {}
        self._by_owner: tuple[dict[str, list[Issue]], dict[str, list[Issue]]] = ({}, {})
        self._new_reasons: dict[tuple[str, bool], int] = {}
        self._minute = 0
        self._changed: dict[int, Issue] = {}
        self._gone: list[int] = []
        self._writing = 0
        self.forgotten = 0
        """Issues that had to make room for others since the start."""

    # --- seeing ---

    def seen(self, connection: str, kind: Kind, reason: str, n: int, now: float) -> Issue:
        """`n` deliveries of a connection met with this."""
        return self._seen(connection, False, kind, reason, n, now)

    def rejected(self, source: str, code: str, reason: str, n: int, now: float) -> Issue:
        """`n` events of a source were not taken; `code` is of the answer."""
        return self._seen(source, True, "rejected", f"{code}: {reason}", n, now)

    def _seen(
        self, owner: str, is_source: bool, kind: Kind, reason: str, n: int, now: float
    ) -> Issue:
        cause = known_cause(reason)
        if cause is None:
            cause = self._new_cause((owner, is_source), reason, now)
        of_owner = self._by_owner[is_source].get(owner)
        if of_owner is None:
            of_owner = self._by_owner[is_source][owner] = []
        issue = _taken_out(of_owner, kind, cause)
        if issue is None:
            self._make_room(of_owner)
            issue = Issue(kind, owner, is_source, cause, now)
        else:
            self._all.pop(issue.number, None)
        of_owner.append(issue)
        self._all[issue.number] = issue
        issue.count += n
        issue.unwritten += n
        issue.last_seen = max(now, issue.last_seen)
        self._changed[issue.number] = issue
        return issue

    def _new_cause(self, whose: tuple[str, bool], reason: str, now: float) -> str:
        minute = int(now) // _MINUTE_S
        if minute != self._minute:
            self._minute = minute
            self._new_reasons.clear()
        n = self._new_reasons.get(whose, 0)
        if n >= MOST_NEW_REASONS:
            return TOO_MANY
        self._new_reasons[whose] = n + 1
        return cause_of(reason)

    def _make_room(self, of_owner: list[Issue]) -> None:
        """For one more."""
        if len(of_owner) >= MOST_CAUSES:
            self._forget(of_owner[0])
        elif len(self._all) >= MOST_ISSUES:
            self._forget(next(iter(self._all.values())))

    def _forget(self, issue: Issue) -> None:
        self.forgotten += 1
        self._drop(issue)

    def _drop(self, issue: Issue) -> None:
        self._by_owner[issue.is_source][issue.owner].remove(issue)
        del self._all[issue.number]
        self._changed.pop(issue.number, None)
        self._gone.append(issue.number)

    def follow(self, connections: set[str], sources: set[str]) -> None:
        """A reload: those of what the config does not have any more go."""
        for by_owner, kept in zip(self._by_owner, (connections, sources), strict=True):
            for owner in by_owner.keys() - kept:
                for issue in list(by_owner[owner]):
                    self._drop(issue)
                del by_owner[owner]

    # --- keeping ---

    def begin(self, stored: Sequence[StoredIssue]) -> None:
        """What an earlier run has seen, oldest first; this one may have begun to see some of it."""
        seen_since = list(self._all.values())
        self._all.clear()
        for by_owner in self._by_owner:
            by_owner.clear()
        for row in stored:
            if row.kind in KINDS and len(self._all) < MOST_ISSUES:
                kind: Kind = next(kind for kind in KINDS if kind == row.kind)
                owner = row.connection if row.connection is not None else row.source
                issue = Issue(kind, owner or "", row.connection is None, row.cause, row.first_seen)
                issue.count, issue.last_seen = row.count, row.last_seen
                self._put(issue)
        for since in seen_since:
            known = self._all.get(since.number)
            if known is not None:
                known.count += since.count
                known.unwritten += since.unwritten
                known.last_seen = max(known.last_seen, since.last_seen)
                self._changed[known.number] = known
            else:
                self._put(since)

    def _put(self, issue: Issue) -> None:
        of_owner = self._by_owner[issue.is_source].setdefault(issue.owner, [])
        if len(of_owner) < MOST_CAUSES:
            of_owner.append(issue)
            self._all[issue.number] = issue

    def begin_anew(self) -> None:
        """The disk has none of them."""
        self._changed = dict(self._all)
        self._gone.clear()

    async def write(self, minute: int) -> None:
        """Have the disk take what has changed; where it does not, it is tried with the next.

        Others have their turn meanwhile.
        """
        if self._writing or not (self._changed or self._gone):
            return
        changed, self._changed = list(self._changed.values()), {}
        gone, self._gone = self._gone, []
        self._writing = 1
        for start in range(0, max(1, len(changed)), _SLICE):
            rows = [_stored(issue) for issue in changed[start : start + _SLICE]]
            for issue in changed[start : start + _SLICE]:
                issue.unwritten = 0
            self._writing += 1
            self._disk.soon(
                partial(_write, minute=minute, rows=rows, gone=gone),
                lambda _: self._written(),
                partial(self._not_written, rows, gone),
            )
            gone = []
            await asyncio.sleep(0)
        self._written()

    def _written(self) -> None:
        self._writing -= 1

    def _not_written(self, rows: Sequence[StoredIssue], gone: Sequence[int], reason: str) -> None:
        self._writing -= 1
        for row in rows:
            if row.number in self._all:
                self._all[row.number].unwritten += row.minute_n
                self._changed[row.number] = self._all[row.number]
        # A disk that is away for long is not to fill memory with what it should forget.
        self._gone = [*gone, *self._gone][-MOST_ISSUES:]

    # --- looking ---

    def listed(self) -> Iterator[Issue]:
        """All, the one that was seen last first."""
        return reversed(self._all.values())

    def get(self, issue_id: str) -> Issue | None:
        """One of them."""
        try:
            return self._all.get(int(issue_id, 16))
        except ValueError:
            return None

    async def minutes(self, issue: Issue, now: float) -> list[tuple[int, int]]:
        """How many there were, by minute (epoch seconds), as far back as that is kept.

        Raises DiskUnavailable.
        """
        kept: list[tuple[int, int]] = await self._disk.ask(partial(_minutes, number=issue.number))
        if issue.unwritten:
            minute = int(now) // _MINUTE_S * _MINUTE_S
            before = kept.pop()[1] if kept and kept[-1][0] == minute else 0
            kept.append((minute, before + issue.unwritten))
        return kept


def _taken_out(of_owner: list[Issue], kind: Kind, cause: str) -> Issue | None:
    """That one, out of a list of few; the newest is the likeliest."""
    for at in range(len(of_owner) - 1, -1, -1):
        issue = of_owner[at]
        if issue.cause == cause and issue.kind == kind:
            return of_owner.pop(at)
    return None


def _stored(issue: Issue) -> StoredIssue:
    return StoredIssue(
        issue.number,
        issue.kind,
        issue.connection,
        issue.source,
        issue.cause,
        issue.count,
        issue.first_seen,
        issue.last_seen,
        issue.unwritten,
    )


# --- on the disk's thread ---


def load(db: Database) -> list[StoredIssue]:
    """All that are kept, the one that was not seen for longest first."""
    return [
        StoredIssue(*row)
        for row in db.execute(
            "SELECT id, kind, connection, source, cause, count, first_seen, last_seen FROM issues "
            "ORDER BY last_seen DESC LIMIT ?",
            (MOST_ISSUES,),
        )
    ][::-1]


def _write(db: Database, minute: int, rows: Sequence[StoredIssue], gone: Sequence[int]) -> None:
    for number in gone:
        db.execute("DELETE FROM issues WHERE id = ?", (number,))
    db.executemany(
        "INSERT OR REPLACE INTO issues VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [msgspec.structs.astuple(row)[:-1] for row in rows],
    )
    db.executemany(
        "INSERT INTO issue_minutes VALUES (?, ?, ?) "
        "ON CONFLICT (minute, issue) DO UPDATE SET n = n + excluded.n",
        [(minute, row.number, row.minute_n) for row in rows],
    )


def _minutes(db: Database, number: int) -> list[tuple[int, int]]:
    (first,) = db.execute("SELECT min(minute) FROM issue_minutes").fetchone()
    (last,) = db.execute("SELECT max(minute) FROM issue_minutes").fetchone()
    if first is None:
        return []
    return db.execute(
        "WITH RECURSIVE starts(at) AS (SELECT ?1 UNION ALL SELECT at + 60 FROM starts "
        "WHERE at + 60 <= ?2) SELECT minute, n FROM starts JOIN issue_minutes "
        "ON minute = at AND issue = ?3",
        (max(first, last - 6 * 3600), last, number),
    ).fetchall()
