"""From Segment's events to those of Google Analytics 4's Measurement Protocol. Pure.

Owns when an event was, which event it becomes, and which parameters it gets. The time comes in as
an argument. Must not send anything.

| parameter | from, the first that there is |
| --- | --- |
| those of the table (`fields.py`) | its expression, as `settings.mapping` has it |
| `items`, `value`, `currency` | see `commerce.py` |
| `session_id` | `sessionId` of the options, property `session_id`, `context.sessionId`: a positive number |
| `engagement_time_msec` | the property, else 1 |
| all other properties; of a group all traits | under the sender's own names, as far as there is room |

A property that the table reads for the event is not sent again under its own name.
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from destinations.google_analytics import commerce, limits, people
from destinations.google_analytics.fields import (
    CAMPAIGN,
    DEFAULTS,
    READ,
    REQUEST,
    of_app,
    of_settings,
)
from destinations.google_analytics.people import NAMES, Consent, Options, option
from destinations.kit import (
    Endpoint,
    Event,
    Failed,
    FieldMapping,
    Item,
    Outcome,
    Unsupported,
    amount,
)
from destinations.kit.commerce import shared_currency
from destinations.kit.contract import EVENT_TYPES
from destinations.kit.mapping import Rows
from destinations.kit.paths import normal
from destinations.kit.products import currency_code

_OLDEST = timedelta(hours=limits.AGE_H)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Without any engagement an event's user is not shown as active. The page asks for the time since
#: the event before, which only the sender knows; this is the least that counts.
_LEAST_ENGAGEMENT_MS = 1
#: Parameters that are ids and names, which senders' databases may have made numbers of.
_TEXTS = CAMPAIGN | {
    *("transaction_id", "item_list_id", "item_list_name", "promotion_id", "promotion_name"),
    *("creative_name", "creative_slot", "item_id", "group_id", "screen_name", "search_term"),
    *("method", "payment_type", "page_location", "page_title", "page_referrer", "coupon"),
    "affiliation",
}
#: Read by code, in plain form.
_SESSION = frozenset({"sessionid", "engagementtimemsec"})

_encode = msgspec.json.Encoder().encode

Params = dict[str, Any]  # Any: JSON
#: Properties by their plain keys.
Plain = Mapping[str, Any]  # Any: JSON

_NONE: frozenset[str] = frozenset()
_NO_GOODS = commerce.Goods([], (), _NONE)
_PAGE_VIEW = commerce.Recommended("page_view")
_SCREEN_VIEW = commerce.Recommended("screen_view")
_JOIN_GROUP = commerce.Recommended("join_group")
_IDENTIFY = commerce.Recommended("identify")
#: Parameters of an event; two are kept for the session's.
_ROOM = limits.PARAMETERS - 2
#: What stays, should there be too many.
_FIRST = frozenset({"items", "value", "currency", "transaction_id"})
#: Most digits of a session's id: one of its seconds since 1970 has ten.
_SESSION_CHARS = 18


class Stream(msgspec.Struct, frozen=True):
    """Where events go: a web stream by `measurement_id`, or an app's by `firebase_app_id`."""

    base_url: str
    stream_id: str
    api_secret: str
    is_app: bool = False

    @property
    def url(self) -> str:
        """The call's URL; it holds the secret, and must not be shown.

        There is `/debug/mp/collect` as well, which checks events and stores none: for tests by
        hand, https://developers.google.com/analytics/devguides/collection/protocol/ga4/validating-events
        """
        key = "firebase_app_id" if self.is_app else "measurement_id"
        return f"{self.base_url}/mp/collect?" + urlencode(
            {key: self.stream_id, "api_secret": self.api_secret}
        )


