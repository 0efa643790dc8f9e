"""The guard of one pool: looks at its workers often, and acts where one breaks a limit.

Owns when is looked at what. What a worker is killed for is decided here, what
becomes of its batches is not. Must not know queues, leases or outcomes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from sandbox.protocol import Limits
from supervisor.core.child import State
from supervisor.core.effects import ExitReason
from supervisor.core.silence import Silence
from supervisor.workers import Worker

#: Looks within a block timeout, and the bounds of the seconds between two.
LOOKS, SHORTEST_S, LONGEST_S = 4, 0.02, 0.5


class Guard:
    """`workers()` are those that live, `limits()` what new ones are forked under."""

    def __init__(
        self, workers: Callable[[], Iterable[Worker]], limits: Callable[[], Limits]
    ) -> None:
        self._workers = workers
        self._limits = limits
        self._silences: dict[int, Silence] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        every_s = min(max(self._limits().block_timeout_s / LOOKS, SHORTEST_S), LONGEST_S)
        self._timer = asyncio.get_running_loop().call_later(every_s, self._look, every_s)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, every_s: float) -> None:
        now = time.monotonic()
        before, self._silences = self._silences, {}
        for worker in list(self._workers()):
            match worker.state:
                case State.READY | State.DRAINING:
                    silence = before.get(worker.number) or Silence()
                    self._silences[worker.number] = silence
                    self._look_at_loop(worker, silence, now, 2 * every_s)
                case State.FORKING | State.DOOMED | State.STARTING | State.KILLED | State.GONE:
                    pass
        self.start()

    def _look_at_loop(self, worker: Worker, silence: Silence, now: float, most_s: float) -> None:
        silent_s = silence.looked(worker.box.beats, worker.waited_s, now, most_s)
        if silent_s >= worker.limits.block_timeout_s:
            mark = worker.marked()
            where = f", {mark}" if mark is not None else ""
            worker.kill(
                ExitReason.TIMEOUT, f"its event loop was blocked for {silent_s:.1f} s{where}"
            )
