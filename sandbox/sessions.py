"""What workers leave behind when their supervisor is killed, found by session and ended.

A worker leads a session of its own, and no process in it can leave: the jail denies
setsid. So the processes that a worker forked are known by its session, whatever
their parent is now, or by their user, where the worker had one of its own. Owns the
search in /proc; only `reaper.py` needs it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator

#: Sessions that are remembered before those that are over are forgotten.
MANY = 1000
#: Looks at the process table: a process that forks meanwhile is found by the next look.
_LOOKS = 50


def alive() -> set[int]:
    """All sessions that have a process."""
    return {session for _, session in _processes()}


def end_all(sessions: Collection[int], uids: Collection[int] = ()) -> None:
    """SIGKILL every process of these sessions that runs our program, until none is left.

    And all of these users, who are nobody else: not every root may see what another user's runs.
    """
    ours = os.readlink("/proc/self/exe")
    for _ in range(_LOOKS):
        found = [
            pid
            for pid, session in _processes()
            if pid != os.getpid()
            and (_user(pid) in uids or (session in sessions and _program(pid) == ours))
        ]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # it has ended by itself
        time.sleep(0.01)


def _processes() -> Iterator[tuple[int, int]]:
    """(pid, session) of every process but zombies."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command, in brackets, may hold anything; what follows it does not.
                state, _, _, session = file.read().rpartition(b")")[2].split()[:4]
        except OSError:
            continue  # it has ended
        if state not in (b"Z", b"X"):
            yield int(name), int(session)


def _user(pid: int) -> int:
    """Whose it is; -1 where it has ended."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _program(pid: int) -> str:
    """What it runs, so that no other program is taken for ours by a number given away again."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""  # it is about to end, or another user's, and so none of ours
