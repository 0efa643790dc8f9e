"""Salesforce: leads or contacts, accounts and other objects by upsert, up to 200 a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from yarl import URL

from destinations.kit import (
    Batched,
    Endpoint,
    Event,
    Failed,
    Item,
    MappedSettings,
    Outcome,
    Part,
    Request,
    Response,
    Split,
    mapping_errors,
)
from destinations.kit.tokens import Renewed, SharedTokenSource, TokenSource
from destinations.kit.urls import base_url_errors
from destinations.salesforce import outcomes
from destinations.salesforce.fields import DEFAULTS, path_errors
from destinations.salesforce.mapping import (
    Mapper,
    RecordRule,
    Session,
    TrackObject,
    authorized,
    completed,
    patch,
    token_request,
)

#: https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_endpoints.htm
_SHARED_LOGINS = frozenset({"login.salesforce.com", "test.salesforce.com"})
_API_VERSION = re.compile(r"\d{2,3}\.0")
#: Upserting several records a request came with this version.
_FIRST_VERSION = 46
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: A field, or one of the parent that a relationship leads to.
_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)?")
_CUSTOM = re.compile(r"[A-Za-z][A-Za-z0-9_]*__c")


class Salesforce(Batched):
    """An identify becomes a lead or contact, a group an account, a track a custom object's record.

    Records are found by an external id, and made where there is none. Salesforce
    says what is missing for a new one, as a lead's company, by refusing it; what
    `placeholders` have for that goes into new records only. Which fields a record
    has, and from what, stands in `fields.py`; `settings.mapping` changes it.
    """

    name = "salesforce"
    defaults = DEFAULTS
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

    class Settings(MappedSettings, frozen=True, forbid_unknown_fields=True):
        """`login_url` gives tokens: https://test.salesforce.com for a sandbox, or the My Domain.

        With `refresh_token` the app acts for the user who gave it; without, for
        itself (client credentials), which only a My Domain allows.

        An identify becomes a `person`, a "Lead", "Contact" or any other object,
        found by the external id field `person_id_field`, which holds the user id;
        a group an account by `account_id_field`, which holds the group id, and is
        unsupported without; a track what `track` says, and is unsupported
        without. `records` are rules for events that become something else.

        `mapping` changes the fields, best below the event type (`mapping.identify`),
        as each has another object. The two `fields` are further traits, by path,
        each with the API name of its field.

        `placeholders` are values for fields that a new record must have, like
        `{LastName = "n/a", Company = "n/a"}`: they are sent only once Salesforce
        has said that the record is not there and the field is missing, so that
        no value of a record that is there is lost to them.
        """

        client_id: str
        person_id_field: str
        client_secret: str | None = None
        refresh_token: str | None = None
        login_url: str = "https://login.salesforce.com"
        api_version: str = "62.0"
        person: str = "Lead"
        person_fields: dict[str, str] = msgspec.field(default_factory=dict)
        account_id_field: str | None = None
        account_fields: dict[str, str] = msgspec.field(default_factory=dict)
        track: TrackObject | None = None
        placeholders: dict[str, str] = msgspec.field(default_factory=dict)
        records: list[RecordRule] = msgspec.field(default_factory=list)

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
            errors += _name_errors(self) + _mapping_errors(self)
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
            settings.mapping,
            settings.custom_events,
            settings.records,
        )
        self._tokens: TokenSource[Session] = (
            SharedTokenSource(
                self._renew_token,
                kind=Session,
                keeper=self.keeper,
                setting="refresh_token",
                configured=settings.refresh_token,
            )
            if settings.refresh_token
            else TokenSource(self._fetch_token)
        )

    def item(self, event: Event) -> Item | Outcome:
        return self._mapper.item(event)

    def request(self, part: Part) -> Request:
        return patch(part.endpoint.request(part.items))

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        id_field = endpoint.url.rpartition("/")[2]
        return outcomes.upserted(response, count, id_field, self.settings.placeholders)

    async def deliver_items(
        self, items: Sequence[tuple[int, Item]], settle: Callable[[int, Outcome], None]
    ) -> None:
        """Changes of one record one after the other, each completed before the next is sent.

        Else a value of the next would be lost to a placeholder.
        """
        if not self.settings.placeholders:
            return await super().deliver_items(items, settle)
        left = list(items)
        while left:
            wave: dict[tuple[int, str | None], tuple[int, Item]] = {}
            later = []
            for index, item in left:
                place = (id(item.endpoint), item.key)
                if place in wave:
                    later.append((index, item))
                else:
                    wave[place] = index, item
            await self._deliver_complete(list(wave.values()), settle)
            left = later
        return None

    async def _deliver_complete(
        self, items: Sequence[tuple[int, Item]], settle: Callable[[int, Outcome], None]
    ) -> None:
        """Send items, and those that no record was there for once more with placeholders."""
        sent = dict(items)
        again: list[tuple[int, Item]] = []

        def first(index: int, outcome: Outcome) -> None:
            if isinstance(outcome, outcomes.Incomplete):
                item = completed(sent[index], outcome.fields, self.settings.placeholders)
                again.append((index, item))
            else:
                settle(index, outcome)

        def second(index: int, outcome: Outcome) -> None:
            if isinstance(outcome, outcomes.Incomplete):
                outcome = Failed(outcome.reason)  # a value that Salesforce takes for none
            settle(index, outcome)

        await super().deliver_items(items, first)
        await super().deliver_items(again, second)

    async def exchange(self, request: Request) -> Response | Outcome:
        send = super().exchange
        return await self._tokens.use(
            lambda session: send(authorized(request, session)), outcomes.needs_token
        )

    async def _renew_token(self, refresh_token: str) -> Renewed[Session] | Outcome:
        session = await self._fetch_token(refresh_token)
        if not isinstance(session, Session):
            return session
        return Renewed(session, session.refresh_token)

    async def _fetch_token(self, refresh_token: str | None = None) -> Session | Outcome:
        settings = self.settings
        request = token_request(
            self._login_url, settings.client_id, settings.client_secret, refresh_token
        )
        response = await super().exchange(request)
        if not isinstance(response, Response):
            return response
        return outcomes.session(response, self._login_url)


def _name_errors(settings: Salesforce.Settings) -> list[str]:
    """What is wrong with names of objects and fields: they are part of URLs and records."""
    objects = {"person": settings.person}
    ids = {"person_id_field": settings.person_id_field}
    fields = {"person_fields": settings.person_fields, "account_fields": settings.account_fields}
    if settings.account_id_field is not None:
        ids["account_id_field"] = settings.account_id_field
    if settings.track is not None:
        objects["track.object"] = settings.track.object
        ids["track.id_field"] = settings.track.id_field
        fields["track.fields"] = settings.track.fields
    for index, rule in enumerate(settings.records):
        objects[f"records.{index}.object"] = rule.object
        ids[f"records.{index}.id_field"] = rule.id_field
    errors = [
        f"{key}: must be an API name, like Web_Event__c"
        for key, name in objects.items()
        if not _FIELD.fullmatch(name)
    ]
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
    errors += [
        f"placeholders.{name}: must be the API name of a field, with a value"
        for name, value in settings.placeholders.items()
        if not (_FIELD.fullmatch(name) and value.strip())
    ]
    return errors


def _mapping_errors(settings: Salesforce.Settings) -> list[str]:
    """What is wrong with expressions, paths, and the fields that they are for."""
    errors = settings.mapping_errors()
    errors += path_errors("person_fields", settings.person_fields, "traits")
    errors += path_errors("account_fields", settings.account_fields, "traits")
    if settings.track is not None:
        errors += path_errors("track.fields", settings.track.fields)
    targets = {"mapping": set[str]()}
    for key, below in settings.mapping.items():
        if isinstance(below, dict):
            targets[f"mapping.{key}"] = set(below)
        else:
            targets["mapping"].add(key)
    for index, rule in enumerate(settings.records):
        at = f"records.{index}"
        errors += [f"{at}.{_after(error)}" for error in mapping_errors({"id": rule.id})]
        errors += [f"{at}.fields.{_after(error)}" for error in mapping_errors(dict(rule.fields))]
        if not rule.id.strip():
            errors.append(f"{at}.id: is empty")
        if rule.events and rule.type != "track":
            errors.append(f"{at}.events: only tracks have names")
        targets[f"{at}.fields"] = set(rule.fields)
    return errors + [
        f"{at}.{name}: must be the API name of a field, or of a parent's like Account.Id__c"
        for at, names in targets.items()
        for name in sorted(names)
        if not _TARGET.fullmatch(name)
    ]


def _after(error: str) -> str:
    return error.removeprefix("mapping.")


DESTINATION = Salesforce
