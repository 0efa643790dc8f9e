"""Mixpanel: events to `/import`, people to `/engage`, groups to `/groups`, aliases to `/track`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from destinations.kit import Batched, Endpoint, Event, Item, Outcome, Response, Split
from destinations.mixpanel import outcomes
from destinations.mixpanel.mapping import Endpoints, Mapper, endpoints


class Mixpanel(Batched):
    """Up to 2 000 events a request, each with an outcome of its own.

    Users' ids are merged by the `$device_id` and `$user_id` of their events, as
    in projects with the simplified ID merge, which is the default. Those with
    the original one need an event `$identify` too, which is not sent: an alias
    merges ids there, and only there.
    """

    name = "mixpanel"
    aliases = ("Mixpanel", "Mixpanel (Actions)", "Actions Mixpanel")
    hosts = ("api.mixpanel.com", "api-eu.mixpanel.com", "api-in.mixpanel.com")
    batch_events = 2000
    batch_bytes = 2 * 1024 * 1024
    timeout_s = 20.0
    dry_answers: ClassVar[Mapping[str, str]] = {
        "POST /import": '{"code": 200, "num_records_imported": 1, "status": "OK"}',
        "POST /engage": '{"error": "", "status": 1}',
        "POST /groups": '{"error": "", "status": 1}',
        "POST /track": '{"error": "", "status": 1}',
    }

    # https://docs.mixpanel.com/reference/overview: where the project's data lives
    base_urls: ClassVar[Mapping[str, str]] = {
        "us": "https://api.mixpanel.com",
        "eu": "https://api-eu.mixpanel.com",
        "in": "https://api-in.mixpanel.com",
    }

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`token` is the project's; a service account, where given, signs in to `/import` instead.

        `group_key` is the project's group key that group events belong to;
        with `page_names` pages and screens keep their own names as events.
        """

        token: str
        region: Literal["us", "eu", "in"] = "us"
        project_id: str | None = None
        service_account_username: str | None = None
        service_account_secret: str | None = None
        group_key: str = "$group_id"
        page_names: bool = False

        def __post_init__(self) -> None:
            errors = (
                [] if self.token.strip() else ["token: is empty; it is in the project settings"]
            )
            account = {
                "project_id": self.project_id,
                "service_account_username": self.service_account_username,
                "service_account_secret": self.service_account_secret,
            }
            if any(account.values()):
                errors += [
                    f"{key}: is required where a service account is used"
                    for key, value in account.items()
                    if not value
                ]
            if not self.group_key:
                errors.append("group_key: is empty; leave it out for $group_id")
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        account = None
        if settings.service_account_username:
            account = (settings.service_account_username, settings.service_account_secret)
        self._endpoints: Endpoints = endpoints(
            self.base_urls[settings.region], settings.token, settings.project_id, account
        )
        self._mapper = Mapper(
            self._endpoints, settings.token, settings.group_key, page_names=settings.page_names
        )

    def item(self, event: Event) -> Item | Outcome:
        return self._mapper.item(event)

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        if endpoint is self._endpoints.imports:
            return outcomes.imported(response, count)
        return outcomes.updated(response)


DESTINATION = Mixpanel
