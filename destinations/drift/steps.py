"""Which calls of Drift's an event takes, in which order. Pure, but for the ids that it remembers.

Owns Drift's own look-ups and the way of a timeline event; what all vendors of
contacts have in common is in the kit.
"""

from __future__ import annotations

from destinations.drift import outcomes
from destinations.drift.mapping import Api, Identified, Plan, Tracked
from destinations.kit import Failed, Outcome, Request, Response, Retry, Steps
from destinations.kit.contacts import Change, Contacts, Person, Search


class Conversation(Contacts):
    """The conversations with one organization's Drift."""

    def __init__(self, api: Api, *, creates: bool) -> None:
        super().__init__()
        self._api = api
        self._creates = creates

    def about(self, plan: Plan) -> Steps:
        """The conversation for what an event becomes."""
        match plan:
            case Identified(person):
                return self._identified(person)
            case Tracked():
                return self._tracked(plan)

    def _identified(self, person: Person) -> Steps:
        contact = yield from self.changed(person)
        return outcomes.DELIVERED if isinstance(contact, str) else contact

    def _tracked(self, plan: Tracked) -> Steps:
        person = plan.person
        contact: str | Outcome | None = self.known(person)
        if contact is None and person.external_id is None:
            contact = yield from self._looked_up_or_made(person)
        if not isinstance(contact, (str, type(None))):
            return contact
        response = yield self._api.timeline(plan.body(contact))
        if response.status != 404:
            return outcomes.outcome(response)
        if contact is not None:
            self.forget(contact)
        contact = yield from self._looked_up_or_made(person)
        if not isinstance(contact, str):
            return contact
        response = yield self._api.timeline(plan.body(contact))
        if response.status == 404:
            return Retry("Drift does not know the contact that it has just named")
        return outcomes.outcome(response)

    def _looked_up_or_made(self, person: Person) -> Change:
        found = yield from self.looked_up(person)
        if found is not None:
            return found
        if not self._creates:
            return Failed("Drift knows no contact of this user: identify comes first")
        return (yield from self.created(person))

    def search(self, person: Person) -> Search:
        """By the external id, and else by address, for whom a chat has made a contact of."""
        found: str | Outcome | None = None
        if person.external_id is not None:
            response = yield self._api.by_external_id(person.external_id)
            found = outcomes.found(response, person)
        if found is None and person.email is not None:
            response = yield self._api.by_email(person.email)
            found = outcomes.found(response, person)
        return found

    def creation(self, person: Person) -> Request | Outcome:
        """A new contact, which needs an address."""
        if person.email is None:
            return Failed("the event has no e-mail address: Drift needs one for a new contact")
        return self._api.create(person.first_body or person.body)

    def update(self, contact_id: str, person: Person) -> Request:
        """The call that changes a contact."""
        return self._api.update(contact_id, person.body)

    def conflicting(self, refusal: Response, person: Person) -> Search:
        """The refusal names no contact: it is looked up once more."""
        return self.search(person)

    def id_in(self, response: Response) -> str | Outcome:
        """The id in the answer to a contact that was made or changed."""
        return outcomes.made(response)

    def outcome(self, response: Response) -> Outcome:
        """What an answer means where its words do not matter."""
        return outcomes.outcome(response)
