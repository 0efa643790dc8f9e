"""Mixpanel: events to `/import`, people to `/engage`, groups to `/groups`, aliases to `/track`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from destinations.kit import (
    Batched,
    Delivered,
    Endpoint,
    Event,
    Item,
    MappedSettings,
    Outcome,
    Response,
    Retry,
    Split,
)
from destinations.kit.paths import normal
from destinations.mixpanel import outcomes
from destinations.mixpanel.fields import DEFAULTS
from destinations.mixpanel.mapping import Endpoints, Mapper, Several, endpoints
from destinations.mixpanel.profiles import Counters, Operations


class Mixpanel(Batched):
    """Up to 2 000 events a request, each with an outcome of its own.

    Users' ids are merged by the `$device_id` and `$user_id` of their events, as
    in projects with the simplified ID merge, which is the default; by the setting
    `id_merge` those with the original one get `$identify` and `$merge` as well.
    An event that becomes several requests is delivered once all of them are.
    """

    name = "mixpanel"
    aliases = ("Mixpanel", "Mixpanel (Actions)", "Actions Mixpanel")
    hosts = ("api.mixpanel.com", "api-eu.mixpanel.com", "api-in.mixpanel.com")
    batch_events = 2000
    batch_bytes = 2 * 1024 * 1024
    timeout_s = 20.0
    defaults = DEFAULTS
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

    class Settings(MappedSettings, frozen=True, forbid_unknown_fields=True):
        """`token` is the project's; a service account, where given, signs in to `/import` instead.

        `group_key` is the project's group key that group events belong to;
        with `page_names` pages and screens keep their own names as events.
        `id_merge` is the project's, see its settings at Mixpanel. `product_events` gives each
        product of a completed order an event "Product Purchased"; `context_traits` puts the
        traits of the context on events. Of an identify or group, traits that `set_once`, `union`
        or `append` name keep their first value, or are lists that grow; others are set. Events
        that `increment_events` names are counted on the profiles of known users, and numbers of
        the properties that `increment_properties` names are added up there.
        """

        token: str
        region: Literal["us", "eu", "in"] = "us"
        project_id: str | None = None
        service_account_username: str | None = None
        service_account_secret: str | None = None
        group_key: str = "$group_id"
        page_names: bool = False
        id_merge: Literal["simplified", "original"] = "simplified"
        product_events: bool = True
        context_traits: bool = False
        set_once: list[str] = msgspec.field(default_factory=list)
        union: list[str] = msgspec.field(default_factory=list)
        append: list[str] = msgspec.field(default_factory=list)
        increment_events: list[str] = msgspec.field(default_factory=list)
        increment_properties: list[str] = msgspec.field(default_factory=list)

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
            lists = {"set_once": self.set_once, "union": self.union, "append": self.append}
            counted = {
                "increment_events": self.increment_events,
                "increment_properties": self.increment_properties,
            }
            errors += [
                f"{key}.{index}: is empty"
                for key, names in {**lists, **counted}.items()
                for index, name in enumerate(names)
                if not name.strip()
            ]
            operation: dict[str, str] = {}
            for key, names in lists.items():
                for index, name in enumerate(names):
                    other = operation.setdefault(normal(name), key)
                    if other != key:
                        errors.append(f"{key}.{index}: {name} stands in {other} already")
            errors += self.mapping_errors()
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
            self._endpoints,
            settings.token,
            settings.group_key,
            page_names=settings.page_names,
            mapping=settings.mapping,
            custom_events=settings.custom_events,
            id_merge=settings.id_merge,
            product_events=settings.product_events,
            context_traits=settings.context_traits,
            operations=Operations(settings.set_once, settings.union, settings.append),
            counters=Counters(settings.increment_events, settings.increment_properties),
        )

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        said: list[Outcome] = [_UNSENT] * len(events)

        def settle(index: int, outcome: Outcome) -> None:
            said[index] = outcome
            self.report(index, outcome)

        first = _Stage()
        more: list[tuple[int, Item]] = []
        then: list[tuple[int, Item]] = []
        for index, becomes in self.each_mapped(events, self._mapper.item):
            match becomes:
                case Item():
                    first.add(index, becomes)
                case Several(item, others, later):
                    first.add(index, item)
                    more += [(index, other) for other in others]
                    then += [(index, other) for other in later]
                case outcome:
                    settle(index, outcome)
        # Behind all events, so that those stay together which came together.
        for index, item in more:
            first.add(index, item)
        waiting = {index for index, _ in then}

        def settle_first(index: int, outcome: Outcome) -> None:
            if outcome != _DELIVERED or index not in waiting:
                waiting.discard(index)
                settle(index, outcome)

        await self.deliver_items(first.items, first.told(settle_first))
        second = _Stage()
        for index, item in then:
            if index in waiting:
                second.add(index, item)
        await self.deliver_items(second.items, second.told(settle))
        return said

    def item(self, event: Event) -> Item | Outcome:
        """The first thing that an event becomes; `deliver` sends all of them."""
        becomes = self._mapper.item(event)
        return becomes.first if isinstance(becomes, Several) else becomes

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        if endpoint is self._endpoints.imports or endpoint is self._endpoints.merges:
            return outcomes.imported(response, count)
        return outcomes.updated(response)


_DELIVERED = Delivered()
_UNSENT = Retry("not sent")


class _Stage:
    """Items that are sent together, and the outcome of each event that has some of them.

    An event's outcome is known once all its items' are: a retry if one of them needs it, else
    failed if one has.
    """

    def __init__(self) -> None:
        self.items: list[tuple[int, Item]] = []
        self._left: dict[int, int] = {}
        self._worst: dict[int, Outcome] = {}

    def add(self, index: int, item: Item) -> None:
        """One more item of the event at this index."""
        self.items.append((index, item))
        self._left[index] = self._left.get(index, 0) + 1

    def told(self, settle: Callable[[int, Outcome], None]) -> Callable[[int, Outcome], None]:
        """What takes the outcomes of items, and gives `settle` those of whole events."""

        def tell(index: int, outcome: Outcome) -> None:
            known = self._worst.get(index)
            if known is None or _weight(outcome) > _weight(known):
                self._worst[index] = outcome
            self._left[index] -= 1
            if not self._left[index]:
                settle(index, self._worst[index])

        return tell


def _weight(outcome: Outcome) -> int:
    return 2 if isinstance(outcome, Retry) else 0 if isinstance(outcome, Delivered) else 1


DESTINATION = Mixpanel
