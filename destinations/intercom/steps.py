"""Which calls of Intercom's an event takes, in which order. Pure, but for what it remembers.

Owns the order of look-up, creation and change, and the ids of contacts that
were seen, so that one who comes again is not looked up again.
"""

from __future__ import annotations

from collections.abc import Generator

from destinations.intercom import outcomes
from destinations.intercom.mapping import Api, Company, Grouped, Identified, Plan, Tracked
from destinations.kit import Failed, Outcome, Request, Response, Retry, Steps
from destinations.kit.contacts import Person
from destinations.kit.memory import Memory

#: Contacts whose ids are remembered, about 200 bytes each.
REMEMBERED = 10_000

_Finding = Generator[Request, Response, str | Outcome]


class Conversation:
    """The conversations with one workspace."""

    def __init__(self, api: Api, *, creates: bool) -> None:
        self._api = api
        self._creates = creates
        self._ids = Memory(REMEMBERED)

    def about(self, plan: Plan) -> Steps:
        """The conversation for what an event becomes."""
        match plan:
            case Identified(person, company):
                return self._identified(person, company)
            case Tracked():
                return self._tracked(plan)
            case Grouped(company, person):
                return self._grouped(company, person)

    def _identified(self, person: Person, company: Company | None) -> Steps:
        contact = yield from self._changed(person)
        if not isinstance(contact, str):
            return contact
        if company is None:
            return outcomes.DELIVERED
        return (yield from self._attached(company, contact))

    def _tracked(self, plan: Tracked) -> Steps:
        request = self._api.event(plan.body)
        response = yield request
        if response.status != 404:
            return outcomes.outcome(response)
        if not self._creates:
            return Failed("Intercom knows no contact of this user: identify comes first")
        contact = yield from self._changed(plan.person)
        if not isinstance(contact, str):
            return contact
        response = yield request
        if response.status == 404:
            # What was made a moment ago is not known everywhere yet.
            return Retry("Intercom does not know the contact that was just made")
        return outcomes.outcome(response)

    def _grouped(self, company: Company, person: Person | None) -> Steps:
        if person is None:
            return (yield from self._attached(company, None))
        contact = yield from self._found_or_made(person)
        if contact is None or isinstance(contact, str):
            return (yield from self._attached(company, contact))
        return contact

    def _attached(self, company: Company, contact_id: str | None) -> Steps:
        """The company made or changed, and the contact in it, where there is one."""
        response = yield self._api.company(company.body)
        company_id = outcomes.made(response)
        if not isinstance(company_id, str):
            return company_id
        if contact_id is None:
            return outcomes.DELIVERED
        response = yield self._api.attach(contact_id, company_id)
        if response.status == 404:
            self._ids.forget(contact_id)
            return Retry("Intercom does not know the contact (any more), or not the company yet")
        return outcomes.outcome(response)

    def _found_or_made(self, person: Person) -> Generator[Request, Response, str | Outcome | None]:
        """The id of a contact that nothing is to be set of."""
        known = self._ids.get(person.key)
        if known is not None:
            return known
        found = yield from self._found(person)
        if found is None and self._creates:
            return (yield from self._made(person))
        return found

    def _changed(self, person: Person) -> _Finding:
        """The contact with its fields set, made where there is none; its id."""
        known = self._ids.get(person.key)
        if known is not None:
            response = yield self._api.update(known, person.body)
            if response.status != 404:
                return self._noted(person, outcomes.made(response))
            self._ids.forget(known)  # merged into another, or deleted
        found = yield from self._found(person)
        if isinstance(found, str):
            response = yield self._api.update(found, person.body)
            return self._noted(person, outcomes.made(response))
        return found if found is not None else (yield from self._made(person))

    def _found(self, person: Person) -> Generator[Request, Response, str | Outcome | None]:
        response = yield self._api.search(person)
        found = outcomes.found(response, person)
        return self._noted(person, found) if isinstance(found, str) else found

    def _made(self, person: Person) -> _Finding:
        """A new contact. A search takes minutes to find one, so that it may be there already."""
        response = yield self._api.create(person.body)
        existing = outcomes.conflicting_id(response)
        if existing is None:
            return self._noted(person, outcomes.made(response))
        reason = outcomes.outcome(response)
        # It may be someone else with the same address, who must not become this person.
        response = yield self._api.show(existing)
        contact = response.json() if response.is_success else None
        if response.is_success and not isinstance(contact, dict):
            return response.not_json()
        if contact is None or not outcomes.is_same(contact, person):
            is_told = response.is_success or response.status == 404
            return reason if is_told else outcomes.outcome(response)
        response = yield self._api.update(existing, person.body)
        return self._noted(person, outcomes.made(response))

    def _noted(self, person: Person, contact: str | Outcome) -> str | Outcome:
        if isinstance(contact, str):
            self._ids.note(person.key, contact)
        return contact
