"""How a delivery ended, in a destination's words, and what an HTTP status means.

Owns the outcome values and the default table from status to outcome. Pure: the
time is an argument. Must not know an API of any vendor.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

#: Longest wait that a vendor's `Retry-After` is obeyed for, in seconds. A longer one is cut to it,
#: so that a mistaken date costs a day; a retry window may well be longer.
MAX_VENDOR_WAIT_S = 24 * 3600.0
#: Longest header that is looked at, and seconds as servers write them.
_MOST_CHARS = 10_000
_SECONDS = re.compile(r"\+?([0-9]+(?:\.[0-9]*)?)\s*(?:s|secs?|seconds?)?", re.ASCII | re.IGNORECASE)
#: Statuses below 500 that another try may change.
_RETRY_STATUSES = frozenset({408, 423, 425, 429})
#: Statuses from 500 on that no other try changes: not implemented, HTTP version not supported.
_FINAL_STATUSES = frozenset({501, 505})


class Delivered(msgspec.Struct, frozen=True):
    """The destination took the event."""


class Cause(enum.StrEnum):
    """Why an attempt has to be made again, as far as the supervisor has a use for it.

    The first three say that the destination has too much to do: fewer batches
    run at once then. `SETUP` says that no event can pass before somebody has
    changed something: a certificate, a host name, what a key may do. Where two
    events in a row get it, the connection is held, and nothing else is tried.
    """

    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    CONNECT = "connect"
    SERVER = "server"
    SETUP = "setup"
    OTHER = "other"


class Retry(msgspec.Struct, frozen=True, eq=False):
    """Try again later, `after_s` seconds from now at the soonest where the server said so.

    Equal where reason and time are: the cause is no other news, only for programs.
    """

    reason: str
    after_s: float | None = None
    cause: Cause = Cause.OTHER

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Retry):
            return NotImplemented
        return (self.reason, self.after_s) == (other.reason, other.after_s)

    def __hash__(self) -> int:
        return hash((self.reason, self.after_s))


class Failed(msgspec.Struct, frozen=True):
    """The answer is final: another try would end the same way."""

    reason: str


class Unauthorized(Failed, frozen=True, eq=False):
    """The credentials were refused: 401, a revoked key. Nothing is wrong with the event.

    Where two events in a row get it, or `is_certain`, the connection is held and all
    of them wait; an event that gets it while others pass has failed alone. It is
    certain where no event was in the request: a token endpoint has said so.

    Equal to what else has failed with the reason, as a `Retry` is whatever its cause.
    """

    is_certain: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failed):
            return NotImplemented
        return self.reason == other.reason

    def __hash__(self) -> int:
        return hash(self.reason)


class Unsupported(msgspec.Struct, frozen=True):
    """The destination has no use for this event."""


Outcome = Delivered | Retry | Failed | Unsupported


def outcome_of_status(
    status: int, headers: Mapping[str, str], said: str, now: datetime | None = None
) -> Outcome:
    """What a status means where the API's documentation says nothing else.

    2xx is delivered; 408, 423, 425, 429 and 5xx without 501 and 505 are tried
    again, `Retry-After` obeyed; 401 is `Unauthorized`; the rest has failed,
    redirects included, which are never followed. A 403 may be of the key or of
    what was sent: its destination knows. `said` is what the server said in words.
    """
    if 200 <= status < 300:
        return Delivered()
    reason = f"{status} {_phrase(status)}".rstrip()
    if 300 <= status < 400:
        return Failed(f"{reason}: redirects are not followed; use the address that it leads to")
    if said:
        reason = f"{reason}: {said}"
    if status in _RETRY_STATUSES or (status >= 500 and status not in _FINAL_STATUSES):
        return Retry(
            reason, retry_after_s(headers.get("Retry-After"), now), cause_of_status(status)
        )
    return Unauthorized(reason) if status == HTTPStatus.UNAUTHORIZED else Failed(reason)


def cause_of_status(status: int) -> Cause:
    """What a status that is tried again says of the destination."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Cause.THROTTLED
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT):
        return Cause.TIMEOUT
    return Cause.SERVER if status >= 500 else Cause.OTHER


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, 0 to a day; None where it says nothing clear.

    It is a number of seconds or an HTTP date (RFC 9110, section 10.2.3) of any of its three forms.
    What servers send beside is read where it can mean one thing only: a fraction, a sign, a unit
    of seconds, zeros in front, a list (of which the longest counts), a date of ISO 8601.
    """
    if value is None or len(value) > _MOST_CHARS:
        return None
    value = value.strip().strip("\"'")
    numbers = [_SECONDS.fullmatch(part.strip()) for part in value.split(",")]
    seconds = [float(number[1]) for number in numbers if number is not None]
    if seconds and len(seconds) == len(numbers):
        return min(max(seconds), MAX_VENDOR_WAIT_S)
    at = _date(value)
    if at is None:
        return None  # the usual back-off is as good as a guess
    try:
        wait_s = (at - (now or datetime.now(UTC))).total_seconds()
    except OverflowError:  # its zone leads out of the calendar
        return None
    return min(max(wait_s, 0.0), MAX_VENDOR_WAIT_S)


def _date(text: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = read(text)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""  # a status that nobody has registered
