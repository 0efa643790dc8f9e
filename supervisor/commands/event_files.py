"""Files of events in the forms that people have: one a line, an array, a batch, one event.

Owns what a file is taken for, by its first bytes, and the words for what it is not. Takes
what the tracking API takes: gzip, a byte order mark, halves of surrogate pairs. Must not
know what an event is, nor lose a line: what is none is handed on for its reader to refuse.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import msgspec

from supervisor.ingest.validation import mend_surrogates

#: Largest array of events that is read as one document, in bytes, unpacked.
MAX_ARRAY = 64 * 1024 * 1024

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
#: What decoding raises for bytes that are not the JSON that was asked for.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: What reading a gzip file raises that is none, or is cut off.
NOT_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class EventFileError(Exception):
    """A file that holds no events; the text says what is wrong, and in which line."""


def unpacked(stream: BinaryIO) -> io.BufferedReader:
    """The stream, or what is in it where it is gzipped. Raises OSError as it is read."""
    buffered = stream if isinstance(stream, io.BufferedReader) else _buffered(stream)
    if buffered.peek(2)[:2] != _GZIP_MAGIC:
        return buffered
    return _buffered(gzip.GzipFile(fileobj=buffered))


def _buffered(stream: object) -> io.BufferedReader:
    # A GzipFile reads like a raw stream, which its type does not say.
    return io.BufferedReader(cast(io.RawIOBase, stream))


def lines_of(stream: io.BufferedReader, longest: int) -> Iterator[tuple[int, bytes | None]]:
    """Events with the line that each stands on, or in an array with its place, from 1 on.

    Blank lines are left out; None stands for a line longer than `longest` bytes. Raises
    CommandError for an array that is broken or larger than MAX_ARRAY.
    """
    number = 0
    is_first = True
    while text := stream.readline(longest + 1):
        number += 1
        if number == 1:
            text = text.removeprefix(_BOM)
        if not text.strip(_BLANK):
            continue
        if is_first and text.lstrip(_BLANK)[:1] == b"[":
            rest = stream.read(MAX_ARRAY + 1 - len(text))
            yield from enumerate(map(bytes, _array(text + rest)), 1)
            return
        is_first = False
        is_whole = len(text) <= longest
        while len(text) > longest and not text.endswith(b"\n"):
            text = stream.readline(longest + 1)
        yield number, text if is_whole else None


def _array(text: bytes) -> list[msgspec.Raw]:
    if len(text) > MAX_ARRAY:
        raise EventFileError(
            f"is an array of more than {MAX_ARRAY} bytes; write one event a line, as "
            "`jq -c '.[]'` does"
        )
    text = mend_surrogates(text)
    try:
        return _decode_array(text)
    except NOT_JSON as error:
        raise EventFileError(f"line {_line(text, error)}: is not JSON: {error}") from error


def items_of(content: bytes) -> list[msgspec.Raw]:
    """The events in a file's unpacked bytes: of an array, a batch, an event, or one a line.

    Each is a JSON object or whatever else stands there. Raises EventFileError, with the line.
    """
    text = mend_surrogates(content.removeprefix(_BOM))
    if not text.strip(_BLANK):
        raise EventFileError("holds no event")
    if text.lstrip(_BLANK)[:1] == b"[":
        return _array(text)
    try:
        found = _decode_object(text)
    except NOT_JSON as error:
        lines = [(number, line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
        if len(lines) == 1 or not _is_object(lines[0][1]):
            where = f"line {_line(text, error)}: " if len(lines) > 1 else ""
            raise EventFileError(f"{where}is not JSON: {error}") from error
    else:
        if "batch" in found and "type" not in found:
            return _batch(found["batch"])
        return [msgspec.Raw(text)]
    items = []
    for number, line in lines:
        try:
            _decode_object(line)
        except NOT_JSON as error:
            raise EventFileError(f"line {number}: is not a JSON object: {error}") from error
        items.append(msgspec.Raw(line))
    return items


def _batch(raw: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _decode_array(raw)
    except NOT_JSON as error:
        raise EventFileError('its "batch" is no array of events') from error


def _is_object(line: bytes) -> bool:
    try:
        _decode_object(line)
    except NOT_JSON:
        return False
    return True


def _line(text: bytes, error: Exception) -> int:
    """The line that the decoder names by a byte, as far as it does."""
    place = str(error).rpartition("(byte ")[2].rstrip(")")
    return text.count(b"\n", 0, int(place)) + 1 if place.isdigit() else text.count(b"\n") + 1
