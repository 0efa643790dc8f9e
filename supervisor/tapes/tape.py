"""A tape: what a destination sent for some events, and what it was answered.

Owns the file's form, which is that of vcrpy's cassettes (YAML, version 1), so
that its tools read them: https://vcrpy.readthedocs.io. JSON bodies are written
with a line for each value, and bodies are never compressed, so that a review
shows what changed. Beside the traffic a tape holds the settings and events that
led to it and the outcomes that came of it, and so is a test by itself.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from supervisor.runtime.files import read_file

#: Stands on a tape for what differs from run to run or was scrubbed without a trace; matches all.
ANYTHING = "(scrubbed)"
#: Largest tape that is read, in bytes.
MAX_TAPE = 16 * 1024 * 1024
#: Most bytes that a compressed body may unpack to.
MAX_BODY = 64 * 1024 * 1024

Headers = tuple[tuple[str, str], ...]


class TapeError(Exception):
    """A tape that cannot be read; the text names file and place."""


class Call(msgspec.Struct, frozen=True):
    """A request as it went out, its body unpacked."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return _header(self.headers, name)


class Answer(msgspec.Struct, frozen=True):
    """What was answered, its body unpacked.

    `flaw` says why `body` is not the whole body, and is empty where it is. Tapes have no place
    for it: what is on them is played whole.
    """

    status: int
    reason: str = ""
    headers: Headers = ()
    body: bytes = b""
    flaw: str = ""

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return _header(self.headers, name)


class Exchange(msgspec.Struct, frozen=True):
    """One request with its answer."""

    call: Call
    answer: Answer


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the traffic comes from.

    `provenance` is "doc" where requests and answers are the vendor's documented
    examples, whose pages are `sources`, and "real" where they were recorded.
    `outcomes` has a line an event (`delivered`, `failed: why`). The events were
    sent at `at`, since some of what is sent depends on it.
    """

    destination: str
    provenance: Literal["doc", "real"]
    sources: list[str] = []
    at: datetime
    # Any: what the destination's own schema says, and events as applications send them
    settings: dict[str, Any] = {}
    events: list[dict[str, Any]] = []
    outcomes: list[str] = []


class Tape(msgspec.Struct, frozen=True):
    """All traffic of one `deliver`."""

    about: About
    exchanges: tuple[Exchange, ...]


# --- the file ---


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    uri: str
    body: str | None = None
    headers: dict[str, list[str]] = {}


class _Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: int
    message: str = ""


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    string: str = ""


class _Response(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: _Status
    headers: dict[str, list[str]] = {}
    body: _Body = _Body()


class _Interaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    request: _Request
    response: _Response


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    metadata: About
    interactions: list[_Interaction]


def read(path: Path) -> Tape:
    """The tape in a file. Raises TapeError."""
    try:
        content = read_file(path, most_bytes=MAX_TAPE, may_be_pipe=True)
    except OSError as error:
        raise TapeError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_TAPE:
        raise TapeError(f"{path}: is larger than {MAX_TAPE} bytes, which is no tape")
    try:
        return loads(content)
    except TapeError as error:
        raise TapeError(f"{path}: {error}") from error


def loads(content: bytes) -> Tape:
    """The tape that the bytes of a file hold. Raises TapeError."""
    try:
        file = msgspec.yaml.decode(content, type=_File, strict=True)
    except (msgspec.MsgspecError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise TapeError(f"is no tape: {' '.join(str(error).split())[:300]}") from error
    return Tape(file.metadata, tuple(map(_exchange, file.interactions)))


def dumps(tape: Tape) -> str:
    """The text of the file."""
    about = {
        key: value
        for key, value in msgspec.to_builtins(tape.about, builtin_types=[datetime]).items()
        if value not in ({}, [])
    }
    interactions = [
        {
            "request": {
                "method": exchange.call.method,
                "uri": exchange.call.url,
                "headers": _by_name(exchange.call.headers),
                "body": text_of(exchange.call.body),
            },
            "response": {
                "status": {
                    "code": exchange.answer.status,
                    "message": exchange.answer.reason,
                },
                "headers": _by_name(exchange.answer.headers),
                "body": {"string": text_of(exchange.answer.body)},
            },
        }
        for exchange in tape.exchanges
    ]
    content = {"version": 1, "metadata": about, "interactions": interactions}
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def outcome_line(outcome: str, detail: str, after_s: float | None = None) -> str:
    """An outcome as tapes and people write it: `delivered`, `retry: why (in 20 s)`."""
    wait = "" if after_s is None else f" (in {after_s:g} s)"
    return f"{outcome}: {detail}{wait}" if detail else f"{outcome}{wait}"


def text_of(body: bytes) -> str:
    """A body as people read it: JSON with a line a value, other text as it is.

    What is no text at all has nothing to review, and is left out.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return ANYTHING
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return (
        json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict | list) else text
    )


def unpacked(body: bytes, encoding: str | None) -> bytes:
    """A body without its `Content-Encoding`. Raises ValueError where it is not packed so."""
    match (encoding or "identity").strip().lower():
        case "identity":
            return body
        case "gzip" | "x-gzip" | "deflate":
            unpacker = zlib.decompressobj(wbits=47)  # finds out by itself which of the two it is
            try:
                plain = unpacker.decompress(body, MAX_BODY)
            except zlib.error as error:
                raise ValueError(f"is not packed as it says: {error}") from error
            if unpacker.unconsumed_tail:
                raise ValueError(f"unpacks to more than {MAX_BODY} bytes")
            if not unpacker.eof:
                raise ValueError("is not packed as it says: it is cut off")
            return plain
        case other:
            raise ValueError(f"is packed with {other}, which tapes do not know")


def packed(body: bytes) -> bytes:
    """The opposite of `unpacked` with gzip."""
    return gzip.compress(body, compresslevel=1, mtime=0)


def _exchange(said: _Interaction) -> Exchange:
    request, response = said.request, said.response
    return Exchange(
        Call(request.method, request.uri, _pairs(request.headers), (request.body or "").encode()),
        Answer(
            response.status.code,
            response.status.message,
            _pairs(response.headers),
            response.body.string.encode(),
        ),
    )


def _pairs(headers: Mapping[str, Sequence[str]]) -> Headers:
    return tuple((name, value) for name, values in headers.items() for value in values)


def _by_name(headers: Headers) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, and no aliases: a review reads from top to bottom."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # Quoted where a block would lose a character: YAML knows more line breaks than one.
    is_plain = value.replace("\n", "").isprintable()
    style = ("|" if "\n" in value else None) if is_plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
