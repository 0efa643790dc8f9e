"""Which calls an event takes, answer by answer, without HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.intercom.mapping import Api, Mapper, Plan
from destinations.intercom.steps import Conversation
from destinations.kit import Delivered, Failed, Outcome, Response, Retry
from tests.harness.vendors import answer, call, converse, event_of

AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}
# As on the pages of the calls, see `destinations/intercom/mapping.py`.
CONTACT = {"type": "contact", "id": "6762f0dd", "external_id": "u", "email": "a@b.de"}
COMPANY = {"type": "company", "id": "531ee472", "company_id": "g"}
NOBODY = {"type": "list", "data": [], "total_count": 0}
CONFLICT = {
    "type": "error.list",
    "request_id": "80ec9d92-99ff-4da9-9a0e-c0ab7c42f7e7",
    "errors": [
        {
            "code": "conflict",
            "message": "A contact matching those details already exists with id=6762f0dd",
        }
    ],
}
NOT_FOUND = {"type": "error.list", "errors": [{"code": "not_found", "message": "User Not Found"}]}

SEARCH = ("POST", "/contacts/search")
CREATE = ("POST", "/contacts")
SHOW = ("GET", "/contacts/6762f0dd")
UPDATE = ("PUT", "/contacts/6762f0dd")
EVENT = ("POST", "/events")
COMPANIES = ("POST", "/companies")
ATTACH = ("POST", "/contacts/6762f0dd/companies")


def contacts(*found: dict[str, Any]) -> Response:  # Any: JSON
    return answer(200, {"type": "list", "data": list(found), "total_count": len(found)})


def conversation(*, creates: bool = True) -> Conversation:
    return Conversation(Api("https://api.intercom.io", "T"), creates=creates)


def plan(**fields: Any) -> Plan:  # Any: JSON
    said = Mapper({}, {}).plan(event_of(**AT, **fields))
    assert not isinstance(said, Outcome)
    return said


def identify(**traits: Any) -> Plan:  # Any: JSON
    return plan(type="identify", userId="u", traits={"email": "a@b.de", **traits})


def track() -> Plan:
    return plan(type="track", event="E", userId="u")


def ended(
    about: Plan, *answers: Response, with_: Conversation | None = None
) -> tuple[list[tuple[str, str]], Outcome]:
    asked, outcome = converse((with_ or conversation()).about(about), answers)
    return [call(request) for request in asked], outcome


def test_a_new_contact() -> None:
    """Who is not found is made, signed in by the token, in the pinned version."""
    asked, outcome = converse(conversation().about(identify()), [contacts(), answer(200, CONTACT)])
    assert [call(request) for request in asked] == [SEARCH, CREATE]
    assert outcome == Delivered()
    assert asked[0].headers == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Authorization": "Bearer T",
        "Intercom-Version": "2.14",
    }
    assert json.loads(asked[0].body) == {
        "query": {
            "operator": "OR",
            "value": [
                {"field": "external_id", "operator": "=", "value": "u"},
                {"field": "email", "operator": "=", "value": "a@b.de"},
            ],
        }
    }
    assert json.loads(asked[1].body) == {
        "role": "user",
        "external_id": "u",
        "email": "a@b.de",
        "last_seen_at": 1767323045,
    }


def test_a_known_contact() -> None:
    """Who is found is changed, and the next time without looking."""
    one = conversation()
    assert ended(identify(), contacts(CONTACT), answer(200, CONTACT), with_=one) == (
        [SEARCH, UPDATE],
        Delivered(),
    )
    assert ended(identify(), answer(200, CONTACT), with_=one) == ([UPDATE], Delivered())


def test_a_contact_that_has_gone() -> None:
    """A remembered contact that was merged or deleted is looked up anew."""
    one = conversation()
    ended(identify(), contacts(CONTACT), answer(200, CONTACT), with_=one)
    other = {**CONTACT, "id": "new"}
    asked, outcome = ended(
        identify(), answer(404, NOT_FOUND), contacts(other), answer(200, other), with_=one
    )
    assert asked == [UPDATE, SEARCH, ("PUT", "/contacts/new")]
    assert outcome == Delivered()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([{**CONTACT, "external_id": "other"}], CREATE),
        ([{**CONTACT, "external_id": None}], UPDATE),
        ([{**CONTACT, "external_id": None, "email": "A@B.DE"}], UPDATE),
        ([{**CONTACT, "id": "x", "external_id": None}, CONTACT], UPDATE),
    ],
)
def test_who_is_the_same(found: list[dict[str, Any]], expected: tuple[str, str]) -> None:
    """An equal external id is the person, an equal address only of who has no other id."""
    asked, _ = ended(identify(), contacts(*found), answer(200, CONTACT))
    assert asked == [SEARCH, expected]


def test_several_with_one_address() -> None:
    """An address that several contacts have names none of them."""
    about = plan(type="identify", anonymousId="a", traits={"email": "a@b.de"})
    asked, outcome = ended(about, contacts(CONTACT, {**CONTACT, "id": "2"}))
    assert asked == [SEARCH]
    assert outcome == Failed("several contacts have this e-mail address: Intercom needs a userId")


def test_conflict_with_oneself() -> None:
    """A contact that the search did not find yet is changed, by the id in the refusal."""
    asked, outcome = ended(
        identify(),
        contacts(),
        answer(409, CONFLICT),
        answer(200, CONTACT),
        answer(200, CONTACT),
    )
    assert asked == [SEARCH, CREATE, SHOW, UPDATE]
    assert outcome == Delivered()


def test_conflict_with_someone_else() -> None:
    """Another user with the same address does not become this one."""
    asked, outcome = ended(
        identify(),
        contacts(),
        answer(409, CONFLICT),
        answer(200, {**CONTACT, "external_id": "other"}),
    )
    assert asked == [SEARCH, CREATE, SHOW]
    assert outcome == Failed(
        "Intercom refused it: 409 conflict "
        "A contact matching those details already exists with id=6762f0dd"
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (answer(404, NOT_FOUND), Failed),
        (answer(503), Retry),
        (Response(200, {}, b"<html>"), Retry),
    ],
)
def test_conflict_with_who_knows(shown: Response, expected: type[Outcome]) -> None:
    """Where the other contact cannot be had, its answer decides."""
    _, outcome = ended(identify(), contacts(), answer(409, CONFLICT), shown)
    assert isinstance(outcome, expected)


def test_conflict_without_an_id() -> None:
    """A conflict that names no contact is final."""
    said = {"errors": [{"code": "conflict", "message": "Multiple existing users match"}]}
    asked, outcome = ended(identify(), contacts(), answer(409, said))
    assert asked == [SEARCH, CREATE]
    assert isinstance(outcome, Failed)


def test_a_data_event() -> None:
    """A data event is one call, answered by 202 and nothing."""
    assert ended(track(), answer(202)) == ([EVENT], Delivered())


def test_a_data_event_of_nobody() -> None:
    """The user of a data event is made where Intercom knows none, and the event sent again."""
    asked, outcome = ended(
        track(), answer(404, NOT_FOUND), contacts(), answer(200, CONTACT), answer(202)
    )
    assert asked == [EVENT, SEARCH, CREATE, EVENT]
    assert outcome == Delivered()


def test_a_data_event_of_nobody_yet() -> None:
    """A contact that is made and not known everywhere yet is waited for."""
    missing = answer(404, NOT_FOUND)
    _, outcome = ended(track(), missing, contacts(), answer(200, CONTACT), missing)
    assert isinstance(outcome, Retry)


def test_a_data_event_of_nobody_where_none_are_made() -> None:
    """Without `create_contacts` an event of an unknown user has failed, and says why."""
    asked, outcome = ended(track(), answer(404, NOT_FOUND), with_=conversation(creates=False))
    assert asked == [EVENT]
    assert isinstance(outcome, Failed)
    assert "identify comes first" in outcome.reason


def test_a_company_and_its_contact() -> None:
    """A group makes or changes the company, and puts its user into it by Intercom's own ids."""
    about = plan(type="group", groupId="g", userId="u", traits={"name": "Acme"})
    asked, outcome = converse(
        conversation().about(about),
        [contacts(CONTACT), answer(200, COMPANY), answer(200, COMPANY)],
    )
    assert [call(request) for request in asked] == [SEARCH, COMPANIES, ATTACH]
    assert json.loads(asked[2].body) == {"id": "531ee472"}
    assert outcome == Delivered()


