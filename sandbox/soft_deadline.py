"""The soft limit of a batch, by time that counts: what passes without a CPU does not.

Owns the kernel's account of how long the event loop's thread was ready to run and had no CPU, and
the timer that goes by it. The rule of all time that counts is `supervisor/core/counted_time.py`;
here it is kept for the one thread that batches run in, since the hard limit, which the supervisor
keeps by all threads, ends what starves itself. Must not cancel anything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

#: Seconds that are too few to wait for once more.
RESOLUTION_S = 0.001
_MOST_BYTES = 128


def open_account() -> int | None:
    """A descriptor of the calling thread's account, to be opened before the jail closes /proc.

    None where this kernel keeps none.
    """
    try:
        return os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def starved_s(account: int | None) -> float:
    """Seconds in its life that the thread waited for a CPU; 0 where that cannot be read."""
    if account is None:
        return 0.0
    try:
        _, waited_ns, _ = os.pread(account, _MOST_BYTES, 0).split()
        return int(waited_ns) / 1e9
    except (OSError, ValueError):  # code in this process has closed it, or taken its number
        return 0.0


class SoftDeadline:
    """Calls `late` once after `after_s` seconds, and as many more as `starved_s` says by then."""

    def __init__(
        self, after_s: float, starved_s: Callable[[], float], late: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._starved_s = starved_s
        self._late = late
        self._before_s = starved_s()
        self._due_s = self._loop.time() + after_s
        self._timer = self._loop.call_at(self._due_s, self._look)

    def cancel(self) -> None:
        """It will not be called any more."""
        self._timer.cancel()

    def _look(self) -> None:
        at = self._due_s + max(0.0, self._starved_s() - self._before_s)
        if at - self._loop.time() > RESOLUTION_S:
            self._timer = self._loop.call_at(at, self._look)
        else:
            self._late()
