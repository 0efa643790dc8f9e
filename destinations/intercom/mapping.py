"""From Segment's events to Intercom's contacts, companies and data events. Pure.

Owns what of an event goes where, and the calls. Which of them are made in which
order is `steps.py`'s; `metadata.py` has the properties of a track.
https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts

| part | from, the first that is there |
| --- | --- |
| contact of an identify | the table `DEFAULTS`, and the traits that the settings name |
| contact of a track or group | its id; e-mail address and name of `context.traits` |
| companies of an identify | the traits `company` and `companies`, objects or names, each mapped like a group's traits |
| company of a group | the table `DEFAULTS`, and the traits that the settings name |
| a company with `remove: true` | the contact is taken out of it; nothing else is changed |
| data event | the event's name, time and user; `metadata.py` |
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from destinations.intercom.metadata import metadata
from destinations.kit import (
    JSON_HEADERS,
    Event,
    Failed,
    FieldMapping,
    MappingTable,
    Outcome,
    Request,
    Unsupported,
    amount,
)
from destinations.kit.companies import is_left
from destinations.kit.contacts import Person
from destinations.kit.lookup import plain_text
from destinations.kit.paths import find, normal
from destinations.kit.times import seconds_of

#: Every call is made in this version, whatever the workspace's own is set to.
#: https://developers.intercom.com/docs/build-an-integration/learn-more/rest-apis/api-versioning
VERSION = "2.14"
#: What an event's `integrations` object may call this destination.
NAMES = ("Intercom", "Intercom Cloud Mode (Actions)", "Actions Intercom Cloud")
#: Companies of an identify that are joined or left; each takes two calls.
COMPANIES = 20

#: Paths in place of accessors where both say the same: all of them read the traits once.
DEFAULTS = MappingTable(
    # https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/createcontact
    identify={
        "role": "if lower(traits.role) is 'lead' then 'lead' else 'user'",
        "external_id": "@user_id",
        "email": "@user_email",
        "phone": "@phone",
        "name": "@name",
        "avatar": "traits.avatar ?? traits.photo_url ?? traits.avatar_url",
        "signed_up_at": "seconds(traits.created) ?? seconds(traits.created_at)",
        "last_seen_at": "seconds(traits.last_seen_at ?? traits.last_request_at) ?? "
        "(if boolean(context.active) is not false then seconds(@timestamp ?? @received_at))",
        "owner_id": "integer(traits.owner_id)",
        "unsubscribed_from_emails": "boolean(traits.unsubscribed_from_emails ?? "
        "context.intercom.unsubscribed_from_emails)",
    },
    track={"price": "if @revenue > 0 and not properties.price exists then @revenue"},
    # https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/companies/createorupdatecompany
    group={
        "company_id": "@group_id",
        "name": "@name",
        "plan": "traits.plan",
        "website": "traits.website ?? traits.websites.0",
        "industry": "traits.industry",
        "size": "integer(traits.employees) ?? integer(traits.employee_count) ?? "
        "integer(traits.size)",
        "monthly_spend": "integer(traits.monthly_spend)",
        "remote_created_at": "seconds(traits.created) ?? seconds(traits.created_at)",
    },
)

_encode = msgspec.json.Encoder().encode
Fields = dict[str, Any]  # Any: JSON


class Company(msgspec.Struct, frozen=True):
    """A company to make or change, as JSON; or one, by the sender's id, that a contact leaves."""

    body: bytes
    id: str
    is_left: bool = False


class Identified(msgspec.Struct, frozen=True):
    """What an identify becomes: a contact, and the companies that it joins or leaves."""

    person: Person
    companies: tuple[Company, ...]


class Tracked(msgspec.Struct, frozen=True):
    """What a track becomes: a data event of a contact, as JSON."""

    person: Person
    body: bytes


class Grouped(msgspec.Struct, frozen=True):
    """What a group becomes: a company, and the contact that belongs to it, or leaves it."""

    company: Company
    person: Person | None


Plan = Identified | Tracked | Grouped


