"""A thread that owns one database connection.

Owns the thread, its inbox and how answers get back to the event loop. Must not
know what it is asked to do.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_Task = Callable[[sqlite3.Connection], None]


class DatabaseThread:
    """Runs what it is given, one after the other, on its own connection.

    `ask` and `submit` are for the event loop's thread only; answers arrive there.
    """

    def __init__(self, name: str, open_db: Callable[[], sqlite3.Connection]) -> None:
        self._name = name
        self._open = open_db
        self._inbox: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop = asyncio.get_running_loop()
        self._is_open = False
        self._opened: asyncio.Future[None] = self._loop.create_future()

    async def start(self) -> None:
        """Open the connection. Raises what opening it raises."""
        self._thread.start()
        await self._opened
        self._is_open = True

    def _tell_opened(self, error: Exception | None) -> None:
        if self._opened.done():
            return  # a start that was stopped: nobody waits
        if error is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)

    def submit(
        self,
        work: Callable[[sqlite3.Connection], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run `work` there, then `done` or `failed` on the event loop."""

        def task(db: sqlite3.Connection) -> None:
            try:
                result = work(db)
            except Exception as error:  # noqa: BLE001 - goes to the caller
                self._loop.call_soon_threadsafe(failed, error)
            else:
                self._loop.call_soon_threadsafe(done, result)

        self._inbox.put(task)

    async def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` there and return what it returns. Raises what it raises."""
        answer: asyncio.Future[T] = self._loop.create_future()

        def done(result: T) -> None:
            if not answer.done():  # the asker may have been cancelled
                answer.set_result(result)

        def failed(error: Exception) -> None:
            if not answer.done():
                answer.set_exception(error)

        self.submit(work, done, failed)
        return await answer

    async def close(self) -> None:
        """Finish what was asked for, then close the connection and end the thread."""
        if self._is_open:
            self._is_open = False
            ended: asyncio.Future[None] = self._loop.create_future()

            def last(db: sqlite3.Connection) -> None:
                self._loop.call_soon_threadsafe(ended.set_result, None)

            self._inbox.put(last)
            self._inbox.put(None)
            await ended
            self._thread.join()

    def _run(self) -> None:
        try:
            db = self._open()
        except Exception as error:  # noqa: BLE001 - goes to `start`
            self._loop.call_soon_threadsafe(self._tell_opened, error)
            return
        self._loop.call_soon_threadsafe(self._tell_opened, None)
        while (task := self._inbox.get()) is not None:
            task(db)
        db.close()
