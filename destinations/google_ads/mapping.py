"""From Segment's track events to Google Ads' conversions, calls, adjustments and pings. Pure.

Owns which of them an event becomes, and what it must say for that; `fields.py` says from what each
field is. Must not send anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from destinations.google_ads import fields as table
from destinations.google_ads.identifiers import CLICK_IDS, click_id, normal_phone
from destinations.google_ads.requests import Account, Consent
from destinations.kit import Endpoint, Event, Failed, FieldMapping, Item, Outcome, Unsupported
from destinations.kit.lookup import plain_text
from destinations.kit.mapping import CustomEvents, text_of
from destinations.kit.paths import find, normal

#: What an event's `integrations` object may call this destination.
NAMES = ("Google Ads", "Google Ads Conversions", "Google AdWords", "AdWords")

_GRANTED = frozenset({"granted", "true", "yes", "1"})
_DENIED = frozenset({"denied", "false", "no", "0"})

_Named = TypeVar("_Named")

_encode = msgspec.json.Encoder().encode
#: No setting, which nothing changes.
_NONE: Mapping[str, Any] = {}  # Any: settings


class Adjustment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an event changes of a conversion that Google has already.

    `action` is the id of that conversion's action. A `RETRACTION` takes it back,
    a `RESTATEMENT` says what it is worth now, an `ENHANCEMENT` adds hashes of the
    user to a conversion of the website's tag. The order's id tells which it is.
    """

    action: str
    type: Literal["RETRACTION", "RESTATEMENT", "ENHANCEMENT"]