def test_a_company_of_nobody() -> None:
    """A group without a user is a company; so is one of an unknown user, where none are made."""
    assert ended(plan(type="group", groupId="g"), answer(200, COMPANY)) == (
        [COMPANIES],
        Delivered(),
    )
    about = plan(type="group", groupId="g", userId="u")
    one = conversation(creates=False)
    assert ended(about, contacts(), answer(200, COMPANY), with_=one) == (
        [SEARCH, COMPANIES],
        Delivered(),
    )


def test_a_company_whose_contact_has_gone() -> None:
    """A contact that is not there (any more) is looked up anew by the retry."""
    one = conversation()
    about = plan(type="group", groupId="g", userId="u")
    _, outcome = ended(
        about, contacts(CONTACT), answer(200, COMPANY), answer(404, NOT_FOUND), with_=one
    )
    assert isinstance(outcome, Retry)
    asked, _ = ended(
        about, contacts(CONTACT), answer(200, COMPANY), answer(200, COMPANY), with_=one
    )
    assert asked[0] == SEARCH


def test_an_identify_with_a_company() -> None:
    """A user's company is made and joined after the contact."""
    asked, outcome = ended(
        identify(company={"id": "g"}),
        contacts(CONTACT),
        answer(200, CONTACT),
        answer(200, COMPANY),
        answer(200, COMPANY),
    )
    assert asked == [SEARCH, UPDATE, COMPANIES, ATTACH]
    assert outcome == Delivered()


