"""Whose events are in a request: what Google Analytics is told of a user, once for all. Pure.

Owns ids, user properties and consent. Fields come from the table (`fields.py`); what the event's
`integrations` object says goes first, as `clientId`, `appInstanceId` and `consent`.
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#payload_post_body
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal

from destinations.google_analytics import fields, limits
from destinations.kit import Event, Failed
from destinations.kit.paths import find

#: What an event's `integrations` object may call this destination.
NAMES = (
    *("Google Analytics", "Google Analytics 4", "Google Analytics 4 Cloud", "GA4"),
    *("Actions Google Analytics 4", "Actions Google Analytic 4"),
)

_GRANTED = frozenset({"granted", "true", "yes", "1"})
_DENIED = frozenset({"denied", "false", "no", "0"})

Consent = Literal["GRANTED", "DENIED"]
Options = Mapping[str, Any]  # Any: JSON


def option(options: Options, name: str) -> Any:  # Any: JSON
    """What the event's options say under a name, in any case style."""
    return find(options, name) if options else None


def head(
    event: Event,
    options: Options,
    found: dict[str, Any],  # Any: JSON
    consent: Mapping[str, Consent],
    off: frozenset[str],
    *,
    is_app: bool,
) -> dict[str, Any] | Failed:
    """What is said of the whole request: the fields of it are taken out of `found`.

    `off` are fields that settings have removed.
    """
    user_id = _id(found.pop("user_id", None))
    client_id = _id(found.pop("client_id", None))
    instance_id = _id(found.pop("app_instance_id", None))
    ip, user_agent = found.pop("ip_override", None), found.pop("user_agent", None)
    own = option(options, "appInstanceId" if is_app else "clientId")
    instance = str(own) if isinstance(own, (str, int, float)) and own != "" else None
    if instance is None and is_app:
        instance = instance_id
        if instance is None:
            # Only the Firebase SDK knows it, so that it has to come with the event.
            return Failed(
                "the event has no appInstanceId in its integrations object: "
                "Google Analytics needs the one that its SDK has"
            )
    elif instance is None:
        # The page wants two numbers joined by a dot, as its own tag makes them. What becomes of
        # other ids it does not say; they are sent as they are, so as not to be lost.
        instance = _numbers(client_id) if _is_address(client_id) else client_id
    if instance is None:
        return Failed("the event has no anonymousId and no userId: it would be nobody's")
    said: dict[str, Any] = {"app_instance_id" if is_app else "client_id": instance}
    # Google's terms forbid addresses as ids: https://support.google.com/analytics/answer/6366371
    if user_id is not None and not _is_address(user_id):
        said["user_id"] = user_id
    # A group's traits are not its user's.
    properties = {} if event.type == "group" else limits.user_properties(event.traits)
    for target in off:
        if target.startswith(fields.USER_PROPERTY):
            properties.pop(target.removeprefix(fields.USER_PROPERTY), None)
    agreed = _consent(event, options, consent)
    objects: dict[str, dict[str, Any]] = {}
    for target in [target for target in found if "." in target]:
        _set(objects, properties, agreed, target, found.pop(target))
    if properties:
        names = sorted(properties)[: limits.USER_PROPERTIES]
        said["user_properties"] = {name: {"value": properties[name]} for name in names}
    if agreed:
        said["consent"] = agreed
    if isinstance(ip, str):
        said["ip_override"] = ip
    if isinstance(user_agent, str):
        said["user_agent"] = user_agent
    return {**said, **objects}


def _set(
    objects: dict[str, dict[str, Any]],  # Any: JSON
    properties: dict[str, limits.Value],
    agreed: dict[str, Consent],
    target: str,
    value: Any,
) -> None:
    """A field of an object in the request, as the settings' mapping gives it."""
    name, _, rest = target.partition(".")
    if target.startswith(fields.USER_PROPERTY):
        as_value = limits.user_value(value)
        if as_value is not None:
            properties[rest] = as_value
    elif name == "consent":
        if (says := _agreed(value)) is not None:
            agreed[rest] = says
    else:
        place = objects.setdefault(name, {})
        *above, last = rest.split(".")
        for key in above:
            below = place.get(key)
            if not isinstance(below, dict):
                below = place[key] = {}
            place = below
        place[last] = value


def _consent(event: Event, options: Options, default: Mapping[str, Consent]) -> dict[str, Consent]:
    """What the user agreed to, by the event's options, its context, or the settings.

    https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#consent
    """
    said: dict[str, Consent] = dict(default)
    for place in (event.context.get("consent"), option(options, "consent")):
        if isinstance(place, dict):
            for key in ("ad_user_data", "ad_personalization"):
                if (given := _agreed(find(place, key))) is not None:
                    said[key] = given
    return said


def _agreed(value: Any) -> Consent | None:  # Any: JSON
    given = str(value)[:16].strip().lower() if isinstance(value, (str, bool, int)) else ""
    return "GRANTED" if given in _GRANTED else "DENIED" if given in _DENIED else None


def _is_address(text: str | None) -> bool:
    return text is not None and "@" in text


def _id(value: Any) -> str | None:  # Any: JSON
    """An id, which the settings' mapping may have found as a number."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 2**64 else None  # the rest is no id
    return (value.strip() or None) if isinstance(value, str) else None


def _numbers(text: str | None) -> str | None:
    """Two positive numbers of 31 bits joined by a dot, the same ones for the same text."""
    if text is None:
        return None
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    first, second = (int.from_bytes(half, "big") % (2**31 - 1) for half in (digest[:4], digest[4:]))
    return f"{first + 1}.{second + 1}"
