"""What workers print, log and fail to catch, as lines of the service's own log.

Owns those lines and what is counted of them. Whatever is in them was said by code that
is not trusted: it is shown, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Container

import structlog

from sandbox.protocol import Log, UnhandledException
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.output import Printed

_log = structlog.get_logger(__name__)


def log_printed(worker: WorkerHandle, printed: Printed, connection: str | None) -> None:
    """Its lines, one a line; `connection` is whose step ran when they were read: a guess."""
    for line in printed.lines:
        _log.info("worker_printed", worker=worker.label, connection=connection, text=line)


def log_unhandled(
    pool: str,
    worker: WorkerHandle,
    message: UnhandledException,
    metrics: Metrics,
    *,
    is_logged: bool,
) -> None:
    """An exception that nobody caught; past its worker's allowance it is only counted."""
    metrics.stray_exceptions(message.connection, 1 + max(0, message.dropped))
    if not is_logged:
        return
    _log.error(
        "stray_exception",
        pool=pool,
        worker=worker.label,
        connection=message.connection,
        text=message.text,
        dropped_before=message.dropped,
    )


def log_line(
    pool: str,
    worker: WorkerHandle,
    message: Log,
    known: Container[str],
    metrics: Metrics,
    *,
    is_logged: bool,
) -> None:
    """A log line of a destination; it is counted for its connection where that is `known`.

    Not `is_logged`: its worker has no allowance left, and it is counted as dropped.
    """
    name = message.connection if message.connection in known else ""
    metrics.log_lines(name, "dropped", max(0, message.dropped) + (not is_logged))
    if not is_logged:
        return
    metrics.log_lines(name, "logged", 1)
    _log.log(
        min(max(message.level // 10 * 10, 10), 50),
        "destination_log",
        pool=pool,
        worker=worker.label,
        connection=message.connection,
        text=message.text,
        dropped_before=message.dropped,
    )
