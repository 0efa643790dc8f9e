"""Google Ads: conversions, calls and adjustments by upload, or conversions by one ping each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from destinations.google_ads import fields, mapping, outcomes, requests
from destinations.google_ads.mapping import Adjustment, PingMapper, UploadMapper
from destinations.google_ads.requests import Account, Consent
from destinations.kit import (
    Batched,
    Endpoint,
    Event,
    Item,
    MappedSettings,
    Outcome,
    Part,
    Request,
    Response,
    Split,
)
from destinations.kit.paths import normal
from destinations.kit.tokens import Token, TokenSource

_CUSTOMER = re.compile(r"[0-9]{10}")
_DIGITS = re.compile(r"[0-9]+")
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_CALLING_CODE = re.compile(r"\+?[1-9][0-9]{0,3}")
_VERSION = re.compile(r"v[0-9]+")


class Upload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The upload by the Google Ads API, with OAuth credentials of a user who may do it.

    `customer_id` is the account that owns the conversion actions,
    `login_customer_id` the manager account that the user has access by.
    `conversions` are events' names, each with the id of its conversion action;
    `call_conversions` are the same for phone calls to an ad's number, and
    `adjustments` for events that change a conversion. An event stands in one of
    the three, others are unsupported.

    With `user_identifiers` hashed addresses and phone numbers go along (enhanced
    conversions for leads), for which the account has to have accepted Google's
    customer data terms. `default_country_code` is the calling code of phone
    numbers that name no country, like "+49"; without it they are not sent. The
    two `ad_` settings are the consent of events that say nothing of it.

    The Merchant Center account and feed of a cart are `merchant_id`,
    `feed_country_code` and `feed_language_code`, where events do not say;
    `cart_product_id` is what its items are called there. With `cart_data` false
    none is sent.
    """

    customer_id: str
    client_id: str
    client_secret: str
    refresh_token: str
    conversions: dict[str, str]
    developer_token: str | None = None
    login_customer_id: str | None = None
    api_version: str = "v26"
    user_identifiers: bool = True
    ad_user_data: Consent | None = None
    ad_personalization: Consent | None = None
    default_country_code: str | None = None
    cart_data: bool = True
    cart_product_id: Literal["id", "sku"] = "id"
    merchant_id: int | None = None
    feed_country_code: str | None = None
    feed_language_code: str | None = None
    call_conversions: dict[str, str] = {}
    adjustments: dict[str, Adjustment] = {}


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ping of the conversion tag, `AW-<conversion_id>/<label>`.

    `conversions` are events' names, each with its label.
    """

    conversion_id: str
    conversions: dict[str, str]


class GoogleAds(Batched):
    """Track events that the settings name are conversions, calls, or adjustments of conversions.

    A conversion's value is revenue, value or total, the first that is there; the fields and
    what each is from stand in `fields.py`, and `settings.mapping` changes them.
    The upload knows the ad by the click's id (`gclid`, `gbraid`, `wbraid`) or
    the user by hashes, and says what became of each conversion. The ping knows
    neither, as no browser sends it, and is answered the same whatever it says.

    Google takes a conversion only some hours after its click, and one whose
    conversion action is new: it says TOO_RECENT then, and wants six hours to
    pass. That is past the default retry window, so set `retry.window = "12h"`
    where such conversions must not become dead letters.
    """

    name = "google-ads"
    defaults = fields.CONVERSION
    aliases = mapping.NAMES
    types = frozenset({"track"})
    hosts = ("googleads.googleapis.com", "oauth2.googleapis.com", "www.googleadservices.com")
    # The upload would take 2 000, but as many pings would not be through within a batch's time.
    batch_events = 500
    concurrency = 16
    timeout_s = 25.0
    dry_answers: ClassVar[Mapping[str, str]] = {
        "POST /*/customers/*": '{"results": [{"conversionAction": "customers/1"}], "jobId": "1"}',
    }

    api_url: ClassVar[str] = "https://googleads.googleapis.com"
    token_url: ClassVar[str] = "https://oauth2.googleapis.com"  # noqa: S105 - an address
    ping_url: ClassVar[str] = "https://www.googleadservices.com"

    class Settings(MappedSettings, frozen=True, forbid_unknown_fields=True):
        """One of the two: `upload` for the Google Ads API, `ping` for the conversion tag's.

        `mapping` changes their fields, and `custom_events` says which of them a
        conversion of the user's own name gets.
        """

        upload: Upload | None = None
        ping: Ping | None = None

        def __post_init__(self) -> None:
            if (self.upload is None) == (self.ping is None):
                raise ValueError("upload: is required, or ping, and not both")
            errors = self.mapping_errors()
            if self.upload is not None:
                errors += _upload_errors(self.upload)
            if self.ping is not None:
                errors += _ping_errors(self.ping)
            if errors:
                raise ValueError("\n".join(errors))

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._mapper: UploadMapper | PingMapper
        self._tokens: TokenSource[Token] | None = None
        if settings.upload is not None:
            self._mapper = self._upload_mapper(settings)
            self._tokens = TokenSource(self._fetch_token)
        else:
            conversion_id = settings.ping.conversion_id.removeprefix("AW-")
            endpoint = requests.ping_endpoint(self.ping_url, conversion_id)
            self._mapper = PingMapper(
                endpoint, settings.ping.conversions, settings.mapping, settings.custom_events
            )

    def _upload_mapper(self, settings: Settings) -> UploadMapper:
        upload = settings.upload
        assert upload is not None  # or this is the ping
        consent: dict[str, Consent] = {}
        if upload.ad_user_data is not None:
            consent["adUserData"] = upload.ad_user_data
        if upload.ad_personalization is not None:
            consent["adPersonalization"] = upload.ad_personalization
        feed = {
            "merchantId": upload.merchant_id,
            "feedCountryCode": upload.feed_country_code,
            "feedLanguageCode": upload.feed_language_code,
        }
        account = Account(
            base_url=self.api_url,
            api_version=upload.api_version,
            customer_id=upload.customer_id.replace("-", ""),
            developer_token=upload.developer_token,
            login_customer_id=(upload.login_customer_id or "").replace("-", ""),
            consent=consent,
            identified=upload.user_identifiers,
            country_code=(upload.default_country_code or "").removeprefix("+") or None,
            feed={key: value for key, value in feed.items() if value is not None},
            product_id=upload.cart_product_id if upload.cart_data else None,
        )
        return UploadMapper(
            account,
            upload.conversions,
            upload.call_conversions,
            upload.adjustments,
            settings.mapping,
            settings.custom_events,
        )

    def item(self, event: Event) -> Item | Outcome:
        return self._mapper.item(event)

    def request(self, part: Part) -> Request:
        return super().request(part) if self._tokens is not None else requests.ping(part)

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        if self._tokens is None:
            return outcomes.pinged(response)
        return outcomes.uploaded(response, count)

    async def exchange(self, request: Request) -> Response | Outcome:
        send = super().exchange
        if self._tokens is None:
            return await send(request)
        return await self._tokens.use(
            lambda token: send(requests.authorized(request, token)), outcomes.needs_token
        )

    async def _fetch_token(self) -> Token | Outcome:
        upload = self.settings.upload
        request = requests.token_request(
            self.token_url, upload.client_id, upload.client_secret, upload.refresh_token
        )
        response = await super().exchange(request)
        return outcomes.token(response) if isinstance(response, Response) else response


def _upload_errors(upload: Upload) -> list[str]:
    errors = [
        f"upload.{key}: is empty"
        for key in ("client_id", "client_secret", "refresh_token")
        if not getattr(upload, key).strip()
    ]
    ids = {"customer_id": upload.customer_id, "login_customer_id": upload.login_customer_id}
    errors += [
        f'upload.{key}: must be ten digits, like "123-456-7890"'
        for key, value in ids.items()
        if value is not None and not _CUSTOMER.fullmatch(value.replace("-", ""))
    ]
    if not _VERSION.fullmatch(upload.api_version):
        errors.append('upload.api_version: must be like "v26"')
    code = upload.default_country_code
    if code is not None and not _CALLING_CODE.fullmatch(code):
        errors.append('upload.default_country_code: must be a calling code, like "+49"')
    if upload.merchant_id is not None and upload.merchant_id <= 0:
        errors.append("upload.merchant_id: must be the number of a Merchant Center account")
    actions = {
        "conversions": upload.conversions,
        "call_conversions": upload.call_conversions,
        "adjustments": {name: one.action for name, one in upload.adjustments.items()},
    }
    taken: dict[str, str] = {}
    for key, of_events in actions.items():
        for event, action in of_events.items():
            if not _DIGITS.fullmatch(action):
                errors.append(
                    f"upload.{key}.{event}: must be the id of a conversion action, which is digits"
                )
            other = taken.setdefault(normal(event), key)
            if other != key:
                errors.append(f"upload.{key}.{event}: stands in upload.{other} as well")
    return errors


def _ping_errors(ping: Ping) -> list[str]:
    errors = []
    if not _DIGITS.fullmatch(ping.conversion_id.removeprefix("AW-")):
        errors.append('ping.conversion_id: must be digits, like "AW-123456789" without the label')
    return errors + [
        f"ping.conversions.{event}: must be the label of a conversion action"
        for event, label in ping.conversions.items()
        if not _LABEL.fullmatch(label)
    ]


DESTINATION = GoogleAds
