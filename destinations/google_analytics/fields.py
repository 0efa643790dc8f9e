"""Which fields of Google Analytics' are made of which of an event's: the default table. Pure.

Owns the table, which `settings.mapping` changes, and which of its targets say something of the whole
request. What cannot be said in it is made by code, which takes its result where the table has none:

| by code | why |
| --- | --- |
| `items` of the products (`commerce.py`) | the language makes no lists of objects; the field `items` says where they stand |
| `value` of events about products and leads (`commerce.py`) | it is without tax and shipping, or the sum of prices, and the language does not count |
| `client_id`, `app_instance_id`, consent (`people.py`) | the event's `integrations` object may call this destination by several names |
| `session_id`, `engagement_time_msec` (`mapping.py`) | an id that is none gives way to the next |

https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference/events
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

from collections.abc import Iterable, Mapping

from destinations.google_analytics import limits
from destinations.kit import FieldMapping, MappingTable

#: Fields of the request by these names; with a prefix, those of an object in it.
#: https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#payload_post_body
REQUEST = frozenset({"client_id", "app_instance_id", "user_id", "ip_override", "user_agent"})
USER_PROPERTY = "user_properties."
CONSENT = frozenset({"consent.ad_user_data", "consent.ad_personalization"})
OBJECTS = ("user_location", "device", "user_data")

_REQUEST: Mapping[str, str] = {
    "client_id": "@anonymous_id ?? @user_id",
    "user_id": "@user_id",
    "ip_override": "@ip",
    "user_agent": "@user_agent",
    "session_id": "context.session_id",
}
#: https://firebase.google.com/docs/reference/android/com/google/firebase/analytics/FirebaseAnalytics.Param
_CAMPAIGN: Mapping[str, str] = {
    "source": "@campaign.source",
    "medium": "@campaign.medium",
    "campaign": "@campaign.name",
    "term": "@campaign.term",
    "content": "@campaign.content",
    "campaign_id": "@campaign.id",
}
#: A sender's own property of such a name is meant by it, and no campaign.
CAMPAIGN = frozenset(_CAMPAIGN)
#: Where on the site a track or identify was.
_PAGE: Mapping[str, str] = {
    "page_location": "context.page.url",
    "page_title": "context.page.title",
    "page_referrer": "context.page.referrer",
}


def _events(*names: str) -> str:
    return "event in (" + ", ".join(f"'{name}'" for name in names) + ")"


_ORDERS = _events("Order Completed", "Order Refunded", "Completed Order", "Refunded Order",
                  "purchase", "refund")  # fmt: skip
_PAID = _events("Payment Info Entered", "add_payment_info")
_CHECKOUT = _events("Checkout Started", "begin_checkout")
_LISTS = _events("Product List Viewed", "Product List Filtered", "Viewed Product Category",
                 "view_item_list")  # fmt: skip
_CLICKED = _events("Product Clicked", "select_item")
_PROMOTIONS = _events("Promotion Viewed", "Promotion Clicked", "Viewed Promotion",
                      "Clicked Promotion", "view_promotion", "select_promotion")  # fmt: skip

_TRACK: Mapping[str, str] = {
    "transaction_id": f"if {_ORDERS} then @order_id",
    "value": "number(properties.value) ?? properties.value",
    "currency": "@currency ?? properties.currency",
    "items": "properties.products",
    "tax": f"if {_ORDERS} then properties.tax",
    "shipping": f"if {_ORDERS} then properties.shipping",
    "affiliation": f"if {_ORDERS} then properties.affiliation",
    "coupon": f"if {_ORDERS} or {_CHECKOUT} or {_PAID} then properties.coupon",
    "payment_type": f"if {_PAID} then properties.payment_type ?? properties.payment_method",
    "search_term": "if event is 'Products Searched' "
    "then properties.search_term ?? properties.query",
    "item_list_id": f"if {_LISTS} or {_CLICKED} then properties.item_list_id ?? properties.list_id",
    "item_list_name": f"if {_LISTS} then properties.item_list_name ?? properties.list_name "
    f"?? properties.category else (if {_CLICKED} "
    "then properties.item_list_name ?? properties.list_name)",
    "category": f"if {_LISTS} and (properties.item_list_name exists "
    "or properties.list_name exists) then properties.category",
    "promotion_id": f"if {_PROMOTIONS} then properties.promotion_id ?? properties.id",
    "promotion_name": f"if {_PROMOTIONS} then properties.promotion_name ?? properties.name",
    "creative_name": f"if {_PROMOTIONS} then properties.creative_name ?? properties.creative",
    "creative_slot": f"if {_PROMOTIONS} then properties.creative_slot ?? properties.position",
    "method": "if event in ('Product Shared', 'Cart Shared') "
    "then properties.method ?? properties.share_via",
    "item_id": "if event is 'Product Shared' then properties.item_id ?? properties.product_id",
}

DEFAULTS = MappingTable(
    identify={**_REQUEST, **_PAGE, **_CAMPAIGN},
    track={**_REQUEST, **_TRACK, **_PAGE, **_CAMPAIGN},
    page={
        **_REQUEST,
        "page_location": "properties.url ?? context.page.url",
        "page_title": "properties.title ?? context.page.title ?? @name",
        "page_referrer": "properties.referrer ?? context.page.referrer",
        **_CAMPAIGN,
    },
    screen={**_REQUEST, "screen_name": "properties.name", **_CAMPAIGN},
    group={**_REQUEST, "group_id": "groupId ?? context.groupId", **_CAMPAIGN},
)

#: Properties that accessors of the table read, in plain form: they are not repeated beside them.
READ: Mapping[str, frozenset[str]] = {
    "order_id": frozenset({"orderid", "transactionid", "id"}),
    "worth": frozenset({"revenue", "value", "total"}),
    "currency": frozenset({"currency", "currencycode"}),
}


def of_app(mapping: FieldMapping) -> FieldMapping:
    """The settings' mapping for an app's stream: tracks are on no page, but where it says so."""
    own = mapping.get("track")
    off = {target: "" for target in _PAGE if target not in mapping}
    return {**mapping, "track": {**off, **(own if isinstance(own, dict) else {})}}


def of_settings(mapping: FieldMapping, event_type: str) -> tuple[frozenset[str], frozenset[str]]:
    """The fields that the settings' mapping sets for a type, and those that it removes."""
    own = mapping.get(event_type)
    merged = {key: below for key, below in mapping.items() if not isinstance(below, dict)}
    merged |= own if isinstance(own, dict) else {}
    off = frozenset(
        target
        for target, expression in merged.items()
        if expression is False or (isinstance(expression, str) and not expression.strip())
    )
    return frozenset(merged) - off, off


def errors(targets: Iterable[str]) -> list[str]:
    """What is wrong with the names of fields in the settings' mapping."""
    found = []
    for target in targets:
        head, dot, rest = target.partition(".")
        if target.startswith(USER_PROPERTY):
            if limits.user_property(rest) != rest:
                found.append(
                    f"{target}: a user property has up to 24 letters, digits and _; it must be no "
                    "reserved one, and tell nobody's name or address"
                )
        elif dot:
            if target not in CONSENT and not (head in OBJECTS and rest):
                objects = ", ".join(f"{name}." for name in ("user_properties", "consent", *OBJECTS))
                found.append(f"{target}: a field with a dot begins with one of {objects}")
        elif target not in REQUEST and limits.key(target).parameter != target:
            found.append(
                f"{target}: a parameter has up to 40 letters, digits and _; it must be no "
                "reserved one, and tell nobody's name or address"
            )
    return found
