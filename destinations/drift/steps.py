"""Which calls of Drift's an event takes, in which order. Pure, but for what it remembers.

Owns the order of look-up, creation and change, and the ids of contacts that
were seen, so that one who comes again is not looked up again.
"""

from __future__ import annotations

from collections.abc import Generator

from destinations.drift import outcomes
from destinations.drift.mapping import Api, Identified, Plan, Tracked
from destinations.kit import Failed, Outcome, Request, Response, Retry, Steps
from destinations.kit.contacts import Person
from destinations.kit.memory import Memory

#: Contacts whose ids are remembered, about 200 bytes each.
REMEMBERED = 10_000

_Finding = Generator[Request, Response, str | Outcome]
_Searching = Generator[Request, Response, str | Outcome | None]


class Conversation:
    """The conversations with one organization's Drift."""

    def __init__(self, api: Api, *, creates: bool) -> None:
        self._api = api
        self._creates = creates
        self._ids = Memory(REMEMBERED)

    def about(self, plan: Plan) -> Steps:
        """The conversation for what an event becomes."""
        match plan:
            case Identified(person):
                return self._identified(person)
            case Tracked():
                return self._tracked(plan)

    def _identified(self, person: Person) -> Steps:
        contact = yield from self._changed(person)
        return outcomes.DELIVERED if isinstance(contact, str) else contact

    def _tracked(self, plan: Tracked) -> Steps:
        person = plan.person
        contact: str | Outcome | None = self._ids.get(person.key)
        if contact is None and person.external_id is None:
            contact = yield from self._searched(person)
            if contact is None:
                contact = yield from self._made_if_allowed(person)
        if not isinstance(contact, (str, type(None))):
            return contact
        response = yield self._api.timeline(plan.body(contact))
        if response.status != 404:
            return outcomes.outcome(response)
        if contact is not None:
            self._ids.forget(contact)  # merged into another, or deleted
        contact = yield from self._searched(person)
        if contact is None:
            contact = yield from self._made_if_allowed(person)
        if not isinstance(contact, str):
            return contact
        response = yield self._api.timeline(plan.body(contact))
        if response.status == 404:
            return Retry("Drift does not know the contact that it has just named")
        return outcomes.outcome(response)

    def _made_if_allowed(self, person: Person) -> _Finding:
        if not self._creates:
            return Failed("Drift knows no contact of this user: identify comes first")
        return (yield from self._made(person))

    def _changed(self, person: Person) -> _Finding:
        """The contact with its attributes set, made where there is none; its id."""
        known = self._ids.get(person.key)
        if known is not None:
            response = yield self._api.update(known, person.body)
            if response.status != 404:
                return self._noted(person, outcomes.made(response))
            self._ids.forget(known)
        found = yield from self._searched(person)
        if isinstance(found, str):
            response = yield self._api.update(found, person.body)
            return self._noted(person, outcomes.made(response))
        return found if found is not None else (yield from self._made(person))

    def _searched(self, person: Person) -> _Searching:
        """By the external id, and else by address, for whom a chat has made a contact of."""
        found: str | Outcome | None = None
        if person.external_id is not None:
            response = yield self._api.by_external_id(person.external_id)
            found = outcomes.found(response, person)
        if found is None and person.email is not None:
            response = yield self._api.by_email(person.email)
            found = outcomes.found(response, person)
        return self._noted(person, found) if isinstance(found, str) else found

    def _made(self, person: Person) -> _Finding:
        """A new contact; where another call has made it meanwhile, that one is changed."""
        if person.email is None:
            return Failed("the event has no e-mail address: Drift needs one for a new contact")
        response = yield self._api.create(person.body)
        if response.status != 409:
            return self._noted(person, outcomes.made(response))
        reason = outcomes.outcome(response)
        found = yield from self._searched(person)
        if not isinstance(found, str):
            return found if found is not None else reason
        response = yield self._api.update(found, person.body)
        return self._noted(person, outcomes.made(response))

    def _noted(self, person: Person, contact: str | Outcome) -> str | Outcome:
        if isinstance(contact, str):
            self._ids.note(person.key, contact)
        return contact
