"""Google Analytics 4: events by the Measurement Protocol, up to 25 of one user in a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import msgspec

from destinations.google_analytics import fields, limits, outcomes, people
from destinations.google_analytics.mapping import Mapper, Stream
from destinations.google_analytics.people import Consent
from destinations.kit import (
    Batched,
    Endpoint,
    Event,
    FieldMapping,
    Item,
    MappedSettings,
    Outcome,
    Response,
    Split,
)
from destinations.kit.contract import EVENT_TYPES

_MEASUREMENT_ID = re.compile(r"G-[A-Z0-9]+")
_CURRENCY = re.compile(r"[A-Z]{3}")


class GoogleAnalytics(Batched):
    """Pages, screens, tracks with Segment's e-commerce events as recommended ones, groups, traits.

    Google answers 2xx to everything that it receives, so `delivered` is no
    proof that an event is reported: see `outcomes`.
    """

    name = "google-analytics"
    aliases = people.NAMES
    defaults = fields.DEFAULTS
    types = frozenset({"identify", "track", "page", "screen", "group"})
    hosts = ("www.google-analytics.com", "region1.google-analytics.com")
    # Most requests carry one user's event or two.
    batch_events = 100
    concurrency = 16

    # https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#url_endpoint
    base_urls: ClassVar[Mapping[str, str]] = {
        "global": "https://www.google-analytics.com",
        "eu": "https://region1.google-analytics.com",
    }

    class Settings(MappedSettings, frozen=True, forbid_unknown_fields=True):
        """`measurement_id` is a web stream's, or `firebase_app_id` an app's; one of them.

        `api_secret` is made at Admin > Data streams > Measurement Protocol API
        secrets. With `region` "eu" the data is collected in the EU. The two
        `ad_` settings are the consent of events that say nothing of it.

        `default_currency` is that of events which are worth something and name no
        currency, nor do their products; without it such a value goes alone.
        `events` says which event of Segment's or Google's a track of an own name
        is (`"Deal Won" = "Order Completed"`).

        `mapping` has parameters by their names, and fields of the request: `client_id`,
        `app_instance_id`, `user_id`, `ip_override`, `user_agent`, and
        `user_properties.NAME`, `consent.NAME`, `user_location.NAME`, `device.NAME`,
        `user_data.NAME`.
        """

        api_secret: str
        measurement_id: str | None = None
        firebase_app_id: str | None = None
        region: Literal["global", "eu"] = "global"
        ad_user_data: Consent | None = None
        ad_personalization: Consent | None = None
        default_currency: str | None = None
        events: dict[str, str] = msgspec.field(default_factory=dict)

        @property
        def is_app(self) -> bool:
            """Whether events go to an app's stream."""
            return self.firebase_app_id is not None

        def __post_init__(self) -> None:
            errors = []
            if not self.api_secret.strip():
                errors.append("api_secret: is empty; it is made in the stream's settings")
            if (self.measurement_id is None) == (self.firebase_app_id is None):
                errors.append(
                    "measurement_id: is required for a web stream, "
                    "or firebase_app_id for an app's, and not both"
                )
            elif self.measurement_id is not None and not _MEASUREMENT_ID.fullmatch(
                self.measurement_id
            ):
                errors.append('measurement_id: must be like "G-ABC123"; a stream ID is another')
            elif self.firebase_app_id is not None and not self.firebase_app_id.strip():
                errors.append("firebase_app_id: is empty; it is in the Firebase console")
            if self.default_currency is not None and not _CURRENCY.fullmatch(self.default_currency):
                errors.append('default_currency: must be three capitals, as "EUR"')
            for own, name in self.events.items():
                if not own.strip():
                    errors.append("events: the name of an event is empty")
                elif not limits.name(name) or limits.reserved(name, is_app=self.is_app):
                    errors.append(f"events.{own}: must be a name of Segment's or Google's")
            errors += self.mapping_errors() or _target_errors(self.mapping)
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        consent: dict[str, Consent] = {}
        if settings.ad_user_data is not None:
            consent["ad_user_data"] = settings.ad_user_data
        if settings.ad_personalization is not None:
            consent["ad_personalization"] = settings.ad_personalization
        stream = Stream(
            self.base_urls[settings.region],
            settings.measurement_id or settings.firebase_app_id,
            settings.api_secret,
            is_app=settings.is_app,
        )
        self._mapper = Mapper(
            stream,
            consent,
            settings.mapping,
            settings.custom_events,
            settings.default_currency,
            settings.events,
        )

    def item(self, event: Event) -> Item | Outcome:
        return self._mapper.item(event, datetime.now(UTC))

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        return outcomes.collected(response)


def _target_errors(mapping: FieldMapping) -> list[str]:
    """What is wrong with the names of fields, each opening with its key path."""
    every = [key for key, below in mapping.items() if not isinstance(below, dict)]
    found = [f"mapping.{error}" for error in fields.errors(every)]
    for key, below in mapping.items():
        if key in EVENT_TYPES and isinstance(below, dict):
            found += [f"mapping.{key}.{error}" for error in fields.errors(below)]
    return found


DESTINATION = GoogleAnalytics
