"""Reading answers: bytes in any split, from servers of any care.

Pure. Owns what counts as an answer: a status line whose code can be read. All that follows may
be odd; it never changes the status. It takes what curl takes, and more: line feeds alone, headers
without a colon, folded, doubled or of any bytes, lengths that disagree. Where a parser for
servers has to refuse such a thing, since the next reader may understand it otherwise, there is
none here: this is the last one, and it gives up the connection.

One object reads one answer, interim ones (1xx) before it included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from destinations.kit.client.bodies import (
    CUT_OFF,
    MAX_LINE,
    BodyReader,
    ChunkedBody,
    OpenBody,
    SizedBody,
)

#: Most headers of an answer, and most bytes of its head, those of interim answers included.
MAX_HEADERS = 1000
MAX_HEAD = 1024 * 1024
SWITCHING = 101
#: Statuses without a body.
_BODILESS = frozenset({SWITCHING, 204, 304})
_STATUS = re.compile(rb"HTTP/(\d+(?:\.\d+)?)[ \t]+([1-9]\d\d)(?=[ \t\r\n])", re.IGNORECASE)
#: Headers that say where the body ends and what may follow it, in a head in small letters.
_FRAMING = re.compile(
    rb"\n(content-length|content-encoding|transfer-encoding|connection)[ \t]*:[ \t]*([^\r\n]*)"
)
_FOLD = re.compile(rb"\r?\n[ \t]+")
_DIGITS = re.compile(rb"\+?(\d{1,15})(?!\d)")
_WIRE = b"HTTP/"


class NotHttp(Exception):
    """What came is no answer; the text says in printable words how it begins."""


class AnswerHeaders(Mapping[str, str]):
    """Headers of an answer, asked in any case; of one that is said twice, the first counts.

    Decoded when they are first asked.
    """

    __slots__ = ("_fields", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._fields: dict[str, tuple[str, str]] | None = None

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """All of them as they came, name and value, but for lines that are no header."""
        lines = _FOLD.sub(b" ", self._raw).split(b"\n")
        for line in lines[1 : MAX_HEADERS + 1]:
            name, colon, value = line.partition(b":")
            if colon and (name := name.strip()):
                yield name, value.strip()

    def _decoded(self) -> dict[str, tuple[str, str]]:
        if self._fields is None:
            self._fields = {}
            for name, value in self.pairs():
                text = decoded(name)
                self._fields.setdefault(text.lower(), (text, decoded(value)))
        return self._fields

    def __getitem__(self, name: str) -> str:
        return self._decoded()[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._decoded().values())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {dict(self)!r}>"


def decoded(text: bytes) -> str:
    """A header's text: UTF-8 where it is that, else one character a byte."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def printable(text: bytes, most: int) -> str:
    """What strangers sent, for a reason: one line, at most `most` characters, nothing but print."""
    plain = text[: 4 * most].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())[:most]


class AnswerHead:
    """A status line and its headers."""

    __slots__ = ("encodings", "headers", "is_chunked", "is_clean", "length", "raw", "status")

    def __init__(self, raw: bytes, status: int) -> None:
        self.raw = raw
        self.status = status
        self.headers = AnswerHeaders(raw)
        self.encodings: tuple[bytes, ...] = ()
        """How the body is packed, the outermost last."""
        self.is_clean = False
        """Whether another answer may follow on this connection."""
        self.is_chunked = False
        self.length: int | None = None
        """Of the body, as it is read; without one, and without chunks, the connection ends it."""

    @property
    def reason(self) -> str:
        """What follows the code in the status line, printable."""
        line = self.raw.partition(b"\n")[0].lstrip().split(None, 2)
        return printable(line[2], 100) if len(line) > 2 else ""

    def body(self, *, is_awaited: bool) -> BodyReader:
        """How the body is read; none is awaited after a request whose answer has none."""
        small = self.raw.lower()
        if b"\n " in small or b"\n\t" in small:
            small = _FOLD.sub(b" ", small)
        lengths: set[bytes] = set()
        first = b""
        coding: list[bytes] = []
        packing: list[bytes] = []
        connection = b""
        for name, value in _FRAMING.findall(small):
            if name == b"content-length":
                first = first or value
                lengths.update(part.strip() for part in value.split(b","))
            elif name == b"connection":
                connection += b"," + value
            else:
                (coding if name == b"transfer-encoding" else packing).extend(
                    token for part in value.split(b",") if (token := part.strip())
                )
        self.is_clean = _stays(small, connection) and len(lengths) <= 1 and not (coding and first)
        self.encodings = tuple(
            token for token in (*packing, *coding) if token not in (b"chunked", b"identity")
        )
        if self.status in _BODILESS or not is_awaited:
            if is_awaited and (coding or first.strip(b"0")):
                self.is_clean = False  # a body is announced where there can be none
            return SizedBody(0)
        if b"chunked" in coding:
            self.is_chunked = True
            return ChunkedBody()
        size = _DIGITS.match(first)
        if size is None:
            self.is_clean = False
            return OpenBody()
        self.is_clean = self.is_clean and size[1] == first
        self.length = int(size[1])
        return SizedBody(self.length)


def _stays(small: bytes, connection: bytes) -> bool:
    tokens = [token.strip() for token in connection.split(b",")]
    if b"close" in tokens:
        return False
    return small.lstrip().startswith(b"http/1.1") or b"keep-alive" in tokens


