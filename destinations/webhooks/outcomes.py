"""From a receiver's answer to outcomes. Pure: the status decides, bodies are not read.

A body that is cut off or endless changes nothing: the receiver has said 200.

| status | outcome |
| --- | --- |
| 2xx, whatever the body | delivered |
| 400, 413, 422 to a batch | in smaller parts, then failed |
| 3xx | failed: redirects are not followed |
| 408, 423, 425, 429, 5xx without 501 and 505 | retry |
| other 4xx, 501, 505 | failed |
"""

from __future__ import annotations

from destinations.kit import Failed, Outcome, Response, Split

#: Statuses by which a receiver refuses a body, so that one event may spoil a batch.
_ABOUT_THE_BODY = frozenset({400, 413, 422})


def outcome(response: Response, count: int) -> Outcome | Split:
    """What the status means for the `count` events of the request."""
    said = response.outcome()
    if count > 1 and response.status in _ABOUT_THE_BODY and isinstance(said, Failed):
        return Split(said.reason)
    return said
