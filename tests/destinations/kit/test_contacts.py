"""Contacts: who is the person, and the steps that all vendors of contacts have in common."""

from __future__ import annotations

import pytest

from destinations.kit import Delivered, Failed, Outcome, Request, Response, Steps
from destinations.kit.contacts import Contacts, Found, Person, Search, chosen
from tests.harness.vendors import answer, call, converse

ANN = Person("u", "a@b.de", b"{}", b'{"new": true}')
NOBODY = answer(200, {})
ONE = answer(200, {"id": "1"})
CONFLICT = answer(409)

LOOK = ("GET", "/people/u")
CREATE = ("POST", "/people")
UPDATE = ("PUT", "/people/1")


class Vendor(Contacts):
    """A vendor that answers with an id, or with none."""

    def search(self, person: Person) -> Search:
        response = yield Request(f"https://x/people/{person.external_id}", b"", {}, "GET")
        said = response.json()
        return said.get("id") if isinstance(said, dict) else self.outcome(response)

    def creation(self, person: Person) -> Request | Outcome:
        if person.email is None:
            return Failed("no address")
        return Request("https://x/people", person.first_body or person.body)

    def update(self, contact_id: str, person: Person) -> Request:
        return Request(f"https://x/people/{contact_id}", person.body, {}, "PUT")

    def conflicting(self, refusal: Response, person: Person) -> Search:
        return self.search(person)

    def id_in(self, response: Response) -> str | Outcome:
        said = response.json()
        return said["id"] if isinstance(said, dict) else self.outcome(response)

    def outcome(self, response: Response) -> Outcome:
        return response.outcome()


def _steps(vendor: Vendor, person: Person) -> Steps:
    contact = yield from vendor.changed(person)
    return Delivered() if isinstance(contact, str) else contact


def ended(
    vendor: Vendor, *answers: Response, person: Person = ANN
) -> tuple[list[tuple[str, str]], Outcome]:
    asked, outcome = converse(_steps(vendor, person), answers)
    return [call(request) for request in asked], outcome


def test_known_people_are_not_looked_up() -> None:
    """Who was seen once is changed without a look-up, until the contact is gone."""
    vendor = Vendor()
    assert ended(vendor, ONE, ONE) == ([LOOK, UPDATE], Delivered())
    assert ended(vendor, ONE) == ([UPDATE], Delivered())
    assert ended(vendor, answer(404), ONE, ONE) == ([UPDATE, LOOK, UPDATE], Delivered())
    assert ended(vendor, answer(404), NOBODY, answer(400))[1] == answer(400).outcome()
    assert vendor.known(ANN) is None


def test_a_new_contact_is_made_and_remembered() -> None:
    """Who is found nowhere is made, with the body of a new one."""
    vendor = Vendor()
    asked, outcome = converse(_steps(vendor, ANN), [NOBODY, ONE])
    assert [call(request) for request in asked] == [LOOK, CREATE]
    assert asked[1].body == b'{"new": true}'
    assert outcome == Delivered()
    assert vendor.known(ANN) == "1"


def test_a_conflict_is_the_person_or_a_refusal() -> None:
    """A contact in the way is changed if it is the person; else the refusal stands."""
    assert ended(Vendor(), NOBODY, CONFLICT, ONE, ONE) == (
        [LOOK, CREATE, LOOK, UPDATE],
        Delivered(),
    )
    assert ended(Vendor(), NOBODY, CONFLICT, NOBODY)[1] == CONFLICT.outcome()
    assert ended(Vendor(), NOBODY, CONFLICT, answer(503))[1] == answer(503).outcome()


def test_what_the_vendor_would_not_take() -> None:
    """A contact that cannot be made costs no call."""
    person = Person("u", None, b"{}")
    assert ended(Vendor(), NOBODY, person=person) == ([LOOK], Failed("no address"))


@pytest.mark.parametrize(
    ("external_id", "contacts", "expected"),
    [
        ("u", [], None),
        ("u", [Found("1", "u", False)], "1"),
        ("u", [Found("1", "other", True)], None),
        ("u", [Found("1", None, True)], "1"),
        ("u", [Found("1", "", True)], "1"),
        ("u", [Found("1", None, False)], None),
        ("u", [Found("1", None, True), Found("2", None, True)], "1"),
        ("u", [Found("1", None, True), Found("2", "u", True)], "2"),
        (None, [Found("1", "u", True)], "1"),
        (None, [Found("1", "u", False)], None),
        (None, [Found("1", "u", True), Found("2", "v", True)], Failed),
    ],
)
def test_who_is_the_person(
    external_id: str | None, contacts: list[Found], expected: str | type | None
) -> None:
    """An equal external id is; an equal address only of who has no other id, and is no other's."""
    found = chosen(contacts, Person(external_id, "a@b.de", b"{}"), "X")
    assert isinstance(found, Failed) if expected is Failed else found == expected
