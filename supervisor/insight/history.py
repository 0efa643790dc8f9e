"""Frames on disk: three tiers of them, coarser as they grow older, within a budget of bytes.

Owns the SQL of frames and of what each series has booked. All of it runs on the disk's thread, in
the transaction that is open. Must not touch what is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

import msgspec

from supervisor.insight.disk import Database
from supervisor.insight.frames import (
    HOUR_S,
    KEPT_S,
    MINUTE_S,
    TEN_MINUTES_S,
    Counts,
    Frame,
    merged,
    packed,
    unpacked,
)
from supervisor.queue import Books

#: Each tier, and the coarser one that it is merged into.
_COARSER: Final = {MINUTE_S: TEN_MINUTES_S, TEN_MINUTES_S: HOUR_S}
#: Series that are merged into a coarser frame in one transaction: others read in between.
SLICE: Final = 200
#: Tiers that shrink where the budget is used, in order, and the seconds that are left of each.
_SHRINK: Final = ((MINUTE_S, HOUR_S), (TEN_MINUTES_S, 86400), (HOUR_S, 7 * 86400))

#: What a series is of: everything, a connection, a source.
ALL, CONNECTION, SOURCE = range(3)
Key = tuple[int, str]


class FrameRow(msgspec.Struct, frozen=True, gc=False):
    """One frame, packed; `booked` is what is booked with it, None where that is not asked."""

    kind: int
    name: str
    frame: bytes
    booked: Books | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What memory begins with. `until` is when frames were written last, 0.0 for never."""

    booked: Mapping[Key, Books]
    until: float
    last_hour: Sequence[tuple[int, Counts]]


@dataclass(frozen=True, slots=True)
class FramesRead:
    """Frames of one series from `start` on, by their start; `known` are starts at which the service
    ran. `reaches_back_to` is the oldest there is in epoch seconds, None where there is none.
    """

    frames: Mapping[int, Frame]
    known: frozenset[int]
    reaches_back_to: int | None


def load(db: Database, now: float) -> Loaded:
    """Of a run that ended. Raises msgspec.MsgspecError for what nobody wrote."""
    booked = {
        (kind, name): _books(blob)
        for kind, name, blob in db.execute("SELECT kind, name, booked FROM series")
        if blob is not None
    }
    rows = db.execute(
        "SELECT start, frame FROM frames JOIN series ON id = series WHERE tier = ? AND start > ? "
        "AND kind = ? ORDER BY start",
        (MINUTE_S, now - HOUR_S, ALL),
    )
    return Loaded(
        booked,
        _fact(db, "until") / 1000,
        [
            (start, frame.counts)
            for start, blob in rows
            if (frame := unpacked(blob)).gap_s != 1 and frame.gap_s < HOUR_S
        ],
    )


def write(db: Database, minute: int, until: float, rows: Sequence[FrameRow]) -> None:
    """The frames of a minute; what is there of it already is added to."""
    ids = dict[Key, int]()
    for row in rows:
        found = db.execute(
            "SELECT id FROM series WHERE kind = ? AND name = ?", (row.kind, row.name)
        ).fetchone()
        if found is None:
            found = db.execute(
                "INSERT INTO series (kind, name) VALUES (?, ?) RETURNING id", (row.kind, row.name)
            ).fetchone()
        ids[row.kind, row.name] = found[0]
    there = dict(
        db.execute(
            "SELECT series, frame FROM frames WHERE tier = ? AND start = ?", (MINUTE_S, minute)
        )
    )
    frames = []
    for row in rows:
        number, frame = ids[row.kind, row.name], row.frame
        if number in there:
            frame = packed(merged((unpacked(there[number]), unpacked(frame))))
        frames.append((MINUTE_S, minute, number, frame))
    db.executemany("INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?)", frames)
    db.executemany(
        "UPDATE series SET booked = ? WHERE id = ?",
        [
            (msgspec.msgpack.encode(msgspec.structs.astuple(row.booked)), ids[row.kind, row.name])
            for row in rows
            if row.booked is not None
        ],
    )
    _set_fact(db, "until", int(until * 1000))


def merge_some(db: Database, now: float) -> bool:
    """Merge a slice of what is old enough into the coarser tiers; whether there is more to do.

    Nothing is merged twice: how far a tier is merged is written with what it became.
    """
    for tier, coarser in _COARSER.items():
        done = _merged_to(db, tier)
        row = db.execute(
            "SELECT min(start) FROM frames WHERE tier = ? AND start >= ?", (tier, done)
        ).fetchone()
        if row[0] is None:
            continue
        start = row[0] // coarser * coarser
        # A minute longer, since the last frame is written a little after its end.
        ready = start + coarser + MINUTE_S <= now
        if ready and tier == TEN_MINUTES_S:
            ready = _merged_to(db, MINUTE_S) >= start + coarser or not _has(
                db, MINUTE_S, start + coarser
            )
        if ready:
            _merge_slice(db, tier, coarser, start)
            return True
    return False


