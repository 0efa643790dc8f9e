"""The deadlines of one pool: of batches that workers have, and of workers that are to exit.

Owns when is looked, and who is ended for being late. Must not know what becomes of the
batches of one that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from supervisor.core.effects import ExitReason
from supervisor.delivery.isolation import Suspects
from supervisor.delivery.records import Post
from supervisor.delivery.settlement import Run
from supervisor.diagnostics.collector import Gatherer
from supervisor.runtime.clock import Clock

#: Seconds that a worker with nothing left to do may take to exit.
EXIT_S = 5.0
#: Seconds between two looks at deadlines.
TICK_S = 0.5


class Deadlines:
    """Looks at the pool's own `posts`, as they change, from `start` to `stop`.

    `recycle` has a worker, by its number, replaced at a time and let finish.
    """

    def __init__(
        self,
        posts: Mapping[int, Post],
        *,
        suspects: Suspects,
        gatherer: Gatherer,
        clock: Clock,
        recycle: Callable[[int, float], None],
    ) -> None:
        self._posts = posts
        self._suspects = suspects
        self._gatherer = gatherer
        self._clock = clock
        self._recycle = recycle
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now, and go on."""
        self._tick()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = self._clock()
        for post in list(self._posts.values()):
            overdue = [run for run in post.batches.values() if run.deadline < now]
            if overdue:
                post.overdue = tuple(run.id for run in overdue)
                self._overdue(post, overdue, now)
            elif (
                post.is_leaving
                and not post.batches
                and not post.is_giving_evidence
                and not self._gatherer.is_asking(post.worker)
                and post.idle_since is not None
                and now - post.idle_since > EXIT_S
            ):
                post.worker.kill_late(f"did not exit {EXIT_S:g} s after its drain")
        self._suspects.tick()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _overdue(self, post: Post, overdue: list[Run], now: float) -> None:
        """Kill a worker whose batch is past its time; its other batches may end before that.

        They can: where its event loop does not run, the guard kills it at once.
        """
        run = overdue[0]
        if len(overdue) < len(post.batches):
            self._recycle(post.worker.number, now)
            return
        how = "ended" if run.unreported else "ended, since it does not end when it is cancelled,"
        post.worker.kill(
            ExitReason.TIMEOUT,
            f"batch of {run.connection} not {how}"
            f" {now - run.started:.0f} s after it was handed over",
        )
