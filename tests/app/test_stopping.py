"""The last bound of a stop, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from supervisor.app.stopping import LastBound

HANGS = """
import subprocess, sys, time
from supervisor.app import stopping
from supervisor.telemetry import log
from supervisor.telemetry.log_stream import LogStream

stopping.LAST_BOUND_S = 0.2
stream = LogStream.of_process()
log.configure(stream=stream)
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
bound = stopping.LastBound(lambda: [child.pid])
bound.step = "the moon is full"
bound.arm(0.1, stream.drain)

def waits_for_ever():
    while True:
        time.sleep(600)

waits_for_ever()
"""


def test_a_stop_that_hangs_ends_and_says_in_what() -> None:
    """Children are killed, and one line names the step, and the place in the code."""
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert (told["message"], told["step"]) == ("stop_overdue", "the moon is full")
    assert told["left"] == [int(done.stdout)]
    assert told["at"][-1].endswith(" waits_for_ever")
    with suppress(psutil.NoSuchProcess):  # who inherits it may take a while to reap it
        assert psutil.Process(told["left"][0]).status() == psutil.STATUS_ZOMBIE


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _fails() -> None:
    raise OSError(24, "Too many open files")


async def _ends() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(("work", "is_done"), [(_for_ever, False), (_fails, False), (_ends, True)])
def test_a_step_that_hangs_or_fails_is_left_behind(
    work: type[object], is_done: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes after it is done all the same."""

    async def stop() -> bool:
        return await LastBound(list).within("a step", work(), 0.05)  # type: ignore[arg-type]

    assert asyncio.run(stop()) is is_done
    assert ("a step" in capsys.readouterr().out) is not is_done
