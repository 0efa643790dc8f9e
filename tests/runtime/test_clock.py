"""Where the service's clock starts, after a run that left something of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from supervisor.runtime.clock import (
    BELIEVED_S,
    EARLIEST,
    PAUSE_S,
    LastRun,
    MachineTime,
    anchor,
    anchored_clock,
)

T0 = EARLIEST + 1e8
MINUTE, HOUR, YEAR = 60.0, 3600.0, 365 * 86400.0
#: The time since the machine's boot when the last run wrote its newest time.
UP = 10_000.0


@dataclass(frozen=True)
class Row:
    """A start `passed` seconds after the last run, as the wall clock says `wall_passed`.

    `rebooted`: for how long the machine runs by then, None where it is the same boot.
    """

    passed: float
    wall_passed: float
    moved_s: float
    rebooted: float | None = None
    is_synchronised: bool = False


ROWS = {
    "a restart": Row(30, 30, 0),
    "a night": Row(9 * HOUR, 9 * HOUR, 0),
    "a correction": Row(30, 30 + 0.9 * BELIEVED_S, 0),
    "a correction back": Row(30, 30 - 0.9 * BELIEVED_S, 0),
    "an hour ahead": Row(30, 30 + HOUR, HOUR),
    "an hour back": Row(30, 30 - HOUR, -HOUR),
    "years ahead": Row(30, 30 + 2 * YEAR, 2 * YEAR),
    "years back": Row(30, 30 - 2 * YEAR, -2 * YEAR),
    "a clock that NTP keeps, set right": Row(30, 30 + YEAR, YEAR, is_synchronised=True),
    "a reboot": Row(120, 120, 0, rebooted=60),
    "a reboot that took long": Row(0.9 * PAUSE_S, 0.9 * PAUSE_S, 0, rebooted=60),
    "a reboot, hours ahead": Row(120, 120 + 2 * HOUR, 120 + 2 * HOUR, rebooted=60),
    "a reboot, years ahead": Row(120, 120 + 2 * YEAR, 120 + 2 * YEAR, rebooted=60),
    "a reboot, behind": Row(120, -HOUR, -HOUR, rebooted=60),
    "a reboot after a holiday": Row(9e5, 9e5, 9e5, rebooted=60),
    "a reboot after a holiday, with NTP": Row(9e5, 9e5, 0, rebooted=60, is_synchronised=True),
    "another machine that runs for long": Row(5 * HOUR, 5 * HOUR, 0, rebooted=1e6),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_kept_times_are_moved_by_what_no_pause_explains(row: Row) -> None:
    """The clock starts at wall time, and by so much what the last run has kept is moved on."""
    wall = T0 + row.wall_passed
    if row.rebooted is None:
        machine = MachineTime("this", UP + row.passed, row.is_synchronised)
    else:
        machine = MachineTime("next", row.rebooted, row.is_synchronised)
    now, anchored = anchor(wall, LastRun(T0, "this", T0 - UP), machine)
    assert -anchored.reanchored_s == pytest.approx(row.moved_s)
    assert now == (max(wall, T0) if row.moved_s == 0 else wall)
    assert anchored.is_sure is (row.rebooted is None)
    # What it leaves is where the next start in this boot finds it.
    again = machine.since_boot_s + 100
    left = LastRun(now, anchored.boot, anchored.offset_s)
    assert left.stands_at(MachineTime(machine.boot, again, False)) == pytest.approx(now + 100)


def test_the_first_start_has_nothing_to_move() -> None:
    """Whatever the wall clock says."""
    for wall in (0.0, T0, T0 + YEAR):
        now, anchored = anchor(wall, LastRun(), MachineTime("this", UP, False))
        assert (now, anchored.reanchored_s, anchored.is_sure) == (wall, 0.0, False)


def test_clock_without_a_battery_is_not_believed() -> None:
    """It goes on from where the last run was, as long after that as is known."""
    last = LastRun(T0, "this", T0 - UP)
    now, anchored = anchor(0.0, last, MachineTime("this", UP + 500, False))
    assert (now, anchored.reanchored_s) == (T0 + 500, 0.0)
    now, anchored = anchor(0.0, last, MachineTime("next", 60, False))
    assert (now, anchored.reanchored_s) == (T0, 0.0)


@pytest.mark.parametrize("boot", ["", "this"])
def test_what_another_run_left_is_stale(boot: str) -> None:
    """A time that is newer than that clock could be, and a kernel that names no boot."""
    last = LastRun(T0 + HOUR, boot, T0 - UP)
    now, anchored = anchor(T0 + HOUR + 30, last, MachineTime(boot, UP + 30, False))
    assert (now, anchored.reanchored_s, anchored.is_sure) == (T0 + HOUR + 30, 0.0, False)


def test_this_machine_is_asked() -> None:
    """It names its boot and counts the time since; a clock that starts now is right."""
    machine = MachineTime.asked()
    assert machine.boot
    assert machine.since_boot_s >= time.monotonic() - 1
    clock = anchored_clock()
    assert abs(clock.ahead_s) < 1
    assert clock.anchored.boot == machine.boot
    assert abs(clock.anchored.offset_s + time.clock_gettime(time.CLOCK_BOOTTIME) - clock()) < 1
