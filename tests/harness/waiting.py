"""Waiting for a condition of the outside world, which cannot tell us itself.

Owns the only sleep of tests and benchmarks. Must not be used where something
can be awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: How often a condition is looked at, in seconds.
INTERVAL_S = 0.02


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Return once `condition` holds. Raises TimeoutError that names `what` after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not so after {within_s:g} s: {what}")
        time.sleep(INTERVAL_S)


async def until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """The same, while the event loop runs on."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(INTERVAL_S)
    except TimeoutError as error:
        raise TimeoutError(f"still not so after {within_s:g} s: {what}") from error
