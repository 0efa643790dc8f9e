"""A queue that has less than it once had is noticed at the start, with numbers."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from supervisor.queue import QueueUnavailable
from supervisor.queue.engines import accept_loss, audit
from supervisor.queue.sqlite import checkpoints, mark
from supervisor.queue.sqlite.engine import SqliteQueue
from supervisor.queue.sqlite.schema import DATABASE
from tests.harness.waiting import wait_until
from tests.queue.given import SPECS, T0, SetClock, deliver_everything, events, sqlite_queue, until
from tests.queue.sqlite.killed import ROOT, kill_at_stop
from tests.queue.sqlite.test_crash import live_and_die


async def opened(state_dir: Path) -> SqliteQueue:
    """A queue that was started."""
    queue = sqlite_queue(state_dir, SetClock())
    await queue.start(SPECS, lambda connection: None)
    return queue


async def store(state_dir: Path, first: int, behind: int) -> None:
    """A life of the service in which these events come, one commit each."""
    queue = await opened(state_dir)
    for number in range(first, behind):
        await queue.append("web", events([number]), T0)
    await queue.close()


async def test_a_file_that_was_put_back_is_refused_until_that_is_accepted(tmp_path: Path) -> None:
    """It is said how much is missing and since when; the flag is good for this loss alone."""
    state_dir = tmp_path / "state"
    await store(state_dir, 0, 10)
    shutil.copy(state_dir / DATABASE, tmp_path / "older")
    await store(state_dir, 10, 30)
    shutil.copy(tmp_path / "older", state_dir / DATABASE)
    with pytest.raises(
        QueueUnavailable, match=r"20 commits with 20 events are missing: .*--accept-loss 3\d"
    ) as refused:
        await opened(state_dir)
    assert audit(state_dir)["a"].accepted == 10
    known = int(str(refused.value).rpartition(" ")[2])
    assert not accept_loss(state_dir, known - 1)
    with pytest.raises(QueueUnavailable, match="are missing"):
        await opened(state_dir)
    assert accept_loss(state_dir, known)
    assert not accept_loss(state_dir, known)
    queue = await opened(state_dir)
    assert queue.books().pending == 10
    await queue.append("web", events([99]), T0)
    await queue.close()
    await (await opened(state_dir)).close()


async def test_a_database_that_is_gone_is_refused_and_not_made_anew(tmp_path: Path) -> None:
    """However often the start is tried; with the file back all is well."""
    await store(tmp_path, 0, 5)
    (tmp_path / DATABASE).rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(QueueUnavailable, match=r"database is gone, all .* with 5 events"):
            await opened(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / DATABASE)
    queue = await opened(tmp_path)
    assert queue.books().pending == 5
    await queue.close()


async def test_another_queues_database_is_refused(tmp_path: Path) -> None:
    """Also where it has more commits than the one that belongs here."""
    await store(tmp_path / "one", 0, 3)
    await store(tmp_path / "other", 0, 9)
    shutil.copy(tmp_path / "other" / DATABASE, tmp_path / "one" / DATABASE)
    with pytest.raises(QueueUnavailable, match=r"another queue's: its own .* 3 events"):
        await opened(tmp_path / "one")


#: Takes a few events, which are soon marked and long not checkpointed, and lives on.
_QUIET = """
import asyncio, sys, time
from pathlib import Path
from tests.queue.given import SPECS, T0, events, sqlite_queue

async def main():
    queue = sqlite_queue(Path(sys.argv[1]), time.time)
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", events(range(5)), T0)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def live_until_marked(state_dir: Path) -> None:
    """Run a service's queue, and kill it once the events that it took are marked."""
    with subprocess.Popen([sys.executable, "-c", _QUIET, str(state_dir)], cwd=ROOT) as process:
        try:
            wait_until(lambda: marked_events(state_dir) == 5, 30, "the events are marked")
        finally:
            process.kill()


def marked_events(state_dir: Path) -> int:
    """As the mark says; 0 where there is none."""
    known = mark.read(state_dir)
    return 0 if known is None else known.events


async def test_a_log_that_is_gone_is_noticed(tmp_path: Path) -> None:
    """After a kill the newest commits are in the log alone; without it they are missing."""
    await asyncio.to_thread(live_until_marked, tmp_path)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"{DATABASE}{suffix}").unlink()
    with pytest.raises(QueueUnavailable, match=r"are missing|is gone|another queue's"):
        await opened(tmp_path)


async def test_kills_alone_are_no_loss(tmp_path: Path) -> None:
    """The mark is never ahead of what is on disk, wherever the service is killed."""
    for life in range(4):
        live_and_die(tmp_path, f"life{life}", 1500)
        known = mark.read(tmp_path)
        with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
            (commits,) = db.execute("SELECT commits FROM meta").fetchone()
        assert known is None or known.commits <= commits
    queue = await opened(tmp_path)
    await deliver_everything(queue)
    await queue.close()


async def test_killed_while_the_mark_is_written(tmp_path: Path) -> None:
    """The mark before it holds, and the next start goes on."""
    await store(tmp_path, 0, 5)
    before = mark.read(tmp_path)
    kill_at_stop(
        "import pathlib, sys\n"
        "from supervisor.queue.sqlite import mark\n"
        "pathlib.Path.rename = stop\n"
        "mark.write(pathlib.Path(sys.argv[1]), mark.HighMark('x', 99, 99, 0.0))",
        str(tmp_path),
    )
    assert (tmp_path / f"{mark.FILE}.new").exists()
    assert mark.read(tmp_path) == before
    await store(tmp_path, 5, 6)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"[]", b'{"store": 1}', b"\xff"])
async def test_a_mark_that_cannot_be_read_stops_nothing(tmp_path: Path, content: bytes) -> None:
    """It only says less than the database itself, and is written anew."""
    await store(tmp_path, 0, 5)
    (tmp_path / mark.FILE).write_bytes(content)
    await store(tmp_path, 5, 6)
    known = mark.read(tmp_path)
    assert known is not None
    assert known.events == 6


async def test_a_quiet_service_has_everything_in_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon after a commit the database alone has it, and the mark says so."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_WITHIN_S", 0.1)
    monkeypatch.setattr(checkpoints, "MARK_WITHIN_S", 0.05)
    queue = await opened(tmp_path / "state")
    await queue.append("web", events(range(7)), T0)

    def is_copied() -> bool:
        alone = tmp_path / "alone"
        alone.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "state" / DATABASE, alone / DATABASE)
        try:
            return audit(alone)["a"].pending == 7
        except (QueueUnavailable, KeyError):
            return False

    await until(is_copied)

    def is_marked() -> bool:
        known = mark.read(tmp_path / "state")
        return known is not None and known.events == 7

    await until(is_marked)
    await queue.close()
