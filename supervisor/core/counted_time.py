"""Time that counts: for how long a process could have done what it has not done.

The one rule of all limits that end or accuse somebody for the time that it takes: blocked loops,
batches, drains, starts, imports, stacks. On a machine that is short of CPUs the clock on the wall
goes on while nobody runs, so between two looks at a process

- time counts in which **each of its threads** ran or slept. What one waited for a CPU does not: the
  thread that was due may be the one that the others wait for. The kernel accounts a wait when it is
  over, so of a thread that is ready to run at the look, what it neither ran nor had waited before
  is a wait too.
- **CPU time that it had** counts in any case, all threads together, up to the time that went by: a
  process that starves itself, by a hundred busy threads, is excused by nothing.
- no more counts than looks are apart as a rule (`most_s`): a supervisor that did not run itself saw
  nothing. What a late look finds is not judged before what the process has said meanwhile is heard
  (`is_late`).

A worker keeps the soft limit of its batches by the same rule, for the one thread that they run in
(`sandbox/soft_deadline.py`).

Owns that rule and a process's account as values. Must not read a clock, or know what is limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Seconds by which a look is late: the supervisor did not run meanwhile, and listens first.
LATE_S = 0.1


def is_late(due: float, now: float) -> bool:
    """Whether what was due then is looked at so late that others had no say meanwhile."""
    return now - due > LATE_S


@dataclass(frozen=True, slots=True)
class ThreadTimes:
    """Of one thread in its life: seconds on a CPU, and ready to run without one.

    `is_ready`: it runs or waits for a CPU now.
    """

    used_s: float
    waited_s: float
    is_ready: bool = False


#: A process's threads, by their ids; none where it is gone, or where nobody counts.
CpuTimes = Mapping[int, ThreadTimes]

_NEW = ThreadTimes(0.0, 0.0)


@dataclass(slots=True)
class CountedTime:
    """A clock of one process, which stands while that has no CPU. Times are seconds.

    `lost_s` is all that passed and did not count: by so much it is late.
    """

    lost_s: float = 0.0
    _at: float | None = None
    _times: CpuTimes = field(default_factory=dict)

    def looked(self, times: CpuTimes, now: float, most_s: float = float("inf")) -> float:
        """What counts of the time since the last look, `most_s` at most; 0 at the first one."""
        before, at = self._times, self._at
        self._times, self._at = times, now
        if at is None:
            return 0.0
        passed = now - at
        used = free = 0.0
        for thread, one in times.items():
            known = before.get(thread, _NEW)
            ran, waited = one.used_s - known.used_s, one.waited_s - known.waited_s
            used += max(0.0, ran)
            # One that is new may have begun at any time, and says nothing.
            if thread in before:
                free = max(free, passed - ran if one.is_ready else waited)
        counted = max(0.0, passed - free, min(used, passed))
        counted = min(counted, most_s)
        self.lost_s += passed - counted
        return counted
