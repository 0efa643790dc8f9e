"""A backup is one state of the queue in one file, and the next start begins with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.queue import QueueUnavailable
from supervisor.queue.engines import audit, back_up
from supervisor.queue.sqlite import mark
from supervisor.queue.sqlite.engine import SqliteQueue
from supervisor.queue.sqlite.schema import DATABASE
from supervisor.state import backoff, paused
from tests.queue.given import (
    SPECS,
    T0,
    SetClock,
    deliver_everything,
    events,
    sqlite_queue,
)
from tests.queue.sqlite.killed import ROOT, kill_at_stop


async def opened(state_dir: Path) -> SqliteQueue:
    """A queue that was started."""
    queue = sqlite_queue(state_dir, SetClock())
    await queue.start(SPECS, lambda connection: None)
    return queue


def copied(state_dir: Path, file: Path) -> Path:
    """A backup of that directory."""
    back_up(state_dir, file, lambda done, of: None)
    return file


async def test_restored_over_whatever_lies_there(tmp_path: Path) -> None:
    """A mark and a log that belong to a newer file are of no account, and no flag is needed."""
    state_dir = tmp_path / "state"
    (tmp_path / "state").mkdir()
    (state_dir / paused.FILE).write_text('["a"]')
    queue = await opened(state_dir)
    await queue.append("web", events(range(10)), T0)
    file = copied(state_dir, tmp_path / "backup")
    await queue.append("web", events(range(10, 30), size=1000), T0)
    log = shutil.copy(state_dir / f"{DATABASE}-wal", tmp_path / "log")
    await queue.close()
    shutil.copy(log, state_dir / f"{DATABASE}-wal")  # as a kill would have left it
    (state_dir / paused.FILE).unlink()
    (state_dir / backoff.FILE).write_text('{"b": 1.0}')
    shutil.copy(file, state_dir / DATABASE)
    queue = await opened(state_dir)
    assert queue.books().pending == 10
    assert queue.books() == await queue.audit()
    assert (state_dir / paused.FILE).read_text() == '["a"]'
    assert not (state_dir / backoff.FILE).exists()
    assert len(await deliver_everything(queue)) == 10
    assert await queue.append("web", events([3, 12]), T0) == [False, True]
    await queue.close()
    again = await opened(state_dir)  # it is a backup no more
    assert again.books().accepted == 11
    await again.close()


async def test_restored_into_an_empty_directory(tmp_path: Path) -> None:
    """Nothing else is needed."""
    queue = await opened(tmp_path / "state")
    await queue.append("web", events(range(10)), T0)
    await queue.close()
    file = copied(tmp_path / "state", tmp_path / "backup")  # of a stopped service, too
    (tmp_path / "new").mkdir()
    shutil.copy(file, tmp_path / "new" / DATABASE)
    queue = await opened(tmp_path / "new")
    assert len(await deliver_everything(queue)) == 10
    await queue.close()


async def test_killed_while_it_is_taken_over(tmp_path: Path) -> None:
    """The next start does it again."""
    state_dir = tmp_path / "state"
    queue = await opened(state_dir)
    await queue.append("web", events(range(10)), T0)
    file = copied(state_dir, tmp_path / "backup")
    await queue.append("web", events(range(10, 20)), T0)
    await queue.close()
    for place in ("mark.remove", "backup.sync_folder", "backup._require_whole"):
        shutil.copy(file, state_dir / DATABASE)
        kill_at_stop(
            "import pathlib, sys\n"
            "from supervisor.queue.sqlite import backup, mark\n"
            f"{place} = stop\n"
            "backup.take_over(pathlib.Path(sys.argv[1]))",
            str(state_dir),
        )
    queue = await opened(state_dir)
    assert queue.books().pending == 10
    await queue.close()


async def test_half_a_file_is_refused(tmp_path: Path) -> None:
    """A copy that was cut off is no database, and the error says so; the whole one is taken."""
    queue = await opened(tmp_path / "state")
    await queue.append("web", events(range(100), size=1000), T0)
    await queue.close()
    file = copied(tmp_path / "state", tmp_path / "backup")
    half = file.read_bytes()[: file.stat().st_size // 2]
    (tmp_path / "state" / DATABASE).write_bytes(half)
    with pytest.raises(QueueUnavailable, match="of the backup are here: copy it once more"):
        await opened(tmp_path / "state")
    assert (tmp_path / "state" / DATABASE).read_bytes() == half
    shutil.copy(file, tmp_path / "state" / DATABASE)
    queue = await opened(tmp_path / "state")
    assert queue.books().pending == 100
    await queue.close()


def test_beside_a_service_under_load(tmp_path: Path) -> None:
    """Copies that are made while commits go on are of one state each: their books balance."""
    state_dir = tmp_path / "state"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.queue.sqlite.victim", str(state_dir), "life"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        for number in range(5):
            for _ in range(2000):
                process.stdout.readline()
            copy = tmp_path / f"copy-{number}"
            copy.mkdir()
            copied(state_dir, copy / DATABASE)
            books = audit(copy)
            assert all(one.is_balanced for one in books.values())
            assert books["a"].accepted > 0
        process.kill()


def test_nothing_to_copy(tmp_path: Path) -> None:
    """A directory without a queue is named."""
    with pytest.raises(QueueUnavailable, match="there is no queue here"):
        copied(tmp_path, tmp_path / "backup")


async def test_a_backup_has_no_mark_of_its_own_beside_it(tmp_path: Path) -> None:
    """From its first start on, it has: what is lost of it later is noticed as well."""
    queue = await opened(tmp_path / "state")
    await queue.append("web", events(range(10)), T0)
    await queue.close()
    file = copied(tmp_path / "state", tmp_path / "backup")
    (tmp_path / "new").mkdir()
    shutil.copy(file, tmp_path / "new" / DATABASE)
    await (await opened(tmp_path / "new")).close()
    assert mark.read(tmp_path / "new") is not None
    (tmp_path / "new" / DATABASE).unlink()
    with pytest.raises(QueueUnavailable, match="is gone"):
        await opened(tmp_path / "new")
