"""Who comes first for the CPUs: the supervisor, then workers that serve, then those behind them.

Owns the niceness of processes and of their sessions. Must not know what a worker is for.

The kernel shares CPUs by one of three rules, and it cannot be told from inside which holds:

- between control groups, where one has the CPU controller: `cpu.weight`, see `cgroups.py`;
- between sessions, where `kernel.sched_autogroup_enabled` is on, which is what Debian comes with:
  nice counts only within a session then, and each worker leads one. The session's own niceness is
  written to `/proc/PID/autogroup` (sched(7); `proc_sched_autogroup_set_nice` in
  kernel/sched/autogroup.c);
- between processes, by their nice.

So all that applies is set. Whatever the rule, a process that wakes up may take the CPU from the one
that runs there, at once and for milliseconds; one of SCHED_BATCH does not (sched(7)). So are the
zygote, which the supervisor wakes for every fork, and all that stand behind.

To go below zero takes CAP_SYS_NICE; a session's file is its owner's, of
a process that is not dumpable root's; and without CAP_SYS_ADMIN the kernel takes one session's
niceness in a tenth of a second of the whole machine, and answers EAGAIN to all others.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from supervisor.workers.resources.procfs import can_hasten

#: Niceness of a worker that serves: beside a supervisor that could be put ahead, and else.
SERVING, YIELDING = 0, 5
#: That of a worker whose connection may misbehave, that starts, or is dead with what it forked: a
#: tenth of what others get.
BEHIND = 10
#: That of the supervisor, which has little to do and decides for all: it is never one among many
#: busy workers. As much as three of them together.
AHEAD = -5
#: Seconds until a session's niceness that the kernel would not take is tried again.
AGAIN_S = 0.12


def come_first() -> bool:
    """Put this process ahead of its workers; whether it is."""
    if not can_hasten():
        return False
    try:
        os.setpriority(os.PRIO_PROCESS, 0, AHEAD)  # and threads that it starts
    except OSError:
        return False
    # A session that others have begun, a terminal's, is not ours to favour.
    return os.getsid(0) == os.getpid() and _set_session(AHEAD, os.getpid())


def as_usual(pid: int) -> None:
    """A child of this process does not come first."""
    with contextlib.suppress(OSError):  # it has ended, or we never came first
        os.setpriority(os.PRIO_PROCESS, pid, SERVING)


def never_push_in(pid: int) -> None:
    """This child, and whatever it forks from now on, waits for a CPU when it wakes up.

    Only where a worker that it forks can be brought forward again, by `set_niceness`.
    """
    if can_hasten():
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def set_niceness(leader: int, niceness: int) -> bool:
    """Set that of a session's leader, its process group and its session.

    False: the kernel takes the session's a little later. Raises OSError where it is gone, or where
    we may not.
    """
    policy = os.SCHED_BATCH if niceness >= BEHIND else os.SCHED_OTHER
    os.sched_setscheduler(leader, policy, os.sched_param(0))
    os.setpriority(os.PRIO_PGRP, leader, niceness)
    if os.getsid(leader) != leader:
        return False  # it is about to begin its session
    return _set_session(niceness, leader)


def weight_of(niceness: int) -> int:
    """The `cpu.weight` that is to a group what a niceness is to a process."""
    return max(1, round(100 / 1.25**niceness))


def _set_session(niceness: int, leader: int) -> bool:
    path = Path(f"/proc/{leader}/autogroup")
    try:
        if path.read_text().split()[-1:] != [str(niceness)]:  # to set it anew shuts others out
            path.write_text(str(niceness))
    except BlockingIOError:
        return False
    except OSError:
        return True  # this kernel has none, it is root's, or it is gone: no use to try again
    return True
