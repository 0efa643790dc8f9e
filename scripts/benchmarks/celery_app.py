"""The Celery side of the comparisons: one task that takes a list of events.

Owns Celery's settings: prefork, acknowledged late, so that a killed worker
loses nothing. The broker's address comes from BENCH_BROKER.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)

#: Where `take` writes one line a list, `MONOTONIC_NS PID`; nowhere where it is not set.
_stamps_path = os.environ.get("BENCH_STAMPS")


def take(events: list[str]) -> None:
    """Decode each event, as Bulkhead's workers do."""
    if _stamps_path is not None:
        stamps = os.open(_stamps_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(stamps, b"%d %d\n" % (time.monotonic_ns(), os.getpid()))
        os.close(stamps)
    for event in events:
        json.loads(event)


task: Any = app.task(name="bench.take")(take)  # Any: Celery ships no types
