"""From Segment's events to Intercom's contacts, companies and data events. Pure.

Owns what of an event goes where, and the calls. Which of them are made in which
order is `steps.py`'s.
https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from destinations.kit import JSON_HEADERS, Event, Failed, Outcome, Request, Unsupported, to_datetime
from destinations.kit.contacts import Person
from destinations.kit.numbers import amount
from destinations.kit.paths import find, normal

#: Every call is made in this version, whatever the workspace's own is set to.
#: https://developers.intercom.com/docs/build-an-integration/learn-more/rest-apis/api-versioning
VERSION = "2.14"
#: What an event's `integrations` object may call this destination.
NAMES = ("Intercom", "Intercom Cloud Mode (Actions)", "Actions Intercom Cloud")
#: Keys of a data event's metadata; Intercom ignores further ones.
METADATA_KEYS = 10

#: Whole numbers of a company, and what traits call them.
_COMPANY_NUMBERS = (
    ("size", ("employees", "employeeCount", "size")),
    ("monthly_spend", ("monthlySpend",)),
)
#: Keys of metadata that end so are times, see the page of data events.
_TIME_SUFFIX = "date"

_encode = msgspec.json.Encoder().encode
Fields = dict[str, Any]  # Any: JSON


class Company(msgspec.Struct, frozen=True):
    """A company to make or change, as JSON."""

    body: bytes


class Identified(msgspec.Struct, frozen=True):
    """What an identify becomes: a contact, and the company that it belongs to."""

    person: Person
    company: Company | None


class Tracked(msgspec.Struct, frozen=True):
    """What a track becomes: a data event of a contact, as JSON."""

    person: Person
    body: bytes


class Grouped(msgspec.Struct, frozen=True):
    """What a group becomes: a company, and the contact that belongs to it."""

    company: Company
    person: Person | None


Plan = Identified | Tracked | Grouped


class Mapper:
    """The mapping for one workspace. Attributes are paths in the traits, with Intercom's names."""

    def __init__(self, contact: Mapping[str, str], company: Mapping[str, str]) -> None:
        self._contact = tuple(contact.items())
        self._company = tuple(company.items())

    def plan(self, event: Event) -> Plan | Outcome:
        """What an event becomes.

        Intercom knows users and leads; who is neither, as most visitors of a
        site, is no mistake of the sender's.
        """
        match event.type:
            case "identify":
                person = self._person(event)
                return Unsupported() if person is None else Identified(person, self._own(event))
            case "track":
                return self._tracked(event)
            case "group":
                return self._grouped(event)
            case _:
                return Unsupported()

    def _person(self, event: Event) -> Person | None:
        external_id, email = event.user_id, event.user_email
        if external_id is None and email is None:
            return None
        fields: Fields = {"role": "user"}
        if external_id is not None:
            fields["external_id"] = external_id
        # https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/createcontact
        for name, value in (
            ("email", email),
            ("phone", event.phone),
            ("name", event.name),
            ("avatar", event.avatar),
            ("signed_up_at", _seconds(event.created)),
            ("unsubscribed_from_emails", _flag(event.trait("unsubscribedFromEmails"))),
            ("custom_attributes", _attributes(self._contact, event.traits)),
        ):
            if value is not None:
                fields[name] = value
        return Person(external_id, email, _encode(fields))

    def _user(self, event: Event) -> Person | None:
        """The user that an event about something else is of, by what its context knows of them."""
        email = event.user_email
        external_id = event.user_id
        if external_id is None and email is None:
            return None
        fields: Fields = {"role": "user"}
        name = find(event.user_traits, "name")
        for key, value in (("external_id", external_id), ("email", email), ("name", name)):
            if isinstance(value, str) and value.strip():
                fields[key] = value
        return Person(external_id, email, _encode(fields))

    def _tracked(self, event: Event) -> Tracked | Outcome:
        person = self._user(event)
        if person is None:
            return Unsupported()
        if event.event is None:
            return Failed("the event has no name: Intercom needs one")
        at = _seconds(event.timestamp or event.received_at)
        if at is None:
            return Failed("the event has no valid timestamp: Intercom needs one")
        # https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/data-events/createdataevent
        # Repeats are told by contact, name and time, so that a retry is never counted twice.
        fields: Fields = {"event_name": event.event, "created_at": at}
        if person.external_id is not None:
            fields["user_id"] = person.external_id
        else:
            fields["email"] = person.email
        metadata = dict(_metadata(event))
        if metadata:
            fields["metadata"] = metadata
        return Tracked(person, _encode(fields))

    def _grouped(self, event: Event) -> Grouped | Outcome:
        group_id = event.group_id
        if group_id is None:
            return Failed("the event has no groupId: there is no company to find by it")
        traits = event.traits
        company = _company(group_id, traits, _seconds(event.created), self._company)
        return Grouped(company, self._user(event))

    def _own(self, event: Event) -> Company | None:
        """The company in a user's traits, where it has an id to find it by."""
        company = event.company
        company_id = find(company, "id")
        if isinstance(company_id, int) and not isinstance(company_id, bool):
            company_id = str(company_id)
        if not isinstance(company_id, str) or not company_id.strip():
            return None
        return _company(company_id, company, _seconds(event.company_created), self._company)


