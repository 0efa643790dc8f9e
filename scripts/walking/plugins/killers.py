"""A destination that ends its worker, for the walk of a death. Owns nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from destinations.kit import Delivered, Destination, Event, Outcome


class Killer(Destination):
    """Ends its worker at events called "Fatal"; delivers all others."""

    name = "killer"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for index, event in enumerate(events):
            self.at(index)
            if event.event == "Fatal":
                os._exit(3)
        return [Delivered() for _ in events]
