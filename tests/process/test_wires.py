"""The wire of a worker that never was: its number is closed once, whoever has it by then."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import pytest
import uvloop

from sandbox.protocol import FromWorker, FromWorkerChannel, Limits, Spawn, Withheld
from supervisor.core.effects import ExitReason
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Exit, WorkerHandle
from supervisor.workers.output import Printed
from supervisor.workers.resources.procfs import children
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.zygote import Zygote, become_subreaper
from tests.harness.waiting import until

#: Files that are opened in each turn of the loop, and turns: more than there are numbers to close.
FILES_A_TURN, TURNS = 16, 12


class Barren(Zygote):
    """It can fork nobody, and says so before the wire is open at our end."""

    def fork(self, order: Spawn, ends: tuple[int, ...]) -> None:
        """Give up at once."""
        for end in ends:
            os.close(end)
        self._on_answer(order.child, 0, "fork: Cannot allocate memory")


class Bereaved:
    """Who asked for the worker. Implements `process.Listener`."""

    def __init__(self) -> None:
        self.ends: list[Exit] = []

    def ready(self, worker: WorkerHandle, credits: int, layers: dict[str, str]) -> None:
        """It never is."""

    def said(self, worker: WorkerHandle, message: FromWorker) -> None:
        """It says nothing."""

    def asked(self, worker: WorkerHandle, message: FromWorkerChannel) -> None:
        """It asks nothing."""

    def printed(self, worker: WorkerHandle, printed: Printed) -> None:
        """It prints nothing."""

    def vacated(self, worker: WorkerHandle) -> None:
        """Nobody takes its place."""

    def gone(self, worker: WorkerHandle, end: Exit) -> None:
        """How it ended."""
        self.ends.append(end)


def order() -> Spawn:
    """An order like any other."""
    none = Withheld("never forked")
    return Spawn(
        1,
        "default#1",
        [],
        [],
        Limits(256 * 1024**2, 192 * 1024**2, 256, 1.0),
        "strict",
        None,
        declare=True,
        uid=none,
        cgroup=none,
        scratch=none,
        write_paths=[],
    )


def test_a_worker_that_could_not_be_forked_costs_nobody_a_descriptor(tmp_path: Path) -> None:
    """Files that were opened as soon as its wire was closed are still open when all is collected.

    On uvloop, as the service is: there a transport and the socket that it was made of close the
    same number, each by itself, where the transport is aborted as it opens.
    """
    opened: list[int] = []

    async def lose_one(bereaved: Bereaved) -> list[int]:
        fleet = WorkerFleet(WorkerResources.of_command(tmp_path))
        fleet.zygote = Barren(fleet._answered, fleet.reserve, fleet.unanswered)
        fleet.spared = set(children())  # those of other tests in this process
        fleet.spawn(order(), bereaved)
        for _ in range(TURNS):
            opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(FILES_A_TURN))
            await asyncio.sleep(0)
        gc.collect()
        return [number for number in opened if not is_open(number)]

    bereaved = Bereaved()
    try:
        lost = uvloop.run(lose_one(bereaved))
    finally:
        for number in filter(is_open, opened):
            os.close(number)
    assert [end.detail for end in bereaved.ends] == ["fork: Cannot allocate memory"]
    assert lost == []


class Raising(Bereaved):
    """A bug of ours that shows when a worker is ready."""

    def ready(self, worker: WorkerHandle, credits: int, layers: dict[str, str]) -> None:
        """As `spawn` did where no descriptor was left."""
        raise OSError(24, "Too many open files")


def test_what_we_raise_while_a_worker_speaks_is_told_and_ends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """uvloop drops an OSError of a read callback without a word, and the worker would start for
    ever. It is logged, the worker goes, and nobody is charged."""
    raising = Raising()

    async def run() -> None:
        fleet = WorkerFleet(WorkerResources.of_command(tmp_path))
        become_subreaper()
        fleet.spared = set(children())
        fleet.start()
        fleet.spawn(order(), raising)
        await until(lambda: bool(raising.ends), 60, "its end is told")
        await fleet.stop(20)

    uvloop.run(run())
    assert [end.reason for end in raising.ends] == [ExitReason.RECYCLE]
    assert "Too many open files" in raising.ends[0].detail
    assert "worker_step_failed" in caplog.text + capsys.readouterr().out


def is_open(number: int) -> bool:
    """Whether a descriptor is there."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
