"""What the operating system asks of the service, at whatever moment of its life it comes.

Owns which signal means what, and that none is lost: SIGTERM and SIGINT stop it, also while it
starts, and once more ends the wait for what is with workers; SIGHUP has the config read anew,
one reload at a time, however often it comes, and one that comes before the service runs is
carried out when it does. Must not know how any of that is done.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)

#: SIGHUPs that came before there was an event loop.
_early: list[int] = []


def remember_hangups() -> None:
    """From now on SIGHUP does not end the process; `Signals` hears of it later.

    Called before the config is read: one that came earlier asks for what is done anyway.
    """
    signal.signal(signal.SIGHUP, lambda number, frame: _early.append(number))


class Signals:
    """What was asked of one service. `on_stop` hears of the first SIGTERM or SIGINT at once."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.stop = asyncio.Event()
        """The service shall stop."""
        self.hurry = asyncio.Event()
        """It shall not wait any longer for what is with workers."""
        self.reload = asyncio.Event()
        """The config file shall be read; whoever does it clears this first."""
        self._on_stop = on_stop

    def follow(self) -> None:
        """Hear of them from the running event loop, and of what came before."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        if _early:
            _early.clear()
            self._reload()

    def _stop(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self.stop.is_set():
            _log.info("stop_asked", signal=name)
            self._on_stop()
            self.stop.set()
        elif not self.hurry.is_set():
            _log.warning("stop_asked_again", signal=name, consequence="nothing is waited for")
            self.hurry.set()

    def _reload(self) -> None:
        if self.stop.is_set():
            _log.warning("reload_refused", error="the service is stopping")
        elif not self.reload.is_set():
            _log.info("reload_asked")
            self.reload.set()
