"""Requests and responses as values: what the pure half of a destination works with.

Pure. Must not send anything; `exchange.py` does.
"""

from __future__ import annotations

import gzip
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from destinations.kit.outcomes import Failed, Outcome, Retry, outcome_of_status

#: Characters of an answer that are quoted in a reason.
EXCERPT_CHARS = 300
JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
_NO_HEADERS: Mapping[str, str] = {}
_KIT = PurePath(__file__).parent
_Result = TypeVar("_Result")


def _unheard(error: BaseException) -> None:
    """Outside of a trial, the outcome's reason says all that is told of an exception."""


#: Who hears of what a destination's code raised. The runner sets it where an event is tried.
current_raised: ContextVar[Callable[[BaseException], None]] = ContextVar(
    "current_raised", default=_unheard
)


class Request(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str] = _NO_HEADERS
    method: str = "POST"


class Response(msgspec.Struct, frozen=True, gc=False):
    """One HTTP answer. `headers` is asked in any case.

    `flaw` says why `body` is not the whole body ("larger than 1048576 bytes"),
    and is empty where it is. The status holds all the same.
    """

    status: int
    headers: Mapping[str, str] = _NO_HEADERS
    body: bytes = b""
    flaw: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def is_html(self) -> bool:
        """Whether the body begins as an HTML page does: a proxy or a login has answered."""
        return self.body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))

    def json(self) -> Any:  # Any: whatever the server sent
        """The decoded body; None where it is cut short or no JSON. `not_json` says so in words."""
        if self.flaw:
            return None
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None  # a proxy's error page, most often

    def excerpt(self) -> str:
        """The beginning of the body on one line, for a reason."""
        text = self.body[: 4 * EXCERPT_CHARS].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[
            :EXCERPT_CHARS
        ]

    def outcome(self, now: datetime | None = None) -> Outcome:
        """What the status means where the API's documentation says nothing else."""
        return outcome_of_status(
            self.status, self.headers, "" if self.is_success else self.excerpt(), now
        )

    def not_json(self) -> Outcome:
        """The outcome of an answer that should have been JSON, or of another kind, and is not."""
        if not self.is_success:
            return self.outcome()
        what = f"is {self.flaw}" if self.flaw else "is not what the API documents"
        if not self.flaw and self.is_html:
            what = "is an HTML page, as of a proxy or a login"
        return Retry(f"{self.status}, but the answer {what}: {self.excerpt()}".rstrip(": "))


def gzipped(body: bytes) -> bytes:
    """The body compressed, fast rather than small; equal bodies give equal bytes."""
    return gzip.compress(body, compresslevel=1, mtime=0)


def guarded(what: str, mapping: Callable[[], _Result]) -> _Result | Failed:
    """The mapping's result; where it raises, that event's failure with the place in the code.

    It would raise again on every try, so that it is no retry: once the mapping
    is mended, the dead letter can be replayed. MemoryError is not the event's
    fault, and goes through.
    """
    try:
        return mapping()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a mapping may raise anything; it ends here
        return Failed(f"{what} raised {told(error)}")


def told(error: BaseException) -> str:
    """What `describe` says, once whoever tries the event has heard of it."""
    current_raised.get()(error)
    return describe(error)


def describe(error: BaseException) -> str:
    """An exception's type, text and the place that raised it: `KeyError: 'x' at mapping.py:12`.

    What was called of the kit is not the place, but who called it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    # Not the first frame: that is who called the destination, where all others are the kit's.
    others = [frame for frame in frames[1:] if PurePath(frame.filename).parent != _KIT]
    frame = others[-1] if others else (frames[-1] if frames else None)
    place = f" at {PurePath(frame.filename).name}:{frame.lineno}" if frame else ""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception whose own __str__ raises has no text
        text = ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"
