"""Contacts of a vendor that knows people by an id of the sender's or an address. Pure but for ids.

Owns the steps that such vendors have in common (look up, change, create, remember), and which of
the contacts that a look-up finds is the person. Which calls that takes, and how their answers are
read, is the destination's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable

import msgspec

from destinations.kit.memory import Memory
from destinations.kit.outcomes import Failed, Outcome
from destinations.kit.requests import Request, Response

#: Contacts whose ids are remembered, about 200 bytes each.
REMEMBERED = 10_000

#: Calls that end with a contact's id, with None where there is no contact, or with an outcome.
Search = Generator[Request, Response, str | Outcome | None]
#: Calls that end with a contact's id, or with the event's outcome.
Change = Generator[Request, Response, str | Outcome]


class Person(msgspec.Struct, frozen=True):
    """A contact to find, make or change: by `external_id`, else by `email`; one of them is there.

    `body` is what of the contact is to be set, as JSON: what cannot be sent is
    known before the first call. `first_body` is that of a new contact, where it
    says what a change must not.
    """

    external_id: str | None
    email: str | None
    body: bytes
    first_body: bytes | None = None

    @property
    def key(self) -> str:
        """What tells people apart."""
        return f"id:{self.external_id}" if self.external_id else f"email:{self.email}".casefold()


class Found(msgspec.Struct, frozen=True):
    """A contact in a look-up's answer. `has_address`: its address is the person's."""

    id: str
    external_id: str | None
    has_address: bool


def is_same(contact: Found, person: Person) -> bool:
    """Whether a contact is the person, by external id, or else by address."""
    if person.external_id is not None and contact.external_id:
        return contact.external_id == person.external_id
    return contact.has_address


def chosen(contacts: Iterable[Found], person: Person, vendor: str) -> str | Failed | None:
    """The id of the contact that is the person; None where there is none.

    Of an equal external id there is one. An equal address is the person only
    where the contact has no other external id: it was a lead of a chat, or made
    by hand. Where only an address is known, and several have it, it is none.
    """
    by_address = []
    for contact in contacts:
        if is_same(contact, person):
            if person.external_id is not None and contact.external_id:
                return contact.id
            by_address.append(contact.id)
    if person.external_id is None and len(by_address) > 1:
        return Failed(f"several contacts have this e-mail address: {vendor} needs a userId")
    return by_address[0] if by_address else None


class Contacts(ABC):
    """The contacts of one account, with the ids of those that were seen."""

    def __init__(self) -> None:
        self._ids = Memory(REMEMBERED)

    # --- what the destination says ---

    @abstractmethod
    def search(self, person: Person) -> Search:
        """The calls that look a person up."""

    @abstractmethod
    def creation(self, person: Person) -> Request | Outcome:
        """The call that makes a contact; an outcome where the vendor would not take it."""

    @abstractmethod
    def update(self, contact_id: str, person: Person) -> Request:
        """The call that changes a contact; it is answered with 404 where there is none."""

    @abstractmethod
    def conflicting(self, refusal: Response, person: Person) -> Search:
        """After a 409 to a new contact: the contact in its way, if that is the person."""

    @abstractmethod
    def id_in(self, response: Response) -> str | Outcome:
        """The id in the answer to a contact that was made or changed."""

    @abstractmethod
    def outcome(self, response: Response) -> Outcome:
        """What an answer means where its words do not matter."""

    # --- what follows from it ---

    def known(self, person: Person) -> str | None:
        """The id of a contact that was seen before."""
        return self._ids.get(person.key)

    def forget(self, contact_id: str) -> None:
        """A contact is not there any more: merged into another, or deleted."""
        self._ids.forget(contact_id)

    def found(self, person: Person) -> Search:
        """The contact as it is: from memory, else looked up."""
        known = self.known(person)
        return known if known is not None else (yield from self.looked_up(person))

    def looked_up(self, person: Person) -> Search:
        """The contact, whatever is remembered."""
        found = yield from self.search(person)
        return self._noted(person, found) if isinstance(found, str) else found

    def changed(self, person: Person) -> Change:
        """The contact with its fields set, made where there is none."""
        known = self.known(person)
        if known is not None:
            response = yield self.update(known, person)
            if response.status != 404:
                return self._noted(person, self.id_in(response))
            self.forget(known)
        found = yield from self.looked_up(person)
        if isinstance(found, str):
            return (yield from self._updated(found, person))
        return found if found is not None else (yield from self.created(person))

    def created(self, person: Person) -> Change:
        """A new contact; one that stands in its way and is the person is changed instead.

        Searches find a new contact late, and other calls make contacts meanwhile.
        """
        request = self.creation(person)
        if not isinstance(request, Request):
            return request
        response = yield request
        if response.status != 409:
            return self._noted(person, self.id_in(response))
        found = yield from self.conflicting(response, person)
        if isinstance(found, str):
            return (yield from self._updated(found, person))
        return found if found is not None else self.outcome(response)

    def _updated(self, contact_id: str, person: Person) -> Change:
        response = yield self.update(contact_id, person)
        return self._noted(person, self.id_in(response))

    def _noted(self, person: Person, contact: str | Outcome) -> str | Outcome:
        if isinstance(contact, str):
            self._ids.note(person.key, contact)
        return contact
