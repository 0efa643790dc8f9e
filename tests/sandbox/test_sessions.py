"""Sessions of workers: found by /proc, ended where the supervisor cannot any more."""

from __future__ import annotations

import os
import subprocess
import sys

from sandbox import sessions

#: A leader of a session whose child lives on after it, and says its pid.
FORKS = """
import os, signal, sys
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), os.getsid(0), flush=True)
signal.pause()
"""


def orphan(program: str = sys.executable) -> tuple[int, int]:
    """Pid and session of a process whose parent is gone."""
    process = subprocess.Popen([program, "-c", FORKS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, session = map(int, process.stdout.readline().split())
    process.wait()
    process.stdout.close()
    return pid, session


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def test_what_a_worker_forked_is_known_by_its_session() -> None:
    """Its leader is dead and it has another parent: it is found and ended all the same."""
    pid, session = orphan()
    assert session in sessions.alive()
    sessions.end_all([session])
    assert not is_alive(pid)
    assert session not in sessions.alive()


def test_sessions_of_others_are_left_alone() -> None:
    """Only those that are named end; ours is none of them."""
    (pid, session), (other, other_session) = orphan(), orphan()
    try:
        sessions.end_all([session])
        assert not is_alive(pid)
        assert is_alive(other)
        assert os.getsid(0) in sessions.alive()
    finally:
        sessions.end_all([other_session])
    assert not is_alive(other)


def test_another_program_is_not_taken_for_ours() -> None:
    """The kernel gives numbers away again: what runs another program has such a number."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        sessions.end_all([process.pid])
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
