"""Reading answers: of careless servers, in any split, cut off anywhere, of any bytes."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from destinations.kit import Response
from destinations.kit.client.answers import (
    MAX_HEAD,
    AnswerReader,
    NotHttp,
    printable,
)
from destinations.kit.client.packed import PackedResponse
from tests.destinations.kit.client.careless import TABLE, Careless

Read = tuple[int | None, bytes, str, dict[str, str]]


def read(pieces: Sequence[bytes], method: str = "POST") -> tuple[AnswerReader, bytes]:
    """What a reader makes of these bytes, after which the connection ends."""
    reader = AnswerReader(method)
    body = b""
    for at, piece in enumerate(pieces):
        body += reader.feed(piece)
        if reader.is_complete:
            reader.rest += b"".join(pieces[at + 1 :])
            return reader, body
    reader.end()
    return reader, body


def told(pieces: Sequence[bytes]) -> Read | str:
    """The same, to compare."""
    try:
        reader, body = read(pieces)
    except NotHttp:
        return "no HTTP"
    if reader.head is None:
        return "no answer"
    return reader.head.status, body, reader.flaw, dict(reader.head.headers)


def split_at(data: bytes, places: list[int]) -> list[bytes]:
    """The bytes in pieces, none of them empty."""
    at = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[one:two] for one, two in itertools.pairwise(at) if one < two]


CASES = st.sampled_from([careless.said for careless in TABLE if len(careless.said) < 20_000])
CUTS = st.lists(st.integers(0, 400), max_size=12)


@given(CASES, CUTS)
def test_any_split(said: bytes, cuts: list[int]) -> None:
    """However an answer is split on its way, it is the same answer."""
    assert told(split_at(said, cuts)) == told([said])


@given(CASES)
def test_byte_by_byte(said: bytes) -> None:
    """Even in single bytes."""
    assert told([said[at : at + 1] for at in range(len(said))]) == told([said])


@given(CASES, st.integers(0, 20_000), CUTS)
def test_cut_off_anywhere(said: bytes, length: int, cuts: list[int]) -> None:
    """Cut off anywhere, the status is the same or there is none, and no more is read than came."""
    cut = told(split_at(said[:length], cuts))
    whole = told([said])
    if isinstance(cut, tuple):
        assert isinstance(whole, tuple)
        assert cut[0] == whole[0]
        assert len(cut[1]) <= length


#: Of which heads are made that are nearly good; the last one is longer than a line may be.
PARTS = (
    *(b"HTTP/1.1 200 OK", b"\r\n", b"\n", b"\r", b":", b" ", b"Content-Length", b"Transfer-"),
    *(b"Encoding", b"chunked", b"0", b"2", b"ok", b"\x00", b"\xff", b"100", b"a" * 70_000),
)


@given(st.lists(st.integers(0, len(PARTS) - 1), max_size=40), st.booleans())
@example([5] * 3, True)
def test_any_head(parts: list[int], begins: bool) -> None:
    """A head of any parts is one or none; once the code of a status line was read, it counts."""
    said = (b"HTTP/1.1 200 OK\r\n" if begins else b"") + b"".join(PARTS[at] for at in parts)
    result, split = told([said]), told(split_at(said, list(range(0, len(said), 9_973))))
    if isinstance(result, tuple) and isinstance(split, tuple):
        # Where a line is too long, it is the sooner given up the more pieces it comes in.
        assert (result[:2], not result[2]) == (split[:2], not split[2])
    else:
        assert result == split
    if begins:
        assert isinstance(result, tuple)
        assert result[0] == 200


@given(st.binary(max_size=300))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n")
@example(b"\r\n" * 200)
def test_any_bytes(said: bytes) -> None:
    """Any bytes are an answer or none, however they are split."""
    assert told(split_at(said, list(range(0, len(said), 7)))) == told([said])


@given(CASES, st.binary(min_size=1, max_size=40))
def test_what_follows_is_never_the_next_answer(said: bytes, garbage: bytes) -> None:
    """A connection on which more came than the answer is not used again."""
    try:
        is_whole = read([said])[0].is_reusable
    except NotHttp:
        return
    if is_whole:
        reader, _ = read([said + garbage])
        assert not reader.is_reusable
        assert reader.rest == garbage


@pytest.mark.parametrize("careless", TABLE, ids=lambda careless: careless.name)
def test_careless(careless: Careless) -> None:
    """Each careless answer comes to what the table says."""
    result = told([careless.said])
    if careless.status is None:
        assert isinstance(result, str)
        return
    assert isinstance(result, tuple)
    assert result[0] == careless.status


def test_curl_takes_no_more_than_we() -> None:
    """What curl takes as an answer is one, and where only we do, the table says why."""
    for careless in TABLE:
        if careless.curl:
            assert careless.status is not None, careless.name
        elif careless.status is not None:
            assert careless.why, careless.name


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        ("HTTP/1.1 200 OK|Content-Length: 0", True),
        ("HTTP/1.1 200 OK|Content-Length: 0|Connection: Keep-Alive", True),
        ("HTTP/1.1 200 OK|Content-Length: 0|Connection: Close", False),
        ("HTTP/1.1 200 OK|Content-Length: 0|Connection: x, close", False),
        ("HTTP/1.0 200 OK|Content-Length: 0", False),
        ("HTTP/1.0 200 OK|Content-Length: 0|Connection: keep-alive", True),
        ("HTTP/1.1 204 No Content", True),
        ("HTTP/1.1 204 No Content|Content-Length: 2", False),
        ("HTTP/1.1 304 Not Modified|Content-Length: 0", True),
        ("HTTP/1.1 101 Switching", False),
        ("HTTP/1.1 200 OK|Content-Length: 0|Content-Length: 2", False),
        ("HTTP/1.1 200 OK|Content-Length: 0|Transfer-Encoding: identity", False),
        ("HTTP/1.1 200 OK|Content-Length: 0x", False),
    ],
)
def test_who_is_asked_again(head: str, stays: bool) -> None:
    """A connection is used again after an answer that leaves no doubt where it ends."""
    reader, _ = read([head.replace("|", "\r\n").encode() + b"\r\n\r\n"])
    assert reader.is_complete
    assert reader.is_reusable is stays


def test_no_body_after_head() -> None:
    """The answer to HEAD says the length of a body that does not come."""
    reader, body = read([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"], "HEAD")
    assert (body, reader.flaw, reader.is_reusable) == (b"", "", True)


def test_headers() -> None:
    """Headers are asked in any case; the first of a name counts; bytes of any kind are text."""
    head = b"HTTP/1.1 200 OK\r\nRetry-After:  5 \r\nretry-after: 9\r\nX: \xe4\r\nY:\xc3\xa4\r\n\r\n"
    reader, _ = read([head])
    assert reader.head is not None
    headers = reader.head.headers
    assert headers["RETRY-AFTER"] == "5"
    assert headers.get("x") == "ä"
    assert headers.get("y") == "ä"
    assert headers.get("z") is None
    assert list(headers) == ["Retry-After", "X", "Y"]


def test_a_head_without_an_end_is_bounded() -> None:
    """Of a head that never ends no more is held than a head may have; its status counts."""
    reader = AnswerReader("POST")
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    fed = 0
    while not reader.is_complete:
        reader.feed(b"X: y\r\n" * 1000)
        fed += 6000
        assert fed <= MAX_HEAD + 6000
    assert reader.head is not None
    assert reader.head.status == 200
    assert reader.flaw
    assert not reader.is_reusable


def test_interim_answers_are_bounded() -> None:
    """A server that never comes to its answer is told apart from one that does."""
    reader = AnswerReader("POST")
    with pytest.raises(NotHttp, match="interim"):
        reader.feed(b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_HEAD // 20))


@given(st.binary(max_size=100))
def test_reasons_are_print(said: bytes) -> None:
    """What is quoted of a server's bytes is one short printable line."""
    text = printable(said, 60)
    assert len(text) <= 60
    assert text.isprintable()


