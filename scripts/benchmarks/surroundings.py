"""What is wrong around the service while `blast` measures what its connections get.

Owns a log that nobody reads, and idle clients that take all connections of the tracking API while
workers are killed. Must not know connections, loads or goals.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from tests.harness.service import RunningService
from tests.harness.stuck import flooded, stuck

#: Files that the service may have open where clients are to use them up, and as many clients.
FILES = 160
#: Seconds between two kills of a worker, and longest wait for the first event or a full log.
KILL_EVERY_S, TAKEN_WITHIN_S = 1.0, 30.0


def _nothing(service: RunningService) -> None:
    """Nothing is done to it."""


@dataclass(frozen=True)
class Surroundings:
    """How a service is started, what is done before its load, and what happens during that."""

    output: int | None = None
    prefix: tuple[str, ...] = ()
    prepare: Callable[[RunningService], None] = _nothing
    beset: Callable[[RunningService], AbstractContextManager[object]] = contextlib.nullcontext


AS_USUAL = Surroundings()
#: Makes them for one run.
Around = Callable[[], AbstractContextManager[Surroundings]]


@contextmanager
def nothing_wrong() -> Iterator[Surroundings]:
    """As usual."""
    yield AS_USUAL


@contextmanager
def nobody_reads() -> Iterator[Surroundings]:
    """Standard error is a pipe that is full, and so is what the service keeps of its log."""
    with stuck("pipe") as (_, theirs):
        # Before the load: to fill a log takes reloads of a config of megabytes.
        yield Surroundings(output=theirs, prepare=partial(flooded, within_s=TAKEN_WITHIN_S))


@contextmanager
def no_descriptors() -> Iterator[Surroundings]:
    """More idle clients than the service may have open files; a worker is killed every second."""
    limited = ("/bin/sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh")
    yield Surroundings(prefix=limited, beset=_beset)


@contextmanager
def _beset(service: RunningService) -> Iterator[None]:
    # Senders that were there before have their connections.
    service.wait_for(lambda books: books["accepted"] > 0, TAKEN_WITHIN_S)
    over = threading.Event()

    def kill() -> None:
        while not over.wait(KILL_EVERY_S):
            for pid in service.worker_pids()[:1]:
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with ExitStack() as clients:
        for _ in range(FILES):
            address = "127.0.0.1", service.api_port
            clients.enter_context(socket.create_connection(address, TAKEN_WITHIN_S))
        killer.start()
        try:
            yield
        finally:
            over.set()
            killer.join()
