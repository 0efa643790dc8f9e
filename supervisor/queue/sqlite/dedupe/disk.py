"""The deduplication index on disk: tables, row numbers, and the two long jobs.

Owns where ids lie in the database and how they get there in slices: the log
(one row a commit), the runs that full segments of the log become (rows of
about 64 ids, found by hash) and the saved filters. Must not decide what is
kept, dropped or done next; that is `index.py`.

Every slice is a transaction of its own, and what it has done is noted in
memory only after its COMMIT: a slice that failed can be tried again.
"""

from __future__ import annotations

import operator
import sqlite3
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from rbloom import Bloom

KEY_BYTES: Final = 16
#: Bytes on disk of one id in a run, its share of pages and row heads included.
RUN_ID_BYTES: Final = 18
#: The same for a row of the log, beside its ids.
LOG_ROW_BYTES: Final = 24
#: How often a filter takes a new id for one that it holds: 13 bits an id, and an id that is
#: new costs two look-ups on disk in a thousand for each generation.
FALSE_HITS: Final = 1 / 512

_BUCKET_IDS = 64
_MAX_BUCKET_BITS = 14
# Row numbers: a run's rows, a segment's log rows and a filter's parts each lie side by side.
_ROWS_SHIFT, _LOG_SHIFT, _FILTER_SHIFT, _VERSION_SHIFT = 16, 32, 24, 12

# What one slice does at most: one to three milliseconds each on a slow core.
_SLICE_IDS = 4096
_SLICE_ROWS = 512
_FILTER_PART_BYTES = 512 * 1024
_FILTER_HEAD_BYTES = 8  # rbloom's, before the bits
_DELETE_ROWS = {
    "dedupe_log": 2048,
    "dedupe_rows": 1024,
    "dedupe_filters": 2,
    "dedupe_runs": 1,
}

_TABLES = """
CREATE TABLE IF NOT EXISTS dedupe_log (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, keys BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS dedupe_rows (id INTEGER PRIMARY KEY, keys BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS dedupe_runs (
    id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, ids INTEGER NOT NULL,
    bits INTEGER NOT NULL, oldest REAL NOT NULL, newest REAL NOT NULL, in_filter INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS dedupe_generations (
    id INTEGER PRIMARY KEY, capacity INTEGER NOT NULL, version INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS dedupe_filters (id INTEGER PRIMARY KEY, part BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS dedupe_meta (
    id INTEGER PRIMARY KEY CHECK (id = 1), forgotten REAL NOT NULL
);
"""


@dataclass(slots=True, eq=False)
class Segment:
    """Ids that are in memory and in the log: the open one takes new ids, closed ones wait.

    `keys` is a set in the order of arrival, which is that of memory: going through a plain
    set of 16 MB costs a cache miss an id.

    `oldest` and `newest` are epoch seconds, and mean nothing while it is empty.
    """

    id: int
    keys: dict[bytes, None] = field(default_factory=dict)
    oldest: float = 0.0
    newest: float = 0.0
    rows: int = 0
    is_closed: bool = False

    @property
    def disk_bytes(self) -> int:
        """What its part of the log takes."""
        return len(self.keys) * KEY_BYTES + self.rows * LOG_ROW_BYTES


@dataclass(slots=True, eq=False)
class Run:
    """Ids that are on disk only, in `1 << bits` rows by the low bits of their hash."""

    id: int
    ids: int
    bits: int
    oldest: float
    newest: float

    def row_of(self, hashed: int) -> int:
        """The row that has an id of this hash, if the run has it."""
        return self.id << _ROWS_SHIFT | hashed & (1 << self.bits) - 1

    @property
    def rows(self) -> IndexRows:
        """All its rows."""
        first = self.id << _ROWS_SHIFT
        return IndexRows("dedupe_rows", first, first + (1 << self.bits))


@dataclass(slots=True, eq=False)
class Generation:
    """Runs that share one filter in memory, and are forgotten together.

    `capacity` is how many ids the filter is made for; `version` is that of the saved
    filter, 0 where there is none; `newest` covers a run that is being written, too.
    """

    id: int
    capacity: int
    filter: Bloom
    version: int = 0
    oldest: float = 0.0
    newest: float = 0.0
    runs: list[Run] = field(default_factory=list)
    ids: int = 0
    unsaved_runs: int = 0

    def add(self, run: Run) -> None:
        """Take a run in, whose ids are in the filter but not in the saved one."""
        self.runs.append(run)
        self.ids += run.ids
        self.unsaved_runs += 1

    @property
    def disk_bytes(self) -> int:
        """What its runs and its saved filter take."""
        return self.ids * RUN_ID_BYTES + self.filter.size_in_bits // 8

    def saved_filter(self, version: int) -> IndexRows:
        """Where that version of the filter lies."""
        first = self.id << _FILTER_SHIFT | version << _VERSION_SHIFT
        return IndexRows("dedupe_filters", first, first + (1 << _VERSION_SHIFT))


