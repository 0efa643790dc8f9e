"""The worker's side of the marker page: what runs right now, and that the loop comes round.

Owns the page's words and the wrapper that marks each step of a task. A step
that never ends, or ends the process, is thereby known to the supervisor, which
reads the page of a worker that is silent or dead. Must not do I/O.

A task belongs to the batch in whose context it was made, so that tasks which a
destination starts are marked like the batch's own; plain callbacks are not.
Measured on an empty step of uvloop: 0.4 µs on top of 1.1 µs.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any

from sandbox.protocol import BEATS, FORKED, MARK, PAGE_BYTES, RUNNING, mark_word

#: Connection number and batch id of what runs in this context; (0, 0) belongs to no batch.
current_place: ContextVar[tuple[int, int]] = ContextVar("current_place", default=(0, 0))


class MarkerWriter:
    """Writes the page in `descriptor`; without one (tests), a page that nothing reads."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.words = memoryview(mmap.mmap(descriptor or -1, PAGE_BYTES)).cast("Q")
        self.step: Step | None = None
        """The step that runs, None between two."""

    def beat(self) -> None:
        """The event loop has come round once more."""
        self.words[BEATS] = (self.words[BEATS] + 1) & 0xFFFFFFFF

    def forks(self) -> None:
        """This process is about to fork another: in a step, or for us, which is nobody's."""
        if self.step is not None:
            self.words[FORKED] = self.words[MARK]

    def at(self, event: int) -> None:
        """What follows in this step's task is the work on this event of its batch; -1: on none."""
        if self.step is not None:
            self.step.move(event)

    # Any: results of tasks are not looked at; uvloop and asyncio pass different options.
    def make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        *,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        """A task factory: like the default one, and its steps are marked."""
        place = current_place.get() if context is None else context.get(current_place, (0, 0))
        if place != (0, 0) and isinstance(coro, Coroutine):
            coro = Step(coro, self, *place)
        return asyncio.Task(coro, loop=loop, context=context, **options)


class Step(Coroutine[Any, Any, Any]):
    """A coroutine whose every step is marked in the page; otherwise the coroutine itself.

    Any: whatever the coroutine yields, takes and returns.
    """

    __slots__ = ("_batch", "_coro", "_idle", "_number", "_page", "_running", "_send", "_words")

    def __init__(
        self, coro: Coroutine[Any, Any, Any], page: MarkerWriter, number: int, batch: int
    ) -> None:
        self._coro = coro
        self._send = coro.send
        self._page = page
        self._words = page.words
        self._number = number
        self._batch = batch
        self._idle = mark_word(number, batch, None)
        self._running = self._idle | RUNNING

    def move(self, event: int) -> None:
        """The work is on another event now."""
        self._idle = mark_word(self._number, self._batch, event)
        self._words[MARK] = self._running = self._idle | RUNNING

    def send(self, value: Any) -> Any:
        """One step."""
        words = self._words
        words[MARK] = self._running
        self._page.step = self
        try:
            return self._send(value)
        finally:
            words[MARK] = self._idle
            self._page.step = None

    def throw(self, *error: Any) -> Any:
        """One step that begins with an exception."""
        words = self._words
        words[MARK] = self._running
        self._page.step = self
        try:
            return self._coro.throw(*error)
        finally:
            words[MARK] = self._idle
            self._page.step = None

    @property
    def number(self) -> int:
        """Of the connection."""
        return self._number

    def close(self) -> None:
        """Give the coroutine up."""
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:
        """What asyncio asks of a coroutine to print a task and its stack (`cr_frame`, its name)."""
        return getattr(self._coro, name)
