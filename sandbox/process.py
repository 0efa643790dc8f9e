"""What a process of ours asks of the kernel about itself: few calls, by ctypes.

`prctl` has no door in the standard library. Constants are those of
<linux/prctl.h>; see prctl(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, argument: int) -> None:
    """Call prctl(2). Raises OSError with the kernel's reason."""
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def die_with_parent(parent: int) -> None:
    """Have the kernel SIGKILL us when `parent` dies; exits at once where it is dead already.

    The signal is erased by a change of uid, so this comes after the last one.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def await_parent(parent: int, timeout_s: float) -> bool:
    """Wait until `parent` has adopted us, at most `timeout_s` seconds; whether it has."""
    until = time.monotonic() + timeout_s
    while os.getppid() != parent:
        if time.monotonic() > until:
            return False
        time.sleep(0.0001)
    return True


def be_nice(niceness: int) -> None:
    """Stand back behind others, with all that we fork, as the leader of a session that we are.

    Best effort. Where autogroup is on nice counts only within a session, which has a niceness of
    its own; see sched(7). Where the kernel does not take that now, or has none, we go on: the
    supervisor sets it again once we serve.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))


def set_no_new_privs() -> None:
    """No exec of ours or our children's gains a privilege any more. Raises OSError."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def no_new_privs_faults() -> str:
    """Why `set_no_new_privs` is not in force; empty where it is."""
    return "" if _libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 else "the kernel says no"
