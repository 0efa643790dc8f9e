"""SQLite's write-ahead log is bounded, counted and told of, whoever keeps it from being emptied."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.config import QueueConfig
from supervisor.queue import Queue, QueueFull
from supervisor.queue.sqlite import checkpoints, schema, store
from supervisor.queue.sqlite.schema import DATABASE
from tests.queue.given import SPECS, T0, deliver_everything, events, sqlite_queue, until

KIB = 1024
#: In place of what stands in the code, so that little has to be written.
CHECKPOINT, HELD, KEPT, BUDGET = 256 * KIB, 1024 * KIB, 512 * KIB, 4096 * KIB

#: Reads once and stays in its transaction until its standard input ends.
_READER = """
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT count(*) FROM chunks").fetchone()
print("reads", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bounds."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_BYTES", CHECKPOINT)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_WITHIN_S", 0.1)
    monkeypatch.setattr(checkpoints, "HELD_BYTES", HELD)
    monkeypatch.setattr(store, "HELD_BYTES", HELD)
    monkeypatch.setattr(store, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(schema, "LOG_KEPT_BYTES", KEPT)


@contextmanager
def reader(state_dir: Path) -> Iterator[int]:
    """Another process in a read transaction; its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", _READER, str(state_dir / DATABASE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


async def use(queue: Queue, times: int) -> None:
    """Take events in and deliver them, so that nothing stays pending."""
    for number in range(times):
        first = int(time.monotonic_ns())
        await queue.append("web", events(range(first, first + 10), size=2000), T0 + number)
        await deliver_everything(queue, ["a"])


async def use_until_full(queue: Queue) -> None:
    """Until the sender is told to wait."""
    await use(queue, 5000)


def size_of(state_dir: Path) -> int:
    """Bytes of the log on disk."""
    return (state_dir / f"{DATABASE}-wal").stat().st_size


async def test_a_reader_that_pins_the_log(tmp_path: Path) -> None:
    """It is named; the log counts against the budget until senders wait; nothing is evicted for it;
    and when it is gone the log goes back to the disk, though nothing comes any more."""
    queue = sqlite_queue(tmp_path, time.time, QueueConfig(max_pending=BUDGET))
    await queue.start(SPECS, lambda connection: None)
    await use(queue, 3)
    with reader(tmp_path) as pid:
        with pytest.raises(QueueFull, match=r"queue's own log of \d+"):
            await use_until_full(queue)
        await until(lambda: queue.stats().log_held != "")
        assert f"process {pid} (python" in queue.stats().log_held
        assert "this service" not in queue.stats().log_held
        assert "queue.max_pending" in queue.stats().log_held
        # Beside what was written between two looks, which a busy machine draws out.
        assert size_of(tmp_path) < BUDGET + 2 * HELD
        await until(lambda: queue.stats().log_bytes == size_of(tmp_path))
        assert queue.stats().evicted == 0
        await until(lambda: queue.books().pending == 0)
    await until(lambda: queue.stats().log_held == "" and queue.stats().log_bytes <= KEPT)
    assert size_of(tmp_path) <= KEPT
    await use(queue, 3)
    await queue.close()


async def test_a_log_that_nobody_holds_stays_small(tmp_path: Path) -> None:
    """Whatever is written, it is emptied at each checkpoint, and nobody is warned."""
    queue = sqlite_queue(tmp_path, time.time, QueueConfig(max_pending=BUDGET))
    await queue.start(SPECS, lambda connection: None)
    for _ in range(20):
        await use(queue, 20)
        assert queue.stats().log_held == ""
    assert size_of(tmp_path) < HELD
    await queue.close()
