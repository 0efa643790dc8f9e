"""The service's clock: wall time that no clock step can move.

Owns the one notion of "now" that retry times, windows and leases are computed
with. It is anchored to the wall clock once, at start, and then advances with
the monotonic clock: an operator or NTP that sets the clock while the service
runs can neither stall nor rush a retry. Time stamps that users see on events
(`receivedAt`) are plain wall time and do not come from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds since the epoch, never going backwards while the process lives.
Clock = Callable[[], float]


def anchored_clock(*, not_before: float = 0.0) -> Clock:
    """Return a clock that starts at wall time and advances monotonically.

    `not_before` (seconds since the epoch) is the newest time the previous run
    has written down: where the wall clock was set back while the service was
    down, the clock goes on from there instead of replaying the past.
    """
    offset = max(time.time(), not_before) - time.monotonic()

    def now() -> float:
        return time.monotonic() + offset

    return now