class UploadMapper:
    """Conversions, calls and adjustments for the upload, each by the event's name.

    Values of `conversions` and `calls` are ids of conversion actions.
    """

    def __init__(
        self,
        account: Account,
        conversions: Mapping[str, str],
        calls: Mapping[str, str] = _NONE,
        adjustments: Mapping[str, Adjustment] = _NONE,
        mapping: FieldMapping | None = None,
        custom_events: CustomEvents = "all",
    ) -> None:
        self._account = account
        self._clicks, self._calls, self._adjustments = (
            account.clicks(), account.calls(), account.adjustments()
        )  # fmt: skip
        self._click_actions = _by_name({name: account.action(a) for name, a in conversions.items()})
        self._call_actions = _by_name({name: account.action(a) for name, a in calls.items()})
        self._adjusted = _by_name(adjustments)
        mapping = mapping or {}
        of_clicks = table.fields_of(mapping, table.NOT_OF_CLICKS, inverted=True)
        of_calls = table.fields_of(mapping, table.CALL_FIELDS, inverted=False)
        of_adjustments = table.fields_of(mapping, table.ADJUSTMENT_FIELDS, inverted=False)
        self._click_mapper = table.CONVERSION.mapper(of_clicks, custom_events)
        self._call_mapper = table.CALL.mapper(of_calls, custom_events)
        self._adjustment_mapper = table.ADJUSTMENT.mapper(of_adjustments, custom_events)

    def item(self, event: Event) -> Item | Outcome:
        """What an event becomes; unsupported where settings do not name it."""
        name = event.event if event.type == "track" else None
        if name is None:
            return Unsupported()
        if (action := self._click_actions(name)) is not None:
            return self._conversion(event, action)
        if (adjustment := self._adjusted(name)) is not None:
            return self._adjustment(event, adjustment)
        if (action := self._call_actions(name)) is not None:
            return self._call(event, action)
        return Unsupported()

    def _conversion(self, event: Event, action: str) -> Item | Outcome:
        """The conversion of a click, or of a user; unsupported where no ad can have led to it.

        https://developers.google.com/google-ads/api/reference/rpc/latest/ClickConversion
        """
        account = self._account
        fields = self._click_mapper.nested(event)
        options = event.options(*NAMES)
        click = _mapped_click(fields) or click_id(event, options, event.traits)
        identifiers = [
            one
            for one in table.identifiers_of(fields, account.country_code)
            if "addressInfo" not in one  # Google takes it of enhancements only
        ]
        if not account.identified:
            identifiers = []
        if click is None and not identifiers and not _has_session(fields):
            # Most users come by no ad, so that this is no mistake of the sender's.
            return Unsupported()
        at = _time(event, fields.pop("conversionDateTime", None))
        if at is None:
            return Failed("the event has no valid timestamp: Google Ads needs one")
        conversion: dict[str, Any] = {"conversionAction": action, "conversionDateTime": at}  # JSON
        if click is not None:
            name, value = click
            conversion[name] = value
        if identifiers:
            conversion["userIdentifiers"] = identifiers
        table.worth_of(fields, "conversionValue", "currencyCode")
        order_id = _order_id(fields)
        consent = _consent(event, options, account.consent, fields.pop("consent", None))
        given = fields.pop("cartData", None)
        cart = None
        if account.product_id is not None:
            cart = table.cart_of(event, given, account.feed, account.product_id)
        _pairs(fields, account.customer_id)
        conversion |= fields
        if order_id is not None:
            conversion["orderId"] = order_id
        if cart is not None:
            conversion["cartData"] = cart
        if consent:
            conversion["consent"] = consent
        # Google refuses both of two equal orders, or clicks at one time, in a request.
        told_by = order_id or str(click or identifiers) + at
        return Item(self._clicks, _encode(conversion), f"{action} {told_by}")

    def _call(self, event: Event, action: str) -> Item | Outcome:
        """The conversion of a phone call to an ad's number.

        https://developers.google.com/google-ads/api/docs/conversions/upload-calls
        """
        fields = self._call_mapper.nested(event)
        given = plain_text(fields.pop("callerId", None))
        caller = normal_phone(given, self._account.country_code) if given else None
        if caller is None or caller[0] != "+":
            return Failed("the event has no caller's number with its country: see `callerId`")
        started = table.date_time(fields.pop("callStartDateTime", None))
        if started is None:
            return Failed(
                "the event does not say when the call began: it has no call_start_date_time"
            )
        at = _time(event, fields.pop("conversionDateTime", None))
        if at is None:
            return Failed("the event has no valid timestamp: Google Ads needs one")
        table.worth_of(fields, "conversionValue", "currencyCode")
        consent = _consent(
            event, event.options(*NAMES), self._account.consent, fields.pop("consent", None)
        )
        _pairs(fields, self._account.customer_id)
        call = {
            "conversionAction": action,
            "callerId": caller,
            "callStartDateTime": started,
            "conversionDateTime": at,
            **fields,
        }
        if consent:
            call["consent"] = consent
        return Item(self._calls, _encode(call), f"{action} {caller} {at}")

    def _adjustment(self, event: Event, adjustment: Adjustment) -> Item | Outcome:
        """What an event changes of a conversion.

        https://developers.google.com/google-ads/api/docs/conversions/upload-adjustments
        https://developers.google.com/google-ads/api/docs/conversions/enhanced-conversions/web
        """
        fields = self._adjustment_mapper.nested(event)
        action = self._account.action(adjustment.action)
        at = _time(event, fields.pop("adjustmentDateTime", None))
        if at is None:
            return Failed("the event has no valid timestamp: Google Ads needs one")
        said: dict[str, Any] = {  # JSON
            "conversionAction": action,
            "adjustmentType": adjustment.type,
            "adjustmentDateTime": at,
        }
        conversion = _adjusted_conversion(event, fields)
        if conversion is None or (adjustment.type == "ENHANCEMENT" and "orderId" not in conversion):
            return Failed("the event does not say which conversion it adjusts: it has no order_id")
        said |= conversion
        match adjustment.type:
            case "RETRACTION":
                pass
            case "RESTATEMENT":
                restated = fields.get("restatementValue")
                value = dict(restated) if isinstance(restated, dict) else {}
                table.worth_of(value, "adjustedValue", "currencyCode")
                if "adjustedValue" not in value:
                    return Failed("the event does not say what the order is worth now")
                said["restatementValue"] = value
            case "ENHANCEMENT":
                identifiers = table.identifiers_of(fields, self._account.country_code)
                if not identifiers or not self._account.identified:
                    return Unsupported()  # nobody is known, so there is nothing to add
                said["userIdentifiers"] = identifiers
                if agent := plain_text(fields.get("userAgent")):
                    said["userAgent"] = agent
        # Google refuses two adjustments of one conversion in a request.
        return Item(self._adjustments, _encode(said), f"{action} {conversion}")


def _by_name(table: Mapping[str, _Named]) -> Callable[[str], _Named | None]:
    """What settings have for an event's name: spelled exactly so, else in any case style."""
    plain: dict[str, _Named] = {}
    for name, one in table.items():
        plain.setdefault(normal(name), one)

    def named(name: str) -> _Named | None:
        exact = table.get(name)
        return plain.get(normal(name)) if exact is None else exact

    return named


