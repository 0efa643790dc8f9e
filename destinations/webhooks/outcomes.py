"""From a receiver's answer to outcomes. Pure: the status decides, bodies are not read.

A body that is cut off or endless changes nothing: the receiver has said 200.

| status | outcome |
| --- | --- |
| 2xx, whatever the body | delivered |
| 400, 413, 422 to a batch | in smaller parts, then failed |
| 3xx | failed: redirects are not followed |
| 401, 403 | unauthorized: see `_ABOUT_THE_CREDENTIALS` |
| 408, 423, 425, 429, 5xx without 501 and 505 | retry |
| other 4xx, 501, 505 | failed |
"""

from __future__ import annotations

from destinations.kit import Failed, Outcome, Response, Split, Unauthorized

#: Statuses by which a receiver refuses a body, so that one event may spoil a batch.
_ABOUT_THE_BODY = frozenset({400, 413, 422})


#: Statuses by which a receiver refuses whoever asks. By RFC 9110 401 is for credentials that are
#: missing or wrong, 403 for those that are not enough; gateways say either of a revoked key. Where
#: a firewall says 403 to one event's words, others pass meanwhile, and that event fails alone.
#: https://www.rfc-editor.org/rfc/rfc9110#name-403-forbidden
_ABOUT_THE_CREDENTIALS = frozenset({401, 403})


def outcome(response: Response, count: int) -> Outcome | Split:
    """What the status means for the `count` events of the request."""
    said = response.outcome()
    if count > 1 and response.status in _ABOUT_THE_BODY and isinstance(said, Failed):
        return Split(said.reason)
    if response.status in _ABOUT_THE_CREDENTIALS and isinstance(said, Failed):
        return Unauthorized(said.reason)
    return said
