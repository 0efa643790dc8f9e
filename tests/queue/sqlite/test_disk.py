"""What the SQLite engine does when the disk does not do its part."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.config import QueueConfig
from supervisor.queue import (
    Bury,
    DeadLetterFilter,
    Delivered,
    Outcome,
    Queue,
    QueueUnavailable,
)
from supervisor.queue.engines import audit
from supervisor.queue.sqlite.schema import DATABASE
from tests.harness.disks import small_disk
from tests.queue.given import (
    SPECS,
    T0,
    deliver_everything,
    events,
    settle_all,
    sqlite_queue,
    take,
    taken,
    until,
)

#: Bytes of the file system that is filled: the reserve and not much more.
SMALL = 32 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, as large as `SMALL`."""
    with small_disk(tmp_path / "disk", SMALL) as path:
        yield path


async def append_until_refused(queue: Queue, *, size: int) -> None:
    """Fill the disk, ten events at a time."""
    for number in range(1000, 11_000):
        await queue.append("web", events(range(number * 10, number * 10 + 10), size=size), T0)


async def use_until_refused(queue: Queue) -> None:
    """Start, read and write."""
    await queue.start(SPECS, lambda connection: None)
    await queue.audit()
    await deliver_everything(queue)
    await append_until_refused(queue, size=10_000)


async def test_full_disk(disk: Path) -> None:
    """On a full disk intake stops and says so, delivery goes on, and space brings intake back."""
    queue = sqlite_queue(disk / "state", time.time)
    await queue.start(SPECS, lambda connection: None)
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (SMALL - 20 * 1024 * 1024))
    with pytest.raises(QueueUnavailable, match=r"disk of .*queue\.db is full: make room"):
        await append_until_refused(queue, size=10_000)
    taken_ids = queue.books().accepted
    assert taken_ids > 0
    assert "full" in queue.stats().intake
    with pytest.raises(QueueUnavailable, match="full"):
        await queue.append("web", events([5]), T0)
    assert queue.books().pending == taken_ids == (await queue.audit()).pending
    first = await take(queue, most=10)
    assert first is not None
    await settle_all(queue, first, Delivered())
    await until(lambda: queue.books().delivered_first_try == 10)
    ballast.unlink()
    await until(lambda: queue.stats().intake == "open")
    assert await queue.append("web", events([5]), T0) == [True]
    assert len(await deliver_everything(queue)) == taken_ids - 9
    await until(lambda: queue.books().pending == 0)
    await queue.close()
    assert all(books.is_balanced for books in audit(disk / "state").values())


async def test_full_disk_at_start(disk: Path) -> None:
    """A service that was stopped by a full disk starts again and delivers what it has."""
    state_dir = disk / "state"
    queue = sqlite_queue(state_dir, time.time)
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", events(range(20), size=1000), T0)
    await queue.close()
    (state_dir / "queue.reserve").unlink()
    free = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"x" * (free.f_bavail * free.f_bsize - 512 * 1024))
    queue = sqlite_queue(state_dir, time.time)
    await queue.start(SPECS, lambda connection: None)
    assert len(await deliver_everything(queue)) == 20
    await until(lambda: queue.books().delivered_first_try == 20)
    await queue.close()


async def test_damaged_file(tmp_path: Path) -> None:
    """A file that is no database is left alone, and the error says what to do."""
    (tmp_path / DATABASE).write_bytes(b"no database, but somebody's data" * 1000)
    before = (tmp_path / DATABASE).read_bytes()
    queue = sqlite_queue(tmp_path, time.time)
    with pytest.raises(QueueUnavailable, match=r"queue\.db is damaged .*keep a copy"):
        await queue.start(SPECS, lambda connection: None)
    assert (tmp_path / DATABASE).read_bytes() == before
    with pytest.raises(QueueUnavailable, match="damaged"):
        audit(tmp_path)


async def test_damaged_while_running(tmp_path: Path) -> None:
    """Damage that is met while running stops intake for good and loses no file."""
    queue = sqlite_queue(tmp_path, time.time)
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", events(range(3000), size=1000), T0)
    await queue.close()
    size = (tmp_path / DATABASE).stat().st_size
    with (tmp_path / DATABASE).open("r+b") as file:
        for page in range(4, size // 8192):  # what is in front is read at start
            file.seek(page * 8192)
            file.write(b"\xff" * 64)
    queue = sqlite_queue(tmp_path, time.time)
    with pytest.raises(QueueUnavailable, match="damaged"):
        await use_until_refused(queue)
    await queue.close()
    assert (tmp_path / DATABASE).stat().st_size >= size


async def test_refused_verdicts_are_kept(disk: Path) -> None:
    """What was settled while nothing could be written is written when it can be."""
    queue = sqlite_queue(disk / "state", time.time, QueueConfig())
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", events(range(30), size=1000), T0)
    lease = await taken(queue)
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"x" * SMALL)
    await settle_all(queue, lease, Bury(Outcome.FAILED, "y" * 1000))
    with pytest.raises(QueueUnavailable, match="full"):
        await append_until_refused(queue, size=30_000)
    ballast.unlink()
    await until(lambda: queue.books().failed == 30)
    assert len(await queue.dead_letters(DeadLetterFilter(), limit=99, after=None)) == 30
    assert queue.books() == await queue.audit()
    await queue.close()
