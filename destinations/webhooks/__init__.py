"""Webhooks: every event to an HTTP endpoint of one's own, as it was stored, or as it is mapped.

Requests look like those of Segment's Webhooks destination, so that receivers
need no change: JSON body, and an HMAC-SHA1 of it where a secret is shared.
https://segment.com/docs/connections/destinations/catalog/webhooks/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from destinations.kit import (
    Batched,
    Endpoint,
    Event,
    FieldMapping,
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
    """One request an event, or with `batch` one for as many as a batch of the connection has."""

    name = "webhooks"
    aliases = ("Webhooks", "Webhook", "Webhooks (Actions)")
    hosts = ("{url}",)
    batch_events = 100
    concurrency = 16

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`url` takes the requests; `shared_secret` signs them; `headers` are added to each.

        `method` is the verb; `header_mapping` gives headers from an event, by
        expressions (`"X-User" = "userId"`). With `mapping` the body is an object
        of these fields (`"user.email" = "traits.email"` is one in another), and an
        event that has none of them is unsupported; without, it is the event as it
        was stored. With `batch` the body is a JSON array.
        """

        url: str
        shared_secret: str | None = None
        headers: dict[str, str] = {}
        batch: bool = False
        method: Literal["POST", "PUT", "PATCH"] = "POST"
        header_mapping: dict[str, str] = {}
        mapping: FieldMapping = {}

        def __post_init__(self) -> None:
            errors = mapping.settings_errors(
                self.url, self.shared_secret, self.headers, self.header_mapping, self.mapping
            )
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._mapper = mapping.Mapper(
            settings.url,
            settings.headers,
            settings.header_mapping,
            settings.mapping,
            batch=settings.batch,
        )
        self._method: str = settings.method
        self._secret = settings.shared_secret.encode() if settings.shared_secret else None

    def item(self, event: Event) -> Item | Outcome:
        return self._mapper.item(event)

    def request(self, part: Part) -> Request:
        request = mapping.with_method(part.endpoint.request(part.items), self._method)
        return mapping.signed(request, self._secret)

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        return outcome(response, count)


DESTINATION = Webhooks