class Mapper:
    """The mapping for one stream. `consent` holds for events that say nothing of it.

    `currency` is that of events which are worth something and name none, `events` are Segment's or
    Google's names of the sender's own.
    """

    def __init__(
        self,
        stream: Stream,
        consent: Mapping[str, Consent],
        mapping: FieldMapping | None = None,
        custom_events: Literal["all", "none"] | Sequence[str] = "all",
        currency: str | None = None,
        events: Mapping[str, str] | None = None,
    ) -> None:
        self._is_app = stream.is_app
        self._consent = consent
        self._currency = currency
        self._events = {normal(own_name): name for own_name, name in (events or {}).items()}
        # Whose an event is, and of which session, has to be said of all.
        kept = () if isinstance(custom_events, str) else custom_events
        kept = "all" if custom_events == "all" else [*REQUEST, "session_id", *kept]
        own = mapping or {}
        self._fields = DEFAULTS.mapper(of_app(own) if stream.is_app else own, kept)
        of_types = {kind: of_settings(own, kind) for kind in EVENT_TYPES}
        #: By event type: fields that are the settings' own, and those that they remove.
        self._own = {kind: sets for kind, (sets, _) in of_types.items()}
        self._off = {kind: off for kind, (_, off) in of_types.items()}
        self._of_sender = {kind: CAMPAIGN - sets for kind, sets in self._own.items()}
        # What the rows of each name read, worked out once.
        self._taken: dict[tuple[Rows, commerce.Kind], frozenset[str]] = {}
        # Events share a request where all that is said of the request is equal. The kit looks at
        # an endpoint's identity, so equal openings have to be one endpoint.
        self._endpoint = lru_cache(1024)(partial(_endpoint, stream.url))

    def item(self, event: Event, now: datetime) -> Item | Outcome:
        """What an event becomes. `now` tells whether it is too old, and not in the future."""
        at = event.timestamp
        if at is not None and now - at > _OLDEST:
            # It would be taken, and dated 72 hours ago: wrong reports that nobody can tell.
            return Failed(
                f"the event is older than {limits.AGE_H} hours: Google Analytics would date it anew"
            )
        if self._events and event.type == "track" and event.event is not None:
            meant = self._events.get(normal(event.event))
            if meant is not None:
                event = event.renamed(meant)
        name = self._name(event)
        if not isinstance(name, commerce.Recommended):
            return name
        options = event.options(*NAMES)
        rows = self._fields.rows(event)
        found = rows.fields(event)
        if event.type == "group" and "group_id" not in found:
            return Failed("the event has no groupId: there is no group to join")
        off = self._off.get(event.type or "", _NONE)
        head = people.head(event, options, found, self._consent, off, is_app=self._is_app)
        if isinstance(head, Failed):
            return head
        body: dict[str, Any] = {"name": name.name}
        if at is not None and at <= now:  # only the past may be given; else the time of receipt
            body["timestamp_micros"] = (at - _EPOCH) // _MICROSECOND
        plain = event.plain_properties
        session = self._session(event, options, found, off)
        params = self._params(event, name, rows, plain, found, off)
        body["params"] = {**params, **session}
        return Item(self._endpoint(_encode(head)), _encode(body))

    def _session(
        self, event: Event, options: Options, found: Params, off: frozenset[str]
    ) -> Params:
        """The session and the engagement, without which reports show no activity.

        https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#common_event_parameters
        """
        plain = event.plain_properties
        mapped = found.pop("session_id", None)
        places: tuple[object, ...] = (option(options, "sessionId"), plain.get("sessionid"))
        is_own = "session_id" in self._own.get(event.type or "", _NONE)
        params: Params = {}
        for given in (mapped, *places) if is_own else (*places, mapped):
            session = _positive(given)
            if session is not None and "session_id" not in off:
                params["session_id"] = session
                break
        engagement = amount(found.pop("engagement_time_msec", None))
        if engagement is None:
            engagement = amount(plain.get("engagementtimemsec"))
        params["engagement_time_msec"] = _LEAST_ENGAGEMENT_MS if engagement is None else engagement
        return params

    def _name(self, event: Event) -> commerce.Recommended | Outcome:
        """The event that it becomes."""
        match event.type:
            case "track":
                return self._track(event)
            case "page":
                return _PAGE_VIEW
            case "screen" if self._is_app:
                return _SCREEN_VIEW
            case "group":
                return _JOIN_GROUP
            case "identify":
                # No event of Google Analytics' means this; the traits go as user properties, and
                # they need an event to go with.
                return _IDENTIFY
            case _:  # an alias: users cannot be merged; a screen: web streams take none
                return Unsupported()

    def _track(self, event: Event) -> commerce.Recommended | Outcome:
        given = event.event
        if given is None:
            return Failed("the event has no name: Google Analytics needs one")
        recommended = commerce.recommended(given)
        if recommended is not None:
            return recommended
        name = limits.name(given)
        if name is None:
            return Failed("the event's name holds no letter: Google Analytics needs one")
        if limits.reserved(name, is_app=self._is_app):
            return Failed(f"Google Analytics reserves the event name {name}, and drops it")
        return commerce.Recommended(name)

    def _params(
        self,
        event: Event,
        name: commerce.Recommended,
        rows: Rows,
        plain: Plain,
        found: Params,
        off: frozenset[str],
    ) -> Params:
        passes = self._fields.passes_others(event)
        given = found.pop("items", None)
        params: Params = {}
        for parameter, value in found.items():
            clean = limits.text if parameter in _TEXTS else limits.value
            cleaned = clean(parameter, value)
            if cleaned is not None:
                params[parameter] = cleaned
        taken = self._read(event, name.kind, rows)
        if event.type == "track" and (
            goods := self._goods(event, name, rows, plain, given, params)
        ):
            taken |= goods
        if passes:
            params = _with_others(event, params, taken, off, self._of_sender[event.type or ""])
        if len(params) <= _ROOM:
            return params
        most = sorted(params, key=lambda parameter: parameter not in _FIRST)[:_ROOM]
        return {parameter: params[parameter] for parameter in most}

    def _goods(
        self,
        event: Event,
        name: commerce.Recommended,
        rows: Rows,
        plain: Plain,
        given: object,
        params: Params,
    ) -> frozenset[str]:
        """Adds items, value and currency; the properties that went into items."""
        own = self._own["track"]
        goods = _NO_GOODS
        if name.kind is not None:
            goods = commerce.goods(event, name.kind, given, plain)
        elif given is not None and "items" in own:
            goods = commerce.goods(event, "cart", given, plain)
        if name.has_worth and "value" in rows.targets and "value" not in own:
            params.pop("value", None)
            worth = commerce.worth(name.kind, plain, goods.lines)
            if worth is not None:
                params["value"] = worth
        has_items = bool(goods.items) and "items" in rows.targets
        if "currency" in rows.targets:
            if "items" in own and "currency" not in params:
                params["currency"] = shared_currency(goods.lines)
            self._with_currency(name, plain, params, has_items=has_items)
        if has_items:
            params["items"] = goods.items
            return goods.taken
        return _NONE

    def _with_currency(
        self, name: commerce.Recommended, plain: Plain, params: Params, *, has_items: bool
    ) -> None:
        """Completes currency and value: a value counts as revenue with its currency only."""
        said = params.get("currency")
        code = currency_code(said)
        if code is not None:
            params["currency"] = code
        elif said is None or name.kind is not None:
            params.pop("currency", None)
            if said is None:
                said = plain.get("currency")
            if name.kind is None:
                return
            if said is not None and not (isinstance(said, str) and not said.strip()):
                # In points, or in miles: it would be counted as something else.
                params.pop("value", None)
            elif self._currency is not None and ("value" in params or has_items):
                params["currency"] = self._currency

    def _read(self, event: Event, kind: commerce.Kind, rows: Rows) -> frozenset[str]:
        """Properties (of a group traits), in plain form, that an event's fields are made of."""
        found = self._taken.get((rows, kind))
        if found is None:
            is_group = event.type == "group"
            found = rows.reads("traits" if is_group else "properties") | _SESSION
            found |= {"groupid"} if is_group else commerce.taken(kind)
            for accessor in rows.asks():
                found |= READ.get(accessor, _NONE)
            self._taken[rows, kind] = found
        return found


