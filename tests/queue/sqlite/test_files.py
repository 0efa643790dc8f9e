"""Files that are removed or replaced under the running service stop intake, and nothing else."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from supervisor.queue import QueueUnavailable
from supervisor.queue.sqlite import mark
from supervisor.queue.sqlite.schema import DATABASE, LOCK
from tests.queue.given import SPECS, T0, deliver_everything, events, sqlite_queue, until

NAMES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK)


def remove(path: Path) -> None:
    """Gone."""
    path.unlink()


def replace(path: Path) -> None:
    """A copy of it stands in its place, byte for byte."""
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def move_folder(path: Path) -> None:
    """The whole directory is elsewhere, and an empty one in its place."""
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.mkdir()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("harm", [remove, replace, move_folder], ids=lambda harm: harm.__name__)
async def test_intake_stops_and_delivery_goes_on(tmp_path: Path, name: str, harm: object) -> None:
    """No event is acknowledged that nobody will find again; what is pending is delivered."""
    state_dir = tmp_path / "state"
    queue = sqlite_queue(state_dir, time.time)
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", events(range(20)), T0)
    await until(lambda: mark.read(state_dir) is not None)
    assert callable(harm)
    harm(state_dir / name)
    with pytest.raises(QueueUnavailable, match=r"removed or moved|was replaced"):
        await queue.append("web", events([99]), T0)
    assert "while the service runs" in queue.stats().files_missing
    assert queue.stats().intake == queue.stats().files_missing
    assert len(await deliver_everything(queue)) == 20
    await until(lambda: queue.books().delivered_first_try == 20)
    assert queue.stats().intake != "open"
    known = mark.read(state_dir)
    await queue.close()
    assert mark.read(state_dir) == known


async def test_it_is_noticed_while_nothing_comes(tmp_path: Path) -> None:
    """Within a second or so; and the same file put back opens intake again."""
    queue = sqlite_queue(tmp_path, time.time)
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", events(range(3)), T0)
    (tmp_path / DATABASE).rename(tmp_path / "elsewhere")
    await until(lambda: queue.stats().intake != "open")
    (tmp_path / "elsewhere").rename(tmp_path / DATABASE)
    await until(lambda: queue.stats().intake == "open")
    assert queue.stats().files_missing == ""
    assert await queue.append("web", events([7]), T0) == [True]
    await queue.close()
    again = sqlite_queue(tmp_path, time.time)
    await again.start(SPECS, lambda connection: None)
    assert again.books().pending == 4
    await again.close()
