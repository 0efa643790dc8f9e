"""From Google Analytics' answers to outcomes. Pure.

| status | outcome |
| --- | --- |
| 2xx | delivered, see below |
| 2xx with an HTML page | retry: a proxy has answered, Google has not |
| 413 | each event alone |
| others | by the kit's table: 408, 423, 425, 429, 5xx retry, the rest has failed |

The Measurement Protocol says 2xx to every request that reached it: also to one
whose secret is wrong, whose JSON is none, or whose events it drops. Delivered
means "received" here, and no more. So all that Google would drop silently and
that can be known before, as reserved names and events that are too old, fails
in the mapping, and whether a stream works at all is to be seen in its Realtime
report, or by `/debug/mp/collect`, which stores nothing.

So there is no answer that speaks of credentials: a 401 or 403 is of something in front of Google.

The page asks not to repeat a request that got anything but 2xx. That is kept to
where the request is at fault; for an overload or a fault of the server's it is
not, since the event would be lost.
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#transport
"""

from __future__ import annotations

from destinations.kit import Outcome, Response, Retry, Split
from destinations.kit.outcomes import outcome_of_status


def collected(response: Response) -> Outcome | Split:
    """What `/mp/collect` answers, for all events of a request alike.

    Nothing of the body is quoted: pages of errors repeat the URL, and the
    secret is in it.
    """
    if response.status == 413:
        return Split("413: Google Analytics found the request too large")
    if response.is_success and response.is_html:
        return Retry(f"{response.status}, but the answer is an HTML page, as of a proxy or a login")
    return outcome_of_status(response.status, response.headers, "")
