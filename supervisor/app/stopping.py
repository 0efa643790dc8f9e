"""The last bound of a stop: whatever hangs, the process ends, and says what it was.

Owns a thread that waits for nothing of the service's. Must not be needed: each step of a stop has
a limit of its own, and one that passes is told and left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable

import structlog

_log = structlog.get_logger(__name__)

#: Seconds past the drain limit until the process is ended from outside its event loop. Longer than
#: the steps of a stop may take together.
LAST_BOUND_S = 12.0
#: Seconds that one step of a stop may take.
STEP_S = 3.0
#: What it exits with then. What is pending stays on disk, as after a kill.
EXIT_STATUS = 1
#: Most lines of the stack that is logged.
_FRAMES = 6


class LastBound:
    """Ends this process, and `pids`, where a stop takes too long.

    `pids` are asked for in another thread: children that shall not outlive the service.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self.step = "the start ends"
        """What the stop waits for now."""
        self._pids = pids
        self._before_exit: Callable[[], object] = int
        self._armed = threading.Event()
        self._limit_s = 0.0
        # Started now: when the stop comes, the kernel may have no thread left for us.
        self._thread = threading.Thread(target=self._watch, name="last-bound", daemon=True)
        self._main = threading.main_thread().ident
        self._thread.start()

    def arm(self, drain_s: float, before_exit: Callable[[], object]) -> None:
        """The stop has begun, and may drain for so long. Counted once, from the first time.

        `before_exit` is called last of all.
        """
        if not self._armed.is_set():
            self._before_exit = before_exit
            self._limit_s = drain_s + LAST_BOUND_S
            self._armed.set()

    async def within(
        self, step: str, work: Awaitable[object], limit_s: float | None = STEP_S
    ) -> bool:
        """Wait for a step of the stop, so long at most; whether it has ended.

        None is no limit but the last bound. One that has not ended, or that fails, is logged, and
        the stop goes on without it.
        """
        self.step = step
        try:
            async with asyncio.timeout(limit_s):
                await work
        except TimeoutError:
            _log.error("stop_step_overdue", step=step, limit_s=limit_s)
            return False
        except Exception as error:  # noqa: BLE001 - what comes after it has to be done all the same
            _log.error("stop_step_failed", step=step, exc_info=error)
            return False
        return True

    def _watch(self) -> None:
        self._armed.wait()
        # Nobody sets it: an event of its own, since an armed one would not wait.
        threading.Event().wait(self._limit_s)
        frame = sys._current_frames().get(self._main or 0)
        stack = [] if frame is None else traceback.extract_stack(frame)[-_FRAMES:]
        left = sorted(set(self._pids()))
        _log.critical(
            "stop_overdue",
            limit_s=self._limit_s,
            step=self.step,
            left=left,
            at=[f"{one.filename}:{one.lineno} {one.name}" for one in stack],
            consequence="what is left is killed; what is pending is sent at the next start",
        )
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._before_exit()
        os._exit(EXIT_STATUS)
