"""What is kept of an attempt that went wrong: its record, and how secrets get out of it. Pure.

Owns the record, how long it may be, and the order: secrets go by value before anything is parsed,
and once more afterwards; what is somebody's own goes by the rules of `masking.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, unquote_plus

import msgspec

from sandbox.protocol import GotAnswer, Sampled, SentRequest
from supervisor.insight.json_text import (
    MAX_DEPTH,
    Members,
    NotJson,
    Number,
    Tree,
    string_of,
    text_of,
    tree_of,
)
from supervisor.insight.masking import Masking, Sight

#: Longest record, in bytes.
SAMPLE_BYTES = 8 * 1024
#: Characters of a reason that are kept, and of an event's name and id.
REASON_CHARS, NAME_CHARS = 1000, 200


class KeptRequest(msgspec.Struct, frozen=True):
    """A request as it was sent, without secrets. `body` is JSON text."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    size_bytes: int


class KeptAnswer(msgspec.Struct, frozen=True):
    """An answer, without secrets. `body` is JSON text."""

    status: int
    headers: dict[str, str]
    body: str | None
    size_bytes: int


class KeptSample(msgspec.Struct, frozen=True):
    """One attempt that went wrong, as an operator may see it.

    `at` is epoch seconds; `body` is the event's JSON text, None where it was too long for a sample;
    `size_bytes` is the event's. There is no request where none was made by the kit, or this was not
    among those that a worker tells, and no answer where none came.
    """

    at: float
    connection: str
    message_id: str | None
    type: str | None
    name: str | None
    outcome: str
    cause: str
    reason: str | None
    attempt: int
    worker: str
    body: str | None
    size_bytes: int
    request: KeptRequest | None
    answer: KeptAnswer | None


class MetBy(msgspec.Struct, frozen=True):
    """One delivery that met with something, as whoever settles it knows it.

    `body` is the event as it was stored; `sampled` is what its worker has told, if it has.
    """

    body: bytes
    attempt: int
    worker: str
    sampled: Sampled | None


class FailedAttempt(msgspec.Struct, frozen=True):
    """What is known of an attempt that went wrong. `body` is the event as it was stored."""

    connection: str
    outcome: str
    cause: str
    reason: str
    attempt: int
    worker: str
    body: bytes


def sample_of(
    attempt: FailedAttempt,
    sampled: Sampled | None,
    masking: Masking,
    redact: Callable[[str], str],
    now: float,
) -> KeptSample:
    """What is kept of an attempt: without secrets, and masked where the rules say so."""
    sight = masking.sight(is_operator=True)
    own = masking.own_values(attempt.body)
    fields = _fields(attempt.body)
    scrub = Scrub(redact)

    def text(words: object, most: int, own: Sequence[str] = ()) -> str | None:
        if not isinstance(words, str):
            return None
        seen = masking.text(scrub.text(words), sight, own)
        return None if seen is None else seen[:most]

    body = None
    if len(attempt.body) <= SAMPLE_BYTES:
        body = masking.event(scrub.body(attempt.body), sight)
    sample = KeptSample(
        at=now,
        connection=attempt.connection,
        message_id=text(fields.get("messageId"), NAME_CHARS),
        type=text(fields.get("type"), NAME_CHARS),
        name=text(fields.get("event" if fields.get("type") == "track" else "name"), NAME_CHARS),
        outcome=attempt.outcome,
        cause=attempt.cause,
        reason=text(attempt.reason, REASON_CHARS, own),
        attempt=attempt.attempt,
        worker=attempt.worker,
        body=body,
        size_bytes=len(attempt.body),
        request=None,
        answer=None,
    )
    if sampled is None:
        return sample
    seen = _Seen(masking, sight, own, scrub)
    sent, got = sampled.request, sampled.answer
    return msgspec.structs.replace(
        sample, request=seen.request(sent), answer=None if got is None else seen.answer(got)
    )


class Scrub:
    """Takes secrets out of texts and JSON, also where they are escaped in an odd way.

    `redact` knows the secrets, and the forms that programs give them.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def text(self, text: str) -> str:
        """A text without secrets."""
        plain = self._redact(text)
        if "%" in plain or "\\" in plain:
            unescaped = _ESCAPED.sub(_unescaped, plain)
            for text in (unquote(unescaped), unquote_plus(unescaped)):
                redacted = self._redact(text)
                if redacted != text:
                    return redacted
        return plain

    def body(self, body: bytes) -> str | bytes:
        """JSON without secrets in its values and keys, or a text without them; else as it is."""
        try:
            return text_of(self._tree(tree_of(body), MAX_DEPTH))
        except NotJson:
            pass  # a form, perhaps
        try:
            return self.text(body.decode())
        except UnicodeDecodeError:
            return body

    def _tree(self, tree: Tree, depth: int) -> Tree:
        match tree:
            case Members() if depth:
                return Members((self.text(key), self._tree(of, depth - 1)) for key, of in tree)
            case list() if depth:
                return [self._tree(item, depth - 1) for item in tree]
            case Number():
                plain = self.text(tree)
                return tree if plain == tree else plain
            case str():
                return self.text(tree)
            case Members() | list():
                return None
            case _:
                return tree


class _Seen:
    """Requests and answers as they are kept: secrets go first, and then what is masked."""

    def __init__(self, masking: Masking, sight: Sight, own: Sequence[str], scrub: Scrub) -> None:
        self._masking = masking
        self._sight = sight
        self._own = own
        self._scrub = scrub

    def request(self, sent: SentRequest) -> KeptRequest:
        url = self._masking.url(self._scrub.text(sent.url), self._sight, self._own)
        return KeptRequest(
            self._scrub.text(sent.method),
            url or "",
            self._headers(sent.headers),
            self._body(sent),
            sent.size_bytes,
        )

    def answer(self, got: GotAnswer) -> KeptAnswer:
        return KeptAnswer(got.status, self._headers(got.headers), self._body(got), got.size_bytes)

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        plain = {self._scrub.text(name): self._scrub.text(of) for name, of in headers.items()}
        return self._masking.headers(plain, self._sight, self._own)

    def _body(self, told: SentRequest | GotAnswer) -> str | None:
        if told.digest:
            return string_of(f"<{told.size_bytes} bytes, digest {self._scrub.text(told.digest)}>")
        if not told.body:
            return None
        return self._masking.message(self._scrub.body(told.body), self._sight, self._own)


def encoded(sample: KeptSample) -> bytes:
    """The record, without what makes it longer than it may be."""
    shorter: tuple[dict[str, Any], ...] = (  # Any: fields of a sample
        {},
        {"body": None},
        {"body": None, "answer": None},
        {"body": None, "answer": None, "request": None},
        {"body": None, "answer": None, "request": None, "reason": None, "name": None},
    )
    for left_out in shorter:
        record = _encode(msgspec.structs.replace(sample, **left_out))
        if len(record) <= SAMPLE_BYTES:
            break
    return record


def _fields(body: bytes) -> dict[str, Any]:  # Any: decoded JSON
    try:
        event = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else found[2]


#: How JSON escapes a character, where it stands in what is no JSON.
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\"\\/]))")
_encode = msgspec.msgpack.Encoder().encode
decoded = msgspec.msgpack.Decoder(KeptSample).decode
"""A record read again. Raises MsgspecError."""
