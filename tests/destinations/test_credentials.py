"""Which answers of each vendor say that the credentials are refused, and not the event."""

from __future__ import annotations

import msgspec
import pytest

from destinations.drift import outcomes as drift
from destinations.google_ads import outcomes as google_ads
from destinations.google_analytics import outcomes as google_analytics
from destinations.intercom import outcomes as intercom
from destinations.kit import Cause, Outcome, Response, Retry, Split, Unauthorized
from destinations.marketo import outcomes as marketo
from destinations.mixpanel import outcomes as mixpanel
from destinations.salesforce import outcomes as salesforce
from destinations.webhooks import outcomes as webhooks


def answer(status: int, said: object = None) -> Response:
    """What a vendor says, as JSON."""
    return Response(status, {}, msgspec.json.encode(said))


def drift_error(kind: str) -> object:
    return {"error": {"type": kind, "message": "why"}}


def intercom_error(code: str) -> object:
    return {"type": "error.list", "errors": [{"code": code, "message": "why"}]}


def marketo_error(code: str) -> object:
    return {"success": False, "errors": [{"code": code, "message": "why"}]}


def salesforce_error(code: str) -> object:
    return [{"errorCode": code, "message": "why"}]


def google_error(status: int, kind: str, code: str) -> Response:
    failure = {"errors": [{"errorCode": {kind: code}, "message": "why"}]}
    return answer(status, {"error": {"code": status, "details": [failure]}})


def of_salesforce(status: int, code: str) -> object:
    return salesforce.upserted(answer(status, salesforce_error(code)), 1, "User_Id__c")


UNAUTHORIZED: dict[str, object] = {
    "drift 401": drift.outcome(answer(401)),
    "drift 403 of authentication": drift.outcome(answer(403, drift_error("authentication_error"))),
    "google-ads 401": google_ads.uploaded(answer(401), 1),
    "google-ads developer token": google_ads.uploaded(
        google_error(403, "authorizationError", "DEVELOPER_TOKEN_NOT_APPROVED"), 1
    ),
    "google-ads user, by 400": google_ads.uploaded(
        google_error(400, "authenticationError", "NOT_ADS_USER"), 1
    ),
    "intercom 401": intercom.outcome(answer(401)),
    "intercom token_revoked": intercom.outcome(answer(401, intercom_error("token_revoked"))),
    "intercom token_blocked, by 403": intercom.outcome(
        answer(403, intercom_error("token_blocked"))
    ),
    "marketo 603": marketo.leads(answer(200, marketo_error("603")), 1),
    "mixpanel /import 401": mixpanel.imported(answer(401, {"error": "no such project"}), 1),
    "mixpanel /engage 401": mixpanel.updated(answer(401)),
    "salesforce 401": of_salesforce(401, "INVALID_AUTH_HEADER"),
    "salesforce no API": of_salesforce(403, "API_DISABLED_FOR_ORG"),
    "webhooks 401": webhooks.outcome(answer(401), 1),
    "webhooks 403": webhooks.outcome(answer(403), 5),
}


@pytest.mark.parametrize("which", UNAUTHORIZED)
def test_credentials_are_refused(which: str) -> None:
    """By the vendors' documentation nothing is wrong with the event."""
    said = UNAUTHORIZED[which]
    assert isinstance(said, Unauthorized)
    assert not said.is_certain, "an event was in the request"


HELD_WHERE_ALL_GET_IT: dict[str, object] = {
    "marketo 601 after a renewal": marketo.leads(answer(200, marketo_error("601")), 1),
    "marketo 602 after a renewal": marketo.leads(answer(200, marketo_error("602")), 1),
    "marketo 600": marketo.leads(answer(200, marketo_error("600")), 1),
    "salesforce INVALID_SESSION_ID after a renewal": of_salesforce(401, "INVALID_SESSION_ID"),
}


@pytest.mark.parametrize("which", HELD_WHERE_ALL_GET_IT)
def test_a_new_token_is_refused(which: str) -> None:
    """It may pass by itself, so that no event fails for it; where all get it, nothing else goes."""
    said = HELD_WHERE_ALL_GET_IT[which]
    assert isinstance(said, Retry)
    assert said.cause is Cause.SETUP


OF_THE_EVENT: dict[str, Outcome | Split | object] = {
    "drift 403": drift.outcome(answer(403, drift_error("other"))),
    "google-analytics 403": google_analytics.collected(answer(403)),
    "google-ads quota": google_ads.uploaded(
        google_error(403, "quotaError", "ACCESS_PROHIBITED"), 1
    ),
    "intercom 403": intercom.outcome(answer(403, intercom_error("action_forbidden"))),
    "marketo 610": marketo.leads(answer(200, marketo_error("610")), 1),
    "mixpanel 403": mixpanel.imported(answer(403), 1),
    "salesforce 403 of one object": of_salesforce(403, "INSUFFICIENT_ACCESS"),
    "webhooks 404": webhooks.outcome(answer(404), 1),
}


@pytest.mark.parametrize("which", OF_THE_EVENT)
def test_other_refusals_are_the_events(which: str) -> None:
    """What may be about one record, one object or one call holds nobody else back."""
    said = OF_THE_EVENT[which]
    assert not isinstance(said, Unauthorized)
    assert not (isinstance(said, Retry) and said.cause is Cause.SETUP)