class AnswerReader:
    """Reads one answer. `method` is that of the request."""

    __slots__ = (
        *("_body", "_buffer", "_flaw", "_is_awaited", "_seen"),
        *("head", "interim", "is_complete", "rest"),
    )

    def __init__(self, method: str) -> None:
        self._is_awaited = method.upper() != "HEAD"
        self._buffer = bytearray()
        self._seen = 0  # bytes of interim answers
        self._body: BodyReader | None = None
        self._flaw = ""
        self.head: AnswerHead | None = None
        """Set once the status counts."""
        self.interim: list[int] = []
        """Statuses of interim answers that have come, for who waits for one."""
        self.is_complete = False
        """Nothing of the answer follows."""
        self.rest = b""
        """What came after its end."""

    @property
    def flaw(self) -> str:
        """Why the body that was read is not the whole body; "" where it is."""
        return self._flaw or (self._body.flaw if self._body is not None else "")

    @property
    def is_reusable(self) -> bool:
        """Whether another request may follow on the connection."""
        head = self.head
        return (
            self.is_complete
            and head is not None
            and head.is_clean
            and not self.rest
            and not self.flaw
            and head.status != SWITCHING
        )

    def feed(self, data: bytes) -> bytes:
        """What of `data` is the body's. Raises NotHttp.

        Not to be called once the answer is complete.
        """
        body = self._body
        if body is None:
            data = self._read_head(data)
            body = self._body
            if body is None or self.is_complete:
                return b""
            if body.is_complete:
                self.rest, self.is_complete = data, True
                return b""
            if not data:
                return b""
        payload = body.feed(data)
        if body.is_complete:
            self.rest, self.is_complete = body.rest, True
        return payload

    def end(self, flaw: str = "") -> bool:
        """Nothing more will be read, since the connection has ended, or for the reason `flaw`.

        Whether there is an answer.
        """
        if self.head is None:
            self._begin(bytes(self._buffer.lstrip(b"\r\n")), flaw or CUT_OFF)
            return self.head is not None
        if flaw and not self.is_complete and (self.flaw or isinstance(self._body, OpenBody)):
            self._flaw = flaw
        self.is_complete = True
        self.head.is_clean = False
        return True

    def _read_head(self, data: bytes) -> bytes:
        """Take the head; give what follows it."""
        buffer: bytes | bytearray = data
        searched = 0
        if self._buffer:
            searched = max(0, len(self._buffer) - 3)
            self._buffer += data
            buffer = self._buffer
        at = 0  # where this answer begins, behind interim ones
        while True:
            while buffer[at : at + 1] in (b"\r", b"\n"):  # an end of line too many
                at += 1
            if buffer[at : at + len(_WIRE)].upper() != _WIRE[: len(buffer) - at]:
                raise NotHttp(printable(bytes(buffer[at : at + 400]), 60))
            end = _end_of_head(buffer, max(searched, at))
            if end < 0:
                self._hold(buffer, at)
                return b""
            raw = bytes(buffer[at:end])
            found = _STATUS.match(raw)
            if found is None:
                raise NotHttp(printable(raw[:400], 60))
            status = int(found[2])
            if status >= 200 or status == SWITCHING:
                self._buffer = bytearray()
                self._begin(raw, "")
                return bytes(buffer[end:])
            self._seen += end - at
            self.interim.append(status)
            if self._seen > MAX_HEAD:
                raise NotHttp("interim answers without an end")
            at = end

    def _hold(self, buffer: bytes | bytearray, at: int) -> None:
        """Keep the beginning of a head, unless it is too large to be one."""
        if at or buffer is not self._buffer:
            self._buffer = bytearray(buffer[at:])
        size = len(self._buffer)
        if size <= MAX_LINE:
            return
        line = size - 1 - self._buffer.rfind(b"\n")
        if size + self._seen > MAX_HEAD or line > MAX_LINE:
            raw = bytes(self._buffer)
            self._buffer = bytearray()
            self._begin(raw, "lost behind a head without an end")
            if self.head is None:
                raise NotHttp(printable(raw[:400], 60))

    def _begin(self, raw: bytes, flaw: str) -> None:
        """Take a head; with a flaw it is as much of one as there is."""
        found = _STATUS.match(raw)
        if found is None or (flaw and 100 <= int(found[2]) < 200 and found[2] != b"101"):
            return
        self.head = AnswerHead(raw, int(found[2]))
        self._flaw = flaw
        self._body = self.head.body(is_awaited=self._is_awaited)
        if not flaw and not _is_moderate(raw):
            self._flaw = f"lost behind more than {MAX_HEADERS} headers, or {MAX_LINE} bytes of one"
        if self._flaw:
            self.is_complete = True


def _end_of_head(buffer: bytes | bytearray, start: int) -> int:
    """Behind the first empty line at or after `start`; -1 where there is none."""
    usual = buffer.find(b"\n\r\n", start)
    bare = buffer.find(b"\n\n", start, usual + 2 if usual >= 0 else len(buffer))
    if bare >= 0:
        return bare + 2
    return usual + 3 if usual >= 0 else -1


def _is_moderate(raw: bytes) -> bool:
    if len(raw) <= MAX_HEADERS:
        return True
    lines = raw.split(b"\n")
    return len(lines) <= MAX_HEADERS + 3 and max(map(len, lines)) <= MAX_LINE
