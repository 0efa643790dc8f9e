"""`bulkhead explain`: the story of one event, from `GET /events/{message_id}`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import msgspec

from sandbox.protocol import printable
from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import admin_options, json_option, print_json
from supervisor.commands.terminal import say
from supervisor.queue import Outcome, described


class AttemptLine(msgspec.Struct, frozen=True):
    """What went wrong once, as the admin API tells it."""

    at: str
    outcome: str
    attempt: int
    worker: str
    cause: str
    reason: str | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One delivery, as the admin API tells it."""

    id: str
    connection: str
    state: str
    outcome: str | None
    attempts: int
    last_error: str | None
    waiting_for: str | None
    next_attempt_at: str | None
    history: Sequence[AttemptLine] = ()


class Event(msgspec.Struct, frozen=True):
    """One event, as the admin API tells it; `others` are those of other sources."""

    message_id: str
    source: str
    received_at: str
    deliveries: Sequence[Delivery]
    others: Sequence[Event] = ()


#: What of an attempt's outcomes reads better in other words.
_OUTCOMES = {"retry": "failed for now", "tried": "tried apart", "released": "given back"}


@click.command()
@click.argument("message_id")
@json_option
@admin_options
def explain(client: AdminClient, message_id: str, as_json: bool) -> None:
    """Say where each delivery of the event MESSAGE_ID is, and why it is not delivered yet.

    \b
    Example:
      bulkhead explain 022bb90c-bbac-11e4-8dfc-aa07a5b093db
    """
    body = client.get(f"/events/{quoted(message_id)}")
    if as_json:
        print_json(body)
        return
    event = msgspec.json.decode(body, type=Event)
    for told in (event, *event.others):
        for line in story(told):
            say(line)


def story(event: Event) -> Iterator[str]:
    """The lines that are printed for one event."""
    yield printable(f"{event.message_id} from {event.source}, received {event.received_at}")
    if not event.deliveries:
        yield "  no connection takes events of this source"
    width = max((len(delivery.connection) for delivery in event.deliveries), default=0)
    for delivery in event.deliveries:
        yield printable(f"  {delivery.connection:<{width}}  {_told(delivery)}")
        for attempt in delivery.history:
            yield printable(f"  {'':<{width}}  {_went_wrong(attempt)}")
        if delivery.last_error:
            yield printable(f"  {'':<{width}}  last error: {delivery.last_error}")
        if delivery.state == "dead":
            yield printable(
                f"  {'':<{width}}  kept as a dead letter: bulkhead deadletters show {delivery.id}"
            )


def _went_wrong(attempt: AttemptLine) -> str:
    where = f" in {attempt.worker}" if attempt.worker else ""
    outcome = _OUTCOMES.get(attempt.outcome, attempt.outcome)
    said = attempt.reason or attempt.cause
    return f"{attempt.at}  attempt {attempt.attempt}{where}: {outcome}: {said}"


def _told(delivery: Delivery) -> str:
    if delivery.outcome is None:
        return _pending(delivery)
    try:
        return described(Outcome(delivery.outcome), delivery.attempts)
    except ValueError:  # a newer service's, which has its own word for it
        return delivery.outcome


def _pending(delivery: Delivery) -> str:
    parts = [f"pending, {_attempts(delivery.attempts)} so far"]
    if delivery.waiting_for:
        parts.append(f"waiting for {delivery.waiting_for}")
    if delivery.next_attempt_at:
        parts.append(f"next attempt at {delivery.next_attempt_at}")
    return "; ".join(parts)


def _attempts(count: int) -> str:
    return "no attempt" if count == 0 else "1 attempt" if count == 1 else f"{count} attempts"
