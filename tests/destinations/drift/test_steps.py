"""Which calls an event takes, answer by answer, without HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.drift.mapping import Api, Mapper, Plan
from destinations.drift.steps import Conversation
from destinations.kit import Delivered, Failed, Outcome, Response, Retry
from tests.harness.vendors import answer, call, converse, event_of

AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}
# As on https://devdocs.drift.com/docs/creating-a-contact
CONTACT = {
    "id": 15811408544,
    "createdAt": 1664572604326,
    "attributes": {"externalId": "u", "email": "a@b.de", "events": {}},
}
FOUND = answer(200, {"data": CONTACT})
NOTHING = answer(200, {"data": []})
MISSING = answer(404, {"error": {"type": "not_found", "message": "CONTACT-1"}})
CONFLICT = answer(409, {"error": {"type": "CONTACT-6", "message": "exists"}})

BY_ID = ("GET", "/contacts?idType=external&id=u")
BY_EMAIL = ("GET", "/contacts?email=a%40b.de")
CREATE = ("POST", "/contacts")
UPDATE = ("PATCH", "/contacts/15811408544")
TIMELINE = ("POST", "/contacts/timeline")


def conversation(*, creates: bool = True) -> Conversation:
    return Conversation(Api("https://driftapi.com"), creates=creates)


def plan(**fields: Any) -> Plan:  # Any: JSON
    said = Mapper(attributes=True).plan(event_of(**AT, **fields))
    assert not isinstance(said, Outcome)
    return said


IDENTIFY = plan(type="identify", userId="u", traits={"email": "a@b.de"})
WITHOUT_ADDRESS = plan(type="identify", userId="u")
BY_ADDRESS = plan(type="identify", anonymousId="a", traits={"email": "a@b.de"})
TRACK = plan(type="track", event="E", userId="u", context={"traits": {"email": "a@b.de"}})
TRACK_WITHOUT_ADDRESS = plan(type="track", event="E", userId="u")
TRACK_BY_ADDRESS = plan(type="track", event="E", context={"traits": {"email": "a@b.de"}})


def ended(
    about: Plan, *answers: Response, with_: Conversation | None = None
) -> tuple[list[tuple[str, str]], Outcome]:
    asked, outcome = converse((with_ or conversation()).about(about), answers)
    return [call(request) for request in asked], outcome


def test_a_new_contact() -> None:
    """Who is found neither by external id nor by address is made."""
    asked, outcome = converse(conversation().about(IDENTIFY), [MISSING, NOTHING, FOUND])
    assert [call(request) for request in asked] == [BY_ID, BY_EMAIL, CREATE]
    assert json.loads(asked[2].body) == {"attributes": {"externalId": "u", "email": "a@b.de"}}
    assert outcome == Delivered()


def test_a_known_contact() -> None:
    """Who is found is changed, and the next time without looking."""
    one = conversation()
    assert ended(IDENTIFY, FOUND, FOUND, with_=one) == ([BY_ID, UPDATE], Delivered())
    assert ended(IDENTIFY, FOUND, with_=one) == ([UPDATE], Delivered())


def test_a_contact_that_has_gone() -> None:
    """A remembered contact that was merged or deleted is looked up anew."""
    one = conversation()
    ended(IDENTIFY, FOUND, FOUND, with_=one)
    asked, outcome = ended(IDENTIFY, MISSING, FOUND, FOUND, with_=one)
    assert asked == [UPDATE, BY_ID, UPDATE]
    assert outcome == Delivered()


@pytest.mark.parametrize(
    ("external_id", "expected"), [(None, UPDATE), ("", UPDATE), ("u", UPDATE), ("other", CREATE)]
)
def test_who_is_the_same(external_id: str | None, expected: tuple[str, str]) -> None:
    """The contact of a chat, without an external id, becomes the user; another user does not."""
    contact = {"id": 15811408544, "attributes": {"externalId": external_id, "email": "a@b.de"}}
    asked, _ = ended(IDENTIFY, MISSING, answer(200, {"data": [contact]}), FOUND)
    assert asked == [BY_ID, BY_EMAIL, expected]


def test_by_address() -> None:
    """Without an external id the one contact with the address is meant; of several, none."""
    assert ended(BY_ADDRESS, FOUND, FOUND) == ([BY_EMAIL, UPDATE], Delivered())
    asked, outcome = ended(BY_ADDRESS, answer(200, {"data": [CONTACT, {**CONTACT, "id": 2}]}))
    assert asked == [BY_EMAIL]
    assert isinstance(outcome, Failed)
    assert "userId" in outcome.reason


def test_no_address_for_a_new_contact() -> None:
    """Drift makes no contacts without an address."""
    asked, outcome = ended(WITHOUT_ADDRESS, MISSING)
    assert asked == [BY_ID]
    assert outcome == Failed("the event has no e-mail address: Drift needs one for a new contact")


def test_conflict() -> None:
    """A contact that was made meanwhile is found by looking once more, and changed."""
    asked, outcome = ended(IDENTIFY, MISSING, NOTHING, CONFLICT, FOUND, FOUND)
    assert asked == [BY_ID, BY_EMAIL, CREATE, BY_ID, UPDATE]
    assert outcome == Delivered()
    _, outcome = ended(IDENTIFY, MISSING, NOTHING, CONFLICT, MISSING, NOTHING)
    assert outcome == Failed("Drift refused it: 409 CONTACT-6 exists")
    _, outcome = ended(IDENTIFY, MISSING, NOTHING, CONFLICT, answer(503))
    assert isinstance(outcome, Retry)


def test_a_timeline_event() -> None:
    """An event of a user is one call, by the external id; of one seen before, by Drift's own."""
    one = conversation()
    asked, outcome = converse(one.about(TRACK), [FOUND])
    assert [call(request) for request in asked] == [TIMELINE]
    assert json.loads(asked[0].body)["externalId"] == "u"
    assert outcome == Delivered()
    ended(IDENTIFY, FOUND, FOUND, with_=one)
    asked, _ = converse(one.about(TRACK), [FOUND])
    assert json.loads(asked[0].body)["contactId"] == 15811408544


