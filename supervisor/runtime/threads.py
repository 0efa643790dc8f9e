"""A thread for one call that waits for somebody else: a worker's pipe, another process.

Owns the thread, and how its answer comes back to the event loop. asyncio's own executor has few
threads (as many as processors and four more), and is for calls that wait for nobody: a page of
metrics must not stand behind evidence that takes minutes. How many calls there are at once is for
the caller to bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def in_thread(name: str, call: Callable[[], T]) -> asyncio.Future[T]:
    """Run `call` in a thread of its own, called `name`; what it returns or raises comes back.

    The call goes on where the future is cancelled, and no exit of the process waits for it. What it
    raises after whoever asked has given up is nobody's error. Raises RuntimeError where the machine
    has no thread left.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    # Else asyncio logs it: a process that took too long is killed, and the read of its pipe fails.
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())

    def run() -> None:
        try:
            told = partial(_tell, answer, call())
        except Exception as error:  # noqa: BLE001 - goes to the caller
            told = partial(_tell_error, answer, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(told)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer


def _tell(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():  # the asker may have been cancelled
        answer.set_result(result)


def _tell_error(answer: asyncio.Future[T], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
