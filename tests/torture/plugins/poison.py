"""A destination that tells a sink what it was given before it does anything with it."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome


class Poison(Destination):
    """Ends its worker at events called "Bad", as its settings say; delivers all others."""

    name = "poison"
    hosts = ("{url}",)
    batch_events = 100

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`url` is told of each execution. It takes `company` bad events in one batch to kill.

        It kills with this `chance`. `reports` has outcomes told as they come.
        """

        url: str
        company: int = 1
        chance: float = 1.0
        reports: bool = False

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        settings = self.settings
        body = [{"messageId": event.message_id} for event in events]
        async with self.http.post(settings.url, json=body) as answer:
            await answer.read()
        bad = [index for index, event in enumerate(events) if event.event == "Bad"]
        for index in range(len(events)):
            self.at(index)
            if index in bad and len(bad) >= settings.company and random.random() < settings.chance:
                os._exit(3)
            if settings.reports:
                self.report(index, Delivered())
        return [Delivered() for _ in events]
