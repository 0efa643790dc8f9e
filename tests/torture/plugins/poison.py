"""A destination that tells a sink what it was given before it does anything with it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome

# Of the worker's own, which whoever runs in it can reach as well as this does.
from sandbox.protocol import MARK, RUNNING, read_mark


class Poison(Destination):
    """Ends its worker at events called "Bad", as its settings say; delivers all others."""

    name = "poison"
    hosts = ("{url}",)
    batch_events = 100

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`url` is told of each execution. It takes `company` bad events in one batch to kill.

        It kills with this `chance`. `reports` has outcomes told as they come. With `forges`
        it puts the blame on another connection first, if it meets one.
        """

        url: str
        company: int = 1
        chance: float = 1.0
        reports: bool = False
        forges: bool = False

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        settings = self.settings
        body = [{"messageId": event.message_id} for event in events]
        async with self.http.post(settings.url, json=body) as answer:
            await answer.read()
        bad = [index for index, event in enumerate(events) if event.event == "Bad"]
        for index in range(len(events)):
            self.at(index)
            if index in bad and len(bad) >= settings.company and random.random() < settings.chance:
                if settings.forges and len(events) > 1:
                    await _blame_another()
                os._exit(3)
            if settings.reports:
                self.report(index, Delivered())
        return [Delivered() for _ in events]


class Bystander(Destination):
    """Takes a while for a batch, so that somebody else may die meanwhile."""

    name = "bystander"
    batch_events = 10

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        await asyncio.sleep(1.0 if len(events) > 1 else 0.01)
        return [Delivered() for _ in events]


#: Seconds in which another connection has to be met.
_MEETING_S = 2.0


async def _blame_another() -> None:
    """Have the page say that a batch of another connection runs, once there has been one."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    # Any: what the worker wraps a batch in is none of the kit's interface.
    step: Any = task.get_coro()
    words = step._page.words
    mine = read_mark(words[MARK])
    until = loop.time() + _MEETING_S
    met: asyncio.Future[int | None] = loop.create_future()

    def look() -> None:
        # No step of ours, so that the page still has what ran before this.
        last = read_mark(words[MARK])
        if last is not None and mine is not None and last.number != mine.number:
            met.set_result(words[MARK])
        elif loop.time() > until:
            met.set_result(None)
        else:
            loop.call_later(0.001, look)

    look()
    word = await met
    if word is not None:
        words[MARK] = word | RUNNING
