"""Which failed attempts of a worker are told with what was sent and answered, and how much of it.

Owns the worker's own limits: few a second, and few of one reason, so that a flood of one failure
leaves room for another. What the supervisor keeps is its own affair. Nothing here runs for an
event that is delivered.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from destinations.kit import Failed, Outcome, Request, Response, Retry
from destinations.kit.exchanged import Credentials
from sandbox.protocol import (
    MAX_ANSWER_BODY,
    MAX_HEADER,
    MAX_HEADER_NAME,
    MAX_HEADERS,
    MAX_METHOD,
    MAX_REQUEST_BODY,
    MAX_URL,
    SAMPLES_PER_S,
    GotAnswer,
    Message,
    Sampled,
    SentRequest,
    printable,
)

#: Samples of one reason within so many seconds, and reasons that are remembered.
A_REASON, WITHIN_S, MOST_REASONS = 3, 600.0, 256
#: Characters of a reason that tell it from others, digits left out.
REASON_CHARS = 40
#: Exchanges of a batch that wait for their outcome to be reported.
MOST_WAITING = 8
#: Longest body that is looked at, in bytes: of a longer one the digest of its beginning is told.
MOST_LOOKED_AT = 1024 * 1024

_DIGITS = re.compile(r"[0-9a-f]*\d[0-9a-f]*", re.IGNORECASE)


class Sampling:
    """That of one worker; `is_wanted` is the supervisor's word. `clock` never goes back."""

    def __init__(
        self, send: Callable[[Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_wanted = False
        self._send = send
        self._clock = clock
        self._told: dict[tuple[str, str], list[float]] = {}
        self._second = 0
        self._left = 0

    def of_batch(
        self,
        connection: str,
        batch: int,
        settings: Mapping[str, Any],  # Any: the destination's own schema
    ) -> BatchSamples:
        """What is told of one batch."""
        return BatchSamples(self, connection, batch, settings)

    def takes(self, connection: str, outcome: Retry | Failed) -> bool:
        """Whether there is room for a sample of this outcome; it counts as told."""
        now = self._clock()
        if int(now) != self._second:
            self._second, self._left = int(now), SAMPLES_PER_S
        if not self._left:
            return False
        # A destination's own code, so that a reason may be anything.
        reason = _DIGITS.sub("", str(outcome.reason)[:REASON_CHARS])
        key = connection, reason
        told = [at for at in self._told.pop(key, []) if now - at < WITHIN_S]
        self._told[key] = told
        if len(self._told) > MOST_REASONS:
            del self._told[next(iter(self._told))]
        if len(told) >= A_REASON:
            return False
        told.append(now)
        self._left -= 1
        return True

    def tell(self, sampled: Sampled) -> None:
        """To the supervisor."""
        self._send(sampled)


class BatchSamples:
    """Exchanges of one batch, from when they failed to when an event is said to have that outcome.

    They are told apart by the outcome's identity: what others got for the same reason, without a
    request of their own, is another object.
    """

    def __init__(
        self,
        sampling: Sampling,
        connection: str,
        batch: int,
        settings: Mapping[str, Any],  # Any: the destination's own schema
    ) -> None:
        self._sampling = sampling
        self._connection = connection
        self._batch = batch
        self._settings = settings
        self._waiting: list[tuple[Outcome, Request, Response | Outcome]] = []

    def exchanged(self, outcome: Outcome, request: Request, said: Response | Outcome) -> None:
        """Implements the kit's `Exchanged`."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append((outcome, request, said))

    def failed(self, index: int, outcome: Outcome) -> None:
        """The event's outcome is no delivery: what was sent and answered goes with it."""
        found = next((one for one in self._waiting if one[0] is outcome), None)
        if found is None or not isinstance(outcome, (Retry, Failed)):
            return
        self._waiting.remove(found)
        _, request, said = found
        if not self._sampling.takes(self._connection, outcome):
            return
        left_out = Credentials(self._settings)
        self._sampling.tell(
            Sampled(
                self._batch,
                index,
                _request(request, left_out),
                _answer(said, left_out) if isinstance(said, Response) else None,
            )
        )


def _request(request: Request, left_out: Credentials) -> SentRequest:
    body, digest = _body(request.body, left_out, MAX_REQUEST_BODY)
    return SentRequest(
        _text(request.method, MAX_METHOD),
        _text(left_out.url(request.url), MAX_URL),
        _headers(request.headers, left_out),
        body,
        len(request.body),
        digest,
    )


def _answer(response: Response, left_out: Credentials) -> GotAnswer:
    body, digest = _body(response.body, left_out, MAX_ANSWER_BODY)
    return GotAnswer(
        response.status, _headers(response.headers, left_out), body, len(response.body), digest
    )


def _body(body: bytes, left_out: Credentials, most: int) -> tuple[bytes, str]:
    """What of a body is told, and the digest of one that is too long."""
    told = left_out.body(body) if len(body) <= 2 * most else body
    if len(told) <= most:
        return told, ""
    return b"", hashlib.blake2b(body[:MOST_LOOKED_AT], digest_size=8).hexdigest()


def _headers(headers: Mapping[str, str], left_out: Credentials) -> dict[str, str]:
    told: dict[str, str] = {}
    for name, value in left_out.headers(headers).items():
        if len(told) == MAX_HEADERS:
            break
        told[_text(name, MAX_HEADER_NAME)] = _text(value, MAX_HEADER)
    return told


def _text(text: str, most: int) -> str:
    """One line of print; not cut where it is longer: half a secret is not found any more."""
    told = printable(text) if len(text) <= most else ""
    return told if told and len(told) <= most else f"({len(text)} characters)"[:most]
