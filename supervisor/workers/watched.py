"""One child process by its number: signalled, watched and reaped.

Owns the pidfd, and that the number is never used once it is reaped, when it may be another's. Must
not know what a worker is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable
from functools import partial

from supervisor.runtime.descriptors import Reserve
from supervisor.workers.resources import priority

#: Seconds between two looks whether a child is dead that there is no pidfd of.
UNWATCHED_LOOK_S = 0.05


class WatchedProcess:
    """`on_end` is told its exit status, and what it used, where the kernel says that."""

    def __init__(
        self, pid: int, on_end: Callable[[int, resource.struct_rusage | None], None]
    ) -> None:
        # Nobody but us reaps it, so the number cannot have been given away since.
        self.pid = pid
        self.is_reaped = False
        self._on_end = on_end
        self._pidfd: int | None = None

    def watch(self, reserve: Reserve) -> str:
        """Hear of its end. Where that cannot be, it is ended, and this says why."""
        try:
            self._pidfd = reserve.attempt(partial(os.pidfd_open, self.pid))
        except OSError as error:
            self.kill()
            # Not at once: whoever asked has something to do before he hears that it is over.
            asyncio.get_running_loop().call_soon(self._look_unwatched)
            return f"it cannot be watched: pidfd_open: {error.strerror}"
        asyncio.get_running_loop().add_reader(self._pidfd, self._look)
        return ""

    def signal(self, number: int) -> bool:
        """Send it a signal; False where it is gone."""
        if self.is_reaped:
            return False
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, number)
        else:
            # Not reaped, so that its number is its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)
        return True

    def kill(self) -> None:
        """SIGKILL it, and what it has forked, which shall not fork on."""
        if self.signal(signal.SIGKILL):
            self._kill_group(is_dead=False)

    def _kill_group(self, *, is_dead: bool) -> None:
        try:
            if is_dead:
                # To tear down processes takes the CPU milliseconds each.
                priority.set_niceness(self.pid, priority.BEHIND)
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # it had left the group, or is another uid's: those are found as strays

    def _look(self) -> None:
        if self.is_reaped:
            return
        self._kill_group(is_dead=True)
        usage: resource.struct_rusage | None
        try:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            # Somebody else has reaped it: how it ended is not to be had any more.
            pid, status, usage = self.pid, int(signal.SIGKILL), None
        if pid == 0:
            return
        self.is_reaped = True
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self._on_end(os.waitstatus_to_exitcode(status), usage)

    def _look_unwatched(self) -> None:
        self._look()
        if not self.is_reaped:
            asyncio.get_running_loop().call_later(UNWATCHED_LOOK_S, self._look_unwatched)
