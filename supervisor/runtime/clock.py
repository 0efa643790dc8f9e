"""The service's clock: wall time that no clock step can move.

Owns the one notion of "now" that retry times, windows, ages and leases are computed
with. It is anchored to the wall clock once, at start, and then advances with
the monotonic clock: an operator or NTP that sets the clock while the service
runs can neither stall nor rush a retry. Time stamps that users see on events
(`receivedAt`) are plain wall time and do not come from here. What is stored beside
them to reckon ages by does: two clocks that differ by an hour make no age.

A clock can be set while the service is down, too, and that looks like a pause. What is known of
how long it was down, in this order:

- in the same boot of the machine: exactly, since the kernel counts the time since that;
- the wall clock is behind the last run's newest time: that run was in the future;
- the kernel says that the wall clock is synchronised (NTP): the wall clock knows;
- a pause of `PAUSE_S` at most, or for as long as the machine runs: that is what restarts take;
- else nobody knows. The wall clock may have been set by years, and so no time has passed: nothing
  expires that need not.

Where that disagrees with the wall clock by more than a minute (`BELIEVED_S`), the service's clock
is anchored to the wall clock all the same, and every time that was kept is moved by as much
(`Anchored.reanchored_s`): ages stay right whichever of the two clocks was wrong, and come right
again in the same way when that is set right. It is said in the log and in `/status`.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Seconds since the epoch, never going backwards while the process lives.
Clock = Callable[[], float]

#: Seconds that the wall clock may differ from what is known: what corrections over a restart
#: explain.
BELIEVED_S: Final = 60.0
#: Seconds of a pause that are believed of a clock that nobody vouches for.
PAUSE_S: Final = 3600.0
#: No machine that runs this is right before that time, 2026: without a battery clocks begin at
#: 1970 or 2000, and then the last run knows better.
EARLIEST: Final = 1_767_225_600.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: There since systemd's own NTP client has set the clock; a unit may not ask the kernel itself.
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
#: What adjtimex(2) answers for a clock that nobody keeps right, and bytes that hold its struct.
_TIME_ERROR, _TIMEX_BYTES = 5, 512


@dataclass(frozen=True, slots=True)
class MachineTime:
    """What a machine knows of time beside its wall clock.

    `boot` names its boot, "" where the kernel does not; `is_synchronised` is the wall clock.
    """

    boot: str
    since_boot_s: float
    is_synchronised: bool

    @classmethod
    def asked(cls) -> MachineTime:
        """That of this process."""
        try:
            boot = _BOOT_ID.read_text().strip()
        except OSError:
            boot = ""  # no /proc: what is known ends with the run
        since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        return cls(boot, since_boot_s, _is_synchronised())


@dataclass(frozen=True, slots=True)
class LastRun:
    """What a service has left behind of its clock.

    `seen` is the newest time that it has written down, 0.0 where none has. In the boot `boot` its
    clock was `offset_s` seconds ahead of the time since that.
    """

    seen: float = 0.0
    boot: str = ""
    offset_s: float = 0.0

    def stands_at(self, machine: MachineTime) -> float | None:
        """Where its clock stands now; None where that is not known."""
        at = self.offset_s + machine.since_boot_s
        # What was written later than that is another's.
        is_known = self.boot and self.boot == machine.boot and self.seen <= at + BELIEVED_S
        return at if is_known else None


@dataclass(frozen=True, slots=True)
class Anchored:
    """How a service's clock was anchored, for those that keep times.

    By `reanchored_s` the last run's clock was ahead of it, below zero where it was behind: what
    that run has kept is taken back by as much. `is_sure`: it is known how long it was down. The
    rest is for the next start, see `LastRun`.
    """

    reanchored_s: float = 0.0
    is_sure: bool = False
    boot: str = ""
    offset_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ServiceClock:
    """`offset_s` is what the monotonic clock lacks."""

    offset_s: float
    anchored: Anchored = Anchored()

    def __call__(self) -> float:
        """Now, in seconds since the epoch."""
        return time.monotonic() + self.offset_s

    @property
    def reanchored_s(self) -> float:
        """By so much kept times were taken back at the start, below zero where they were moved on;
        0.0 where they stayed."""
        return self.anchored.reanchored_s

    @property
    def ahead_s(self) -> float:
        """Seconds that it is ahead of the wall clock; below zero where it is behind."""
        return self() - time.time()


def anchored_clock(last: LastRun | None = None) -> ServiceClock:
    """A clock that starts at wall time and advances monotonically, after a run that left `last`."""
    machine = MachineTime.asked()
    now, anchored = anchor(time.time(), last or LastRun(), machine)
    return ServiceClock(now - time.monotonic(), anchored)


def anchor(wall: float, last: LastRun, machine: MachineTime) -> tuple[float, Anchored]:
    """Where a clock starts, as the module's docstring has it. Times are epoch seconds."""
    at = last.stands_at(machine)
    is_sure = at is not None
    if at is None:
        at = _least(wall, last, machine)
    if wall < EARLIEST:
        now, moved_s = max(wall, at), 0.0
    elif not last.seen or abs(wall - at) <= BELIEVED_S:
        now, moved_s = max(wall, last.seen), 0.0
    else:
        now, moved_s = wall, at - wall
    return now, Anchored(moved_s, is_sure, machine.boot, now - machine.since_boot_s)


def _least(wall: float, last: LastRun, machine: MachineTime) -> float:
    """Where the last run's clock would stand, as far as it is known that time has passed."""
    pause_s = wall - last.seen
    is_explained = machine.is_synchronised or pause_s <= max(PAUSE_S, machine.since_boot_s)
    return wall if pause_s >= 0 and is_explained else last.seen


def _is_synchronised() -> bool:
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # asks, and sets nothing
    return 0 <= ctypes.CDLL(None).adjtimex(timex) < _TIME_ERROR or _SYNCHRONISED.exists()
