"""Destinations that the process tests put on the plugin path, each with one habit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome


class Diary(Destination):
    """Writes the message id of each event as a line of a file, after `seconds`."""

    name = "diary"
    batch_events = 10

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`path` is appended to; `version` has no meaning but that it may change."""

        path: str
        seconds: float = 0.0
        version: int = 1

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        await asyncio.sleep(self.settings.seconds)
        with Path(self.settings.path).open("a") as diary:
            diary.writelines(f"{event.message_id} {os.getpid()}\n" for event in events)
        return [Delivered() for _ in events]


class Fragile(Destination):
    """Reports each event early, and ends its worker at an event called "Fatal", once."""

    name = "fragile"
    batch_events = 10

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`path` is appended to, and remembers beside it that the worker has died."""

        path: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        scar = Path(self.settings.path + ".died")
        for index, event in enumerate(events):
            if event.event == "Fatal" and not scar.exists():
                scar.touch()
                await asyncio.sleep(0.1)  # what was reported is on its way
                os._exit(3)
            with Path(self.settings.path).open("a") as diary:
                diary.write(f"{event.message_id}\n")
            self.report(index, Delivered())
        return [Delivered() for _ in events]


class Hung(Destination):
    """Never gives the event loop back."""

    name = "hung"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        while True:
            pass


class Raises(Destination):
    """Raises at an event called "Bad", whatever else is in the batch."""

    name = "raises"
    batch_events = 10

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for event in events:
            if event.event == "Bad":
                raise ValueError("no good")
        return [Delivered() for _ in events]
