"""What runs below a worker, and how much memory all of it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from supervisor.workers import descendants
from supervisor.workers.descendants import Descendants
from supervisor.workers.resources.procfs import family_bytes
from tests.harness.waiting import wait_until

MIB = 1024 * 1024


#: A process that begins alone, and forks when it is told to: each fork takes something, says so,
#: and waits. The process that runs the tests has children of its own.
_LEADER = """
import mmap, os, signal, sys

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
held = b"x" * (64 << 20)


def shared():
    page = mmap.mmap(-1, 32 << 20)
    page.write(b"z" * (32 << 20))
    return page


takes = {"nothing": lambda: None, "memory": lambda: b"y" * (64 << 20), "shared": shared}
print(os.getpid(), flush=True)
for line in sys.stdin:
    if os.fork() == 0:
        kept = takes[line.strip()]()
        print(os.getpid(), flush=True)
        while True:
            signal.pause()
"""


class Leader:
    """What the tests look below of."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = self._said()

    @contextmanager
    def forked(self, takes: str = "nothing") -> Iterator[int]:
        """A fork that takes "nothing", "memory" (64 MiB) or "shared" memory (32 MiB); its pid."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{takes}\n")
        self._process.stdin.flush()
        pid = self._said()
        try:
            yield pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_there(pid), 10, "the fork has ended")

    def _said(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture
def leader() -> Iterator[Leader]:
    with subprocess.Popen(
        [sys.executable, "-c", _LEADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Leader(process)


@pytest.fixture
def below(leader: Leader) -> Descendants:
    return Descendants(lambda: leader.pid)


def is_there(pid: int) -> bool:
    """Not ended, or not reaped yet."""
    return Path(f"/proc/{pid}").exists()


def test_a_fork_that_was_asked_for_is_no_surprise(leader: Leader, below: Descendants) -> None:
    """Before it is named, after, and while it ends; a second one is."""
    assert below.unasked() == 0
    below.expect(1)
    with leader.forked() as copy:
        assert below.unasked() == 0
        below.started(1, copy)
        assert below.unasked() == 0
        with leader.forked():
            assert below.unasked() == 1
        below.ended(1)
        assert below.unasked() == 0
        with leader.forked():
            assert below.unasked() == 1


def test_a_copy_that_does_not_end_is_a_surprise(
    leader: Leader, below: Descendants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take a while to free its memory, and no longer."""
    monkeypatch.setattr(descendants, "LEAVING_S", 0.0)
    below.expect(1)
    with leader.forked() as copy:
        below.started(1, copy)
        below.ended(1)
        assert below.unasked() == 1


def test_only_what_nobody_asked_for_is_ended(leader: Leader, below: Descendants) -> None:
    """A copy that is being written goes on."""
    below.expect(1)
    with leader.forked() as copy, leader.forked() as other:
        below.started(1, copy)
        below.end()
        wait_until(lambda: not is_there(other), 5, "the other has ended")
        assert is_there(copy)


def test_an_orphan_is_remembered(below: Descendants) -> None:
    """It was found elsewhere and ended; whose it was is charged all the same."""
    below.orphaned(1)
    assert below.unasked() == 1


def test_memory_of_a_family_counts_once(leader: Leader, below: Descendants) -> None:
    """What a fork shares with its parent is no more than it was; what it takes by itself is."""
    alone = family_bytes([leader.pid])
    with leader.forked() as pid:
        together = family_bytes([leader.pid, pid])
        assert abs(together - alone) < 24 * MIB
    with leader.forked("memory") as pid:
        assert family_bytes([leader.pid, pid]) > alone + 60 * MIB
        below.unasked()
        assert below.memory_bytes(0, 0, 0) > alone + 60 * MIB
        assert below.memory_bytes(0, 0, 64 * MIB) > alone + 60 * MIB
    with leader.forked("shared") as pid:
        assert family_bytes([leader.pid, pid]) > alone + 30 * MIB


def test_a_copy_may_have_as_much_as_it_is_given(leader: Leader, below: Descendants) -> None:
    """What it un-shares is no doing of its worker; what is beyond that counts."""
    below.expect(1)
    with leader.forked("memory") as copy:
        below.started(1, copy)
        below.unasked()
        alone = below.memory_bytes(0, 0, 1024 * MIB)
        assert family_bytes([leader.pid, copy]) > alone + 30 * MIB
        assert below.memory_bytes(0, 0, 0) > alone + 30 * MIB
        below.ended(1)
        below.freed(1)
        below.unasked()
        assert below.memory_bytes(0, 0, 1024 * MIB) < alone + 30 * MIB


def test_tables_count_where_no_copy_has_them(below: Descendants) -> None:
    """Until they are given back after a copy's end, they are its own."""
    alone = below.memory_bytes(0, 0, 0)
    below.expect(1)
    assert below.memory_bytes(0, 1024 * MIB, 2048 * MIB) < alone + 30 * MIB
    below.ended(1)
    assert below.memory_bytes(0, 1024 * MIB, 2048 * MIB) < alone + 30 * MIB
    below.freed(1)
    assert below.memory_bytes(0, 1024 * MIB, 2048 * MIB) > alone + 1000 * MIB