def _endpoint(url: str, head: bytes) -> Endpoint:
    """POST /mp/collect with up to 25 events of one user.

    https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events
    """
    opening = head[:-1] + b',"events":['
    return Endpoint(url, limits.EVENTS, limits.BODY_BYTES, opening=opening, closing=b"]}")


def _with_others(
    event: Event,
    params: Params,
    taken: frozenset[str],
    off: frozenset[str],
    of_sender: frozenset[str],
) -> Params:
    """Parameters, and the properties that are not among them, as far as there is room.

    A property of a name in `of_sender` counts more than the parameter.
    """
    match event.type:
        case "group":
            given = event.traits
        case "identify":
            return params  # its traits are user properties
        case _:
            given = event.properties
    if not of_sender.isdisjoint(given):
        for parameter in of_sender & given.keys() & params.keys():
            own = limits.text(parameter, given[parameter])
            if own is not None and limits.key(parameter).normal not in taken:
                params[parameter] = own
    without = params.keys() | off if off else params
    room = max(_ROOM - len(params), 0)
    return {**params, **limits.parameters(given, room, without, taken)}


def _positive(given: Any) -> int | float | None:  # Any: JSON
    """A session's id: a positive number, as such or as the digits of one."""
    if isinstance(given, str):
        is_number = given.isascii() and given.isdigit() and len(given) <= _SESSION_CHARS
        given = int(given) if is_number else 0
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    return given if is_number and given > 0 else None
