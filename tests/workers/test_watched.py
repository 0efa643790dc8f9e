"""A child that is watched, and one that cannot be."""

from __future__ import annotations

import asyncio
import os
import resource
import signal

import pytest
import uvloop

from supervisor.runtime.descriptors import Reserve
from supervisor.workers.watched import WatchedProcess
from tests.harness.files import open_files, room_for


async def ended(pid: int, *, room: int | None, ours: bool = True) -> tuple[int, str]:
    """Exit status of a child that is killed, and why it could not be watched."""
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_end(status: int, usage: resource.struct_rusage | None) -> None:
        assert (usage is not None) is ours
        end.set_result(status)

    child = WatchedProcess(pid, on_end)
    if room is None:
        refused = child.watch(Reserve(0))
    else:
        with room_for(room):
            refused = child.watch(Reserve(0))
    if not ours:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it is dead
    elif not refused:
        child.kill()
    async with asyncio.timeout(20):
        status = await end
    assert child.is_reaped
    assert not child.signal(signal.SIGTERM), "its number may be another's by now"
    return status, refused


def sleeper() -> int:
    """A process that leads a group, as workers do."""
    return os.posix_spawn("/bin/sleep", ["sleep", "600"], {}, setpgroup=0)


@pytest.mark.parametrize("room", [None, 0], ids=["watched", "no descriptor is left"])
def test_a_child_is_ended_and_reaped_either_way(room: int | None) -> None:
    """Where the kernel has no pidfd for it, it is ended, and looked at until it is reaped."""
    uvloop.run(asyncio.sleep(0))  # what the first loop of a process opens stays
    before = open_files()
    status, refused = uvloop.run(ended(sleeper(), room=room))
    assert status == -signal.SIGKILL
    assert ("pidfd_open: Too many open files" in refused) == (room is not None)
    assert open_files() == before


def test_a_child_that_somebody_else_has_reaped_is_over() -> None:
    """It would be waited for in every turn of the loop, and never told."""
    assert uvloop.run(ended(sleeper(), room=None, ours=False)) == (-signal.SIGKILL, "")
