"""A usual event of each type, for suites that ask of every destination the same."""

from __future__ import annotations

from typing import Any

from destinations.kit import Event
from tests.harness.vendors import event_of

#: When the suites play: a second after their events, since Google Analytics takes no old ones.
NOW = "2026-11-25T12:00:00Z"
EVENTS: dict[str, dict[str, Any]] = {  # Any: JSON
    "identify": {"traits": {"email": "ann@example.com", "name": "Ann Lee", "plan": "pro"}},
    "track": {"event": "Order Completed", "properties": {"order_id": "o-1", "total": 12.5}},
    "page": {"name": "Home", "properties": {"url": "https://example.com/"}},
    "screen": {"name": "Home"},
    "group": {"groupId": "g", "traits": {"name": "Acme", "plan": "pro"}},
    "alias": {"previousId": "anonymous"},
}
COMMON = {
    "userId": "u",
    "anonymousId": "a",
    "messageId": "m-1",
    "context": {"traits": {"email": "ann@example.com"}, "ip": "1.2.3.4"},
}


def usual(event_type: str) -> Event:
    """A usual event of a type, of the moment before `NOW`."""
    at = "2026-11-25T11:59:59.000Z"
    return event_of(type=event_type, timestamp=at, receivedAt=at, **COMMON, **EVENTS[event_type])
