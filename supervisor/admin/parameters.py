"""What a request says, read: names, numbers and times from paths and query strings.

Owns the bounds of every parameter and the words for what is wrong with one. Must not touch HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence

from supervisor.runtime.rfc3339 import parse_rfc3339

#: Most rows in one page of a listing.
MAX_PAGE = 1000
#: Rows in a page where the request does not say.
DEFAULT_PAGE = 100
#: Longest name, id or text to search for, in characters.
MAX_TEXT = 1000


class BadRequest(Exception):
    """A parameter is wrong; the text names it and says what it should be."""


def read_parameters(query: Sequence[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """Parameters by name, without empty ones. Raises BadRequest for unknown and repeated ones."""
    given: dict[str, str] = {}
    for name, value in query:
        if name not in known:
            wanted = f"there are {', '.join(known)}" if known else "there are none here"
            raise BadRequest(f"unknown parameter {name[:100]!r}; {wanted}")
        if name in given:
            raise BadRequest(f"{name}: given twice; give it once")
        check_length(name, value)
        given[name] = value
    return {name: value for name, value in given.items() if value}


def read_limit(text: str | None, *, default: int = DEFAULT_PAGE, most: int = MAX_PAGE) -> int:
    """How many to list. Raises BadRequest."""
    if not text:
        return default
    # int() takes "1_0" and " 1"; a parameter is digits.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise BadRequest(f"limit: {text[:100]!r} is no whole number from 1 to {most}")
    return int(text)


def read_time(name: str, text: str | None) -> float | None:
    """RFC 3339 as epoch seconds. Raises BadRequest."""
    if text is None:
        return None
    try:
        # In a query string, the + of an offset that was not escaped arrives as a blank.
        return parse_rfc3339(text.replace(" ", "+") if "T" in text else text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{name}: {text[:100]!r} is no time such as 2026-01-31T13:00:00Z"
        ) from error


def check_length(name: str, text: str | None) -> None:
    """Raises BadRequest for what is longer than `MAX_TEXT`."""
    if text is not None and len(text) > MAX_TEXT:
        raise BadRequest(f"{name}: longer than {MAX_TEXT} characters")
