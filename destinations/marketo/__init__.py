"""Marketo: people by upsert, and custom activities of them, up to 300 a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from destinations.kit import (
    Batched,
    Endpoint,
    Event,
    FieldMapping,
    Item,
    Outcome,
    Request,
    Response,
    Retry,
    Split,
    mapping_errors,
)
from destinations.kit.contract import EVENT_TYPES
from destinations.kit.tokens import Token, TokenSource
from destinations.kit.urls import base_url_errors
from destinations.marketo import outcomes
from destinations.marketo.fields import DEFAULTS
from destinations.marketo.mapping import (
    Activity,
    ActivityType,
    Mapper,
    authorized,
    endpoints,
    token_request,
)


class Marketo(Batched):
    """An identify becomes a person, a track that the settings name an activity of one.

    An activity wants the id of its person, so the people of a batch's tracks
    are looked up first, and created where Marketo does not know them.

    Marketo makes duplicates of a new person who is upserted twice at once. One
    batch never does that; where it must not happen between batches either, set
    the connection's `ordering = "user"`, or its `max_concurrency = 1`.
    """

    name = "marketo"
    aliases = ("Marketo", "Marketo V2", "Marketo (Actions)", "Marketo Engage")
    types = frozenset({"identify", "track"})
    hosts = ("{endpoint}",)
    defaults = DEFAULTS
    batch_events = 300
    # Marketo allows ten calls at once to all clients of a subscription, and advises against any.
    concurrency = 2
    # Adding activities may take Marketo 90 s, but a batch has 30 s by default. One that is given up
    # may have been added all the same, and is added again: there is no id to tell a repeat by.
    timeout_s = 25.0
    dry_answers: ClassVar[Mapping[str, str]] = {
        "POST /rest/v1/leads.json": '{"success": true, "result": [{"id": 1, "status": "created"}]}',
        "POST /rest/v1/activities/external.json": (
            '{"success": true, "result": [{"id": 1, "status": "added"}]}'
        ),
    }

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`endpoint` is that of the page Admin > Integration > Web Services, with or without /rest.

        `client_id` and `client_secret` are the custom service's. People are
        found by `lookup_field`: "email", or a field that holds the user id.
        Who has no address is found by `user_id_field`, and who has no user id
        either by `anonymous_id_field`, where they are set: API names of fields
        that hold these ids. New people go into `partition`, where that is set.
        `mapping` gives fields of people by expressions; `fields` is its older form:
        traits by path, each with the API name of its field. `activities` are custom
        activities, by the name of their event; other events are unsupported.
        """

        endpoint: str
        client_id: str
        client_secret: str
        lookup_field: str = "email"
        user_id_field: str | None = None
        anonymous_id_field: str | None = None
        partition: str | None = None
        fields: dict[str, str] = {}
        mapping: FieldMapping = {}
        activities: dict[str, ActivityType] = {}

        def __post_init__(self) -> None:
            errors = base_url_errors("endpoint", self.endpoint)
            errors += [
                f"{key}: is empty"
                for key in ("client_id", "client_secret", "lookup_field")
                if not getattr(self, key).strip()
            ]
            errors += [
                f"{key}: is empty; leave it out"
                for key in ("user_id_field", "anonymous_id_field", "partition")
                if getattr(self, key) is not None and not getattr(self, key).strip()
            ]
            if self.user_id_field is not None and self.lookup_field != "email":
                errors.append("user_id_field: lookup_field holds the user id already")
            errors += mapping_errors(self.mapping)
            errors += [
                f"mapping.{key}: only an identify has fields of people; "
                "attributes stand in activities.NAME.mapping"
                for key, below in self.mapping.items()
                if isinstance(below, dict) and key in EVENT_TYPES - {"identify"}
            ]
            for name, activity in self.activities.items():
                errors += [
                    f"activities.{name}.{error}" for error in mapping_errors(dict(activity.mapping))
                ]
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._base = settings.endpoint.rstrip("/").removesuffix("/rest")
        others = (settings.user_id_field, settings.anonymous_id_field)
        self._endpoints = endpoints(
            self._base,
            settings.lookup_field,
            [field for field in others if field is not None],
            settings.partition,
        )
        self._mapper = Mapper(
            self._endpoints,
            settings.lookup_field,
            settings.fields,
            settings.activities,
            mapping=settings.mapping,
            user_id_field=settings.user_id_field,
            anonymous_id_field=settings.anonymous_id_field,
        )
        self._tokens = TokenSource(self._fetch_token)

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        said: list[Outcome] = [_UNSENT] * len(events)

        def settle(index: int, outcome: Outcome) -> None:
            said[index] = outcome
            self.report(index, outcome)

        people: list[tuple[int, Item]] = []
        activities: list[tuple[int, Activity]] = []
        for index, mapped in self.each_mapped(events, self._mapper.mapped):
            match mapped:
                case Item() as item:
                    people.append((index, item))
                case Activity() as activity:
                    activities.append((index, activity))
                case outcome:
                    settle(index, outcome)
        # First, so that an activity's person has the traits that came before it.
        await self.deliver_items(people, settle)
        await self._deliver_activities(activities, settle)
        return said

    async def _deliver_activities(
        self, activities: Sequence[tuple[int, Activity]], settle: Callable[[int, Outcome], None]
    ) -> None:
        people = {activity.key: activity.person for _, activity in activities}
        keys = list(people)
        found: dict[str, Outcome] = {}
        await self.deliver_items(
            list(enumerate(people.values())),
            lambda index, outcome: found.update({keys[index]: outcome}),
        )
        items: list[tuple[int, Item]] = []
        for index, activity in activities:
            person = found[activity.key]
            if isinstance(person, outcomes.Found):
                items.append((index, activity.item(self._endpoints.activities, person.lead_id)))
            else:
                settle(index, person)
        await self.deliver_items(items, settle)

    def item(self, event: Event) -> Item | Outcome:
        """The person that an event makes or needs; the activity itself needs Marketo's answer."""
        said = self._mapper.mapped(event)
        return said.person if isinstance(said, Activity) else said

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        if endpoint is self._endpoints.activities:
            return outcomes.activities(response, count)
        if self._endpoints.is_lookup(endpoint):
            return outcomes.lookups(response, count)
        return outcomes.leads(response, count)

    async def exchange(self, request: Request) -> Response | Outcome:
        send = super().exchange
        return await self._tokens.use(
            lambda token: send(authorized(request, token)), outcomes.needs_token
        )

    async def _fetch_token(self) -> Token | Outcome:
        settings = self.settings
        request = token_request(self._base, settings.client_id, settings.client_secret)
        response = await super().exchange(request)
        return outcomes.token(response) if isinstance(response, Response) else response


_UNSENT = Retry("not sent")

DESTINATION = Marketo
