"""What the kernel says of processes: their memory, their descendants, and what this one may.

Owns the reading of `/proc` for that, and the end of a child that nobody has a pidfd of.
Must not know what a worker is.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

#: CAP_SYS_NICE, by its bit.
_MAY_HASTEN = 23


def end(pid: int) -> bool:
    """Kill a child and reap it if it is dead by now; whether it was."""
    try:
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except (ProcessLookupError, ChildProcessError):
        return False  # reaped by its parent


def capabilities() -> int:
    """The effective ones of this process, a bit each."""
    status = Path("/proc/self/status").read_text()
    return next(int(line[7:], 16) for line in status.splitlines() if line[:7] == "CapEff:")


def can_hasten() -> bool:
    """Whether this process may put one that gave way to others back among them: CAP_SYS_NICE.

    Its limit of niceness does not count: the kernel looks at that of the other one, and workers
    have given theirs up.
    """
    return bool(capabilities() >> _MAY_HASTEN & 1)


def own_bytes(pid: int) -> int:
    """Anonymous and shared memory of a process, in bytes; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0
    return 1024 * sum(
        int(line.split()[1])
        for line in status.splitlines()
        if line.startswith((b"RssAnon:", b"RssShmem:"))
    )


def descendants(pid: int, most: int) -> int:
    """How many processes there are below `pid`; past `most` it stops looking for more."""
    found = todo = children(pid)
    while todo and len(found) <= most:
        todo = [child for parent in todo for child in children(parent)]
        found = found + todo
    return len(found)


def children(pid: int | str = "self") -> list[int]:
    """Process ids of the children of `pid`, in no order; none where it is gone."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:  # it, or a thread of it, has ended; or this kernel does not keep the list
        pass
    return found
