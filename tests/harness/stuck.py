"""Pipes and terminals whose other side is not read: what a service's output may be.

Owns how they are filled, and how what a service keeps of its log behind them is. Must not know what
a test then looks at.
"""

from __future__ import annotations

import os
import signal
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tests.harness.service import RunningService
from tests.harness.waiting import wait_until


def filled(descriptor: int) -> None:
    """Write to a descriptor until it takes no byte more; it blocks whoever writes next."""
    os.set_blocking(descriptor, False)
    # By the page, then by the byte: a pipe that has no room for a page may have some for a line.
    for size in (4096, 1):
        try:
            while True:
                os.write(descriptor, b"\n" * size)
        except BlockingIOError:
            continue
    os.set_blocking(descriptor, True)


@contextmanager
def stuck(kind: Literal["pipe", "terminal"]) -> Iterator[tuple[int, int]]:
    """The reading and the writing side of a pipe or terminal that is full."""
    if kind == "pipe":
        ours, theirs = os.pipe()
    else:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
    filled(theirs)
    os.set_blocking(ours, False)
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def flooded(service: RunningService, within_s: float) -> None:
    """Have a service whose output is stuck log until it drops lines, of a config that is wrong."""
    good = service.config_path.read_text()
    # Each wrong key is a line of the log, of the greatest length.
    wrong = "".join(f"{'k' * 16_000}{n} = 1\n" for n in range(100))
    service.config_path.write_text(f"{good}\n[queue]\n{wrong}")

    def is_full() -> bool:
        os.kill(service.pid, signal.SIGHUP)
        return service.metric("bulkhead_log_lines_dropped_total") > 0

    wait_until(is_full, within_s, "lines are dropped")
    service.config_path.write_text(good)
