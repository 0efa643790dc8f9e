"""The soft limit of a batch goes by the kernel's account of the thread that batches run in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from sandbox import soft_deadline

#: Beside a busy loop on its CPU that has nearly all of it, a process tells what it counted.
_PROGRAM = """
import asyncio, os, subprocess, sys, time
from functools import partial
from sandbox.soft_deadline import SoftDeadline, open_account, starved_s

async def main():
    account = open_account()
    late = asyncio.Event()
    began, before = time.monotonic(), starved_s(account)
    SoftDeadline(0.3, partial(starved_s, account), late.set)
    while not late.is_set():
        sum(range(20_000))
        await asyncio.sleep(0)
    print(time.monotonic() - began, starved_s(account) - before)

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    os.nice(10)
    asyncio.run(main())
finally:
    hog.kill()
    hog.wait()
"""


@pytest.mark.skipif(
    not os.path.exists("/proc/thread-self/schedstat"), reason="this kernel has no schedstat"
)
def test_what_passes_without_a_cpu_does_not_count() -> None:
    """It is late when it ran or slept for its time, whatever the clock on the wall says."""
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    passed_s, starved_s = map(float, told.stdout.split())
    assert starved_s > 0.3
    assert 0.3 <= passed_s - starved_s + soft_deadline.RESOLUTION_S < 1.0


async def test_without_an_account_all_time_counts() -> None:
    """Also where code of a destination has closed it, or has another file under its number."""
    loop = asyncio.get_running_loop()
    closed = os.open(os.devnull, os.O_RDONLY)
    other = os.open(sys.executable, os.O_RDONLY)
    os.close(closed)
    for account in (None, closed, other):
        late = asyncio.Event()
        began = loop.time()
        soft_deadline.SoftDeadline(0.02, lambda one=account: soft_deadline.starved_s(one), late.set)  # type: ignore[misc]  # its type is that of `account`
        await asyncio.wait_for(late.wait(), 10)
        assert loop.time() - began >= 0.019
    os.close(other)


async def test_one_that_is_cancelled_is_not_late() -> None:
    """Neither before its time nor after it was put off."""
    loop = asyncio.get_running_loop()
    said: list[str] = []
    starved = [0.0, 10.0]
    put_off = soft_deadline.SoftDeadline(0.0, lambda: starved.pop(0), lambda: said.append("late"))
    while starved:  # noqa: ASYNC110 - until it has looked, which says nothing
        await asyncio.sleep(0)
    put_off.cancel()
    done = loop.create_future()
    loop.call_later(0.01, done.set_result, None)
    await done
    assert said == []
