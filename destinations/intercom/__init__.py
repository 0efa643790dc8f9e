"""Intercom: users as contacts, tracks as data events, groups as companies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from destinations.intercom import mapping
from destinations.intercom.mapping import Api, Grouped, Identified, Mapper, Tracked
from destinations.intercom.steps import Conversation
from destinations.kit import Event, MappedSettings, Outcome, Steps, Stepwise
from destinations.kit.products import currency_code

_TOKEN = re.compile(r"[\x21-\x7e]+")


class Intercom(Stepwise):
    """An identify makes or changes a contact, a track is a data event, a group a company.

    Intercom takes one record a call, so that batching saves nothing; what was
    looked up once is remembered instead. Events of one user keep their order
    within a batch.
    """

    name = "intercom"
    aliases = mapping.NAMES
    defaults = mapping.DEFAULTS
    types = frozenset({"identify", "track", "group"})
    hosts = ("api.intercom.io", "api.eu.intercom.io", "api.au.intercom.io")
    batch_events = 100
    # A workspace has 10 000 calls a minute by default, counted in windows of ten seconds.
    concurrency = 8
    timeout_s = 20.0
    # At most four calls for the contact, and two for each company.
    most_steps = 4 + 2 * mapping.COMPANIES
    dry_answers: ClassVar[Mapping[str, str]] = {
        "POST /contacts/search": '{"type": "list", "data": []}',
        "POST /contacts": '{"type": "contact", "id": "1"}',
        "PUT /contacts/*": '{"type": "contact", "id": "1"}',
        "POST /companies": '{"type": "company", "id": "1"}',
        "POST /contacts/*/companies": '{"type": "company", "id": "1"}',
        "GET /companies": '{"type": "company", "id": "1"}',
        "DELETE /contacts/*/companies/*": '{"type": "company", "id": "1"}',
    }

    # https://developers.intercom.com/building-apps/docs/rest-apis
    base_urls: ClassVar[Mapping[str, str]] = {
        "us": "https://api.intercom.io",
        "eu": "https://api.eu.intercom.io",
        "au": "https://api.au.intercom.io",
    }

    class Settings(MappedSettings, frozen=True, forbid_unknown_fields=True):
        """`access_token` is the app's, of Developer Hub > Authentication.

        `contact_attributes` and `company_attributes` are further traits, by
        path, each with the name of a custom attribute, which has to be there:
        Intercom refuses names that it does not know. `mapping` does the same by
        expressions: what is no field of a contact or company is a custom
        attribute, and of a track a key of its metadata. With `create_contacts`
        a user who tracks something, or belongs to a group, before an identify
        is made a contact; without, the event has failed. A revenue without a
        currency is in `default_currency`; where that is empty, it is a plain
        number.
        """

        access_token: str
        region: Literal["us", "eu", "au"] = "us"
        contact_attributes: dict[str, str] = msgspec.field(default_factory=dict)
        company_attributes: dict[str, str] = msgspec.field(default_factory=dict)
        create_contacts: bool = True
        default_currency: str = "USD"

        def __post_init__(self) -> None:
            errors = []
            if not _TOKEN.fullmatch(self.access_token):
                errors.append("access_token: must be the token alone, without blanks")
            errors += [
                f"{key}.{path}: is empty; it is the name of a custom attribute"
                for key, names in (
                    ("contact_attributes", self.contact_attributes),
                    ("company_attributes", self.company_attributes),
                )
                for path, name in names.items()
                if not name.strip()
            ]
            if self.default_currency and currency_code(self.default_currency) is None:
                errors.append('default_currency: must be three letters, like "EUR", or empty')
            errors += self.mapping_errors()
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._mapper = Mapper(
            settings.contact_attributes,
            settings.company_attributes,
            settings.mapping,
            settings.custom_events,
            currency=currency_code(settings.default_currency),
        )
        api = Api(self.base_urls[settings.region], settings.access_token)
        self._conversation = Conversation(api, creates=settings.create_contacts)

    def key(self, event: Event) -> str | None:
        return event.user_id or event.user_email

    def steps(self, event: Event) -> Steps | Outcome:
        plan = self._mapper.plan(event)
        if isinstance(plan, (Identified, Tracked, Grouped)):
            return self._conversation.about(plan)
        return plan


DESTINATION = Intercom
