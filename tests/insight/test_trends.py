"""Frames add up to the books, whatever happens in between."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from supervisor.insight import history
from supervisor.insight.disk import NAME
from supervisor.insight.frames import (
    COLUMNS,
    HOUR_S,
    MINUTE_S,
    NOTHING,
    TEN_MINUTES_S,
    Counts,
    Frame,
    as_books,
    merged,
    packed,
    plus,
    unpacked,
)
from supervisor.insight.history import ALL, CONNECTION, SOURCE, Key
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.insight.trends import Trend
from supervisor.queue import Books
from supervisor.telemetry.latencies import Latencies
from tests.harness.waiting import until
from tests.insight.fakes import FakeBooks, FakeClock

#: A whole day, so that hours and tens of minutes begin together.
MASKING = Masking("masked", [], b"")
START = 1_800_000_000 // 86400 * 86400


class World:
    """One state directory, books and a clock, and what is kept of them over many starts."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.books = FakeBooks()
        self.clock = FakeClock(START + 5.0)
        self.latencies = Latencies("name", "text")
        self.insight: Insight

    @asynccontextmanager
    async def run(
        self, *, is_killed: bool = False, budget_bytes: int = 1 << 26
    ) -> AsyncIterator[Insight]:
        """A start and, unless it is killed, a stop."""
        self.books.restarted()
        insight = Insight(
            self.state_dir,
            queue=self.books,
            ages=self.latencies,
            clock=self.clock,
            tap_budget=1 << 20,
            trends_budget=budget_bytes,
            masking=MASKING,
            redact=str,
            wall=self.clock,
        )
        self.insight = insight
        insight.start()
        await self.idle()
        await until(
            lambda: insight.trends.is_loaded or bool(insight.disk.trouble), 30, "it is loaded"
        )
        yield insight
        if not is_killed:
            await insight.close()
        else:
            for task in insight._tasks:
                task.cancel()
            await insight.disk.close(30)

    async def idle(self) -> None:
        """Until the disk has done what was asked of it."""
        disk = self.insight.disk
        done: list[bool] = []
        disk.soon(lambda db: None, lambda _: done.append(True), lambda reason: done.append(False))
        await until(lambda: bool(done), 30, "the disk is idle")
        await until(lambda: not self.insight.trends.is_writing, 30, "nothing is being written")

    async def minute(self) -> None:
        """It ends, and what moved in it is kept."""
        end = (self.clock.now // MINUTE_S + 1) * MINUTE_S
        self.clock.now = end + 0.1
        await self.insight.keep(end - 1)
        await self.idle()

    async def trend(self, key: Key, step_s: int = MINUTE_S, start: int = START - 86400) -> Trend:
        """All that there is."""
        return await self.insight.trends.read(key, start, int(self.clock.now) + 1, step_s)

    async def total(self, key: Key, step_s: int = MINUTE_S) -> Counts:
        """The sum of its frames."""
        total = NOTHING
        for frame in (await self.trend(key, step_s)).frames:
            if frame is not None:
                total = plus(total, frame.counts)
        return total

    async def agree(self, step_s: int = MINUTE_S) -> None:
        """Frames and books, of each connection and of all."""
        for name in self.books.counted_connections():
            total = as_books(await self.total((CONNECTION, name), step_s))
            assert total == self.books.counted(name).books, name
        total = as_books(await self.total((ALL, ""), step_s))
        assert total == self.books.counted_together().books


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A service that has never run."""
    return World(tmp_path)


async def test_a_minute_holds_what_the_books_moved_by(world: World) -> None:
    """Each minute its own, the one that runs as far as it is."""
    async with world.run():
        world.books.move("a", accepted=5, delivered_first_try=3)
        await world.minute()
        world.books.move("a", accepted=2, failed=1)
        world.insight.retried("a", 4)
        frames = (await world.trend((CONNECTION, "a"))).frames
        assert [f and dict(zip(COLUMNS, f.counts, strict=True))["accepted"] for f in frames] == [
            5,
            2,
        ]
        assert frames[1] is not None
        assert frames[1].depth == 3
        assert dict(zip(COLUMNS, frames[1].counts, strict=True))["retries"] == 4
        assert not any(frame and frame.gap_s for frame in frames)
        await world.agree()


async def test_a_replay_counts_as_failed_and_as_replayed(world: World) -> None:
    """What was taken out of the books is told apart, and both still agree."""
    async with world.run():
        world.books.move("a", accepted=9, failed=9)
        await world.minute()
        world.books.move("a", replayed_failed=6, failed=1)
        (_, last) = (await world.trend((CONNECTION, "a"))).frames
        assert last is not None
        counted = dict(zip(COLUMNS, last.counts, strict=True))
        assert (counted["failed"], counted["replayed_failed"]) == (1, 6)
        await world.agree()
        await world.minute()
        await world.agree()


@pytest.mark.parametrize("is_killed", [True, False])
async def test_what_nobody_counted_is_one_frame_of_a_restart(world: World, is_killed: bool) -> None:
    """Books that moved while nobody looked, over a gap that is told; minutes of it are unknown."""
    async with world.run(is_killed=is_killed):
        world.books.move("a", accepted=5, delivered_first_try=5)
        await world.minute()
        world.books.move("a", accepted=1)
        world.latencies.observe_ages("a", [1.0], 2.0)
    world.books.move("a", accepted=7, quarantined=2)
    world.clock.now += 10 * MINUTE_S
    async with world.run():
        await world.agree()
        await world.minute()
        await world.agree()
        frames = (await world.trend((CONNECTION, "a"))).frames
        restarts = [n for n, frame in enumerate(frames) if frame is not None and frame.gap_s]
        assert len(restarts) == 1
        assert frames[restarts[0]].gap_s >= 10 * MINUTE_S  # type: ignore[union-attr]  # is one
        assert frames[restarts[0] - 1] is None


@pytest.mark.parametrize("how", ["deleted", "cut", "scribbled", "of another format", "a folder"])
async def test_a_file_that_is_no_good_is_made_anew(world: World, how: str) -> None:
    """With one frame for all that the books have; nothing else is lost, nothing is told twice."""
    path = world.state_dir / NAME
    async with world.run():
        world.books.move("a", accepted=50, delivered_first_try=40)
        world.insight.troubled("a", "failed", "400 Bad Request", 3)
        await world.minute()
    match how:
        case "deleted":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:5000])
        case "scribbled":
            path.write_bytes(random.Random(3).randbytes(40_000))
        case "of another format":
            with sqlite3.connect(path) as db:
                db.execute("PRAGMA user_version = 99")
            db.close()
        case _:
            path.unlink()
            path.mkdir()
    world.books.move("a", accepted=1, delivered_first_try=1)
    if how == "a folder":
        async with world.run():
            assert "insight.db" in world.insight.disk.trouble
            await world.minute()
            world.books.move("a", accepted=1)
            path.rmdir()
            await world.minute()
            await world.minute()
            assert world.insight.disk.trouble == ""
            await world.agree()
        return
    async with world.run():
        await world.agree()
        await world.minute()
        await world.agree()
        frames = (await world.trend((CONNECTION, "a"))).frames
        assert [bool(frame and frame.gap_s) for frame in frames].count(True) == 1


async def test_a_file_that_is_taken_away_while_it_runs(world: World) -> None:
    """It is made anew at the next minute, and issues come into it, too."""
    async with world.run():
        world.books.move("a", accepted=5)
        world.insight.troubled("a", "failed", "400 Bad Request", 3)
        await world.minute()
        (world.state_dir / NAME).unlink()
        world.books.move("a", accepted=5)
        await world.minute()
        await world.minute()
        await world.agree()
        await world.minute()
    async with world.run():
        await world.agree()
        (issue,) = world.insight.issues.listed()
        assert issue.count == 3


async def test_a_disk_that_takes_nothing_for_a_while(world: World) -> None:
    """What could not be written goes with the next frames; it is told once."""
    async with world.run() as insight:
        world.books.move("a", accepted=5)
        await world.minute()
        blocker = sqlite3.connect(world.state_dir / NAME)
        blocker.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            world.books.move("a", accepted=3)
            world.insight.retried("a", 1)
            world.insight.took("test", [], [], 0)
            end = (world.clock.now // MINUTE_S + 1) * MINUTE_S
            world.clock.now = end + 0.1
            await insight.keep(end - 1)
            await until(lambda: not insight.trends.is_writing, 30, "it was given up")
            assert "locked" in insight.disk.trouble
        blocker.execute("ROLLBACK")
        blocker.close()
        world.books.move("a", accepted=1)
        await world.minute()
        assert insight.disk.trouble == ""
        await world.agree()
        since, counts = insight.trends.last_hour()
        assert since == START
        assert dict(zip(COLUMNS, counts, strict=True))["accepted"] == 12
    async with world.run():
        await world.agree()
        total = dict(zip(COLUMNS, await world.total((CONNECTION, "a")), strict=True))
        assert total["retries"] == 2


async def test_coarser_tiers_agree_too(world: World) -> None:
    """Over hours of minutes, with kills between, each tier adds up to the same."""
    dice = random.Random(7)
    for _ in range(4):
        async with world.run(is_killed=dice.random() < 0.5):
            for _ in range(40):
                for name in "abc":
                    world.books.move(name, accepted=dice.randrange(4), filtered=dice.randrange(2))
                await world.minute()
        world.clock.now += dice.randrange(1000)
    async with world.run():
        for step_s in (MINUTE_S, TEN_MINUTES_S, HOUR_S):
            await world.agree(step_s)
        tiers = await world.insight.disk.ask(
            lambda db: dict(db.execute("SELECT tier, count(*) FROM frames GROUP BY tier"))
        )
        assert tiers[TEN_MINUTES_S] > 30
        assert tiers[HOUR_S] > 6


async def test_within_its_budget_the_finest_goes_first(world: World) -> None:
    """The answer says how far back it reaches."""
    async with world.run(budget_bytes=300_000):
        for _ in range(200):
            for name in range(60):
                world.books.move(f"c{name}", accepted=1)
            await world.minute()
        size = await world.insight.disk.ask(history.size_bytes)
        assert size <= 330_000
        by_minute = await world.trend((CONNECTION, "c1"))
        by_ten = await world.trend((CONNECTION, "c1"), TEN_MINUTES_S)
        assert by_ten.reaches_back_to < by_minute.reaches_back_to
        assert by_minute.reaches_back_to > START
        await world.agree(TEN_MINUTES_S)


async def test_what_is_older_than_it_is_kept_goes(world: World) -> None:
    """Minutes for six hours; coarser ones stay."""
    async with world.run():
        world.books.move("a", accepted=1)
        await world.minute()
        world.clock.now += 7 * HOUR_S
        world.books.move("a", accepted=1)
        await world.minute()
        assert (await world.trend((CONNECTION, "a"))).reaches_back_to > START
        assert (await world.trend((CONNECTION, "a"), HOUR_S)).reaches_back_to == START


async def test_sources_count_what_they_sent(world: World) -> None:
    """Received, rejected and repeats, over restarts."""
    for _ in range(2):
        async with world.run():
            world.insight.refused("test", "too_large", "the event has 9 bytes", 1)
            await world.minute()
            world.insight.refused("test", "too_large", "the event has 9 bytes", 2)
    async with world.run():
        total = dict(zip(COLUMNS, await world.total((SOURCE, "test")), strict=True))
        assert total["rejected"] == 6
        total = dict(zip(COLUMNS, await world.total((ALL, "")), strict=True))
        assert total["rejected"] == 6


async def test_the_file_is_ours_alone(world: World) -> None:
    """0600, and never through a link that somebody put there."""
    async with world.run():
        await world.minute()
        assert (world.state_dir / NAME).stat().st_mode & 0o777 == 0o600
    elsewhere = world.state_dir / "elsewhere"
    (world.state_dir / NAME).rename(elsewhere)
    before = elsewhere.read_bytes()
    (world.state_dir / NAME).symlink_to(elsewhere)
    async with world.run():
        await world.minute()
        assert world.insight.disk.trouble
    assert elsewhere.read_bytes() == before


async def test_turned_off_by_a_reload_nothing_is_left(world: World) -> None:
    """No file, and nothing is counted any more."""
    async with world.run() as insight:
        insight.refused("test", "too_large", "9 bytes", 1)
        await world.minute()
        insight.follow(
            is_on=False,
            sources=(),
            connections=(),
            tap_budget=0,
            trends_budget=0,
            masking=MASKING,
        )
        await until(lambda: not list(world.state_dir.glob("insight*")), 30, "the file is gone")
        insight.refused("test", "too_large", "9 bytes", 1)
        assert list(insight.issues.listed()) == []
        assert insight.tap.page("test", "rejected", None, 9).rows == []
    assert os.listdir(world.state_dir) == []


def test_frames_are_small_and_read_as_written() -> None:
    """A busy minute is some 60 bytes; one of an older version lacks columns, which are zero."""
    frame = Frame(
        (120, 118, 1, 1, *NOTHING[4:]), 12, 0, [n for slot in range(20, 35) for n in (slot, slot)]
    )
    assert unpacked(packed(frame)) == frame
    assert len(packed(frame)) < 64
    assert unpacked(packed(Frame((1, 2)))).counts == (1, 2, *NOTHING[2:])
    assert merged([]) == Frame()
    assert as_books(NOTHING) == Books()


async def test_a_look_is_not_slowed_by_a_year_of_hours(world: World) -> None:
    """The finest look at what is not there costs nothing; a bound of points is for who asks."""
    async with world.run():
        read = partial(history.read, key=(CONNECTION, "x"), start=0, stop=START, step_s=HOUR_S)
        found = await world.insight.disk.ask(read)
        assert not found.frames