def _company(
    company_id: str, traits: Mapping[str, Any], created: int | None, paths: tuple[Any, ...]
) -> Company:
    """What traits of a group, or of a user's company, say of it."""
    fields: Fields = {"company_id": company_id}
    for name in ("name", "plan", "website", "industry"):
        given = find(traits, name)
        if isinstance(given, str) and given.strip():
            fields[name] = given.strip()
    for name, keys in _COMPANY_NUMBERS:
        number = amount(next((v for key in keys if (v := find(traits, key)) is not None), None))
        if number is not None and 0 <= number < 2**53:
            fields[name] = int(number)
    if created is not None:
        fields["remote_created_at"] = created
    attributes = _attributes(paths, traits)
    if attributes is not None:
        fields["custom_attributes"] = attributes
    return Company(_encode(fields))


def _attributes(paths: tuple[Any, ...], traits: Mapping[str, Any]) -> Fields | None:
    """Custom attributes that the settings name: text, numbers and flags, and times as seconds."""
    found: Fields = {}
    for path, name in paths:
        value = find(traits, path)
        if isinstance(value, (dict, list)):
            value = _encode(value).decode()
        elif isinstance(value, str) and name.endswith("_at"):
            # What Intercom's own times are called, which are all in seconds.
            value = _seconds(to_datetime(value)) or value
        if value is not None:
            found[name] = value
    return found or None


def _metadata(event: Event) -> Iterator[tuple[str, Any]]:  # Any: JSON
    """The first ten properties that metadata can hold: nothing nested but links and money.

    Money is an object of cents and currency; how currencies without cents are
    meant is not documented, and they are sent like all others.
    """
    left = METADATA_KEYS
    for key, value in event.properties.items():
        if left == 0:
            return
        name = normal(key)
        if name == "revenue" and (revenue := event.revenue) is not None and 0 < revenue < 1e13:
            value = {"amount": round(revenue * 100), "currency": (event.currency or "USD").lower()}
        elif isinstance(value, bool):
            value = "true" if value else "false"  # there is no type for it
        elif isinstance(value, str) and name.endswith(_TIME_SUFFIX):
            value = _seconds(to_datetime(value)) or value
        elif not isinstance(value, (str, int, float)) and not _is_special(value):
            continue
        left -= 1
        yield key, value


def _is_special(value: Any) -> bool:  # Any: JSON
    """Whether it is a rich link or an amount of money."""
    if not isinstance(value, dict):
        return False
    if value.keys() == {"url", "value"}:
        return all(isinstance(part, str) for part in value.values())
    return (
        value.keys() == {"amount", "currency"}
        and isinstance(value["amount"], int)
        and isinstance(value["currency"], str)
    )


def _seconds(at: datetime | None) -> int | None:
    """Whole seconds since the epoch; None before it, which Intercom's times do not reach."""
    if at is None:
        return None
    try:
        seconds = int(at.timestamp())
    except (OverflowError, ValueError):
        return None  # a time of the first or last day that a datetime can hold
    return seconds if seconds >= 0 else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


class Api:
    """The calls of one workspace, at its region's host."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base_url = base_url
        self._headers = {
            **JSON_HEADERS,
            "Accept": "application/json",
            "Authorization": f"Bearer {token}",
            "Intercom-Version": VERSION,
        }

    def search(self, person: Person) -> Request:
        """Contacts with the person's external id, or e-mail address.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/searchcontacts
        """
        filters = [
            {"field": field, "operator": "=", "value": value}
            for field, value in (("external_id", person.external_id), ("email", person.email))
            if value is not None
        ]
        query = filters[0] if len(filters) == 1 else {"operator": "OR", "value": filters}
        return self._request("/contacts/search", _encode({"query": query}))

    def show(self, contact_id: str) -> Request:
        """One contact.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/showcontact
        """
        return Request(f"{self._base_url}{_contact(contact_id)}", b"", self._headers, "GET")

    def create(self, body: bytes) -> Request:
        """A new contact.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/createcontact
        """
        return self._request("/contacts", body)

    def update(self, contact_id: str, body: bytes) -> Request:
        """Sets fields of a contact; others stay as they are.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/updatecontact
        """
        return self._request(_contact(contact_id), body, "PUT")

    def event(self, body: bytes) -> Request:
        """A data event of a contact.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/data-events/createdataevent
        """
        return self._request("/events", body)

    def company(self, body: bytes) -> Request:
        """A company made or changed, by its `company_id`.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/companies/createorupdatecompany
        """
        return self._request("/companies", body)

    def attach(self, contact_id: str, company_id: str) -> Request:
        """A contact put into a company, by the ids that Intercom gave them.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/attachcontacttoacompany
        """
        return self._request(f"{_contact(contact_id)}/companies", _encode({"id": company_id}))

    def _request(self, path: str, body: bytes, method: str = "POST") -> Request:
        return Request(f"{self._base_url}{path}", body, self._headers, method)


def _contact(contact_id: str) -> str:
    return f"/contacts/{quote(contact_id, safe='')}"
