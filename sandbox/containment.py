"""Keeps a worker going, whatever its destinations raise, and wherever they do.

Owns the event loop, and the hooks for unhandled exceptions: of callbacks, of
tasks that are never awaited, of threads, of `__del__`. Each exception is told
with the connection that it comes from, as far as that can be known. Must not
know batches.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, NoReturn

import uvloop

from sandbox.marks import MarkerWriter, Step, current_place
from sandbox.protocol import MARK, read_mark

#: Hears of an unhandled exception: number of the connection or 0, and what happened.
OnUnhandled = Callable[[int, str, BaseException | None], None]


class Loop(uvloop.Loop):
    """An event loop whose hooks are ours to keep."""

    def __init__(self) -> None:
        super().__init__()
        self._is_kept = False

    def keep(
        self,
        on_unhandled: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None],
        page: MarkerWriter,
    ) -> None:
        """Set the hooks for good. Any: asyncio's own type for what it knows of an exception."""
        super().set_exception_handler(on_unhandled)
        super().set_task_factory(page.make_task)
        self._is_kept = True

    def set_exception_handler(self, handler: Any) -> None:
        """Not for destinations: one would hide the exceptions of all others. Any: as in asyncio."""
        if not self._is_kept:
            super().set_exception_handler(handler)

    def set_task_factory(self, factory: Any) -> None:
        """Nor is this: it would end the marking of steps. Any: as in asyncio."""
        if not self._is_kept:
            super().set_task_factory(factory)


class Containment:
    """One a worker; `unhandled` must not raise."""

    def __init__(self, page: MarkerWriter, unhandled: OnUnhandled) -> None:
        self._page = page
        self._unhandled = unhandled

    def run(self, main: Coroutine[Any, Any, NoReturn]) -> None:
        """Run `main`, which does not return; comes back only where it raised. Any: of asyncio."""
        loop = Loop()
        loop.keep(self._from_loop, self._page)
        asyncio.set_event_loop(loop)
        sys.unraisablehook = self._unraisable
        threading.excepthook = self._from_thread
        task = loop.create_task(main)
        while not task.done():
            try:
                loop.run_until_complete(task)
            except BaseException as error:
                if task.done():
                    raise
                self._unhandled(self._running(), "the event loop was stopped", error)

    def _running(self) -> int:
        """The connection of this context; else of the step that ran last, which is a guess."""
        number, _ = current_place.get()
        if number:
            return number
        mark = read_mark(self._page.words[MARK])
        return 0 if mark is None else mark.number

    def _from_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._unhandled(_origin(context) or self._running(), str(context.get("message")), error)

    def _unraisable(self, unraisable: Any) -> None:  # Any: sys.UnraisableHookArgs is no class
        what = type(unraisable.object).__name__
        if callable(unraisable.object):
            what = getattr(unraisable.object, "__qualname__", what)
        self._unhandled(self._running(), f"ignored in {what}", unraisable.exc_value)

    def _from_thread(self, args: threading.ExceptHookArgs) -> None:
        name = "a thread" if args.thread is None else f"thread {args.thread.name}"
        self._unhandled(self._running(), f"{name} ended", args.exc_value)


def _origin(context: dict[str, Any]) -> int:
    """The connection of a task or callback, by asyncio's account of an exception; 0: unknown."""
    task = context.get("task") or context.get("future")
    if isinstance(task, asyncio.Task):
        coro = task.get_coro()
        return coro.number if isinstance(coro, Step) else 0
    made_in = getattr(context.get("handle"), "_context", None)
    return int(made_in.get(current_place, (0, 0))[0]) if isinstance(made_in, Context) else 0
