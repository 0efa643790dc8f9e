"""Google Ads: conversions, by upload of up to 2 000 a request, or by one ping each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from destinations.google_ads import mapping, outcomes
from destinations.google_ads.mapping import Consent, PingMapper, UploadMapper
from destinations.kit import (
    Batched,
    Endpoint,
    Event,
    Item,
    Outcome,
    Part,
    Request,
    Response,
    Split,
)
from destinations.kit.tokens import Token, TokenSource

_CUSTOMER = re.compile(r"[0-9]{10}")
_DIGITS = re.compile(r"[0-9]+")
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_VERSION = re.compile(r"v[0-9]+")


class Upload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The upload by the Google Ads API, with OAuth credentials of a user who may do it.

    `customer_id` is the account that owns the conversion actions,
    `login_customer_id` the manager account that the user has access by.
    `conversions` are events' names, each with the id of its conversion action;
    other events are unsupported. With `user_identifiers` hashed addresses and
    phone numbers go along (enhanced conversions for leads), for which the
    account has to have accepted Google's customer data terms. The two `ad_`
    settings are the consent of events that say nothing of it.
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


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ping of the conversion tag, `AW-<conversion_id>/<label>`.

    `conversions` are events' names, each with its label.
    """

    conversion_id: str
    conversions: dict[str, str]


class GoogleAds(Batched):
    """Track events that the settings name are conversions.

    The upload knows the ad by the click's id (`gclid`, `gbraid`, `wbraid`) or
    the user by hashes, and says what became of each conversion. The ping knows
    neither, as no browser sends it, and is answered the same whatever it says.

    Google takes a conversion only some hours after its click, and one whose
    conversion action is new: it says TOO_RECENT then, and wants six hours to
    pass. That is past the default retry window, so set `retry.window = "12h"`
    where such conversions must not become dead letters.
    """

    name = "google-ads"
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

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """One of the two: `upload` for the Google Ads API, `ping` for the conversion tag's."""

        upload: Upload | None = None
        ping: Ping | None = None

        def __post_init__(self) -> None:
            if (self.upload is None) == (self.ping is None):
                raise ValueError("upload: is required, or ping, and not both")
            errors = []
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
            self._mapper = self._upload_mapper(settings.upload)
            self._tokens = TokenSource(self._fetch_token)
        else:
            conversion_id = settings.ping.conversion_id.removeprefix("AW-")
            endpoint = mapping.ping_endpoint(self.ping_url, conversion_id)
            self._mapper = PingMapper(endpoint, settings.ping.conversions)

    def _upload_mapper(self, upload: Upload) -> UploadMapper:
        customer_id = upload.customer_id.replace("-", "")
        login_customer_id = (upload.login_customer_id or "").replace("-", "")
        consent: dict[str, Consent] = {}
        if upload.ad_user_data is not None:
            consent["adUserData"] = upload.ad_user_data
        if upload.ad_personalization is not None:
            consent["adPersonalization"] = upload.ad_personalization
        endpoint = mapping.upload_endpoint(
            self.api_url, upload.api_version, customer_id, upload.developer_token, login_customer_id
        )
        return UploadMapper(
            endpoint, customer_id, upload.conversions, consent, identified=upload.user_identifiers
        )

    def item(self, event: Event) -> Item | Outcome:
        return self._mapper.item(event)

    def request(self, part: Part) -> Request:
        return super().request(part) if self._tokens is not None else mapping.ping(part)

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
            lambda token: send(mapping.authorized(request, token)), outcomes.needs_token
        )

    async def _fetch_token(self) -> Token | Outcome:
        upload = self.settings.upload
        request = mapping.token_request(
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
    return errors + [
        f"upload.conversions.{event}: must be the id of a conversion action, which is digits"
        for event, action in upload.conversions.items()
        if not _DIGITS.fullmatch(action)
    ]


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
