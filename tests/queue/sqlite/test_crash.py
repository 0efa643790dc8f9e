"""What holds after `kill -9` at any instant."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor.queue import Books, DeadLetterFilter, QueueUnavailable
from supervisor.queue.engines import audit, last_run
from tests.queue.given import SPECS, deliver_everything, sqlite_queue

LIVES = 8
ROOT = Path(__file__).parents[3]


def live_and_die(state_dir: Path, life: str, lines: int) -> list[str]:
    """Run a victim, kill it once it has said so many lines; all that it said."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.queue.sqlite.victim", str(state_dir), life],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    return [line.rstrip("\n") for line in said if line.endswith("\n")]


async def test_kill_at_random_instants(tmp_path: Path) -> None:
    """Whatever was acknowledged is delivered, a dead letter, or pending; the books balance."""
    state_dir = tmp_path / "state"
    chance = random.Random(7)
    said: list[str] = []
    for life in range(LIVES):
        said += live_and_die(state_dir, f"life{life}", chance.randrange(1, 4000))
        books = audit(state_dir)
        assert all(one.is_balanced for one in books.values())
    assert last_run(state_dir).seen == pytest.approx(time.time(), abs=60)
    taken = {
        (connection, message_id)
        for line in said
        if line.startswith("taken ")
        for _, message_id, names in [line.split(" ")]
        for connection in names.split(",")
    }
    sent = Counter(tuple(line.split(" ")[1:]) for line in said if line.startswith("sent "))
    queue = sqlite_queue(state_dir, lambda: time.time() + 3600)
    await queue.start(SPECS, lambda connection: None)
    assert queue.books().is_balanced
    assert queue.books() == await queue.audit() == total(audit(state_dir))
    assert queue.books().accepted >= len(taken)
    left: Counter[tuple[str, ...]] = Counter()
    for connection in SPECS:
        left.update((connection, one) for one in await deliver_everything(queue, [connection]))
    dead_lettered = {
        (letter.connection, letter.message_id)
        for letter in await queue.dead_letters(DeadLetterFilter(), limit=1_000_000, after=None)
    }
    assert taken <= sent.keys() | left.keys() | dead_lettered
    assert max(left.values(), default=1) == 1
    await queue.close()
    final = total(audit(state_dir))
    assert final.is_balanced
    assert final.pending == 0


def total(books: Mapping[str, Books]) -> Books:
    """The sum over connections."""
    return Books(
        **{
            name: sum(getattr(one, name) for one in books.values())
            for name in Books.__struct_fields__
        }
    )


async def test_second_service(tmp_path: Path) -> None:
    """A state directory has one service at a time; the second is told whose it is."""
    queue = sqlite_queue(tmp_path, time.time)
    await queue.start(SPECS, lambda connection: None)
    second = sqlite_queue(tmp_path, time.time)
    with pytest.raises(QueueUnavailable, match=r"pid \d+.*state_dir"):
        await second.start(SPECS, lambda connection: None)
    await queue.close()
    await second.start(SPECS, lambda connection: None)
    await second.close()


async def test_private_files(tmp_path: Path) -> None:
    """Nobody but the owner can read what customers sent."""
    queue = sqlite_queue(tmp_path / "state", time.time)
    await queue.start(SPECS, lambda connection: None)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert "queue.db-wal" in modes
    await queue.close()


async def test_offline_beside_a_service(tmp_path: Path) -> None:
    """The offline audit works beside a running service, and says where there is none."""
    with pytest.raises(QueueUnavailable, match="no queue here"):
        audit(tmp_path)
    queue = sqlite_queue(tmp_path, time.time)
    await queue.start(SPECS, lambda connection: None)
    loop = asyncio.get_running_loop()
    assert total(await loop.run_in_executor(None, audit, tmp_path)) == queue.books()
    await queue.close()
