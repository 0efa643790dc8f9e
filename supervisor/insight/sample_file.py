"""One file of records by issue: how they are read, added and forgotten.

Owns the file, 0600, never through a link, made anew where it cannot be read, and how many of an
issue are in it, how large it is and how old they are. What is forgotten is gone from the disk once
the rest was written anew, and at once where all of it is. Must not know what a record means.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: What the file begins with, changed with the form of its records; behind it 16 bytes that tell
#: under which rules they were kept.
MAGIC, RULES_BYTES = b"bulkhead samples 1\n", 16
#: Longest record, in bytes.
MAX_RECORD = 16 * 1024
#: Records of one issue, and seconds until one is forgotten.
A_CAUSE, KEPT_S = 3, 7 * 24 * 3600.0
#: Before each record: its length, the CRC of all that follows, its key and its time.
_FRAME = struct.Struct("<IIQd")


class RecordPlace(NamedTuple):
    """Where a record stands. `at` is epoch seconds."""

    key: int
    at: float
    offset: int
    size_bytes: int

    @property
    def whole_bytes(self) -> int:
        """With what stands before it."""
        return _FRAME.size + self.size_bytes


class SampleFile:
    """Made and used on one thread. Whatever cannot be read or written is an OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._head = b""
        self._end = 0

    def open(self, rules: bytes, most_bytes: int) -> list[RecordPlace]:
        """Open the file, and say what is in it, oldest first.

        What cannot be read, or is past `most_bytes`, is cut off; all of it where the rules were
        other ones.
        """
        self._head = MAGIC + rules[:RULES_BYTES].ljust(RULES_BYTES, b"\0")
        handle = self._opened()
        self._end = len(self._head)
        places = []
        if os.pread(handle, self._end, 0) == self._head:
            places = list(self._read(handle, most_bytes))
            if places:
                self._end = places[-1].offset + places[-1].size_bytes
            os.ftruncate(handle, self._end)
        else:
            os.ftruncate(handle, 0)
            os.pwrite(handle, self._head, 0)
        return places

    def add(self, key: int, at: float, record: bytes) -> RecordPlace:
        """Append a record."""
        handle = self._held()
        framed = _framed(key, at, record)
        try:
            if os.pwrite(handle, framed, self._end) != len(framed):
                raise OSError("no room for a sample")
        except OSError:
            os.ftruncate(handle, self._end)
            raise
        place = RecordPlace(key, at, self._end + _FRAME.size, len(record))
        self._end += len(framed)
        return place

    def read(self, place: RecordPlace) -> bytes:
        """The record that stands there."""
        return os.pread(self._held(), place.size_bytes, place.offset)

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self._end

    def write_anew(self, kept: list[RecordPlace]) -> list[RecordPlace]:
        """Keep these records alone, oldest first; where they stand now."""
        handle = self._held()
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        new = os.open(draft, flags, 0o600)
        try:
            os.pwrite(new, self._head, 0)
            end = len(self._head)
            places = []
            for place in kept:
                framed = _framed(place.key, place.at, self.read(place))
                os.pwrite(new, framed, end)
                places.append(place._replace(offset=end + _FRAME.size))
                end += len(framed)
            os.rename(draft, self._path)
        except BaseException:
            os.close(new)
            draft.unlink(missing_ok=True)
            raise
        os.close(handle)
        self._handle, self._end = new, end
        return places

    def remove(self) -> None:
        """No file is left, nor a draft of one."""
        self.close()
        self._path.with_suffix(".new").unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _held(self) -> int:
        if self._handle is None:
            raise OSError(f"{self._path} is not open")
        return self._handle

    def _opened(self) -> int:
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        handle = os.open(self._path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(f"{self._path} is no file; remove it")
            os.fchmod(handle, 0o600)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return handle

    def _read(self, handle: int, most_bytes: int) -> Iterator[RecordPlace]:
        at = len(self._head)
        while at < most_bytes and len(head := os.pread(handle, _FRAME.size, at)) == _FRAME.size:
            size, crc, key, when = _FRAME.unpack(head)
            if size > MAX_RECORD:
                return
            record = os.pread(handle, size, at + _FRAME.size)
            if len(record) != size or zlib.crc32(head[8:] + record) != crc:
                return
            yield RecordPlace(key, when, at + _FRAME.size, size)
            at += _FRAME.size + size


def _framed(key: int, at: float, record: bytes) -> bytes:
    if len(record) > MAX_RECORD:
        raise OSError(f"a record of {len(record)} bytes, and the longest has {MAX_RECORD}")
    tail = _FRAME.pack(0, 0, key, at)[8:]
    return struct.pack("<II", len(record), zlib.crc32(tail + record)) + tail + record


class SampleShelf:
    """What is kept by issue, in its file. On one thread; raises OSError where the disk does."""

    def __init__(self, path: Path, budget_bytes: int) -> None:
        self._file = SampleFile(path)
        self._budget_bytes = budget_bytes
        #: all that count, oldest first
        self._places: dict[RecordPlace, None] = {}
        self._of: dict[int, list[RecordPlace]] = {}

    def open(self, rules: bytes, now: float) -> dict[int, tuple[int, float]]:
        """Begin with what the file has, if it was kept under these rules: by issue, its samples."""
        self._places, self._of = {}, {}
        for place in self._file.open(rules, self._budget_bytes):
            self._put(place)
        self.tidy(now)
        return {issue: (len(places), places[-1].at) for issue, places in self._of.items()}

    def add(self, issue: int, at: float, record: bytes) -> list[int]:
        """Keep one more; the issues that have none any more."""
        self._put(self._file.add(issue, at, record))
        if self._file.size_bytes > self._budget_bytes:
            return self.tidy(at)
        return []

    def of(self, issue: int) -> list[bytes]:
        """Those of an issue, newest first."""
        return [self._file.read(place) for place in reversed(self._of.get(issue, []))]

    def tidy(self, now: float) -> list[int]:
        """Forget what is too old or too much, also on the disk; the issues that have none left."""
        before = self._of.keys()
        had = set(before)
        size = sum(place.whole_bytes for place in self._places)
        # Down to three quarters: the file is written anew, and is not to be for each sample.
        most = self._budget_bytes if size <= self._budget_bytes else self._budget_bytes * 3 // 4
        for place in list(self._places):
            if size <= most and now - place.at < KEPT_S:
                break
            size -= place.whole_bytes
            self._drop(place)
        if self._file.size_bytes > self._budget_bytes or size < self._file.size_bytes // 2:
            kept = self._file.write_anew(list(self._places))
            self._places, self._of = {}, {}
            for place in kept:
                self._put(place)
        return list(had - self._of.keys())

    def remove(self) -> None:
        """Forget all, and leave no file."""
        self._places, self._of = {}, {}
        self._file.remove()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _put(self, place: RecordPlace) -> None:
        self._places[place] = None
        places = self._of.setdefault(place.key, [])
        places.append(place)
        if len(places) > A_CAUSE:
            self._drop(places[0])

    def _drop(self, place: RecordPlace) -> None:
        del self._places[place]
        places = self._of[place.key]
        places.remove(place)
        if not places:
            del self._of[place.key]