def _mapped_click(fields: dict[str, Any]) -> tuple[str, str] | None:  # Any: JSON
    """The click's id that settings map, taken out of the fields; one alone may be sent."""
    found = None
    for name in CLICK_IDS:
        value = plain_text(fields.pop(name, None))
        if found is None and value and value.strip():
            found = name, value.strip()
    return found


def _has_session(fields: Mapping[str, Any]) -> bool:  # Any: JSON
    """Whether settings map what Google can match without a click's id."""
    return any(key.startswith("sessionAttributes") for key in fields)


def _adjusted_conversion(event: Event, fields: dict[str, Any]) -> dict[str, Any] | None:  # JSON
    """The conversion that is adjusted: by its order, or else by its click and time."""
    order_id = _order_id(fields)
    if order_id is not None:
        return {"orderId": order_id}
    pair = fields.get("gclidDateTimePair")
    given = pair if isinstance(pair, dict) else {}
    at = table.date_time(given.get("conversionDateTime"))
    click = plain_text(given.get("gclid"))
    if click is None:
        found = click_id(event, event.options(*NAMES), event.traits)
        click = found[1] if found is not None and found[0] == "gclid" else None
    if click is None or at is None:
        return None
    return {"gclidDateTimePair": {"gclid": click, "conversionDateTime": at}}


def _order_id(fields: dict[str, Any]) -> str | None:  # Any: JSON
    """The order's id, taken out of mapped fields."""
    text = plain_text(fields.pop("orderId", None))
    return (text.strip() or None) if text else None


def _time(event: Event, mapped: object) -> str | None:
    """The mapped time; the event's own where nothing is mapped."""
    if mapped is None:
        mapped = event.timestamp or event.received_at
    return table.date_time(mapped)


def _pairs(fields: dict[str, Any], customer_id: str) -> None:  # Any: JSON
    """Custom variables and session attributes, in place: from objects to the lists of the API.

    https://developers.google.com/google-ads/api/reference/rpc/latest/CustomVariable
    https://developers.google.com/google-ads/api/reference/rpc/latest/SessionAttributesKeyValuePairs
    """
    variables = table.pairs_of(
        fields.pop("customVariables", None),
        "conversionCustomVariable",
        "value",
        f"customers/{customer_id}/conversionCustomVariables/",
    )
    if variables:
        fields["customVariables"] = variables
    session = table.pairs_of(
        fields.pop("sessionAttributes", None), "sessionAttributeKey", "sessionAttributeValue"
    )
    if session and "sessionAttributesEncoded" not in fields:  # one of the two may be there
        fields["sessionAttributesKeyValuePairs"] = {"keyValuePairs": session}


class PingMapper:
    """Conversions for the ping. `labels` are those of conversion actions by the event's name."""

    def __init__(
        self,
        endpoint: Endpoint,
        labels: Mapping[str, str],
        mapping: FieldMapping | None = None,
        custom_events: CustomEvents = "all",
    ) -> None:
        self._endpoint = endpoint
        self._labels = _by_name(labels)
        self._mapper = table.PING.mapper(mapping or {}, custom_events)

    def item(self, event: Event) -> Item | Outcome:
        """The query of an event's conversion."""
        label = self._labels(event.event or "") if event.type == "track" else None
        if label is None:
            return Unsupported()
        fields = self._mapper.fields(event)
        table.worth_of(fields, "value", "currency_code")
        query = {"label": label}
        for name, value in fields.items():
            # Not `text`: a value of 1e21 has no exponent in a query.
            query[name] = format(value, ".15g") if isinstance(value, float) else str(text_of(value))
        query |= {"guid": "ON", "script": "0"}
        return Item(self._endpoint, urlencode(query, errors="replace").encode())


def _consent(
    event: Event,
    options: Mapping[str, Any],  # Any: JSON
    default: Mapping[str, Consent],
    mapped: object,
) -> dict[str, Consent]:
    """What the user agreed to: as it is mapped, else as options, context or settings have it.

    https://developers.google.com/google-ads/api/reference/rpc/latest/Consent
    """
    said: dict[str, Consent] = dict(default)
    for place in (event.context.get("consent"), options.get("consent"), mapped):
        if isinstance(place, dict):
            for key in ("adUserData", "adPersonalization"):
                given = str(find(place, key)).lower()
                if given in _GRANTED:
                    said[key] = "GRANTED"
                elif given in _DENIED:
                    said[key] = "DENIED"
    return said
