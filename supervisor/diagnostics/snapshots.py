"""Evidence that was kept: files below the state directory, and what is known of each.

Owns the folder, its names, and which files go when there are too many. A file
has its final name only once it is whole; what an earlier run left half written
is removed at start. Files are of mode 0600: they hold customers' data.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

_log = structlog.get_logger(__name__)

#: What a name may be; nothing else ever comes near a path.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\.(heapsnapshot|json|hpy)")
#: By kind, the ending of the file's name.
ENDINGS = {"heapsnapshot": "heapsnapshot", "summary": "json", "hpy": "hpy"}
_ABOUT, _PARTIAL = ".about", ".partial"
#: Bytes that stay free on the disk, whatever is asked for: the queue lives there too.
RESERVE_BYTES = 256 * 1024 * 1024


class Snapshot(msgspec.Struct, frozen=True):
    """One kept file. `at` is epoch seconds; `reason` is why it was taken.

    `connection` is set where one is to blame, `pause_s` is how long the worker stood still.
    """

    name: str
    worker: str
    pool: str
    pid: int
    kind: str
    reason: str
    at: float
    size_bytes: int
    pause_s: float
    connection: str | None = None


class Full(Exception):
    """There is no room for a snapshot; the text says so, and what to do."""


class SnapshotStore:
    """The folder `directory`. `max_bytes` are for all files, `max_count` for their number."""

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        max_count: int = 64,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads the folder, which is made where it is missing. Raises OSError."""
        self.max_bytes = max_bytes
        self._directory = directory
        self._max_count = max_count
        self._clock = clock
        self._kept: dict[str, Snapshot] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._read()

    def all(self) -> Sequence[Snapshot]:
        """What is kept, newest first."""
        return sorted(self._kept.values(), key=lambda kept: kept.at, reverse=True)

    def get(self, name: str) -> Snapshot | None:
        """What is known of a file; None where there is none of that name."""
        return self._kept.get(name)

    def path(self, snapshot: Snapshot) -> Path:
        """Where its file is."""
        return self._directory / snapshot.name

    def begin(self, worker: str, pid: int, kind: str, wanted_bytes: int) -> tuple[str, io.FileIO]:
        """A new file to write to, and its name to be. Raises Full or OSError.

        `wanted_bytes` is a guess at its size.
        """
        free = shutil.disk_usage(self._directory).free
        if free - wanted_bytes < RESERVE_BYTES:
            raise Full(
                f"{free >> 20} MiB are free in {self._directory}, and the snapshot may take "
                f"{wanted_bytes >> 20} of them; make room, or delete old ones"
            )
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        name = stem = f"{worker.replace('#', '_')}-{pid}-{stamp}"
        n = 1
        while (name := f"{stem}.{ENDINGS[kind]}") in self._kept or self._partial(name).exists():
            n += 1
            stem = f"{worker.replace('#', '_')}-{pid}-{stamp}-{n}"
        opened = os.open(
            self._partial(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600
        )
        return name, io.FileIO(opened, "wb")

    def abandon(self, name: str) -> None:
        """It will not be finished."""
        self._partial(name).unlink(missing_ok=True)

    def keep(
        self,
        name: str,
        *,
        worker: str,
        pool: str,
        pid: int,
        kind: str,
        reason: str,
        pause_s: float,
        connection: str | None,
    ) -> Snapshot:
        """It is whole: give it its name, and make room for it. Raises OSError."""
        partial = self._partial(name)
        kept = Snapshot(
            name=name,
            worker=worker,
            pool=pool,
            pid=pid,
            kind=kind,
            reason=reason,
            at=self._clock(),
            size_bytes=partial.stat().st_size,
            pause_s=pause_s,
            connection=connection,
        )
        about = self._about(name)
        about.touch(mode=0o600)
        about.write_bytes(msgspec.json.encode(kept))
        partial.rename(self._directory / name)
        self._kept[name] = kept
        self._make_room(kept)
        return kept

    def delete(self, name: str) -> bool:
        """Forget a file; whether there was one."""
        if self._kept.pop(name, None) is None:
            return False
        (self._directory / name).unlink(missing_ok=True)
        self._about(name).unlink(missing_ok=True)
        return True

    def _make_room(self, newest: Snapshot) -> None:
        """Drop the oldest while there are too many; never the newest, nor the last of a reason."""
        oldest_first = list(reversed(self.all()))
        size = sum(kept.size_bytes for kept in oldest_first)
        reasons = Counter(kept.reason for kept in oldest_first)
        for kept in oldest_first:
            if size <= self.max_bytes and len(self._kept) <= self._max_count:
                return
            if kept is newest or reasons[kept.reason] == 1:
                continue
            self.delete(kept.name)
            reasons[kept.reason] -= 1
            size -= kept.size_bytes
            _log.info("snapshot_dropped", name=kept.name, reason="room for newer ones")

    def _read(self) -> None:
        for path in self._directory.iterdir():
            try:
                if path.suffix == _PARTIAL:
                    path.unlink()
                elif path.suffix == _ABOUT and path.is_file():  # a FIFO would hold up the start
                    self._read_one(path)
            except OSError as error:
                # What cannot be removed takes room, and is no reason not to start.
                _log.warning("snapshot_leftover", file=path.name, reason=error.strerror)

    def _read_one(self, about: Path) -> None:
        try:
            kept = msgspec.json.decode(about.read_bytes(), type=Snapshot)
            is_whole = (
                _NAME.fullmatch(kept.name) is not None
                and about == self._about(kept.name)
                and (self._directory / kept.name).is_file()
            )
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("snapshot_unreadable", file=about.name, reason=str(error))
            return
        if is_whole:
            self._kept[kept.name] = kept
        else:
            about.unlink()  # its file is gone: a crash between two steps, or an operator's rm

    def _partial(self, name: str) -> Path:
        return self._directory / f"{name}{_PARTIAL}"

    def _about(self, name: str) -> Path:
        return self._directory / f"{name}{_ABOUT}"
