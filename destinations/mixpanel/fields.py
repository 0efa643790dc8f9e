"""Mixpanel's default fields: which property of an event or profile gets what. A table, no code.

Names are Mixpanel's own, so that its standard reports have them:
https://docs.mixpanel.com/docs/data-structure/property-reference/default-properties
https://docs.mixpanel.com/docs/data-structure/property-reference/reserved-properties
https://docs.mixpanel.com/docs/tracking-best-practices/geolocation

What stands here is sent beside all properties and traits, which keep the sender's names. Where a
property is called like a field, the property wins over the default, and `settings.mapping` over
both.
"""

from __future__ import annotations

from destinations.kit import MappingTable

#: Of the context of every event. `/import` reads no user agent, so that it is read here.
_CONTEXT = {
    "ip": "context.ip",
    "$current_url": "context.page.url",
    "$referrer": "context.page.referrer ?? context.referrer.url",
    "$browser": "@browser.name",
    "$browser_version": "@browser.version",
    "$os": "context.os.name ?? @browser.system",
    "$os_version": "context.os.version",
    "$app_name": "context.app.name",
    "$app_version_string": "context.app.version",
    "$app_build_number": "context.app.build",
    "$app_namespace": "context.app.namespace",
    "$manufacturer": "context.device.manufacturer",
    "$model": "context.device.model",
    "$device": "context.device.name",
    "$device_type": "context.device.type",
    "$carrier": "context.network.carrier",
    "$wifi": "context.network.wifi",
    "$bluetooth_enabled": "context.network.bluetooth",
    "$screen_width": "context.screen.width",
    "$screen_height": "context.screen.height",
    "$screen_dpi": "context.screen.density",
    "$city": "context.location.city",
    "$region": "context.location.region",
    # By code only: a country's name would stand in the way of the code that `ip` gives.
    "mp_country_code": "context.location.countryCode",
    "$latitude": "number(context.location.latitude)",
    "$longitude": "number(context.location.longitude)",
    "utm_source": "@campaign.source",
    "utm_medium": "@campaign.medium",
    "utm_campaign": "@campaign.name",
    "utm_term": "@campaign.term",
    "utm_content": "@campaign.content",
    "utm_id": "@campaign.id",
}

_IS_ANDROID = "if context.device.type in ('android', 'Android') then"
_IS_IOS = "if context.device.type in ('ios', 'iOS') then"

#: Of an identify: the user's reserved properties, place and device.
_USER = {
    "$email": "traits.email",
    "$first_name": "traits.firstName",
    "$last_name": "traits.lastName",
    # The name, or first and last together; what is no text goes along as it is.
    "$name": "@name ?? traits.name",
    "$username": "traits.username",
    "$phone": "traits.phone ?? traits.phones.0",
    "$avatar": "traits.avatar",
    # ISO 8601 to the second; what is no time is left out.
    "$created": "'{cut(iso(traits.created) ?? iso(traits.createdAt), 19)}Z'",
    "$city": "@city ?? context.location.city",
    "$region": "@region ?? context.location.region",
    "$country_code": "@country_code ?? context.location.countryCode",
    "$timezone": "context.timezone",
    "$browser": "@browser.name",
    "$browser_version": "@browser.version",
    "$os": "context.os.name ?? @browser.system",
    "$initial_referrer": "context.page.initialReferrer",
    "$initial_referring_domain": "context.page.initialReferringDomain",
    "$android_os": f"{_IS_ANDROID} context.os.name",
    "$android_os_version": f"{_IS_ANDROID} context.os.version",
    "$android_manufacturer": f"{_IS_ANDROID} context.device.manufacturer",
    "$android_model": f"{_IS_ANDROID} context.device.model",
    "$android_app_version": f"{_IS_ANDROID} context.app.version",
    "$android_app_version_code": f"{_IS_ANDROID} context.app.build",
    "$android_devices": f"{_IS_ANDROID} context.device.token",
    "$ios_version": f"{_IS_IOS} context.os.version",
    "$ios_device_model": f"{_IS_IOS} context.device.model",
    "$ios_app_release": f"{_IS_IOS} context.app.version",
    "$ios_app_version": f"{_IS_IOS} context.app.build",
    "$ios_devices": f"{_IS_IOS} context.device.token",
}

DEFAULTS = MappingTable(
    track=_CONTEXT,
    page={
        **_CONTEXT,
        # Server SDKs have the page's address among the properties only.
        "$current_url": "context.page.url ?? properties.url",
        "$referrer": "context.page.referrer ?? context.referrer.url ?? properties.referrer",
    },
    screen=_CONTEXT,
    identify=_USER,
    group={"$name": "traits.name"},
)

#: Profile properties that keep their first value: https://docs.mixpanel.com/reference/profile-set-property-once
SET_ONCE = ("$initial_referrer", "$initial_referring_domain")
#: Profile properties that are lists, to which values are added: a user has several devices.
UNION = ("$android_devices", "$ios_devices")