@dataclass(frozen=True, slots=True)
class IndexRows:
    """IndexRows `first` to `last` (exclusive) of a table, to be deleted."""

    table: str
    first: int
    last: int


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Raises what the database raises, after ROLLBACK."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # some errors (disk full, I/O) have rolled back already
            db.execute("ROLLBACK")
        raise


def hashes_of(keys: bytes) -> array[int]:
    """What filters and buckets go by: the first 64 bits of each key, little-endian.

    Keys are digests, uniform already; the order of bytes is fixed since filters are kept.
    """
    words = array("q", keys)
    if sys.byteorder == "big":
        words.byteswap()
    return words[::2]


def new_filter(capacity: int) -> Bloom:
    """An empty filter for that many ids."""
    return Bloom(capacity, FALSE_HITS, operator.index)


def create(db: sqlite3.Connection) -> None:
    """Make the tables where they are missing."""
    for statement in _TABLES.split(";"):  # executescript would commit the caller's transaction
        db.execute(statement)
    db.execute("INSERT OR IGNORE INTO dedupe_meta VALUES (1, 0)")


def append_to_log(
    db: sqlite3.Connection, segment: Segment, row: int, at: float, keys: bytes
) -> None:
    """Write new ids, within the caller's transaction."""
    db.execute(
        "INSERT INTO dedupe_log VALUES (?, ?, ?)", (segment.id << _LOG_SHIFT | row, at, keys)
    )


def log_of(segment: Segment) -> IndexRows:
    """The rows of a segment in the log."""
    first = segment.id << _LOG_SHIFT
    return IndexRows("dedupe_log", first, first + segment.rows)


def has_key(db: sqlite3.Connection, generation: Generation, key: bytes, hashed: int) -> bool:
    """Look the whole key up on disk."""
    rows = [run.row_of(hashed) for run in generation.runs]
    marks = ",".join("?" * len(rows))
    # The placeholders are all that varies in the text.
    found = db.execute(f"SELECT keys FROM dedupe_rows WHERE id IN ({marks})", rows)  # noqa: S608
    return any(_is_in(key, keys) for (keys,) in found)


def _is_in(key: bytes, keys: bytes) -> bool:
    at = keys.find(key)
    while at > 0 and at % KEY_BYTES:  # across two neighbours
        at = keys.find(key, at + 1)
    return at >= 0


def delete_slice(db: sqlite3.Connection, rows: IndexRows) -> IndexRows | None:
    """Delete some of these rows; what is left of them."""
    end = min(rows.last, rows.first + _DELETE_ROWS[rows.table])
    with transaction(db):
        # The table's name is one of four constants.
        db.execute(
            f"DELETE FROM {rows.table} WHERE id >= ? AND id < ?",  # noqa: S608
            (rows.first, end),
        )
        # Numbers may have gaps, wide ones where a filter was short.
        (left,) = db.execute(
            f"SELECT min(id) FROM {rows.table} WHERE id >= ? AND id < ?",  # noqa: S608
            (end, rows.last),
        ).fetchone()
    return None if left is None else IndexRows(rows.table, left, rows.last)


def forget(
    db: sqlite3.Connection, victim: Segment | Generation, forgotten: float
) -> tuple[IndexRows, ...]:
    """Note what is dropped, so that a restart goes on with it; the rows to be deleted now."""
    with transaction(db):
        db.execute("UPDATE dedupe_meta SET forgotten = ?", (forgotten,))
        if isinstance(victim, Generation):
            db.execute("UPDATE dedupe_runs SET generation = 0 WHERE generation = ?", (victim.id,))
            db.execute("DELETE FROM dedupe_generations WHERE id = ?", (victim.id,))
    if isinstance(victim, Segment):
        return (log_of(victim),)
    return (
        *(part for run in victim.runs for part in _whole_run(run)),
        victim.saved_filter(1),
        victim.saved_filter(2),
    )


def _whole_run(run: Run) -> tuple[IndexRows, IndexRows]:
    # The run's own row goes last: as long as it is there, a restart knows of the others.
    return run.rows, IndexRows("dedupe_runs", run.id, run.id + 1)


