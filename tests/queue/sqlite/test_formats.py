"""A state directory of every earlier format opens with all that was in it; a newer one does not."""

from __future__ import annotations

import contextlib
import gzip
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.queue import DeadLetterFilter, Outcome, QueueUnavailable
from supervisor.queue.engines import audit
from supervisor.queue.sqlite.migrations import STEPS, bring_forward
from supervisor.queue.sqlite.schema import DATABASE, VERSION, open_writer
from tests.queue.given import (
    SPECS,
    T0,
    TO_A,
    SetClock,
    deliver_everything,
    event,
    sqlite_queue,
)

FOLDER = Path(__file__).parent / "formats"
ROOT = Path(__file__).parents[3]

#: Opens the database, and stops for good within the step that leads away from format 1.
_STOPS_IN_A_STEP = """
import signal, sys
from pathlib import Path
from supervisor.queue.sqlite import migrations, schema
real = migrations.STEPS[1]
def stops(db):
    real(db)
    print("in the step", flush=True)
    signal.pause()
migrations.STEPS[1] = stops
schema.open_writer(Path(sys.argv[1]))
"""


def unpack(number: int, state_dir: Path) -> Path:
    """The directory that a service of that format has left."""
    state_dir.mkdir()
    packed = FOLDER / f"format-{number}"
    for file in packed.iterdir():
        (state_dir / file.name).write_bytes(file.read_bytes())
    (state_dir / DATABASE).write_bytes(gzip.decompress((packed / f"{DATABASE}.gz").read_bytes()))
    return state_dir


def tables_of(state_dir: Path) -> dict[str, list[tuple[object, ...]]]:
    """Name, type and default of each column, by table and index."""
    with contextlib.closing(sqlite3.connect(state_dir / DATABASE)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master")]
        return {
            name: [(row[1], row[2], row[3]) for row in db.execute(f"PRAGMA table_info({name})")]
            for name in names
        }


def format_of(state_dir: Path) -> int:
    """The number in the database."""
    with contextlib.closing(sqlite3.connect(state_dir / DATABASE)) as db:
        (number,) = db.execute("PRAGMA user_version").fetchone()
        return int(number)


def test_every_earlier_format_has_a_folder_and_a_step() -> None:
    """Whoever raises the number keeps a directory of the one before."""
    earlier = range(1, VERSION)
    assert list(STEPS) == list(earlier)
    assert sorted(path.name for path in FOLDER.glob("format-*")) == [
        f"format-{number}" for number in earlier
    ]


@pytest.mark.parametrize("number", range(1, VERSION))
async def test_a_directory_of_an_earlier_format_opens(number: int, tmp_path: Path) -> None:
    """Events, retries, dead letters and known ids are as they were, and the books balance."""
    state_dir = unpack(number, tmp_path / "state")
    before = audit(state_dir)
    assert (before["a"].pending, before["a"].failed, before["b"].pending) == (25, 5, 20)
    clock = SetClock()
    queue = sqlite_queue(state_dir, clock)
    await queue.start(SPECS, lambda connection: None)
    assert format_of(state_dir) == VERSION
    assert queue.books() == await queue.audit()
    assert queue.books_by_connection() == before
    assert (queue.depth("a").fresh, queue.depth("a").retrying) == (20, 5)
    assert await queue.append("web", [event("m3"), event("new")], T0) == [False, True]
    letters = await queue.dead_letters(DeadLetterFilter(connection="a"), limit=99, after=None)
    assert {letter.outcome for letter in letters} == {Outcome.FAILED}
    assert (await queue.replay(DeadLetterFilter(connection="a"), dry_run=False)).done == 5
    clock.now += 600
    delivered = await deliver_everything(queue)
    assert len(delivered) == 25 + 5 + 20 + 1
    await queue.close()
    after = audit(state_dir)
    assert all(books.is_balanced and not books.pending for books in after.values())


async def test_a_brought_forward_directory_is_like_a_new_one(tmp_path: Path) -> None:
    """Steps lead to the tables that a new directory gets."""
    old = unpack(1, tmp_path / "old")
    open_writer(old).close()
    new = tmp_path / "new"
    new.mkdir()
    queue = sqlite_queue(new, SetClock())
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", [event("m1", TO_A)], T0)
    await queue.close()
    made, brought = tables_of(new), tables_of(old)
    assert made.keys() == brought.keys()
    names = {table: {column[:2] for column in columns} for table, columns in made.items()}
    assert names == {table: {column[:2] for column in brought[table]} for table in made}


def test_killed_within_a_step(tmp_path: Path) -> None:
    """A service that is killed while it migrates goes on at the next start, and nothing is lost."""
    state_dir = unpack(1, tmp_path / "state")
    before = audit(state_dir)
    with subprocess.Popen(
        [sys.executable, "-c", _STOPS_IN_A_STEP, str(state_dir)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the step\n"
        process.send_signal(signal.SIGKILL)
    assert format_of(state_dir) == 1
    assert audit(state_dir) == before
    open_writer(state_dir).close()
    assert format_of(state_dir) == VERSION
    assert audit(state_dir) == before


def test_a_step_that_fails_leaves_those_before_it(tmp_path: Path) -> None:
    """Each step is a transaction with its number: the next start goes on behind the last one."""
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as db:
        db.execute("CREATE TABLE t (a)")
        db.execute("PRAGMA user_version = 1")

        def add(name: str, db: sqlite3.Connection) -> None:
            db.execute(f"ALTER TABLE t ADD COLUMN {name}")

        def fails(db: sqlite3.Connection) -> None:
            add("c", db)
            raise sqlite3.OperationalError("disk I/O error")

        first = {1: lambda db: add("b", db), 2: fails}
        with pytest.raises(sqlite3.OperationalError):
            bring_forward(db, 1, 3, first)
        assert format_of(tmp_path) == 2
        bring_forward(db, 2, 3, {2: lambda db: add("c", db)})
        assert format_of(tmp_path) == 3
        assert [row[1] for row in db.execute("PRAGMA table_info(t)")] == ["a", "b", "c"]


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """Both numbers are named and what to do; nothing in the file changes, and no reader guesses."""
    queue = sqlite_queue(tmp_path, SetClock())
    await queue.start(SPECS, lambda connection: None)
    await queue.close()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 7}")
    before = (tmp_path / DATABASE).read_bytes()
    told = rf"newer version .*format {VERSION + 7}; .*up to {VERSION}\).*start that version again"
    with pytest.raises(QueueUnavailable, match=told):
        await sqlite_queue(tmp_path, SetClock()).start(SPECS, lambda connection: None)
    with pytest.raises(QueueUnavailable, match=told):
        audit(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == before
