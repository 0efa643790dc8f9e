"""Times as senders write them. Pure, and never raises: what is no time is None."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: As facade does, numbers below this are seconds, above it milliseconds since the epoch.
_MILLISECONDS_FROM = 31_557_600_000
#: Digits of a date in ISO 8601's basic form, "20260102".
_DATE_DIGITS = 8
#: Longest text that is read as a time, in characters.
_MOST_CHARS = 64
_NUMBER = re.compile(r"-?[0-9]{1,16}(?:\.[0-9]{1,9})?", re.ASCII)
#: RFC 2822, as JavaScript's `toUTCString` and mail have it: "Tue, 14 Nov 2023 22:13:20 GMT".
_MAIL = re.compile(r"(?:[A-Za-z]{3}, )?[0-9]{1,2} [A-Za-z]{3} [0-9]{4} [0-9]{2}:[0-9]{2}", re.ASCII)


def to_datetime(value: object) -> datetime | None:
    """A time from text, or from seconds or milliseconds since the epoch; else None.

    Text is ISO 8601, a number (eight digits are the date that ISO 8601 reads in
    them), or a date as in mail; without a time zone it is UTC.
    """
    try:
        if isinstance(value, str):
            text = value.strip()
            return _of_text(text) if len(text) <= _MOST_CHARS else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _of_number(value)
    except (ValueError, OverflowError, OSError, TypeError):
        return None  # not a time that a datetime can hold
    return None


def seconds_of(value: object) -> int | None:
    """Whole seconds since 1970 of a time in any form; None for what is no time, or before it."""
    at = value if isinstance(value, datetime) else to_datetime(value)
    if at is None:
        return None
    try:
        seconds = int(at.timestamp())
    except (OverflowError, ValueError):
        return None  # a time of the first or last day that a datetime can hold
    return seconds if seconds >= 0 else None


def _of_text(text: str) -> datetime | None:
    # Before ISO 8601, whose basic form would read a date into any row of digits.
    if len(text) != _DATE_DIGITS and _NUMBER.fullmatch(text):
        return _of_number(float(text) if "." in text else int(text))
    if text.isdigit() and len(text) != _DATE_DIGITS:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        if _NUMBER.fullmatch(text):
            return _of_number(float(text))
        if not _MAIL.match(text):
            return None
        at = parsedate_to_datetime(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _of_number(number: float) -> datetime | None:
    if not math.isfinite(number):
        return None
    seconds = number if abs(number) < _MILLISECONDS_FROM else number / 1000
    return datetime.fromtimestamp(seconds, UTC)
