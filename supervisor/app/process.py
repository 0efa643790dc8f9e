"""The service as a process: from a config to an exit status.

Owns what is done once to the process itself, where its log goes, and that a signal ends the start
as it ends the service. What the parts are, and in which order, is `service.py`'s.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys

import structlog
import uvloop

from supervisor.app.service import Service
from supervisor.app.signals import Signals
from supervisor.config import Config
from supervisor.runtime import allocator, systemd
from supervisor.telemetry import log
from supervisor.telemetry.log_stream import LogStream
from supervisor.workers.zygote import hide_memory

_log = structlog.get_logger(__name__)


def run(config: Config) -> int:
    """Run the service in the foreground until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError where the config cannot work: settings that a destination
    refuses, a required sandbox layer that is missing.
    """
    allocator.settle()
    codes: list[int] = []
    try:
        uvloop.run(_run(config, codes))
    except (OSError, RuntimeError) as error:
        if not codes:
            raise
        # The service has stopped, and its event loop had no descriptor left to be closed with.
        _log.warning("loop_not_closed", reason=str(error))
    return codes[0]


async def _run(config: Config, codes: list[int]) -> None:
    hide_memory()
    # Whatever we write is nobody else's to read; what has to be is said where it is made.
    os.umask(0o077)
    stream = LogStream.of_process()
    atexit.register(stream.drain)
    # Whatever prints, the interpreter's own complaints included, waits for nobody either.
    sys.stdout = sys.stderr = stream
    redactor = log.configure(config.secrets, stream=stream)
    service = Service(config, redactor)
    service.metrics.follow_log(lambda: stream.lines_dropped)

    def last_bound() -> None:
        service.last_bound.arm(service.config.service.drain_timeout_s, stream.drain)

    signals = Signals(last_bound)
    signals.follow()
    starting = asyncio.create_task(service.start(systemd.inherited_sockets(), signals.reload))
    stopping = asyncio.create_task(signals.stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()  # raises what the start raised
            await stopping
    finally:
        last_bound()
        await service.stop(starting, signals.hurry)
    codes.append(0)
