"""Which calls of Intercom's an event takes, in which order. Pure, but for the ids it remembers.

Owns Intercom's own look-ups, and the way of data events and companies; what all
vendors of contacts have in common is in the kit.
"""

from __future__ import annotations

from destinations.intercom import outcomes
from destinations.intercom.mapping import Api, Company, Grouped, Identified, Plan, Tracked
from destinations.kit import Failed, Outcome, Request, Response, Retry, Steps
from destinations.kit.contacts import Contacts, Person, Search


class Conversation(Contacts):
    """The conversations with one workspace."""

    def __init__(self, api: Api, *, creates: bool) -> None:
        super().__init__()
        self._api = api
        self._creates = creates

    def about(self, plan: Plan) -> Steps:
        """The conversation for what an event becomes."""
        match plan:
            case Identified(person, companies):
                return self._identified(person, companies)
            case Tracked():
                return self._tracked(plan)
            case Grouped(company, person):
                return self._grouped(company, person)

    def _identified(self, person: Person, companies: tuple[Company, ...]) -> Steps:
        """The contact, and then its companies: one that is refused keeps it out of no other."""
        contact = yield from self.changed(person)
        if not isinstance(contact, str):
            return contact
        refused: Outcome | None = None
        for company in companies:
            step = self._left if company.is_left else self._attached
            outcome = yield from step(company, contact)
            if isinstance(outcome, Retry):
                return outcome
            if outcome != outcomes.DELIVERED:
                refused = refused or outcome
        return refused or outcomes.DELIVERED

    def _tracked(self, plan: Tracked) -> Steps:
        request = self._api.event(plan.body)
        response = yield request
        if response.status != 404:
            return outcomes.outcome(response)
        if not self._creates:
            return Failed("Intercom knows no contact of this user: identify comes first")
        contact = yield from self.changed(plan.person)
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
        if company.is_left:
            contact = yield from self.found(person)
            if isinstance(contact, str):
                return (yield from self._left(company, contact))
            return outcomes.DELIVERED if contact is None else contact
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
            self.forget(contact_id)
            return Retry("Intercom does not know the contact (any more), or not the company yet")
        return outcomes.outcome(response)

    def _left(self, company: Company, contact_id: str) -> Steps:
        """The contact out of the company; what is not there has not to be left."""
        response = yield self._api.find_company(company.id)
        company_id = outcomes.found_company(response, company.id)
        if company_id is None:
            return outcomes.DELIVERED
        if not isinstance(company_id, str):
            return company_id
        response = yield self._api.detach(contact_id, company_id)
        return outcomes.DELIVERED if response.status == 404 else outcomes.outcome(response)

    def _found_or_made(self, person: Person) -> Search:
        """The id of a contact that nothing is to be set of."""
        found = yield from self.found(person)
        if found is None and self._creates:
            return (yield from self.created(person))
        return found

    def search(self, person: Person) -> Search:
        """One search by external id and address together."""
        response = yield self._api.search(person)
        return outcomes.found(response, person)

    def creation(self, person: Person) -> Request | Outcome:
        """The call that makes a contact."""
        return self._api.create(person.first_body or person.body)

    def update(self, contact_id: str, person: Person) -> Request:
        """The call that changes a contact."""
        return self._api.update(contact_id, person.body)

    def conflicting(self, refusal: Response, person: Person) -> Search:
        """The contact that the refusal names.

        It may be someone else with the same address, who must not become this person.
        """
        existing = outcomes.conflicting_id(refusal)
        if existing is None:
            return None
        response = yield self._api.show(existing)
        return outcomes.shown(response, person)

    def id_in(self, response: Response) -> str | Outcome:
        """The id in the answer to a contact that was made or changed."""
        return outcomes.made(response)

    def outcome(self, response: Response) -> Outcome:
        """What an answer means where its words do not matter."""
        return outcomes.outcome(response)
