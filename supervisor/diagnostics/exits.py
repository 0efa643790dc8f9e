"""Every worker's exit with its evidence, kept on disk within bounds.

Owns `state_dir/exits`: a JSON file an exit, and beside it the stacks where
there are some. The listing is answered from memory; files are written by a
thread of their own, in order, since a disk may be slow when things go wrong.
What is kept is bounded by count and bytes: the oldest goes first, but never the
last of its reason. Of a disk that has no more than the queue's reserve it takes next to
nothing: no stacks, and few records. Must not know pools, queues or HTTP.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import structlog

from supervisor.diagnostics.snapshots import RESERVE_BYTES
from supervisor.diagnostics.usage import Usage

_log = structlog.get_logger(__name__)

#: Most exits that are kept, and most bytes of them on disk.
MAX_EXITS, MAX_BYTES = 2_000, 64 * 1024 * 1024
#: Most bytes of them on a disk that has less than `RESERVE_BYTES` left.
SHORT_BYTES = 2 * 1024 * 1024
#: Most message ids in one record, and most batches.
MAX_EVENTS, MAX_BATCHES = 100, 50
_RECORD, _STACKS = ".json", ".stacks"


class HeldBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that a worker had when it ended, and what became of its `events` by then.

    What it had told of: `delivered`, `failed` (unsupported ones too), `retried` later, and
    `given_back` as if it was never sent. What was decided of the rest at its end: `sent_again`
    uncharged, `tried_alone` or `tried_together` in a worker of its connection's own, `postponed`
    until each goes alone, `quarantined`. What is in none of these was not decided when the service
    ended, and is pending. `is_probe`: it was such a part. `batch` is its number in
    the log.
    """

    batch: int
    connection: str
    events: int
    delivered: int = 0
    failed: int = 0
    retried: int = 0
    given_back: int = 0
    sent_again: int = 0
    tried_alone: int = 0
    tried_together: int = 0
    postponed: int = 0
    quarantined: int = 0
    is_probe: bool = False


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How and why a worker ended. `at` is epoch seconds.

    `connection` is the one to blame, None where that is not known; `connections`
    had batches in the worker, `events` are message ids of what it had not
    reported (MAX_EVENTS at most, the marked one first), `event` is the one that
    the marked step worked on. `stacks` and `snapshot` name the evidence there is.
    One that only declared what destinations are had no events; its `destination` is the
    one that it was importing.
    """

    id: str
    at: float
    pool: str
    worker: str
    pid: int | None
    reason: str
    detail: str
    connection: str | None
    destination: str | None
    connections: tuple[str, ...]
    event: str | None
    events: tuple[str, ...]
    unreported: int
    uptime_s: float
    usage: Usage | None
    stacks: str | None = None
    snapshot: str | None = None
    open_connections: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Sockets that it still had open when it was looked at last, by connection."""
    open_curve: tuple[tuple[float, int], ...] = ()
    """All of them over its last minute: seconds before its end, and how many."""
    batches: tuple[HeldBatch, ...] = ()
    """Those that it had, MAX_BATCHES at most."""
    more_batches: int = 0
    """How many more there were."""


class ExitFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which exits are asked for; None asks for all. Times are epoch seconds."""

    pool: str | None = None
    worker: str | None = None
    connection: str | None = None
    reason: str | None = None
    since: float | None = None
    until: float | None = None

    def takes(self, record: ExitRecord) -> bool:
        """Whether a record is one of those. A connection counts where it had a batch, too."""
        return (
            self.pool in (None, record.pool)
            and self.worker in (None, record.worker)
            and (
                self.connection is None
                or self.connection == record.connection
                or self.connection in record.connections
            )
            and self.reason in (None, record.reason)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at <= self.until)
        )


class ExitStore:
    """Made once; what an earlier service kept in `state_dir` is read then.

    `redact` replaces every secret in a text: how a worker ended may be in its destinations' words.
    """

    def __init__(
        self,
        state_dir: Path,
        redact: Callable[[str], str],
        *,
        most: int = MAX_EXITS,
        most_bytes: int = MAX_BYTES,
    ):
        self._folder = state_dir / "exits"
        self._redact = redact
        self._most, self._most_bytes = most, most_bytes
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="exits")
        # Its thread is there from now on: when a worker dies, the kernel may have none for us.
        self._writer.submit(int)
        self._records: dict[str, ExitRecord] = {}
        self._sizes: dict[str, int] = {}
        self._reasons: Counter[str] = Counter()
        #: whether the disk had less than the reserve at the last write
        self._is_short = False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load()

    def add(self, record: ExitRecord, stacks: str) -> ExitRecord:
        """Keep an exit; the record comes back as it is kept, with a name for its stacks."""
        if record.id in self._records:
            raise ValueError(f"there is an exit {record.id} already")
        record = msgspec.structs.replace(record, detail=self._redact(record.detail))
        stacks = self._redact(stacks)
        if stacks:
            record = msgspec.structs.replace(record, stacks=record.id + _STACKS)
        body = msgspec.json.encode(record)
        self._take(record, len(body) + len(stacks))
        self._writer.submit(self._write, record, body, stacks)
        for old in self._surplus():
            self._writer.submit(self._remove, old)
        return record

    def attach_snapshot(self, exit_id: str, snapshot: str) -> None:
        """A snapshot belongs to this exit; nothing where the exit is not kept any more."""
        record = self._records.get(exit_id)
        if record is not None:
            self._amend(msgspec.structs.replace(record, snapshot=snapshot))

    def decided(
        self, exit_id: str, of: Callable[[tuple[HeldBatch, ...]], tuple[HeldBatch, ...]]
    ) -> None:
        """`of` makes of the batches of an exit what is known of them now; as `attach_snapshot`."""
        record = self._records.get(exit_id)
        if record is not None and record.batches:
            self._amend(msgspec.structs.replace(record, batches=of(record.batches)))

    def _amend(self, record: ExitRecord) -> None:
        self._records[record.id] = record
        self._writer.submit(self._write, record, msgspec.json.encode(record), "")

    def get(self, exit_id: str) -> ExitRecord | None:
        """One exit."""
        return self._records.get(exit_id)

    def stacks(self, record: ExitRecord) -> str:
        """The stacks of an exit, "" where there are none any more. Waits for what is written."""
        if record.stacks is None:
            return ""
        return self._writer.submit(self._read_stacks, record.stacks).result()

    def list(
        self, where: ExitFilter, *, limit: int, after: str | None = None
    ) -> Sequence[ExitRecord]:
        """The newest `limit` exits that `where` takes, those older than exit `after`."""
        found: list[ExitRecord] = []
        start = after is None
        for record in reversed(self._records.values()):
            if start and where.takes(record):
                found.append(record)
                if len(found) == limit:
                    break
            start = start or record.id == after
        return found

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._writer.shutdown()

    # --- memory ---

    def _take(self, record: ExitRecord, size: int) -> None:
        self._records[record.id] = record
        self._sizes[record.id] = size
        self._reasons[record.reason] += 1

    def _surplus(self) -> Iterator[ExitRecord]:
        """Forget what is too much, oldest first; the last of a reason stays."""
        size = sum(self._sizes.values())
        most_bytes = min(self._most_bytes, SHORT_BYTES) if self._is_short else self._most_bytes
        for record in list(self._records.values()):
            if len(self._records) <= self._most and size <= most_bytes:
                return
            if self._reasons[record.reason] > 1:
                self._reasons[record.reason] -= 1
                del self._records[record.id]
                size -= self._sizes.pop(record.id)
                yield record

    def _load(self) -> None:
        found = []
        for path in self._folder.glob(f"*{_RECORD}"):
            if not path.is_file():
                continue  # no record of ours: a FIFO would hold up the start
            try:
                record = msgspec.json.decode(path.read_bytes(), type=ExitRecord)
                size = path.stat().st_size
                if record.stacks is not None:
                    stacks = self._folder / record.stacks
                    if stacks.exists():
                        size += stacks.stat().st_size
                    else:  # the disk had no room for them
                        record = msgspec.structs.replace(record, stacks=None)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                # Half written when the machine went down, or of another version: no evidence.
                _log.warning("exit_record_unreadable", path=str(path), error=str(error))
                continue
            found.append((record, size))
        for record, size in sorted(found, key=lambda item: item[0].at):
            self._take(record, size)
        for old in self._surplus():
            self._remove(old)

    # --- disk, in the writer's thread ---

    def _write(self, record: ExitRecord, body: bytes, stacks: str) -> None:
        try:
            self._is_short = shutil.disk_usage(self._folder).free < RESERVE_BYTES
            if stacks and not self._is_short:
                self._write_file(record.id + _STACKS, stacks.encode())
            self._write_file(record.id + _RECORD, body)
        except OSError as error:
            # It is in memory still, and in the log; a full disk shall not take more than that.
            _log.error("exit_record_not_written", exit=record.id, error=str(error))

    def _write_file(self, name: str, body: bytes) -> None:
        path = self._folder / name
        fresh = path.with_suffix(path.suffix + ".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(body)
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)  # half of it is no evidence, and takes room
            raise

    def _read_stacks(self, name: str) -> str:
        try:
            return (self._folder / name).read_text()
        except FileNotFoundError:
            return ""

    def _remove(self, record: ExitRecord) -> None:
        for suffix in (_RECORD, _STACKS):
            (self._folder / f"{record.id}{suffix}").unlink(missing_ok=True)
