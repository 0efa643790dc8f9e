"""From Segment's events to those of Google Analytics 4's Measurement Protocol. Pure.

Owns who an event is of, when it was, and which event and parameters it becomes.
The time comes in as an argument. Must not send anything.
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from destinations.google_analytics import commerce, limits
from destinations.kit import Endpoint, Event, Failed, Item, Outcome, Unsupported
from destinations.kit.paths import find

#: What an event's `integrations` object may call this destination.
NAMES = ("Google Analytics", "Google Analytics 4", "Google Analytics 4 Cloud", "GA4")

_OLDEST = timedelta(hours=limits.AGE_H)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Without any engagement an event's user is not shown as active. The page asks for the time since
#: the event before, which only the sender knows; this is the least that counts.
_LEAST_ENGAGEMENT_MS = 1
#: What a page's parameters are made of, and is not repeated beside them.
_PAGE = frozenset({"url", "title", "referrer"})
_GRANTED = frozenset({"granted", "true", "yes", "1"})
_DENIED = frozenset({"denied", "false", "no", "0"})
_NONE: frozenset[str] = frozenset()

_encode = msgspec.json.Encoder().encode

Consent = Literal["GRANTED", "DENIED"]
Params = dict[str, Any]  # Any: JSON


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
    """The mapping for one stream. `consent` holds for events that say nothing of it."""

    def __init__(self, stream: Stream, consent: Mapping[str, Consent]) -> None:
        self._is_app = stream.is_app
        self._id_key = "app_instance_id" if stream.is_app else "client_id"
        self._consent = consent
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
        named = self._named(event)
        if not isinstance(named, tuple):
            return named
        name, params = named
        options = event.options(*NAMES)
        head = self._head(event, options)
        if isinstance(head, Failed):
            return head
        body: dict[str, Any] = {"name": name}
        if at is not None and at <= now:  # only the past may be given; else the time of receipt
            body["timestamp_micros"] = (at - _EPOCH) // _MICROSECOND
        body["params"] = _with_session(params, event, options)
        return Item(self._endpoint(_encode(head)), _encode(body))

    def _named(self, event: Event) -> tuple[str, Params] | Outcome:
        match event.type:
            case "track":
                return self._track(event)
            case "page":
                params = _page(event)
                if event.name:
                    params.setdefault("page_title", limits.value("page_title", event.name))
                return "page_view", _with_custom(params, event.properties, _PAGE)
            case "screen" if self._is_app:
                shown = limits.value("screen_name", event.name)
                params = {} if shown is None else {"screen_name": shown}
                return "screen_view", _with_custom(params, event.properties, frozenset({"name"}))
            case "group":
                if event.group_id is None:
                    return Failed("the event has no groupId: there is no group to join")
                params = {"group_id": limits.value("group_id", event.group_id)}
                return "join_group", _with_custom(params, event.traits, frozenset({"groupid"}))
            case "identify":
                # No event of Google Analytics' means this; the traits go as user properties, and
                # they need an event to go with.
                return "identify", _page(event)
            case _:  # an alias: users cannot be merged; a screen: web streams take none
                return Unsupported()

    def _track(self, event: Event) -> tuple[str, Params] | Outcome:
        given = event.event
        if given is None:
            return Failed("the event has no name: Google Analytics needs one")
        params = {} if self._is_app else _page(event)
        recommended = commerce.recommended(given)
        if recommended is not None:
            is_said = find(event.properties, "currency") is not None
            currency = event.currency or ("" if is_said else "USD")
            own, taken = commerce.parameters(recommended, event.properties, currency)
            return recommended.name, _with_custom({**own, **params}, event.properties, taken)
        name = limits.name(given)
        if name is None:
            return Failed("the event's name holds no letter: Google Analytics needs one")
        if limits.reserved(name, is_app=self._is_app):
            return Failed(f"Google Analytics reserves the event name {name}, and drops it")
        return name, _with_custom(params, event.properties, _NONE)

    def _head(self, event: Event, options: Mapping[str, Any]) -> Params | Failed:
        """What is said of the whole request: whose its events are."""
        user_id = event.user_id
        # Google's terms forbid addresses as ids: https://support.google.com/analytics/answer/6366371
        is_address = user_id is not None and "@" in user_id
        own = _option(options, "appInstanceId" if self._is_app else "clientId")
        instance = str(own) if isinstance(own, (str, int, float)) and own != "" else None
        if instance is None and self._is_app:
            # Only the Firebase SDK knows it, so that it has to come with the event.
            return Failed(
                "the event has no appInstanceId in its integrations object: "
                "Google Analytics needs the one that its SDK has"
            )
        if instance is None:
            # The page wants two numbers joined by a dot, as its own tag makes them. What becomes
            # of other ids it does not say; they are sent as they are, so as not to be lost.
            instance = event.anonymous_id or (_numbers(user_id) if is_address else user_id)
        if instance is None:
            return Failed("the event has no anonymousId and no userId: it would be nobody's")
        head: Params = {self._id_key: instance}
        if user_id is not None and not is_address:
            head["user_id"] = user_id
        # A group's traits are not its user's.
        properties = {} if event.type == "group" else limits.user_properties(event.traits)
        if properties:
            head["user_properties"] = properties
        consent = _consent(event, options, self._consent)
        if consent:
            head["consent"] = consent
        if event.ip is not None:
            head["ip_override"] = event.ip
        if event.user_agent is not None:
            head["user_agent"] = event.user_agent
        return head


def _endpoint(url: str, head: bytes) -> Endpoint:
    """POST /mp/collect with up to 25 events of one user.

    https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events
    """
    opening = head[:-1] + b',"events":['
    return Endpoint(url, limits.EVENTS, limits.BODY_BYTES, opening=opening, closing=b"]}")


def _option(options: Mapping[str, Any], name: str) -> Any:  # Any: JSON
    return find(options, name) if options else None


def _page(event: Event) -> Params:
    """Where on the site it was; of a page its properties come first."""
    page = event.context.get("page")
    places = [page] if isinstance(page, dict) else []
    if event.type == "page":
        places.insert(0, dict(event.properties))
    params: Params = {}
    for parameter, key in (
        ("page_location", "url"),
        ("page_title", "title"),
        ("page_referrer", "referrer"),
    ):
        for place in places:
            given = limits.value(parameter, place.get(key))
            if isinstance(given, str):
                params[parameter] = given
                break
    return params


def _with_custom(params: Params, properties: Mapping[str, Any], taken: frozenset[str]) -> Params:
    """Parameters, and the properties that are not among them, as far as there is room."""
    # Two are kept for the session's.
    room = limits.PARAMETERS - 2
    for text, given in properties.items():
        if len(params) >= room:
            break
        plain, parameter = limits.key(text)
        if parameter is None or plain in taken or parameter in params:
            continue
        as_value = limits.value(parameter, given)
        if as_value is not None:
            params[parameter] = as_value
    return params


def _with_session(params: Params, event: Event, options: Mapping[str, Any]) -> Params:
    """Parameters with the session and the engagement, without which reports show no activity.

    https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#common_event_parameters
    """
    session = params.pop("session_id", None)
    for given in (_option(options, "sessionId"), session, event.context.get("sessionId")):
        if _is_positive(given):
            params["session_id"] = given
            break
    engagement = params.pop("engagement_time_msec", None)
    params["engagement_time_msec"] = (
        engagement if isinstance(engagement, (int, float)) else _LEAST_ENGAGEMENT_MS
    )
    return params


def _is_positive(given: Any) -> bool:  # Any: JSON
    """Whether it is a session's id: a positive number, as such or as text."""
    if isinstance(given, str):
        return given.isascii() and given.isdigit() and given.strip("0") != ""
    return isinstance(given, (int, float)) and not isinstance(given, bool) and given > 0


def _consent(
    event: Event, options: Mapping[str, Any], default: Mapping[str, Consent]
) -> dict[str, Consent]:
    """What the user agreed to, by the event's options, its context, or the settings.

    https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#consent
    """
    said: dict[str, Consent] = dict(default)
    for place in (event.context.get("consent"), _option(options, "consent")):
        if isinstance(place, dict):
            for key in ("ad_user_data", "ad_personalization"):
                given = str(find(place, key)).lower()
                if given in _GRANTED:
                    said[key] = "GRANTED"
                elif given in _DENIED:
                    said[key] = "DENIED"
    return said


def _numbers(text: str | None) -> str | None:
    """Two positive numbers of 31 bits joined by a dot, the same ones for the same text."""
    if text is None:
        return None
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    first, second = (int.from_bytes(half, "big") % (2**31 - 1) for half in (digest[:4], digest[4:]))
    return f"{first + 1}.{second + 1}"
