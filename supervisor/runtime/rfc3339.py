"""RFC 3339: how times are written in answers, logs and on the command line, and read again.

Owns no clock. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at: float) -> str:
    """Epoch seconds as RFC 3339 in UTC, to the millisecond; out-of-range times are clamped.

    Stored times come from clients' and machines' clocks, and no odd one may make
    a listing fail.
    """
    clamped = min(max(at, 0.0), 253_402_300_799.0)  # year 9999
    text = datetime.fromtimestamp(clamped, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> float:
    """RFC 3339 as epoch seconds. Raises ValueError for anything else, a missing zone included."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; end it with Z or +HH:MM")
    return moment.timestamp()
