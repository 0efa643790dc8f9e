"""Answers of careless servers, and what becomes of them; no test by itself.

Each was given to curl 7.88 by hand: `curl` is its verdict, True where it exits with 0 and knows the
status. Where ours differs, `why` says so. What is true of all: where curl reads a status, we do.
"""

from __future__ import annotations

from dataclasses import dataclass

CRLF = b"\r\n"


@dataclass(frozen=True, slots=True)
class Careless:
    """What a server says to a POST, after which it closes the connection, and what it comes to."""

    name: str
    said: bytes
    curl: bool
    body: bytes | None = b"ok"
    """The body as it is read; None: its flaw is told."""
    status: int | None = 200
    """None: it is no answer."""
    why: str = ""


def _ok(*headers: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"ok") -> bytes:
    return b"\r\n".join((line, *headers, b"", body))


def _chunks(*headers: bytes, body: bytes) -> bytes:
    return _ok(b"Transfer-Encoding: chunked", *headers, body=body)


TWO = b"Content-Length: 2"

TABLE = (
    Careless("a header line of 9 000 bytes", _ok(TWO, b"X: " + b"a" * 9000), True),
    Careless("a header line of 60 000 bytes", _ok(TWO, b"X: " + b"a" * 60_000), True),
    Careless(
        "a header line of 200 000 bytes",
        _ok(TWO, b"X: " + b"a" * 200_000),
        False,
        None,
        why="the status was read before it",
    ),
    Careless("160 headers", _ok(TWO, *(b"X-%d: a" % n for n in range(160))), True),
    Careless("900 headers", _ok(TWO, *(b"X-%d: a" % n for n in range(900))), True),
    Careless("3 000 headers", _ok(TWO, *(b"X-%d: a" % n for n in range(3000))), True, None),
    Careless("a status line without a reason", _ok(TWO, line=b"HTTP/1.1 200"), True),
    Careless("a status line that ends in a blank", _ok(TWO, line=b"HTTP/1.1 200 "), True),
    Careless(
        "a reason of any bytes",
        _ok(TWO, line=b"HTTP/1.1 200 \xff\x00\x1b[31m"),
        False,
        why="curl refuses NUL in a head",
    ),
    Careless("a reason of 9 000 bytes", _ok(TWO, line=b"HTTP/1.1 200 " + b"O" * 9000), True),
    Careless("two blanks before the code", _ok(TWO, line=b"HTTP/1.1  200 OK"), True),
    Careless("http in small letters", _ok(TWO, line=b"http/1.1 200 OK"), True),
    Careless("HTTP/1.0", _ok(TWO, line=b"HTTP/1.0 200 OK"), True),
    Careless("HTTP/2 in letters", _ok(TWO, line=b"HTTP/2 200 OK"), True),
    Careless(
        "HTTP/1.2",
        _ok(TWO, line=b"HTTP/1.2 200 OK"),
        False,
        why="the code is read, whatever the version",
    ),
    Careless("an unknown code", _ok(TWO, line=b"HTTP/1.1 299 Odd"), True, status=299),
    Careless("line feeds alone", _ok(TWO).replace(CRLF, b"\n"), True),
    Careless(
        "line feeds in the head, CRLF in the body",
        b"HTTP/1.1 200 OK\nContent-Length: 6\n\na\r\n\r\nb",
        True,
        b"a\r\n\r\nb",
    ),
    Careless("an empty line before the answer", b"\r\n" + _ok(TWO), False, why="it hides nothing"),
    Careless(
        "a header without a colon", _ok(TWO, b"this is no header"), False, why="nobody needs it"
    ),
    Careless("a header without a name", _ok(TWO, b": value"), True),
    Careless("a header with a blank before its colon", _ok(b"Content-Length : 2", b"X : y"), True),
    Careless("a header with a blank in its name", _ok(TWO, b"Odd Name: y"), True),
    Careless("a header's name in Latin-1", _ok(TWO, b"Gr\xf6\xdfe: y"), True),
    Careless("a header with control characters", _ok(TWO, b"X: a\x01\x1b[31m\x7f"), True),
    Careless("a header with a NUL", _ok(TWO, b"X: a\x00b"), False, why="curl refuses NUL"),
    Careless("a header with a carriage return", _ok(TWO, b"X: a\rb"), True),
    Careless("a folded header", _ok(TWO, b"X: a", b"  b", b"\tc"), True),
    Careless("a first header that is folded", _ok(b"  folded", TWO), False, why="nobody needs it"),
    Careless("a header twice", _ok(TWO, b"Content-Type: a/b", b"Content-Type: c/d"), True),
    Careless("the same length twice", _ok(TWO, TWO), True),
    Careless(
        "two lengths",
        _ok(TWO, b"Content-Length: 9"),
        False,
        why="the first counts, and nothing follows",
    ),
    Careless("lengths in a list", _ok(b"Content-Length: 2, 2"), True),
    Careless("a length with a plus", _ok(b"Content-Length: +2"), True),
    Careless("a length with zeros", _ok(b"Content-Length: 000002"), True),
    Careless(
        "a length that is no number",
        _ok(b"Content-Length: two"),
        False,
        why="the body ends with the connection",
    ),
    Careless(
        "a length below zero",
        _ok(b"Content-Length: -1"),
        False,
        why="the body ends with the connection",
    ),
    Careless("a length beyond all bounds", _ok(b"Content-Length: " + b"9" * 40), True),
    Careless(
        "a length that is too large",
        _ok(b"Content-Length: 10"),
        False,
        None,
        why="the status was read, only the body is cut off",
    ),
    Careless("a length that is too small", _ok(b"Content-Length: 1"), True, b"o"),
    Careless("no length", _ok(), True),
    Careless(
        "length and chunks", _chunks(b"Content-Length: 99", body=b"2\r\nok\r\n0\r\n\r\n"), True
    ),
    Careless(
        "chunks with extensions and blanks",
        _chunks(body=b"2 ;a=b\r\nok\r\n0\r\nTrailer: x\r\n\r\n"),
        True,
    ),
    Careless("chunks with line feeds alone", _chunks(body=b"2\nok\n0\n\n"), True),
    Careless(
        "chunks without the last line",
        _chunks(body=b"2\r\nok\r\n0\r\n"),
        False,
        why="all of the body was read",
    ),
    Careless(
        "chunks without the last one",
        _chunks(body=b"2\r\nok\r\n"),
        False,
        None,
        why="the status was read, only the body is cut off",
    ),
    Careless(
        "said to be chunked, and is not",
        _chunks(body=b"ok, all of it"),
        False,
        None,
        why="the status was read, only the body is not",
    ),
    Careless(
        "chunked in capitals, in a list",
        _ok(b"TRANSFER-ENCODING: identity, CHUNKED", body=b"2\r\nok\r\n0\r\n\r\n"),
        True,
    ),
    Careless(
        "chunked twice", _chunks(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"), True
    ),
    Careless(
        "an unknown transfer encoding",
        _ok(TWO, b"Transfer-Encoding: odd"),
        False,
        None,
        why="the status was read, only the body is not",
    ),
    Careless("204 with a body", _ok(TWO, line=b"HTTP/1.1 204 No Content"), True, b"", 204),
    Careless(
        "204 with chunks",
        _ok(b"Transfer-Encoding: chunked", line=b"HTTP/1.1 204 No", body=b"0\r\n\r\n"),
        True,
        b"",
        204,
    ),
    Careless("said to be gzip, and is not", _ok(TWO, b"Content-Encoding: gzip"), True),
    Careless("an unknown encoding", _ok(TWO, b"Content-Encoding: br"), True, None),
    Careless(
        "encodings without an end", _ok(TWO, b"Content-Encoding: " + b"gzip," * 99), True, None
    ),
    Careless(
        "interim answers",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3
        + b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        + _ok(TWO),
        True,
    ),
    Careless("bytes after the answer", _ok(TWO) + b"more than was said", True),
    Careless("two answers", _ok(TWO) + _ok(TWO, line=b"HTTP/1.1 500 No"), True),
    Careless("a connection header of any kind", _ok(TWO, b"Connection: ,,close,Upgrade;=,"), True),
    Careless("no headers at all", b"HTTP/1.1 200 OK\r\n\r\nok", True),
    Careless("an end within the head", b"HTTP/1.1 200 OK\r\nContent-Le", True, None),
    Careless("an end after the status line", b"HTTP/1.1 200 OK\r\n", True, None),
    Careless("an end within the reason", b"HTTP/1.1 200 O", False, None, why="the code is whole"),
    Careless("an end within the code", b"HTTP/1.1 20", False, status=None),
    Careless("an interim answer alone", b"HTTP/1.1 100 Continue\r\n\r\n", False, status=None),
    Careless("a code of four digits", _ok(TWO, line=b"HTTP/1.1 2000 OK"), False, status=None),
    Careless("a code of letters", _ok(TWO, line=b"HTTP/1.1 OK"), False, status=None),
    Careless("an HTML page alone", b"<html>ok</html>", False, status=None),
    Careless("another protocol", b"SSH-2.0-OpenSSH\r\n", False, status=None),
    Careless("nothing at all", b"", False, status=None),
)
