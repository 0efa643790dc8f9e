"""The zygote that dies while no other one can be started, and the one that does not answer."""

from __future__ import annotations

import contextlib
import errno
import os
import signal

import pytest

from sandbox.protocol import Limits, Spawn, Withheld
from supervisor.core.counted_time import CpuTimes, ThreadTimes
from supervisor.runtime.descriptors import Reserve
from supervisor.telemetry.unanswered import Unanswered
from supervisor.workers import zygote as module
from supervisor.workers.zygote import Zygote
from tests.queue.given import until


def an_order(child: int) -> Spawn:
    """One that only declares."""
    limits = Limits(1 << 28, 1 << 27, 256, 1.0)
    withheld = Withheld("a test")
    return Spawn(child, "w", [], [], limits, "strict", None, True, withheld, withheld, withheld, [])


async def test_the_reaper_of_a_dead_zygote_is_no_second_death(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its end counts once, however often it is looked for: two that are started would share one
    place, and the event loop would go on with a descriptor that is another's by then."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    launched: list[object] = []
    launch = module._launch
    refuses = True

    def launch_where_there_is_room(living: object) -> object:
        if launched and refuses:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        launched.append(launch(()))
        return launched[-1]

    monkeypatch.setattr(module, "_launch", launch_where_there_is_room)
    zygote = Zygote(lambda child, pid, reason: None, Reserve(), Unanswered())
    zygote.start()
    try:
        await until(lambda: zygote.is_warm)
        assert zygote.pid is not None
        (reaper,) = zygote.pids - {zygote.pid}
        os.kill(zygote.pid, signal.SIGKILL)
        await until(lambda: "cannot be started" in zygote.last_end)
        assert reaper is not None
        with contextlib.suppress(ProcessLookupError):  # it may follow the zygote by itself
            os.kill(reaper, signal.SIGKILL)
        await until(lambda: reaper not in zygote.pids)
        assert zygote.restarts == 1
        refuses = False
        await until(lambda: zygote.is_warm)
        assert len(launched) == 2
        assert zygote.restarts == 1
    finally:
        zygote.stop()


@pytest.mark.parametrize("limit", ["WARM", "FORK"])
async def test_a_zygote_without_a_cpu_is_not_late(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Time counts in which it could have answered; in the end it is replaced all the same."""
    is_starved, looks = True, 0

    def cpu_times(pid: int) -> CpuTimes:
        nonlocal looks
        looks += 1
        return {pid: ThreadTimes(1.0, 1.0, is_ready=is_starved)}

    monkeypatch.setattr(module, "cpu_times", cpu_times)
    monkeypatch.setattr(module, f"{limit}_S", 0.05)
    failed: dict[int, str] = {}
    zygote = Zygote(
        lambda child, pid, reason: failed.update({child: reason}), Reserve(), Unanswered()
    )
    zygote.start()
    try:
        if limit == "FORK":
            await until(lambda: zygote.is_warm)
        assert zygote.pid is not None
        os.kill(zygote.pid, signal.SIGSTOP)
        zygote.fork(an_order(7), ())
        await until(lambda: looks > 20)
        assert zygote.restarts == 0
        is_starved = False
        await until(lambda: zygote.restarts >= 1)
        assert "within 0.05 s" in zygote.last_end
        if limit == "FORK":
            await until(lambda: 7 in failed)
    finally:
        zygote.stop()


@pytest.mark.parametrize("limit", ["WARM", "FORK"])
async def test_a_zygote_is_replaced_in_the_end(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """However little of the time counts."""
    starved = {1: ThreadTimes(1.0, 1.0, is_ready=True)}
    monkeypatch.setattr(module, "cpu_times", lambda pid: starved)
    monkeypatch.setattr(module, f"{limit}_MOST_S", 0.5)
    zygote = Zygote(lambda child, pid, reason: None, Reserve(), Unanswered())
    if limit == "FORK":
        zygote.start()
        await until(lambda: zygote.is_warm)
    else:
        zygote.start()
    try:
        assert zygote.pid is not None
        os.kill(zygote.pid, signal.SIGSTOP)
        zygote.fork(an_order(7), ())
        await until(lambda: zygote.restarts >= 1)
    finally:
        zygote.stop()
