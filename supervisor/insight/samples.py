"""Samples of what went wrong: the event, what was sent in that attempt, and what was answered.

Owns how many are kept of an issue, for how long, and that nothing is written before secrets and,
where `console.payloads` asks for it, people's data are out of it. Its file is its own, out of
workers' reach; where nothing may be kept, it is gone at once. What is told by a worker is its word
alone. Must not know what a cause means.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import msgspec
import structlog

from sandbox.protocol import Sampled
from supervisor.core.lifecycle.wire_budget import LineAllowance
from supervisor.insight.masking import Masking, Sight
from supervisor.insight.sample_file import A_CAUSE, SampleFile, SampleShelf
from supervisor.insight.sample_records import FailedAttempt, KeptSample, decoded, encoded, sample_of
from supervisor.runtime.clock import Clock

_log = structlog.get_logger(__name__)

NAME: Final = "samples"
#: Seconds after which a newer sample has the place of an issue's oldest.
RENEWED_S = 600.0
#: All samples together, in bytes.
ALL_BYTES = 64 * 1024 * 1024
#: Samples that are taken in a second, and that wait for the thread.
MOST_A_SECOND, MOST_WAITING = 20, 64
#: Seconds that somebody who asks waits, that the last words may take, and between two looks at
#: what is too old.
ANSWER_S, LAST_WORDS_S, TIDY_EVERY_S = 10.0, 3.0, 3600.0
#: Issues that are counted at once.
MOST_COUNTED = 50_000


class Samples:
    """Those of one service. For the event loop's thread.

    `redact` replaces every secret of the config in a text, whatever form it has there; it is called
    in another thread. `wall` is epoch seconds.
    """

    def __init__(
        self,
        state_dir: Path,
        masking: Masking,
        redact: Callable[[str], str],
        *,
        wall: Clock = time.time,
        budget_bytes: int = ALL_BYTES,
    ) -> None:
        self._masking = masking
        self._redact = redact
        self._wall = wall
        self._shelf = SampleShelf(state_dir / NAME, budget_bytes)
        self._allowance = LineAllowance(MOST_A_SECOND)
        #: by issue: how many there are, and when the last one came
        self._counts: dict[int, tuple[int, float]] = {}
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._tidying: asyncio.Task[None] | None = None
        self._is_closed = self._is_off = False
        self._is_broken = False
        # What was meant for a file that is gone since must not come into the next one.
        self._file = 0

    # --- life ---

    @property
    def is_wanted(self) -> bool:
        """Whether anything may be kept at all."""
        is_on = not self._is_closed and not self._is_off
        return is_on and self._masking.sight(is_operator=True) is not Sight.NOTHING

    def start(self) -> None:
        """Read what an earlier run has kept, where anything may be kept."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._begin()
        self._tidying = self._loop.create_task(self._tidy_now_and_then())

    def follow(self, masking: Masking, *, is_on: bool = True) -> None:
        """A reload. What was kept under other rules is removed with the next breath."""
        if masking.rules == self._masking.rules and is_on:
            return
        self._masking, self._is_off = masking, not is_on
        self._file += 1
        self._counts.clear()
        self._put(self._shelf.remove)
        self._begin()

    async def close(self) -> None:
        """Write what waits. It never takes long."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._tidying is not None:
            self._tidying.cancel()
        if not self._thread.is_alive():
            return
        ended: asyncio.Future[None] = self._loop.create_future()
        self._put(lambda: self._call(_set, ended, None))
        self._inbox.put(None)
        await asyncio.wait({ended}, timeout=LAST_WORDS_S)

    def _begin(self) -> None:
        if self.is_wanted:
            rules = self._masking.rules
            self._put(lambda: self._count(self._shelf.open(rules, self._wall())))
        else:
            self._put(self._shelf.remove)

    # --- keeping ---

    def takes(self, issue: int) -> bool:
        """Whether a sample of that issue is wanted now."""
        n, last = self._counts.get(issue, (0, 0.0))
        return self.is_wanted and (n < A_CAUSE or self._wall() - last >= RENEWED_S)

    def keep(self, issue: int, attempt: FailedAttempt, sampled: Sampled | None) -> float | None:
        """Keep it, after `takes` has said yes; its time, or None where there is too much to do."""
        now = self._wall()
        if not self._allowance.takes(now) or self._inbox.qsize() >= MOST_WAITING:
            return None
        if len(self._counts) >= MOST_COUNTED:
            self._counts.clear()  # the shelf keeps to the bounds by itself
        self._counts[issue] = self._counts.get(issue, (0, 0.0))[0] + 1, now
        masking, file = self._masking, self._file

        def task() -> None:
            if file != self._file:
                return
            record = encoded(sample_of(attempt, sampled, masking, self._redact, now))
            self._count(self._shelf.add(issue, now, record))

        self._put(task)
        return now

    async def of(self, issue: int) -> list[KeptSample]:
        """The samples of an issue, newest first; none where they cannot be read in time."""
        answer: asyncio.Future[list[KeptSample]] = self._loop.create_future()

        def task() -> None:
            samples: list[KeptSample] = []
            try:
                samples = [decoded(record) for record in self._shelf.of(issue)]
            finally:
                self._call(_set, answer, samples)

        if self._is_closed or self._inbox.qsize() >= MOST_WAITING:
            return []
        self._put(task)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            return []

    async def _tidy_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            self._put(lambda: self._count(self._shelf.tidy(self._wall())))

    # --- the thread ---

    def _put(self, task: Callable[[], None]) -> None:
        self._inbox.put(task)

    def _run(self) -> None:
        while (task := self._inbox.get()) is not None:
            try:
                task()
                if self._is_broken:
                    self._call(self._told, "")
            except (OSError, msgspec.MsgspecError) as error:
                self._call(self._told, str(error))
            except Exception:  # noqa: BLE001 - a bug with one sample must not end the others
                _log.exception("sample_not_kept")
        self._shelf.close()

    def _call(self, told: Callable[..., object], *what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is gone, and nobody waits
            self._loop.call_soon_threadsafe(told, *what)

    def _count(self, forgotten: Sequence[int] | Mapping[int, tuple[int, float]]) -> None:
        if forgotten:
            self._call(self._counted, forgotten)

    def _counted(self, told: Sequence[int] | Mapping[int, tuple[int, float]]) -> None:
        if isinstance(told, Mapping):
            self._counts.update(told)
        else:
            for issue in told:
                self._counts.pop(issue, None)

    def _told(self, why: str) -> None:
        if why and not self._is_broken:
            _log.error("samples_not_kept", reason=why, consequence="issues have none meanwhile")
        self._is_broken = bool(why)


def remove_samples(state_dir: Path) -> None:
    """Leave none of them, where the console is off. Raises OSError."""
    SampleFile(state_dir / NAME).remove()


def _set(answer: asyncio.Future[Any], value: object) -> None:  # Any: whatever is waited for
    if not answer.done():
        answer.set_result(value)
