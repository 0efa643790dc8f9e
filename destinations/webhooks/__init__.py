"""Webhooks: every event to an HTTP endpoint of one's own, as it was stored.

Requests look like those of Segment's Webhooks destination, so that receivers
need no change: JSON body, and an HMAC-SHA1 of it where a secret is shared.
https://segment.com/docs/connections/destinations/catalog/webhooks/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from destinations.kit import (
    Batched,
    Endpoint,
    Event,
    Item,
    Outcome,
    Part,
    Request,
    Response,
    Split,
)
from destinations.webhooks import mapping
from destinations.webhooks.outcomes import outcome


class Webhooks(Batched):
    """One POST an event, or with `batch` one POST for as many as a batch of the connection has."""

    name = "webhooks"
    aliases = ("Webhooks", "Webhook", "Webhooks (Actions)")
    hosts = ("{url}",)
    batch_events = 100
    concurrency = 16

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`url` takes the POSTs; `shared_secret` signs them; `headers` are added to each.

        With `batch` the body is a JSON array of events.
        """

        url: str
        shared_secret: str | None = None
        headers: dict[str, str] = {}
        batch: bool = False

        def __post_init__(self) -> None:
            errors = mapping.settings_errors(self.url, self.shared_secret, self.headers)
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._endpoint = mapping.endpoint(settings.url, settings.headers, batch=settings.batch)
        self._secret = settings.shared_secret.encode() if settings.shared_secret else None

    def item(self, event: Event) -> Item | Outcome:
        return Item(self._endpoint, event.raw)

    def request(self, part: Part) -> Request:
        return mapping.signed(part.endpoint.request(part.items), self._secret)

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        return outcome(response, count)


DESTINATION = Webhooks
