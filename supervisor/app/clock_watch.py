"""Says when the service's clock and the wall clock disagree by more than a restart explains.

Owns that it is said once, and once more when it is over. Must not move any clock.
"""

from __future__ import annotations

import structlog

from supervisor.runtime.clock import BELIEVED_S, ServiceClock

_log = structlog.get_logger(__name__)


class ClockWatch:
    """Made when the service has started; what the last run left is said at once."""

    def __init__(self, clock: ServiceClock) -> None:
        self._clock = clock
        self._is_off = False
        if clock.reanchored_s:
            _log.warning(
                "clock_reanchored",
                by_s=round(clock.reanchored_s, 1),
                reason="the last run's clock and the wall clock differ by so much, more than the "
                "service was down as far as that is known (above zero: the last run was ahead): "
                "times that it wrote down are moved by as much, so that ages stay what they were; "
                "set the clock right and start again if it is wrong, and they are moved back",
            )

    def look(self) -> None:
        """To be called every second or so."""
        is_off = abs(self._clock.ahead_s) > BELIEVED_S
        if is_off and not self._is_off:
            _log.warning(
                "clock_differs",
                ahead_s=round(self._clock.ahead_s, 1),
                reason="the wall clock was set while the service runs: retries and ages go on by "
                "the service's own clock, and times that it shows are off by so much until a "
                "restart",
            )
        elif self._is_off and not is_off:
            _log.info("clock_agrees")
        self._is_off = is_off
