"""Times of a run whose clock was another are moved at the next start, and no others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from supervisor.queue import DeadLettered, DeadLetterFilter, Outcome, Postpone, Release
from supervisor.queue.engines import last_run
from supervisor.queue.sqlite.engine import SqliteQueue
from supervisor.queue.sqlite.reanchoring import HAPPENED
from supervisor.queue.sqlite.schema import DATABASE
from supervisor.runtime.clock import BELIEVED_S, Anchored
from tests.queue.given import (
    SPECS,
    T0,
    SetClock,
    deliver_everything,
    events,
    sqlite_queue,
    taken,
    until,
)
from tests.queue.sqlite.killed import kill_at_stop

HOUR = 3600.0


async def opened(
    state_dir: Path, clock: SetClock, at: float, *, reanchored_s: float = 0.0, is_sure: bool = False
) -> SqliteQueue:
    """A run that starts then; by `reanchored_s` the last one was ahead of it."""
    clock.now = at
    queue = sqlite_queue(state_dir, clock, anchored=Anchored(reanchored_s, is_sure))
    await queue.start(SPECS, lambda connection: None)
    return queue


async def fail_some(queue: SqliteQueue, clock: SetClock, first: int, failed: int) -> None:
    """Of ten new events one becomes a dead letter, one a retry in five minutes."""
    await queue.append("web", events(range(first, first + 10)), clock.now)
    lease = await taken(queue)
    n = len(lease.deliveries)
    await queue.settle(lease, [(n - 1, DeadLettered(Outcome.FAILED, "no"))])
    await queue.settle(lease, [(n - 2, Postpone(300.0, "busy"))])
    await queue.settle(lease, [(index, Release()) for index in range(n - 2)])
    await until(lambda: queue.books().failed == failed)


async def test_times_ahead_are_taken_back_and_right_ones_stay(tmp_path: Path) -> None:
    """A run that was right, one that was an hour ahead, and one that is right again."""
    clock = SetClock()
    queue = await opened(tmp_path, clock, T0)
    await fail_some(queue, clock, 0, 1)
    await queue.close()
    queue = await opened(tmp_path, clock, T0 + HOUR)
    await fail_some(queue, clock, 100, 2)
    clock.now += 20
    await queue.append("web", events([200]), clock.now)
    await queue.close()
    assert last_run(tmp_path).seen == T0 + HOUR + 20
    queue = await opened(tmp_path, clock, T0 + 30)
    assert last_run(tmp_path).seen == pytest.approx(T0 + 30)
    letters = await queue.dead_letters(DeadLetterFilter(), limit=9, after=None)
    assert [letter.last_at - T0 for letter in letters] == pytest.approx([10, 0])
    (record,) = await queue.find("m200")
    assert record.received_at == pytest.approx(T0 + 30)
    (early,) = await queue.find("m1")
    assert early.received_at == T0
    next_at = queue.depth("a").next_retry_at
    assert next_at is not None
    assert clock.now <= next_at <= clock.now + 300
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        for table, columns in HAPPENED.items():
            for column in columns:
                (newest,) = db.execute(f"SELECT max({column}) FROM {table}").fetchone()  # noqa: S608 - constants
                assert newest is None or newest <= clock.now, (table, column)
    accepted = await queue.append("web", events([5, 105, 200, 300]), clock.now)
    assert accepted == [False, False, False, True]
    clock.now += 600
    await deliver_everything(queue)
    await until(lambda: queue.books().pending == 0)
    assert queue.books() == await queue.audit()
    await queue.close()


async def test_a_clock_that_was_set_ahead_while_it_was_down_makes_no_ages(tmp_path: Path) -> None:
    """Two years, and back again, with a restart in between: all is as old as it is, a retry is due
    when it was, and what was taken in the wrong years is told apart from nothing."""
    clock, years = SetClock(), 2 * 365 * 86400.0
    queue = await opened(tmp_path, clock, T0)
    await fail_some(queue, clock, 0, 1)
    await queue.close()
    queue = await opened(tmp_path, clock, T0 + years + 30, reanchored_s=-years, is_sure=True)
    assert queue.depth("a").next_retry_at == pytest.approx(T0 + years + 300)
    (early,) = await queue.find("m1")
    assert early.received_at == T0 + years
    await fail_some(queue, clock, 100, 2)
    await queue.close()
    queue = await opened(tmp_path, clock, T0 + years + 60, is_sure=True)
    assert await queue.append("web", events([5, 105]), clock.now) == [False, False]
    await queue.close()
    queue = await opened(tmp_path, clock, T0 + 90, reanchored_s=years, is_sure=True)
    for name, at in (("m1", T0), ("m101", T0 + 30)):
        (record,) = await queue.find(name)
        assert record.received_at == pytest.approx(at), name
    letters = await queue.dead_letters(DeadLetterFilter(), limit=9, after=None)
    assert [letter.last_at - T0 for letter in letters] == pytest.approx([30, 0])
    next_at = queue.depth("a").next_retry_at
    assert next_at is not None
    assert T0 + 90 <= next_at <= T0 + 330
    assert await queue.append("web", events([5, 105, 205]), clock.now) == [False, False, True]
    assert queue.books() == await queue.audit()
    await queue.close()


async def test_what_is_older_than_a_run_in_the_future_is_not_taken_back(tmp_path: Path) -> None:
    """A wrong clock was believed, since the pause may have been so long, and ran for longer than it
    was wrong by: at its end, what the run before it has kept was right all the time."""
    clock = SetClock()
    queue = await opened(tmp_path, clock, T0)
    await fail_some(queue, clock, 0, 1)
    await queue.close()
    queue = await opened(tmp_path, clock, T0 + HOUR)
    await fail_some(queue, clock, 100, 2)
    clock.now += 5 * HOUR
    await queue.append("web", events([200]), clock.now)
    await queue.close()
    queue = await opened(tmp_path, clock, T0 + 5 * HOUR, reanchored_s=HOUR, is_sure=True)
    letters = await queue.dead_letters(DeadLetterFilter(), limit=9, after=None)
    assert [letter.last_at for letter in letters] == pytest.approx([T0, T0])
    await queue.close()


async def test_a_small_step_back_is_explained_by_the_restart(tmp_path: Path) -> None:
    """Nothing stored changes: the service's clock goes on from where the last run was."""
    clock = SetClock()
    queue = await opened(tmp_path, clock, T0 + BELIEVED_S)
    await fail_some(queue, clock, 0, 1)
    await queue.close()
    queue = await opened(tmp_path, clock, T0)
    (letter,) = await queue.dead_letters(DeadLetterFilter(), limit=9, after=None)
    assert letter.last_at == T0 + BELIEVED_S
    await queue.close()


async def test_killed_while_times_are_taken_back(tmp_path: Path) -> None:
    """It is one transaction: the next start does all of it."""
    clock = SetClock()
    queue = await opened(tmp_path, clock, T0 + HOUR)
    await fail_some(queue, clock, 0, 1)
    await queue.close()
    kill_at_stop(
        "import pathlib, sys\n"
        "from supervisor.queue.sqlite import ledger, reanchoring, schema\n"
        "db = schema.open_writer(pathlib.Path(sys.argv[1]))\n"
        "meta = ledger.Meta.read(db)\n"
        "ledger.Meta.write = stop\n"
        "from supervisor.runtime.clock import Anchored\n"
        f"reanchoring.begin(db, meta, {T0}, Anchored())",
        str(tmp_path),
    )
    assert last_run(tmp_path).seen == T0 + HOUR
    queue = await opened(tmp_path, clock, T0)
    (letter,) = await queue.dead_letters(DeadLetterFilter(), limit=9, after=None)
    assert letter.last_at == pytest.approx(T0)
    assert queue.books() == await queue.audit()
    await queue.close()
