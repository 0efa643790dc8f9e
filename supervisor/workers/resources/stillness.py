"""Whether a process that has something to do stands still: stopped, or stuck in the kernel.

Owns the look at the CPU that it has used, and the time for which it used none. That counts as
`core/counted_time.py` has it: one that is ready to run and gets no CPU does not stand still. Must
not decide what becomes of it.
"""

from __future__ import annotations

import time
from pathlib import Path

from supervisor.core.counted_time import CountedTime
from supervisor.workers.resources.procfs import cpu_times

#: Seconds that count without a moment of CPU after which a process that has work stands still.
STILL_S = 20.0


class Stillness:
    """Of one process; to be asked every few seconds at least."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._used = -1
        self._clock = CountedTime()
        self._still_s = 0.0

    @property
    def is_still(self) -> bool:
        """It has used no CPU for STILL_S. False where it is gone: that is seen elsewhere."""
        used = _ticks(self._pid)
        counted_s = self._clock.looked(cpu_times(self._pid), time.monotonic())
        self._still_s = self._still_s + counted_s if used == self._used else 0.0
        self._used = used
        return used >= 0 and self._still_s >= STILL_S

    def moved(self) -> None:
        """It has shown by something else that it goes on."""
        self._still_s = 0.0


def _ticks(pid: int) -> int:
    """CPU time of a process, in ticks of the kernel; -1 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return -1
    return int(fields[11]) + int(fields[12])
