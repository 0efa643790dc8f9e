"""Structured logs on standard error: JSON lines, or readable ones on a terminal.

Owns the form of a line (one event each, UTC time in front), the way of other
libraries' `logging` records into the same stream, and the redaction of
secrets in whatever is about to be written. Callers log ids of pool, worker,
connection and batch; never payloads.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from sandbox.protocol import printable, printable_lines
from supervisor.telemetry.log_stream import LogStream

#: What stands in a line where a secret was.
REDACTED = "[secret]"
#: Shorter secrets are not looked for: they would be found in every second word.
MIN_SECRET_LENGTH = 4
#: Fewest characters of base64 that are taken for a part of a secret: fewer are in every other text.
MIN_WITHIN_BASE64 = 8
#: First characters of forms that are each looked for in a line; of more than these a line is walked
#: through once, for all of them together.
FEW_HEADS = 64
#: Longest line in characters; a destination's error may be as long as its server likes.
MAX_LINE = 16_384


_ESCAPE = re.compile(r"%[0-9A-F]{2}")
#: How deep escapes within escapes are read.
ESCAPED_TWICE = 2
_ESCAPED = re.compile(
    r"(?:%[0-9a-fA-F]{2})+"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\(?:u[0-9a-fA-F]{4}|[\"\\/'bfnrt])"
)
_MEANINGS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Redactor:
    """Replaces secrets in text, in the forms they take inside JSON, URLs and Basic auth.

    The cost of a line grows with its length and not with the number of secrets,
    of which a service with thousands of connections has as many: forms are found
    by their first characters (a regular expression would try them one by one).
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._by_head: dict[str, list[str]] = {}
        #: by connection, the texts of its last two tokens
        self._renewed: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self.follow(secrets)

    def follow(self, secrets: Iterable[str]) -> None:
        """Look for these secrets from now on, and for no others of the config."""
        self._configured = frozenset(secrets)
        self._index()

    def also(self, owner: str, secrets: Iterable[str]) -> None:
        """Look for these, too. What `owner` had before stays as well, and nothing before that."""
        self._renewed[owner] = (self._renewed.get(owner, ((), ()))[1], tuple(secrets))
        self._index()

    def _index(self) -> None:
        forms: set[str] = set()
        renewed = itertools.chain.from_iterable(
            itertools.chain.from_iterable(self._renewed.values())
        )
        for secret in itertools.chain(self._configured, renewed):
            if len(secret) >= MIN_SECRET_LENGTH:
                forms |= forms_of(secret)
        by_head: dict[str, list[str]] = {}
        # Longest first, so that a secret which contains another is not left half readable.
        for form in sorted(forms, key=len, reverse=True):
            by_head.setdefault(form[:MIN_SECRET_LENGTH], []).append(form)
        self._by_head = by_head

    def __call__(self, text: str) -> str:
        spans = self._found(text)
        # No two programs escape the same characters: what is escaped is looked through as it reads.
        read = text
        for _ in range(ESCAPED_TWICE):
            if "%" not in read and "\\" not in read:
                break
            read = _ESCAPED.sub(_meaning_of, read)
            if self._found(read):
                spans += self._found_escaped(text)
                break
        return _without(text, sorted(spans)) if spans else text

    def _found_escaped(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand in a text as it reads: that costs five times as much."""
        spans: list[tuple[int, int]] = []
        starts: Sequence[int] = range(len(text) + 1)
        for _ in range(ESCAPED_TWICE):
            text, places = unescaped(text)
            starts = [starts[at] for at in places]
            spans += [(starts[start], starts[end]) for start, end in self._found(text)]
        return spans

    def _found(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand in a text."""
        by_head = self._by_head
        if len(by_head) <= FEW_HEADS and not any(head in text for head in by_head):
            return []  # nearly always, and in a tenth of the time
        found: list[tuple[int, int]] = []
        end = 0
        for at in range(len(text) - MIN_SECRET_LENGTH + 1):
            head = text[at : at + MIN_SECRET_LENGTH]
            if head not in by_head or at < end:
                continue
            for form in by_head[head]:
                if text.startswith(form, at):
                    end = at + len(form)
                    found.append((at, end))
                    break
        return found


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts: list[str] = []
    copied = 0
    for start, end in spans:
        if start >= copied:
            parts += (text[copied:start], REDACTED)
        copied = max(copied, end)
    return "".join(parts) + text[copied:]


def unescaped(text: str) -> tuple[str, list[int]]:
    """A text as it reads without the escapes of URLs and JSON, and where its characters stood.

    The places are one more than the characters: the last is the length of the text.
    """
    parts: list[str] = []
    starts: list[int] = []
    at = 0
    for found in _ESCAPED.finditer(text):
        parts.append(text[at : found.start()])
        starts += range(at, found.start())
        at = found.start()
        meaning = _meaning_of(found)
        parts.append(meaning)
        if found[0][0] == "%":
            for character in meaning:
                starts.append(at)
                at += 3 * len(character.encode(errors="surrogateescape"))
        else:
            starts.append(at)
            at = found.end()
    starts += range(at, len(text) + 1)
    return "".join((*parts, text[at:])), starts


def _meaning_of(found: re.Match[str]) -> str:
    escape = found[0]
    if len(escape) == 2:
        return _MEANINGS.get(escape[1], escape[1])
    if escape[0] == "%":
        return bytes.fromhex(escape.replace("%", "")).decode(errors="surrogateescape")
    # A character past the first 65,536 is two escapes.
    units = bytes.fromhex(escape.replace("\\u", ""))
    return units.decode("utf-16-be", "replace")


def forms_of(secret: str) -> set[str]:
    """How a secret stands in a text: plainly, or escaped once for a URL, in JSON, or in base64."""
    as_user = base64.b64encode(f"{secret}:".encode()).decode()
    quoted = {
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote(secret),
        urllib.parse.quote_plus(secret),
    }
    forms = {
        secret,
        secret.replace(" ", "+"),  # as forms have it, whatever else they escape
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        repr(secret)[1:-1],
        *quoted,
        *(_ESCAPE.sub(lambda found: found[0].lower(), text) for text in quoted),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        as_user.rstrip("="),
        *_within_base64(secret.encode()),
    }
    return {form for form in forms if len(form) >= MIN_SECRET_LENGTH}


def _within_base64(secret: bytes) -> Iterator[str]:
    """What of a secret stands in base64 of a longer text, by where in it the secret begins."""
    for before, front in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(before) + secret).decode()
        # The last characters hold bits of what follows, too.
        whole = encoded[front : len(encoded) - (0, 3, 2)[(before + len(secret)) % 3]]
        if len(whole) >= MIN_WITHIN_BASE64:
            yield whole
            yield whole.replace("+", "-").replace("/", "_")


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """The last step before the stream: no secret gets past, and no line is endless."""

    def __init__(
        self, redact: Redactor, processors: list[Processor], foreign: list[Processor]
    ) -> None:
        super().__init__(processors=processors, foreign_pre_chain=foreign)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def configure(
    secrets: Iterable[str] = (),
    *,
    level: int = logging.INFO,
    stream: TextIO | LogStream | None = None,
) -> Redactor:
    """Set up logging for this process; the answer follows secrets when the config changes.

    `stream` is standard error unless given, which whoever logs then waits for: right for a
    command, and wrong for a service. May be called again; the last call holds.
    """
    target = sys.stderr if stream is None else stream
    redact = Redactor(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _bound_values,
    ]
    final: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if target.isatty():
        final += [structlog.processors.ExceptionRenderer(), _readable]
    else:
        final += [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(sort_keys=False),
        ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(_Formatter(redact, final, [*shared, structlog.stdlib.ExtraAdder()]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)
    return redact


def _bound_values(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Cut what is longer than any honest value, so that the line stays whole JSON."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MAX_LINE:
            event[key] = f"{value[:MAX_LINE]}... ({len(value)} characters)"
    return event


def _readable(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """`12:34:56.789 warning  message  key=value`, and a traceback below where there is one."""
    time = str(event.pop("time", ""))[11:23]
    level = str(event.pop("level", method))
    message = str(event.pop("event", ""))
    event.pop("logger", None)
    traceback = event.pop("exception", None)
    values = " ".join(f"{key}={_value(value)}" for key, value in event.items())
    line = printable(f"{time} {level:<8} {message}{'  ' if values else ''}{values}")
    return line if traceback is None else f"{line}\n{printable_lines(str(traceback))}"


def _value(value: object) -> str:
    text = str(value)
    return text if text and not re.search(r"[\s=\"]", text) else json.dumps(text)
