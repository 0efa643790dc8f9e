"""Drift: users as contacts, tracks as events on their timelines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from destinations.drift import mapping, outcomes
from destinations.drift.mapping import Access, Api, Identified, Mapper, Tracked, authorized
from destinations.drift.steps import Conversation
from destinations.kit import Event, MappedSettings, Outcome, Request, Response, Steps, Stepwise
from destinations.kit.tokens import Renewed, SharedTokenSource, Token

_TOKEN = re.compile(r"[\x21-\x7e]+")


class Drift(Stepwise):
    """An identify makes or changes a contact, a track is an event on its timeline.

    Drift takes one record a call; what was looked up once is remembered.
    Events of one user keep their order within a batch.
    """

    name = "drift"
    aliases = mapping.NAMES
    defaults = mapping.DEFAULTS
    types = frozenset({"identify", "track"})
    hosts = ("driftapi.com",)
    batch_events = 100
    # No page says how many calls are allowed; 429 tells, and the connection's own limits adapt.
    concurrency = 4
    timeout_s = 20.0
    dry_answers: ClassVar[Mapping[str, str]] = {
        "GET /contacts": '{"data": []}',
        "POST /contacts": '{"data": {"id": 1, "attributes": {}}}',
        "PATCH /contacts/*": '{"data": {"id": 1, "attributes": {}}}',
        "POST /contacts/timeline": '{"data": {"contactId": 1}}',
    }

    base_url: ClassVar[str] = "https://driftapi.com"

    class Settings(MappedSettings, frozen=True, forbid_unknown_fields=True):
        """`access_token` is the one that "Install to Drift" shows, which has no end.

        A public app has `client_id`, `client_secret` and `refresh_token`
        instead; where Drift gives a new refresh token with an access token, that
        one is kept for all workers, over restarts, until the setting is changed.
        Both need the scopes `contact_read` and `contact_write`.

        With `attributes` the properties of a track go along as text; by
        `mapping` fields do in any case. With `create_contacts` a user with an
        address who tracks something before an identify is made a contact;
        without, the event has failed.
        """

        access_token: str | None = None
        client_id: str | None = None
        client_secret: str | None = None
        refresh_token: str | None = None
        attributes: bool = True
        create_contacts: bool = True

        def __post_init__(self) -> None:
            app = {
                "client_id": self.client_id,
                "client_secret": self.client_secret,
                "refresh_token": self.refresh_token,
            }
            errors = []
            if self.access_token is not None:
                if not _TOKEN.fullmatch(self.access_token):
                    errors.append("access_token: must be the token alone, without blanks")
                errors += [
                    f"{key}: must not be there beside access_token"
                    for key, value in app.items()
                    if value is not None
                ]
            elif not any(app.values()):
                errors.append("access_token: is required, or client_id and what belongs to it")
            else:
                errors += [
                    f"{key}: is required where there is no access_token"
                    for key, value in app.items()
                    if not (value or "").strip()
                ]
            errors += self.mapping_errors()
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._mapper = Mapper(
            attributes=settings.attributes,
            mapping=settings.mapping,
            custom_events=settings.custom_events,
        )
        self._api = Api(self.base_url)
        self._conversation = Conversation(self._api, creates=settings.create_contacts)
        self._tokens: SharedTokenSource[Access] | None = None
        if settings.access_token is None:
            self._tokens = SharedTokenSource(
                self._renew_token,
                kind=Access,
                keeper=self.keeper,
                setting="refresh_token",
                configured=settings.refresh_token,
            )

    def key(self, event: Event) -> str | None:
        return event.user_id or event.user_email

    def steps(self, event: Event) -> Steps | Outcome:
        plan = self._mapper.plan(event)
        if isinstance(plan, (Identified, Tracked)):
            return self._conversation.about(plan)
        return plan

    async def exchange(self, request: Request) -> Response | Outcome:
        send = super().exchange
        if self._tokens is None:
            return await send(authorized(request, Token(self.settings.access_token)))
        return await self._tokens.use(
            lambda token: send(authorized(request, token)), outcomes.needs_token
        )

    async def _renew_token(self, refresh_token: str) -> Renewed[Access] | Outcome:
        settings = self.settings
        request = self._api.token(settings.client_id, settings.client_secret, refresh_token)
        response = await super().exchange(request)
        if not isinstance(response, Response):
            return response
        token = outcomes.token(response)
        return Renewed(token, token.refresh_token) if isinstance(token, Access) else token


DESTINATION = Drift