def _merge_slice(db: Database, tier: int, coarser: int, start: int) -> None:
    after = _fact(db, f"series_{tier}")
    ids = [
        number
        for (number,) in db.execute(
            "SELECT DISTINCT series FROM frames WHERE tier = ? AND start >= ? AND start < ? "
            "AND series > ? ORDER BY series LIMIT ?",
            (tier, start, start + coarser, after, SLICE),
        )
    ]
    if ids:
        rows = db.execute(
            "SELECT series, frame FROM frames WHERE tier = ? AND start >= ? AND start < ? "
            "AND series BETWEEN ? AND ? ORDER BY series, start",
            (tier, start, start + coarser, ids[0], ids[-1]),
        ).fetchall()
        db.executemany(
            "INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?)",
            [
                (coarser, start, number, packed(merged(unpacked(blob) for _, blob in some)))
                for number, some in groupby(rows, itemgetter(0))
            ],
        )
    if len(ids) == SLICE:
        _set_fact(db, f"series_{tier}", ids[-1])
    else:
        _set_fact(db, f"series_{tier}", 0)
        _set_fact(db, f"merged_{tier}", start + coarser)


def forget(db: Database, now: float, budget_bytes: int) -> None:
    """What is too old, and what the budget has no room for: the finest first."""
    for tier, kept_s in KEPT_S.items():
        _forget_before(db, tier, int(now) - kept_s)
    db.execute("DELETE FROM issue_minutes WHERE minute < ?", (int(now) - KEPT_S[MINUTE_S],))
    for tier, least_s in _SHRINK:
        while size_bytes(db) > budget_bytes:
            row = db.execute("SELECT min(start) FROM frames WHERE tier = ?", (tier,)).fetchone()
            if row[0] is None or row[0] >= now - least_s:
                break
            # A tenth of the tier at once: to count free pages costs as much as to make them.
            step = max(tier, int(now - row[0]) // 10)
            if not _forget_before(db, tier, row[0] + step):
                break
            if tier == MINUTE_S:
                db.execute("DELETE FROM issue_minutes WHERE minute < ?", (row[0] + step,))


def _forget_before(db: Database, tier: int, start: int) -> bool:
    """Never what the coarser tier does not have yet; whether anything went."""
    if tier in _COARSER:
        start = min(start, _merged_to(db, tier))
    return db.execute("DELETE FROM frames WHERE tier = ? AND start < ?", (tier, start)).rowcount > 0


def size_bytes(db: Database) -> int:
    """Of the file, without pages that are free."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)


def read(db: Database, key: Key, start: int, stop: int, step_s: int) -> FramesRead:
    """Frames of `step_s` seconds that begin in [start, stop), from what tiers there are."""
    series = db.execute("SELECT id FROM series WHERE kind = ? AND name = ?", key).fetchone()
    everything = db.execute("SELECT id FROM series WHERE kind = ?", (ALL,)).fetchone()
    parts: dict[int, list[Frame]] = {}
    known: set[int] = set()
    for tier, first, last in _tiers(db, start, stop, step_s):
        if everything is not None:
            known.update(
                at // step_s * step_s for at, _ in _of(db, tier, everything[0], first, last)
            )
        if series is not None:
            for at, blob in _of(db, tier, series[0], first, last):
                parts.setdefault(at // step_s * step_s, []).append(unpacked(blob))
    oldest = [
        row[0]
        for tier in KEPT_S
        if tier <= step_s
        and (row := db.execute("SELECT min(start) FROM frames WHERE tier = ?", (tier,)).fetchone())
        and row[0] is not None
    ]
    return FramesRead(
        {at: merged(frames) for at, frames in sorted(parts.items())},
        frozenset(known),
        min(oldest, default=None),
    )


def _tiers(db: Database, start: int, stop: int, step_s: int) -> Iterator[tuple[int, int, int]]:
    """Which tier has which part: of the wanted one up to where it is merged, then finer ones."""
    edges = {
        MINUTE_S: stop,
        TEN_MINUTES_S: min(stop, _merged_to(db, MINUTE_S)),
        HOUR_S: min(stop, _merged_to(db, TEN_MINUTES_S)),
    }
    first = start
    for tier in (HOUR_S, TEN_MINUTES_S, MINUTE_S):
        if tier <= step_s and first < edges[tier]:
            (oldest,) = db.execute(
                "SELECT min(start) FROM frames WHERE tier = ?", (tier,)
            ).fetchone()
            if oldest is not None:
                yield tier, max(first, oldest), edges[tier]
            first = edges[tier]


def _of(db: Database, tier: int, series: int, first: int, last: int) -> list[tuple[int, bytes]]:
    # One look-up for each start that there can be: rows lie by time, so that old ones go cheaply.
    return db.execute(
        "WITH RECURSIVE starts(at) AS (SELECT ?1 UNION ALL SELECT at + ?2 FROM starts "
        "WHERE at + ?2 < ?3) SELECT start, frame FROM starts JOIN frames "
        "ON tier = ?2 AND start = at AND series = ?4",
        (-(-first // tier) * tier, tier, last, series),
    ).fetchall()


def _has(db: Database, tier: int, before: int) -> bool:
    return (
        db.execute(
            "SELECT 1 FROM frames WHERE tier = ? AND start >= ? AND start < ? LIMIT 1",
            (tier, _merged_to(db, tier), before),
        ).fetchone()
        is not None
    )


def _merged_to(db: Database, tier: int) -> int:
    return _fact(db, f"merged_{tier}")


def _fact(db: Database, name: str) -> int:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _set_fact(db: Database, name: str, value: int) -> None:
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _books(blob: bytes) -> Books:
    return Books(*msgspec.msgpack.decode(blob, type=tuple[int, ...]))
