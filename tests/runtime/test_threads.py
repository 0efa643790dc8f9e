"""Calls that wait for others: they keep nobody waiting who waits for nobody."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from supervisor.runtime.threads import in_thread

#: Seconds that may pass before a test has failed.
WITHIN_S = 20.0


async def test_what_a_call_returns_or_raises_comes_back() -> None:
    """On the event loop, and from a thread of that name."""
    assert await in_thread("evidence", lambda: threading.current_thread().name) == "evidence"
    with pytest.raises(ZeroDivisionError):
        await in_thread("evidence", lambda: 1 / 0)


async def test_calls_that_wait_take_no_thread_of_the_executor() -> None:
    """However many of them there are, the executor's own calls run."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    end = threading.Event()
    waiting = [in_thread("evidence", end.wait) for _ in range(20)]
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "ran"), WITHIN_S) == "ran"
    assert not any(call.done() for call in waiting)
    end.set()
    assert await asyncio.wait_for(asyncio.gather(*waiting), WITHIN_S) == [True] * 20


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_answer_that_nobody_waits_for_any_more_is_let_go(is_cancelled: bool) -> None:
    """A call goes on that was cancelled or left behind; its error is told to nobody."""
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    end, done = threading.Event(), asyncio.Event()

    def wait_and_fail() -> None:
        end.wait()
        loop.call_soon_threadsafe(done.set)
        raise ValueError("nobody hears it")

    call = in_thread("evidence", wait_and_fail)
    if is_cancelled:
        call.cancel()
    else:
        await asyncio.wait({call}, timeout=0.0)
    del call
    end.set()
    async with asyncio.timeout(WITHIN_S):
        await done.wait()
        await in_thread("evidence", lambda: None)
    gc.collect()
    assert errors == []
