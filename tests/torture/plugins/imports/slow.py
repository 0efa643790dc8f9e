"""A destination whose import takes ten seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence

from destinations.kit import Delivered, Destination, Event, Outcome

time.sleep(10)


class Imported(Destination):
    """Would deliver, if anybody had waited for it."""

    name = "slow"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return [Delivered() for _ in events]