class SealJob:
    """Makes a run of a closed segment, in slices: sort by bucket, then write, then publish."""

    def __init__(self, segment: Segment, generation: Generation) -> None:
        bits = max(0, (len(segment.keys) // _BUCKET_IDS).bit_length() - 1)
        self.segment = segment
        self.generation = generation
        self.run = Run(
            segment.id,
            len(segment.keys),
            min(bits, _MAX_BUCKET_BITS),
            segment.oldest,
            segment.newest,
        )
        self._unsorted = iter(segment.keys)
        self._buckets = [bytearray() for _ in range(1 << self.run.bits)]
        self._is_sorted = False
        self._written = 0

    def step(self, db: sqlite3.Connection) -> bool:
        """One slice; True when the run is on disk, whole."""
        if not self._is_sorted:
            self._sort_slice()
            return False
        return self._write_slice(db)

    def _sort_slice(self) -> None:
        keys = list(islice(self._unsorted, _SLICE_IDS))
        hashes = hashes_of(b"".join(keys)).tolist()
        self.generation.filter.update(hashes)
        buckets, mask = self._buckets, len(self._buckets) - 1
        for hashed, key in zip(hashes, keys, strict=True):
            buckets[hashed & mask] += key
        self._is_sorted = len(keys) < _SLICE_IDS

    def _write_slice(self, db: sqlite3.Connection) -> bool:
        start, end = self._written, min(self._written + _SLICE_ROWS, len(self._buckets))
        first = self.run.rows.first
        is_last = end == len(self._buckets)
        with transaction(db):
            db.executemany(
                "INSERT INTO dedupe_rows VALUES (?, ?)",
                [(first + at, self._buckets[at]) for at in range(start, end)],
            )
            if is_last:
                self._publish(db)
        self._written = end
        return is_last

    def _publish(self, db: sqlite3.Connection) -> None:
        run, generation = self.run, self.generation
        db.execute(
            "INSERT OR IGNORE INTO dedupe_generations VALUES (?, ?, 0)",
            (generation.id, generation.capacity),
        )
        db.execute(
            "INSERT INTO dedupe_runs VALUES (?, ?, ?, ?, ?, ?, 0)",
            (run.id, generation.id, run.ids, run.bits, run.oldest, run.newest),
        )


class SaveJob:
    """Saves a generation's filter as it is now, beside the last one, in slices."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.version = 2 if generation.version == 1 else 1
        self.runs = generation.unsaved_runs
        self._ids = [(run.id,) for run in generation.runs]
        self._saved = generation.filter.save_bytes()
        self._written = 0

    def step(self, db: sqlite3.Connection) -> bool:
        """One slice; True when the filter is on disk, whole."""
        part = self._saved[self._written : self._written + _FILTER_PART_BYTES]
        number = self._written // _FILTER_PART_BYTES
        end = self._written + len(part)
        with transaction(db):
            db.execute(
                # A part that a crash left behind is in the way.
                "INSERT OR REPLACE INTO dedupe_filters VALUES (?, ?)",
                (self.generation.saved_filter(self.version).first + number, part),
            )
            if end == len(self._saved):
                db.execute(
                    "UPDATE dedupe_generations SET version = ? WHERE id = ?",
                    (self.version, self.generation.id),
                )
                db.executemany(
                    "UPDATE dedupe_runs SET in_filter = 1 WHERE id = ?",
                    self._ids,
                )
        self._written = end
        return end == len(self._saved)


@dataclass(slots=True)
class Stored:
    """What a start finds on disk. `garbage` is what an earlier process did not finish deleting."""

    forgotten: float
    generations: list[Generation]
    segments: list[Segment]
    garbage: list[IndexRows]
    next_segment: int


def read(db: sqlite3.Connection) -> Stored:
    """Read all that is kept in memory: filters, runs' places, and the log."""
    (forgotten,) = db.execute("SELECT forgotten FROM dedupe_meta").fetchone()
    generations: dict[int, Generation] = {}
    for number, capacity, version in db.execute(
        "SELECT id, capacity, version FROM dedupe_generations ORDER BY id"
    ):
        generations[number] = Generation(number, capacity, new_filter(capacity), version)
    sealed: set[int] = set()
    unsaved: dict[int, list[Run]] = {}
    dead: list[IndexRows] = []
    for number, home, ids, bits, oldest, newest, is_in_filter in db.execute(
        "SELECT id, generation, ids, bits, oldest, newest, in_filter FROM dedupe_runs ORDER BY id"
    ):
        run = Run(number, ids, bits, oldest, newest)
        sealed.add(number)
        generation = generations.get(home)
        if generation is None:
            dead.extend(_whole_run(run))
            continue
        generation.oldest = min(generation.oldest, oldest) if generation.runs else oldest
        generation.newest = max(generation.newest, newest)
        generation.add(run)
        if not is_in_filter:
            unsaved.setdefault(home, []).append(run)
    for generation in generations.values():
        _read_filter(db, generation, unsaved.get(generation.id, []))
    segments, garbage = _read_log(db, sealed)
    garbage.extend(dead)
    garbage.extend(_stray_filters(db, generations))
    last = max((*sealed, *(segment.id for segment in segments)), default=0)
    return Stored(forgotten, list(generations.values()), segments, garbage, last + 1)


def _read_filter(db: sqlite3.Connection, generation: Generation, unsaved: list[Run]) -> None:
    covered = [run for run in generation.runs if run not in unsaved]
    saved = _saved_filter(db, generation, covered[-1]) if covered else None
    if saved is not None:
        generation.filter = saved
    else:
        unsaved = generation.runs  # slow, and right
    generation.unsaved_runs = len(unsaved)
    for run in unsaved:
        _refill(db, run, generation.filter)


def _saved_filter(db: sqlite3.Connection, generation: Generation, run: Run) -> Bloom | None:
    """The saved filter; None where it is damaged, or of another make and misses ids of `run`."""
    rows = generation.saved_filter(generation.version)
    found = db.execute(
        "SELECT part FROM dedupe_filters WHERE id >= ? AND id < ? ORDER BY id",
        (rows.first, rows.last),
    )
    saved = b"".join(part for (part,) in found)
    if len(saved) != _FILTER_HEAD_BYTES + generation.filter.size_in_bits // 8:
        return None
    loaded = Bloom.load_bytes(saved, operator.index)
    (sample,) = db.execute(
        "SELECT keys FROM dedupe_rows WHERE id >= ? AND length(keys) > 0 LIMIT 1",
        (run.rows.first,),
    ).fetchone()
    return loaded if all(map(loaded.__contains__, hashes_of(sample))) else None


def _refill(db: sqlite3.Connection, run: Run, into: Bloom) -> None:
    found = db.execute(
        "SELECT keys FROM dedupe_rows WHERE id >= ? AND id < ?", (run.rows.first, run.rows.last)
    )
    while rows := found.fetchmany(_SLICE_ROWS):
        into.update(hashes_of(b"".join(keys for (keys,) in rows)))


def _stray_filters(db: sqlite3.Connection, live: dict[int, Generation]) -> list[IndexRows]:
    strays = []
    for (number,) in db.execute("SELECT id FROM dedupe_filters"):
        generation = live.get(number >> _FILTER_SHIFT)
        version = number >> _VERSION_SHIFT & 3
        if generation is None or generation.version != version:
            strays.append(IndexRows("dedupe_filters", number, number + 1))
    return strays


def _read_log(db: sqlite3.Connection, sealed: set[int]) -> tuple[list[Segment], list[IndexRows]]:
    segments: list[Segment] = []
    garbage: list[IndexRows] = []
    position = 0
    while True:
        (lowest,) = db.execute(
            "SELECT min(id) FROM dedupe_log WHERE id >= ?", (position,)
        ).fetchone()
        if lowest is None:
            return segments, garbage
        number = lowest >> _LOG_SHIFT
        first, position = number << _LOG_SHIFT, number + 1 << _LOG_SHIFT
        if number in sealed:
            garbage.append(IndexRows("dedupe_log", first, position))
            continue
        segments.append(_read_segment(db, number, first, position))
        begin, end = number << _ROWS_SHIFT, number + 1 << _ROWS_SHIFT
        # IndexRows of a run that was not finished: it will be written anew.
        if db.execute(
            "SELECT 1 FROM dedupe_rows WHERE id >= ? AND id < ? LIMIT 1", (begin, end)
        ).fetchone():
            garbage.append(IndexRows("dedupe_rows", begin, end))


def _read_segment(db: sqlite3.Connection, number: int, first: int, last: int) -> Segment:
    segment = Segment(number, is_closed=True)
    blobs: list[bytes] = []
    for row, at, keys in db.execute(
        "SELECT id, at, keys FROM dedupe_log WHERE id >= ? AND id < ? ORDER BY id", (first, last)
    ):
        segment.rows = row - first + 1
        segment.oldest = min(segment.oldest, at) if blobs else at
        segment.newest = max(segment.newest, at)
        blobs.append(keys)
    keys = b"".join(blobs)
    segment.keys = dict.fromkeys(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))
    return segment