def test_a_timeline_event_by_address() -> None:
    """An event of an address is the event of its contact, which is made where there is none."""
    assert ended(TRACK_BY_ADDRESS, FOUND, FOUND) == ([BY_EMAIL, TIMELINE], Delivered())
    asked, outcome = ended(TRACK_BY_ADDRESS, NOTHING, FOUND, FOUND)
    assert asked == [BY_EMAIL, CREATE, TIMELINE]
    assert outcome == Delivered()


def test_a_timeline_event_of_nobody() -> None:
    """The user of an event is made where Drift knows none, and the event sent again."""
    asked, outcome = ended(TRACK, MISSING, MISSING, NOTHING, FOUND, FOUND)
    assert asked == [TIMELINE, BY_ID, BY_EMAIL, CREATE, TIMELINE]
    assert outcome == Delivered()
    _, outcome = ended(TRACK, MISSING, FOUND, MISSING)
    assert isinstance(outcome, Retry)
    _, outcome = ended(TRACK_WITHOUT_ADDRESS, MISSING, MISSING)
    assert isinstance(outcome, Failed)


def test_a_timeline_event_of_nobody_where_none_are_made() -> None:
    """Without `create_contacts` an event of an unknown user has failed, and says why."""
    asked, outcome = ended(TRACK, MISSING, MISSING, NOTHING, with_=conversation(creates=False))
    assert asked == [TIMELINE, BY_ID, BY_EMAIL]
    assert isinstance(outcome, Failed)
    assert "identify comes first" in outcome.reason


@pytest.mark.parametrize(
    ("about", "before"),
    [
        (IDENTIFY, []),
        (IDENTIFY, [MISSING]),
        (IDENTIFY, [MISSING, NOTHING]),
        (IDENTIFY, [FOUND]),
        (TRACK, []),
        (TRACK, [MISSING]),
        (TRACK, [MISSING, FOUND]),
        (TRACK_BY_ADDRESS, []),
        (TRACK_BY_ADDRESS, [NOTHING]),
        (TRACK_BY_ADDRESS, [FOUND]),
    ],
)
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(400, {"error": {"type": "validation_error", "message": "no"}}), Failed),
        (answer(403, {"error": {"type": "authentication_error", "message": "no"}}), Failed),
        (answer(429, {"error": {"type": "rate_limit", "message": "slow"}}), Retry),
        (answer(500), Retry),
        (Response(200, {}, b"<!DOCTYPE html><title>Sign in</title>"), Retry),
    ],
)
def test_every_call_may_go_wrong(
    about: Plan, before: list[Response], said: Response, expected: type[Outcome]
) -> None:
    """Whichever call it is, a refusal ends the event, and says what was wrong."""
    _, outcome = ended(about, *before, said)
    assert isinstance(outcome, expected)