class Mapper:
    """The mapping for one workspace.

    `contact` and `company` are paths in the traits, with the names of custom
    attributes; `mapping` and `custom_events` as in the kit. An amount of money
    without a currency is in `currency`, or with None a plain number.
    """

    def __init__(
        self,
        contact: Mapping[str, str],
        company: Mapping[str, str],
        mapping: FieldMapping | None = None,
        custom_events: Literal["all", "none"] | Sequence[str] = "all",
        *,
        currency: str | None = "USD",
    ) -> None:
        self._contact = tuple(contact.items())
        self._company = tuple(company.items())
        self._mapper = DEFAULTS.mapper(mapping or {}, custom_events)
        self._taken = self._mapper.reads("track", "properties")
        self._currency = currency

    def plan(self, event: Event) -> Plan | Outcome:
        """What an event becomes.

        Intercom knows users and leads; who is neither, as most visitors of a
        site, is no mistake of the sender's.
        """
        match event.type:
            case "identify":
                person = self._person(event)
                if not isinstance(person, Person):
                    return person
                return Identified(person, self._companies(event))
            case "track":
                return self._tracked(event)
            case "group":
                return self._grouped(event)
            case _:
                return Unsupported()

    def _person(self, event: Event) -> Person | Outcome:
        fields = _object(self._mapper.fields(event), _CONTACT, self._contact, event.traits)
        external_id, email = fields.get("external_id"), fields.get("email")
        if external_id is None and email is None:
            return Unsupported()
        if fields.get("role") != "lead":
            return Person(external_id, email, _encode(fields))
        if email is None:
            return Failed("a lead without an e-mail address: Intercom knows no other id of leads")
        # Intercom takes no external id for a lead, and a user who is there already stays a user.
        fields.pop("external_id", None)
        body = _encode({name: value for name, value in fields.items() if name != "role"})
        return Person(None, email, body, _encode(fields))

    def _user(self, event: Event, fields: Fields) -> Person | None:
        """The user that an event about something else is of, by what its context knows of them.

        Not of the table: `custom_events` must not make an event nobody's.
        """
        external_id = _identifier(fields.pop("external_id", None)) or event.user_id
        email = _text(fields.pop("email", None)) or event.user_email
        if external_id is None and email is None:
            return None
        contact: Fields = {"role": "user"}
        for name, value in (
            ("external_id", external_id),
            ("email", email),
            ("name", event.user_name),
        ):
            if value is not None:
                contact[name] = value
        return Person(external_id, email, _encode(contact))

    def _tracked(self, event: Event) -> Tracked | Outcome:
        mapped = self._mapper.fields(event)
        person = self._user(event, mapped)
        if person is None:
            return Unsupported()
        # Name and time are not of the table either: without them there is no event.
        name = _text(mapped.pop("event_name", None)) or event.event
        if name is None:
            return Failed("the event has no name: Intercom needs one")
        at = seconds_of(mapped.pop("created_at", None))
        if at is None:
            at = seconds_of(event.timestamp or event.received_at)
        if at is None:
            return Failed("the event has no valid timestamp: Intercom needs one")
        # https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/data-events/createdataevent
        # Repeats are told by contact, name and time, so that a retry is never counted twice.
        fields: Fields = {"event_name": name, "created_at": at}
        if person.external_id is not None:
            fields["user_id"] = person.external_id
        else:
            fields["email"] = person.email
        mapped = {target.removeprefix("metadata."): value for target, value in mapped.items()}
        others: Mapping[str, Any] = {}
        if self._mapper.passes_others(event):
            others = {
                key: value
                for key, value in event.properties.items()
                if key not in mapped and normal(key) not in self._taken
            }
        about = metadata(event, mapped, others, self._currency)
        if about:
            fields["metadata"] = about
        return Tracked(person, _encode(fields))

    def _grouped(self, event: Event) -> Grouped | Outcome:
        mapped = self._mapper.fields(event)
        person = self._user(event, mapped)
        fields = _object(mapped, _COMPANY, self._company, event.traits)
        company_id = fields.get("company_id")
        if company_id is None:
            return Failed("the event has no groupId: there is no company to find by it")
        leaves = is_left(event.traits)
        if leaves and person is None:
            return Unsupported()
        return Grouped(Company(_encode(fields), company_id, leaves), person)

    def _companies(self, event: Event) -> tuple[Company, ...]:
        """The companies in a user's traits, each mapped as a group with these traits would be.

        A company without an id has one that its name makes.
        """
        found = []
        for company in event.companies[:COMPANIES]:
            traits = company.fields or {"name": company.name}
            one = Event(_encode({"type": "group", "groupId": company.key, "traits": traits}))
            fields = _object(self._mapper.fields(one), _COMPANY, self._company, one.traits)
            company_id = fields.get("company_id") or company.key
            fields["company_id"] = company_id
            found.append(Company(_encode(fields), company_id, company.is_left))
        return tuple(found)


