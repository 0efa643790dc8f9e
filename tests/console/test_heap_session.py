"""A reader that holds one snapshot: kept while somebody asks, replaced when it does not answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from sandbox.heap.session import MAX_MEMORY_BYTES
from sandbox.protocol import FindObjects, HeapPage, ShowObject, ShowPath
from supervisor.console.heap_session import HeapSessions
from supervisor.errors import Busy, EvidenceFailed, NotFound
from supervisor.telemetry.unanswered import Unanswered
from tests.harness.waiting import until
from tests.sandbox.heap.taking import take

#: A busy machine may take so long, in seconds.
SLOW_S = 60.0


class Sessions:
    """What a test knows of the reader that there is."""

    def __init__(self, **settings: float) -> None:
        self.living: set[int] = set()
        self.unanswered = Unanswered()
        self.sessions = HeapSessions(
            self.living.add, self.living.discard, self.unanswered, **settings
        )

    @property
    def reader(self) -> psutil.Process:
        """The only reader."""
        (pid,) = self.living
        return psutil.Process(pid)

    async def page(self, file: Path, number: int | None = None) -> HeapPage:
        """One object; asked again while the snapshot is read."""
        async with asyncio.timeout(SLOW_S):
            while True:
                try:
                    answer = await self.sessions.ask(file.name, file, ShowObject(number))
                except Busy:
                    await asyncio.sleep(0)
                else:
                    assert answer.object is not None
                    return answer.object


@asynccontextmanager
async def sessions(**settings: float) -> AsyncIterator[Sessions]:
    """Nothing is left of it."""
    made = Sessions(**settings)
    try:
        yield made
    finally:
        await made.sessions.close()
        assert not made.living


def proc(process: psutil.Process, name: str) -> dict[str, str]:
    """The lines of a file of /proc, by their first words."""
    lines = Path(f"/proc/{process.pid}/{name}").read_text().splitlines()
    return {
        line.partition(":" if name == "status" else "  ")[0]: line.partition(
            ":" if name == "status" else "  "
        )[2].strip()
        for line in lines
    }


@pytest.fixture
def other(snapshot: Path, tmp_path: Path) -> Path:
    """Another file of the same."""
    file = tmp_path / "other.heapsnapshot"
    file.write_bytes(snapshot.read_bytes())
    return file


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real one, of a program with an object whose place is known."""
    file = tmp_path_factory.mktemp("heaps") / "known.heapsnapshot"
    assert take("known", file) == ""
    return file


async def test_from_a_find_to_what_an_object_holds(snapshot: Path) -> None:
    """A name leads to an object, its path to where it hangs, its edges to what it keeps."""
    async with sessions() as own:
        await own.page(snapshot)
        pid = own.reader.pid
        answer = await own.sessions.ask(snapshot.name, snapshot, FindObjects("known.Held"))
        assert answer.found is not None
        held = next(each for each in answer.found.found if each.type == "known.Held")
        shown = await own.page(snapshot, held.id)
        assert shown.kept_bytes > 100_000
        assert shown.edges[0].label == "body"
        assert shown.edges[0].to.kept_bytes > 100_000
        assert [step.label for step in shown.path][-3:] == ["['PLACE']", "['x']", "[1]"]
        asked = await own.sessions.ask(snapshot.name, snapshot, ShowPath(held.id))
        assert asked.path is not None
        assert asked.path.path == shown.path
        assert own.reader.pid == pid
        with pytest.raises(NotFound, match="no object of that id"):
            await own.page(snapshot, 2**50)
        assert own.reader.pid == pid


async def test_the_reader_is_jailed(snapshot: Path) -> None:
    """System calls are filtered, no privilege is left, memory is bounded, and nothing is secret."""
    async with sessions() as own:
        await own.page(snapshot)
        status, limits = proc(own.reader, "status"), proc(own.reader, "limits")
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert int(status["CapEff"], 16) == 0
        assert limits["Max data size"].split()[:2] == [str(MAX_MEMORY_BYTES)] * 2


async def test_it_ends_when_nobody_asks(snapshot: Path) -> None:
    """After its idle time it is gone; the next question starts another."""
    async with sessions(idle_s=0.2) as own:
        await own.page(snapshot)
        await until(lambda: not own.living, SLOW_S, "the reader has ended")
        await own.page(snapshot)
        assert own.living


async def test_another_snapshot_takes_its_place(snapshot: Path, other: Path) -> None:
    """One at a time: the older reader ends when another snapshot is asked for."""
    async with sessions() as own:
        await own.page(snapshot)
        first = own.reader.pid
        await own.page(other)
        await until(lambda: len(own.living) == 1, SLOW_S, "the older one has ended")
        assert own.reader.pid != first
        assert not psutil.pid_exists(first)


async def test_while_one_is_read_no_other_is(snapshot: Path, other: Path) -> None:
    """Who asks for another snapshot meanwhile is told which is being read."""
    async with sessions() as own:
        reading = asyncio.ensure_future(own.page(snapshot))
        await until(lambda: bool(own.living), SLOW_S, "the first has begun")
        with pytest.raises(Busy, match=r"known\.heapsnapshot is being read"):
            await own.sessions.ask(other.name, other, ShowObject(None))
        await reading


async def test_a_killed_reader_is_told_and_replaced(snapshot: Path) -> None:
    """Who asks hears that it ended; who asks again has an answer."""
    async with sessions() as own:
        await own.page(snapshot)
        own.reader.send_signal(signal.SIGKILL)
        with pytest.raises(EvidenceFailed, match=r"known\.heapsnapshot: its reader .*ask again"):
            await own.sessions.ask(snapshot.name, snapshot, ShowObject(None))
        assert (await own.page(snapshot)).name == ""


async def test_one_that_does_not_answer_is_killed_and_named(snapshot: Path) -> None:
    """A stopped reader costs its own answer and nothing else."""
    async with sessions(answer_s=0.5) as own:
        await own.page(snapshot)
        reader = own.reader
        reader.suspend()
        with pytest.raises(EvidenceFailed, match=r"has not answered within 0\.5 s"):
            await own.sessions.ask(snapshot.name, snapshot, ShowObject(None))
        await until(lambda: not own.living, SLOW_S, "it is reaped")
        (told,) = own.unanswered.last()
        assert told.who == "reader of the heap known.heapsnapshot"


@pytest.mark.parametrize(
    "spoiled",
    [lambda _: os.urandom(100_000), lambda whole: whole[: len(whole) // 2], lambda _: b""],
    ids=["garbage", "cut", "empty"],
)
async def test_a_hostile_file_is_refused_with_a_reason(
    snapshot: Path, other: Path, spoiled: Callable[[bytes], bytes]
) -> None:
    """Whatever is in it, it costs its own reader, and who asked hears why."""
    await asyncio.to_thread(lambda: other.write_bytes(spoiled(snapshot.read_bytes())))
    async with sessions() as own:
        with pytest.raises(EvidenceFailed, match=r"other\.heapsnapshot: not a readable"):
            await own.page(other)
        await until(lambda: not own.living, SLOW_S, "its reader has ended")
        await own.page(snapshot)


async def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """It made room for others meanwhile: that is said, and no reader is left."""
    async with sessions() as own:
        with pytest.raises(NotFound, match="made room"):
            await own.page(tmp_path / "gone.heapsnapshot")
        assert not own.living
