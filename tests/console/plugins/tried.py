"""Destinations to try from the console: they spread their secret, hang, or flood."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from destinations.kit import Destination, Event, Failed, Outcome


class Spreads(Destination):
    """Writes its secret wherever one can stand, to a server that answers with all of it."""

    name = "spreads"
    hosts = ("{url}",)

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        url: str
        handle: str
        api_key: str = "none-at-all"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        secret, key = self.settings.handle, self.settings.api_key
        texts = [
            *(secret, key, quote(secret, safe=""), json.dumps(secret)[1:-1]),
            *(base64.b64encode(f"{x}{secret}:{x}".encode()).decode() for x in ("", "a", "bc")),
        ]
        for text in texts:
            safe = quote(text, safe="")
            for data in (text.encode(), json.dumps({"deep": [{text: text}]}).encode()):
                async with self.http.post(
                    f"{self.settings.url}/{safe}?q={safe}",
                    data=data,
                    headers={"X-Handle": quote(text), "Authorization": f"Basic {quote(text)}"},
                ) as answer:
                    await answer.read()
        return [Failed(f"refused: {' '.join(texts)}")] * len(events)


class Hangs(Destination):
    """Never ends."""

    name = "hangs"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        await asyncio.sleep(3600)
        raise AssertionError