# --- values in the forms that Intercom's fields take; None where one has another ---


def _text(value: object) -> str | None:
    text = plain_text(value)
    return (text.strip() or None) if text else None


def _identifier(value: object) -> str | None:
    """An id as it is: blanks are a part of it."""
    text = plain_text(value)
    return text if text and not text.isspace() else None


def _role(value: object) -> str | None:
    return value if isinstance(value, str) and value in ("user", "lead") else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    number = amount(value)
    # The page's limit for a company's `monthly_spend`: more is refused.
    return int(number) if number is not None and 0 <= number < 2**31 else None


#: The fields of a contact and of a company, and how their values are read.
_CONTACT: Mapping[str, Callable[[Any], Any]] = {  # Any: JSON
    "role": _role,
    "external_id": _identifier,
    "email": _text,
    "phone": _text,
    "name": _text,
    "avatar": _text,
    "signed_up_at": seconds_of,
    "last_seen_at": seconds_of,
    "owner_id": _whole,
    "unsubscribed_from_emails": _flag,
}
_COMPANY: Mapping[str, Callable[[Any], Any]] = {  # Any: JSON
    "company_id": _identifier,
    "name": _text,
    "plan": _text,
    "website": _text,
    "industry": _text,
    "size": _whole,
    "monthly_spend": _whole,
    "remote_created_at": seconds_of,
}


def _object(
    mapped: Mapping[str, Any],  # Any: JSON
    forms: Mapping[str, Callable[[Any], Any]],  # Any: JSON
    paths: tuple[tuple[str, str], ...],
    traits: Mapping[str, Any],  # Any: JSON
) -> Fields:
    """A contact or company: its own fields, and what has another name as a custom attribute.

    `paths` are the traits of the settings, which the mapping wins over.
    """
    fields: Fields = {}
    attributes: Fields = {}
    for path, name in paths:
        value = _attribute(name, find(traits, path))
        if value is not None:
            attributes[name] = value
    for target, value in mapped.items():
        form = forms.get(target)
        name = target if form is not None else target.removeprefix("custom_attributes.")
        fit = form(value) if form is not None else _attribute(name, value)
        if fit is not None:
            (fields if form is not None else attributes)[name] = fit
    if attributes:
        fields["custom_attributes"] = attributes
    return fields


def _attribute(name: str, value: Any) -> Any:  # Any: JSON
    """A custom attribute: text, a number or a flag; objects and lists as JSON text.

    Where its name ends with "_at" a time in text is in seconds, as Intercom's own times are.
    """
    if isinstance(value, (dict, list)):
        return _encode(value).decode()
    if isinstance(value, str) and name.endswith("_at"):
        return seconds_of(value) or value
    return value


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

    def find_company(self, company_id: str) -> Request:
        """The company with an id of the sender's.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/companies/retrievecompany
        """
        query = urlencode({"company_id": company_id}, errors="replace")
        return self._request(f"/companies?{query}", b"", "GET")

    def detach(self, contact_id: str, company_id: str) -> Request:
        """A contact taken out of a company, by the ids that Intercom gave them.

        https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/detachcontactfromacompany
        """
        path = f"{_contact(contact_id)}/companies/{quote(company_id, safe='')}"
        return self._request(path, b"", "DELETE")

    def _request(self, path: str, body: bytes, method: str = "POST") -> Request:
        return Request(f"{self._base_url}{path}", body, self._headers, method)


def _contact(contact_id: str) -> str:
    return f"/contacts/{quote(contact_id, safe='')}"
