"""A destination that takes its time to be imported, though less than it may take."""

from __future__ import annotations

import time
from collections.abc import Sequence

from destinations.kit import Delivered, Destination, Event, Outcome

time.sleep(2)


class Slow(Destination):
    """It delivers nowhere."""

    name = "slow"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """All of them at once."""
        return [Delivered() for _ in events]
