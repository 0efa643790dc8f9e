"""Salesforce: leads or contacts, accounts and a custom object by upsert, up to 200 a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from yarl import URL

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
from destinations.kit.tokens import TokenSource
from destinations.kit.urls import base_url_errors
from destinations.salesforce import outcomes
from destinations.salesforce.mapping import (
    Mapper,
    Person,
    Session,
    TrackObject,
    authorized,
    patch,
    token_request,
)

#: https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_endpoints.htm
_SHARED_LOGINS = frozenset({"login.salesforce.com", "test.salesforce.com"})
_API_VERSION = re.compile(r"\d{2,3}\.0")
#: Upserting several records a request came with this version.
_FIRST_VERSION = 46
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CUSTOM = re.compile(r"[A-Za-z][A-Za-z0-9_]*__c")


class Salesforce(Batched):
    """An identify becomes a lead or contact, a group an account, a track a custom object's record.

    Records are found by an external id, and made where there is none. Salesforce
    says what is missing for a new one, as a lead's company, by refusing it.
    """

    name = "salesforce"
    aliases = ("Salesforce", "Salesforce (Actions)")
    types = frozenset({"identify", "group", "track"})
    # The host of the org comes with the token, and is one of Salesforce's, see `outcomes.session`.
    hosts = ("{login_url}", "*.salesforce.com")
    batch_events = 200
    # Requests with records that share a parent wait for each other's locks.
    concurrency = 2
    timeout_s = 25.0
    dry_answers: ClassVar[Mapping[str, str]] = {
        "PATCH /services/data/*/composite/sobjects/*/*": (
            '[{"id": "00Qxx0000000001AAA", "success": true, "errors": [], "created": true}]'
        ),
    }

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`login_url` gives tokens: https://test.salesforce.com for a sandbox, or the My Domain.

        With `refresh_token` the app acts for the user who gave it; without, for
        itself (client credentials), which only a My Domain allows.

        An identify becomes a `person`, found by the external id field
        `person_id_field`, which holds the user id; a group an account by
        `account_id_field`, which holds the group id, and is unsupported without;
        a track what `track` says, and is unsupported without. The two `fields`
        are further traits, by path, each with the API name of its field.
        """

        client_id: str
        person_id_field: str
        client_secret: str | None = None
        refresh_token: str | None = None
        login_url: str = "https://login.salesforce.com"
        api_version: str = "62.0"
        person: Person = "Lead"
        person_fields: dict[str, str] = {}
        account_id_field: str | None = None
        account_fields: dict[str, str] = {}
        track: TrackObject | None = None

        def __post_init__(self) -> None:
            errors = base_url_errors("login_url", self.login_url)
            if not self.client_id.strip():
                errors.append("client_id: is empty; it is the app's consumer key")
            if not self.refresh_token:
                if not self.client_secret:
                    errors.append("client_secret: is required where there is no refresh_token")
                if not errors and URL(self.login_url).host in _SHARED_LOGINS:
                    errors.append(
                        "login_url: must be your My Domain where there is no refresh_token"
                    )
            if not (
                _API_VERSION.fullmatch(self.api_version)
                and int(self.api_version.partition(".")[0]) >= _FIRST_VERSION
            ):
                errors.append(f'api_version: must be from "{_FIRST_VERSION}.0" on, like "62.0"')
            errors += _name_errors(self)
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._login_url = settings.login_url.rstrip("/")
        self._mapper = Mapper(
            settings.api_version,
            (settings.person, settings.person_id_field, settings.person_fields),
            (settings.account_id_field, settings.account_fields)
            if settings.account_id_field
            else None,
            settings.track,
        )
        self._tokens = TokenSource(self._fetch_token)

    def item(self, event: Event) -> Item | Outcome:
        return self._mapper.item(event)

    def request(self, part: Part) -> Request:
        return patch(part.endpoint.request(part.items))

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        return outcomes.upserted(response, count, endpoint.url.rpartition("/")[2])

    async def exchange(self, request: Request) -> Response | Outcome:
        send = super().exchange
        return await self._tokens.use(
            lambda session: send(authorized(request, session)), outcomes.needs_token
        )

    async def _fetch_token(self) -> Session | Outcome:
        settings = self.settings
        request = token_request(
            self._login_url, settings.client_id, settings.client_secret, settings.refresh_token
        )
        response = await super().exchange(request)
        if not isinstance(response, Response):
            return response
        return outcomes.session(response, self._login_url)


def _name_errors(settings: Salesforce.Settings) -> list[str]:
    """What is wrong with names of objects and fields: they are part of URLs and records."""
    ids = {"person_id_field": settings.person_id_field}
    fields = {"person_fields": settings.person_fields, "account_fields": settings.account_fields}
    if settings.account_id_field is not None:
        ids["account_id_field"] = settings.account_id_field
    errors = []
    if settings.track is not None:
        ids["track.id_field"] = settings.track.id_field
        fields["track.fields"] = settings.track.fields
        if not _FIELD.fullmatch(settings.track.object):
            errors.append("track.object: must be an API name, like Web_Event__c")
    errors += [
        f"{key}: must be the API name of an external id field, like User_Id__c"
        for key, name in ids.items()
        if not _CUSTOM.fullmatch(name)
    ]
    errors += [
        f"{key}.{path}: must be the API name of a field, like Plan__c"
        for key, names in fields.items()
        for path, name in names.items()
        if not _FIELD.fullmatch(name)
    ]
    return errors


DESTINATION = Salesforce
