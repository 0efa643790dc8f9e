"""The helper for APIs that take several calls an event: look up, then create or update.

Owns how a conversation is carried on, and which events wait for each other.
What is said is the destination's: a generator that yields a request, is given
the answer, and returns the event's outcome. It holds no I/O, and is tested by
hand: `next(steps)`, `steps.send(response)`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Generator, Sequence
from typing import ClassVar

from destinations.kit.event import Event
from destinations.kit.exchanged import tell
from destinations.kit.outcomes import Failed, Outcome, Retry
from destinations.kit.requests import Request, Response, guarded, told
from destinations.kit.sending import UNSENT, Hold, Sending, together

#: What a conversation is: requests go out, answers come in, the outcome is what it returns.
Steps = Generator[Request, Response, Outcome]
#: Most requests an event where a destination says nothing else.
MAX_STEPS = 20


class Stepwise(Sending):
    """Several requests an event, each after the answer to the one before.

    Events with an equal `key` go one after the other in their order, so that
    two changes of one record do not overtake each other; others go at once.
    A request that gets no answer ends its event with the kit's outcome.
    """

    concurrency: ClassVar[int] = 8
    most_steps: ClassVar[int] = MAX_STEPS
    """Most requests an event, so that a conversation that goes round in circles ends."""

    @abstractmethod
    def steps(self, event: Event) -> Steps | Outcome:
        """The conversation about an event; an outcome where there is nothing to say."""

    def key(self, event: Event) -> str | None:
        """What the event changes; None where it concerns no other event."""
        return None

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [UNSENT] * len(events)
        lanes: dict[str | int, list[int]] = {}
        for index, event in enumerate(events):
            key = guarded("mapping", lambda event=event: self.key(event))  # type: ignore[misc]  # bound now, not at the call
            lanes.setdefault(key if isinstance(key, str) else index, []).append(index)
        queue = deque(lanes.values())
        hold = Hold()

        async def send() -> None:
            while queue:
                for index in queue.popleft():
                    outcome = hold.answer or hold.seen(await self._converse(events[index]))
                    outcomes[index] = outcome
                    self.report(index, outcome)

        await together(send, min(self.concurrency, len(queue)))
        return outcomes

    async def _converse(self, event: Event) -> Outcome:
        steps = guarded("mapping", lambda: self.steps(event))
        if not isinstance(steps, Generator):
            return steps
        said = guarded("mapping", lambda: _opened(steps))
        asked = 0
        while isinstance(said, Request):
            if asked == self.most_steps:
                steps.close()
                return Retry(f"gave up after {self.most_steps} requests")
            response = await self.exchange(said)
            asked += 1
            if not isinstance(response, Response):
                steps.close()
                tell(response, response)
                return response
            try:
                said = _answered(steps, response)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - the server's answer is not the event's fault
                said = Retry(f"reading the answer raised {told(error)}")
            if isinstance(said, (Retry, Failed)):
                tell(said, response)
        return said


def _opened(steps: Steps) -> Request | Outcome:
    try:
        return next(steps)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def _answered(steps: Steps, response: Response) -> Request | Outcome:
    try:
        return steps.send(response)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