BODY = b'{"ok":true}' * 10


@pytest.mark.parametrize(
    ("encodings", "raw", "body", "flaw"),
    [
        ((b"gzip",), zlib.compress(BODY, wbits=31), BODY, ""),
        ((b"x-gzip",), zlib.compress(BODY, wbits=31) + b"\0\0", BODY, ""),
        ((b"deflate",), zlib.compress(BODY), BODY, ""),
        ((b"deflate",), zlib.compress(BODY, wbits=-15), BODY, ""),
        ((b"gzip",), BODY, BODY, ""),
        ((b"gzip",), b"", b"", ""),
        ((b"gzip",), zlib.compress(BODY, wbits=31)[:-9], BODY, "cut off in the middle"),
        ((b"gzip",), b"\x1f\x8b and no more", b"", "not packed as it says"),
        ((b"br",), b"x", b"", "packed in a way that was not asked for"),
        ((b"gzip",) * 9, b"x", b"", "packed more than twice"),
    ],
)
def test_unpacking(encodings: tuple[bytes, ...], raw: bytes, body: bytes, flaw: str) -> None:
    """A packed body is unpacked when it is asked for; where it cannot be, that is a flaw."""
    response = PackedResponse(200, {}, raw, "", encodings, 1000)
    assert isinstance(response, Response)
    assert response.is_success
    assert response.flaw == flaw
    assert body.startswith(response.body)
    assert response.body or not body or flaw


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate"]))
def test_unpacking_anything(raw: bytes, encoding: bytes) -> None:
    """Whatever is said to be packed, unpacking ends, and gives no more than is allowed."""
    response = PackedResponse(200, {}, b"\x1f\x8b\x08" + raw, "", (encoding,), 50)
    assert len(response.body) <= 50
