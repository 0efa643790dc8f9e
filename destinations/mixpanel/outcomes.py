"""From Mixpanel's answers to outcomes. Pure.

https://docs.mixpanel.com/reference/import-events
https://docs.mixpanel.com/troubleshooting/errors/400-bad-request
https://docs.mixpanel.com/reference/profile-batch-update

| call | status | outcome |
| --- | --- | --- |
| `/import` | 200 with `code` 200 | delivered |
| `/import` | 200 or 400 with `failed_records` | those have failed, the rest is delivered |
| `/import` | 400 that names none | in smaller parts, then failed |
| others | 200 with `status` 1 | delivered |
| others | 200 with `status` 0 or an `error`, 400 | in smaller parts, then failed |
| all | 413 | in smaller parts, then failed |
| all | 200 that says something else, is cut short, or no JSON | retry |
| all | 401 | unauthorized: token, project or service account are refused |
| all | 403, 404 and other 4xx | failed |
| all | 429, 5xx | retry |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from destinations.kit import Delivered, Failed, Outcome, Response, Split


def imported(response: Response, count: int) -> Sequence[Outcome] | Outcome | Split:
    """What `/import?strict=1` answers: 400 names the events that it refused, the rest is taken.

    https://docs.mixpanel.com/troubleshooting/errors/400-bad-request
    """
    if response.status == 413:
        return Split(_reason(response, response.json()))
    if response.status not in (200, 400):
        return response.outcome()
    said = response.json()
    if not isinstance(said, dict):
        return (
            Split(f"400: {response.excerpt()}") if response.status == 400 else response.not_json()
        )
    refused = _refused(said.get("failed_records"), count)
    if refused is None:
        return Split(_reason(response, said))
    if not refused and response.status == 400:
        return Split(_reason(response, said))  # something is wrong, and no event is named
    if not refused and said.get("code") != 200 and said.get("status") != "OK":
        return response.not_json()
    return [refused.get(index, _DELIVERED) for index in range(count)]


def updated(response: Response) -> Outcome | Split:
    """What `/engage`, `/groups` and `/track` answer with `verbose=1`.

    They say 200 for refused updates too, with `status` 0 and an `error` that
    names none of them: https://docs.mixpanel.com/reference/profile-batch-update
    """
    if response.status in (400, 413):
        return Split(_reason(response, response.json()))
    if not response.is_success:
        return response.outcome()
    said = response.json()
    if said == 1 or (isinstance(said, dict) and said.get("status") in (1, "OK", "ok")):
        return _DELIVERED
    if said == 0 or (isinstance(said, dict) and said.get("error")):
        return Split(_reason(response, said))
    return response.not_json()


_DELIVERED = Delivered()


def _refused(records: Any, count: int) -> dict[int, Failed] | None:  # Any: the server's JSON
    """The refused events by index; None where the records make no sense."""
    if records is None:
        return {}
    if not isinstance(records, list):
        return None
    refused: dict[int, Failed] = {}
    for record in records:
        index = record.get("index") if isinstance(record, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
            return None
        message = record.get("message") or f"{record.get('field') or 'the event'} is invalid"
        refused[index] = Failed(f"Mixpanel refused it: {message}"[:500])
    return refused


def _reason(response: Response, said: Any) -> str:  # Any: the server's JSON
    error = said.get("error") if isinstance(said, dict) else None
    return f"Mixpanel refused it: {response.status} {error or response.excerpt()}".strip()[:500]