FIND = ("GET", "/companies?company_id=c+9%26")
DETACH = ("DELETE", "/contacts/6762f0dd/companies/531ee472")
LEFT = {"id": "c 9&", "remove": True}


@pytest.mark.parametrize(
    ("answers", "asked", "expected"),
    [
        ([answer(200, COMPANY), answer(200, COMPANY)], [FIND, DETACH], Delivered),
        (
            [answer(200, {"data": [COMPANY | {"company_id": "c 9&"}]}), answer(200)],
            [FIND, DETACH],
            Delivered,
        ),
        ([answer(200, {"data": [COMPANY]})], [FIND], Delivered),
        ([answer(404, NOT_FOUND)], [FIND], Delivered),
        ([answer(200, COMPANY), answer(404, NOT_FOUND)], [FIND, DETACH], Delivered),
        ([answer(200, {"type": "company"})], [FIND], Retry),
        ([answer(429)], [FIND], Retry),
        ([answer(200, COMPANY), answer(503)], [FIND, DETACH], Retry),
        ([answer(200, COMPANY), answer(401)], [FIND, DETACH], Failed),
    ],
)
def test_a_company_that_is_left(
    answers: list[Response], asked: list[tuple[str, str]], expected: type[Outcome]
) -> None:
    """A contact is taken out of the company, and what is not there has not to be left."""
    before = [contacts(CONTACT), answer(200, CONTACT)]
    calls, outcome = ended(identify(company=LEFT), *before, *answers)
    assert calls == [SEARCH, UPDATE, *asked]
    assert isinstance(outcome, expected)
    about = plan(type="group", groupId="c 9&", userId="u", traits={"remove": "true"})
    calls, outcome = ended(about, contacts(CONTACT), *answers)
    assert calls == [SEARCH, *asked]
    assert isinstance(outcome, expected)


def test_a_group_that_nobody_leaves() -> None:
    """Who is no contact is in no company, and is not made to leave it."""
    about = plan(type="group", groupId="g", userId="u", traits={"remove": True})
    assert ended(about, contacts()) == ([SEARCH], Delivered())


def test_several_companies() -> None:
    """All companies are joined; one that is refused fails the event, and hinders no other."""
    about = identify(companies=[{"id": "bad"}, {"id": "g"}])
    before = [contacts(CONTACT), answer(200, CONTACT)]
    done = [answer(200, COMPANY), answer(200, COMPANY)]
    assert ended(about, *before, *done, *done) == (
        [SEARCH, UPDATE, COMPANIES, ATTACH, COMPANIES, ATTACH],
        Delivered(),
    )
    refusal = answer(400, {"errors": [{"code": "parameter_invalid", "message": "no"}]})
    calls, outcome = ended(about, *before, refusal, *done)
    assert calls == [SEARCH, UPDATE, COMPANIES, COMPANIES, ATTACH]
    assert outcome == Failed("Intercom refused it: 400 parameter_invalid no")
    calls, outcome = ended(about, *before, answer(503))
    assert calls == [SEARCH, UPDATE, COMPANIES]
    assert isinstance(outcome, Retry)


def test_a_lead_that_is_a_user() -> None:
    """A lead is made as one; a contact with its address is changed, and keeps its role."""
    about = plan(type="identify", traits={"email": "a@b.de", "role": "lead"})
    asked, _ = converse(conversation().about(about), [contacts(), answer(200, CONTACT)])
    assert json.loads(asked[1].body)["role"] == "lead"
    asked, _ = converse(conversation().about(about), [contacts(CONTACT), answer(200, CONTACT)])
    assert "role" not in json.loads(asked[1].body)


FULL_GROUP = plan(type="group", groupId="g", userId="u")


@pytest.mark.parametrize(
    ("about", "before"),
    [
        (identify(), []),
        (identify(), [contacts()]),
        (identify(), [contacts(CONTACT)]),
        (track(), []),
        (track(), [answer(404, NOT_FOUND)]),
        (track(), [answer(404, NOT_FOUND), contacts(), answer(200, CONTACT)]),
        (FULL_GROUP, []),
        (FULL_GROUP, [contacts(CONTACT)]),
        (FULL_GROUP, [contacts(CONTACT), answer(200, COMPANY)]),
    ],
)
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(401, {"errors": [{"code": "token_revoked", "message": "Token revoked"}]}), Failed),
        (answer(429, {"errors": [{"code": "rate_limit_exceeded"}]}), Retry),
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
