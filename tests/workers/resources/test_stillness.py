"""Which process stands still: one that could run and does not."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from supervisor.core.counted_time import CpuTimes, ThreadTimes
from supervisor.workers.resources import stillness
from supervisor.workers.resources.stillness import STILL_S, Stillness


@dataclass
class Process:
    """What the kernel says of it, and of the time."""

    now: float = 0.0
    used: int = 5
    is_ready: bool = False

    def times(self, pid: int) -> CpuTimes:
        return {1: ThreadTimes(float(self.used), 0.0, self.is_ready)}

    def later(self, still: Stillness, seconds: float) -> bool:
        """Whether it stands still after so many, which it is looked at each second."""
        found = False
        for _ in range(int(seconds)):
            self.now += 1
            found = still.is_still
        return found


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    made = Process()
    monkeypatch.setattr(stillness, "cpu_times", made.times)
    monkeypatch.setattr(stillness, "_ticks", lambda pid: made.used)
    monkeypatch.setattr("time.monotonic", lambda: made.now)
    return made


def test_a_process_that_sleeps_stands_still(process: Process) -> None:
    """After its time; a moment of CPU, or another sign of life, begins it anew."""
    still = Stillness(1)
    assert not still.is_still
    assert not process.later(still, STILL_S - 1)
    process.used += 1
    assert not process.later(still, STILL_S)
    still.moved()
    assert not process.later(still, STILL_S - 1)
    assert process.later(still, 1)


def test_a_process_without_a_cpu_does_not_stand_still(process: Process) -> None:
    """However long it waits for one; its time begins when it could run."""
    process.is_ready = True
    still = Stillness(1)
    assert not process.later(still, 10 * STILL_S)
    process.is_ready = False
    assert not process.later(still, STILL_S - 1)
    assert process.later(still, 2)


def test_a_process_that_is_gone_does_not_stand_still(process: Process) -> None:
    """That is seen elsewhere."""
    process.used = -1
    assert not process.later(Stillness(os.getpid()), 3 * STILL_S)
