"""What the kernel says of processes: their memory, their descendants, and what this one may.

Owns the reading of `/proc` for that, and the end of a child that nobody has a pidfd of.
Must not know what a worker is.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from supervisor.core.counted_time import CpuTimes, ThreadTimes

#: CAP_SYS_NICE, by its bit.
_MAY_HASTEN = 23
_PAGE_BYTES = resource.getpagesize()
#: Threads of a process whose time on CPUs is looked at.
MOST_THREADS = 32


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


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, in bytes, shared pages included; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):  # it is gone, or a zombie
        return 0


def cpu_times(pid: int) -> CpuTimes:
    """Of its threads, of the first MOST_THREADS; none where it is gone, or nobody counts."""
    found: dict[int, ThreadTimes] = {}
    try:
        for task in islice(os.scandir(f"/proc/{pid}/task"), MOST_THREADS):
            used, waited, _ = Path(task.path, "schedstat").read_bytes().split()
            stat = Path(task.path, "stat").read_bytes()
            state = stat[stat.rindex(b")") + 2 :][:1]
            times = ThreadTimes(int(used) / 1e9, int(waited) / 1e9, state == b"R")
            found[int(task.name)] = times
    except (OSError, ValueError):  # it, or a thread of it, has ended; or the kernel does not count
        pass
    return found


def is_dying(pid: int) -> bool:
    """Whether a process is dead, or was sent SIGKILL and has had no CPU since to die."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return True
    fields = dict(line.split(b":\t", 1) for line in status.splitlines() if b":\t" in line)
    pending = int(fields[b"SigPnd"], 16) | int(fields[b"ShdPnd"], 16)
    return fields[b"State"][:1] in b"ZX" or bool(pending >> (signal.SIGKILL - 1) & 1)


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


def open_files(pid: int) -> int | None:
    """Descriptors of a process; None where it is gone, or the kernel does not tell us."""
    folder = f"/proc/{pid}/fd"
    try:
        # From Linux 6.2 on the folder's size is the count, for everybody; before that it is 0, and
        # its names are for those alone who may trace the process.
        return os.stat(folder).st_size or len(os.listdir(folder))
    except OSError:
        return None


def open_sockets(pid: int) -> frozenset[int] | None:
    """Inodes of the sockets of a process; None where it is gone, or we may not trace it."""
    folder = f"/proc/{pid}/fd"
    found = set[int]()
    try:
        for name in os.listdir(folder):
            try:
                where = os.readlink(f"{folder}/{name}")
            except FileNotFoundError:
                continue  # closed meanwhile
            if where.startswith("socket:["):
                found.add(int(where[8:-1]))
    except OSError:
        return None
    return frozenset(found)


def tcp_sockets() -> frozenset[int]:
    """Inodes of all TCP sockets of this machine that somebody has open. Takes milliseconds."""
    found = set[int]()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/self/net/{table}").read_bytes().splitlines()[1:]
        except OSError:
            continue  # a machine without IPv6
        found.update(int(line.split(None, 10)[9]) for line in lines)
    return frozenset(found)


def family_bytes(pids: Iterable[int]) -> int:
    """Anonymous and shared memory of processes together, in bytes: what they share counts once.

    What they share with others counts in part. Of one that we may not look at so closely all
    counts, shared or not.
    """
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
        except OSError:  # it is gone, or another user's and we lack CAP_SYS_PTRACE
            total += own_bytes(pid)
            continue
        total += 1024 * sum(
            int(line.split()[1])
            for line in rollup.splitlines()
            if line.startswith((b"Pss_Anon:", b"Pss_Shmem:"))
        )
    return total


def descendants(pid: int, most: int) -> list[int]:
    """The processes below `pid`; past `most` it stops looking for more."""
    found = todo = children(pid)
    while todo and len(found) <= most:
        todo = [child for parent in todo for child in children(parent)]
        found = found + todo
    return found


def adopted() -> list[int]:
    """Children of this process's first thread, in no order: what it forked, and all orphans.

    Those go to the first thread that lives (`find_alive_thread` in kernel/exit.c). A twentieth of
    what `children` costs, which asks each thread.
    """
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(number) for number in file.read().split()]
    except OSError:  # this kernel does not keep the list
        return []


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
