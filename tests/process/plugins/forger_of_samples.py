"""A destination that writes samples of its own making to the wire, past the runner."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import urllib.parse
from collections.abc import Callable, Iterator, Sequence

import msgpack
import msgspec

from destinations.kit import Destination, Event, Failed, Outcome
from sandbox.marks import current_place
from sandbox.protocol import MAX_HEADER, MAX_HEADER_NAME, MAX_HEADERS, MAX_REQUEST_BODY, MAX_URL

#: Text that whoever looks must see as text.
HOSTILE_TEXT = "<script>alert(1)</script>\u202e\x00\x1b[31m"


class ForgerOfSamples(Destination):
    """Says one thing of `LIES` or of `WELL_FORMED` at each event, and then that it failed."""

    name = "forger-of-samples"
    batch_events = 1

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`says` names it; `knows` is a secret that it has got hold of."""

        says: str
        knows: str = ""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        says, (_, batch) = self.settings.says, current_place.get()
        wire = _wire()
        if says in LIES:
            os.set_blocking(wire, True)
            for _ in range(100_000 if says in FLOODS else 1):
                os.write(wire, LIES[says](batch))
        else:
            for frame in WELL_FORMED[says](batch, self.settings.knows):
                os.write(wire, frame)
        await asyncio.sleep(0.05)
        return [Failed("it is refused, as ever") for _ in events]


def sampled(batch: int, index: int = 0, request: object = None, answer: object = None) -> bytes:
    """A frame with a sample."""
    return packed([67, batch, index, sent() if request is None else request, answer])


def sent(
    method: object = "POST",
    url: object = "https://forged.example/forged",
    headers: object = None,
    body: object = b"forged",
    size: object = 6,
    digest: object = "",
) -> list[object]:
    """A request as it stands in a frame; an answer has a status and no URL."""
    return [method, url, headers or {}, body, size, digest]


def packed(frame: object) -> bytes:
    """Any frame at all, also of texts that are not UTF-8."""
    data: bytes = msgpack.packb(frame, use_bin_type=True, unicode_errors="surrogateescape")
    return data


_NO_TEXT = b"\xff\xfe\x80".decode(errors="surrogateescape")

#: What costs the worker its life, made for a batch that it has.
LIES: dict[str, Callable[[int], bytes]] = {
    "of the batch before": lambda batch: sampled(batch - 1),
    "of the batch after": lambda batch: sampled(batch + 1),
    "of a batch far away": lambda batch: sampled(2**40),
    "of no batch": lambda batch: sampled(-1),
    "of an event behind the last": lambda batch: sampled(batch, 1),
    "of an event before the first": lambda batch: sampled(batch, -1),
    "a size below zero": lambda batch: sampled(batch, 0, sent(size=-1)),
    "a size past all": lambda batch: sampled(batch, 0, sent(size=2**53 + 1)),
    "a status that is none": lambda batch: sampled(batch, 0, None, [10_000, {}, b"", 0, ""]),
    "a header too many": lambda batch: sampled(
        batch, 0, sent(headers={f"X-{n}": "v" for n in range(MAX_HEADERS + 1)})
    ),
    "a huge header": lambda batch: sampled(batch, 0, sent(headers={"X": "v" * (MAX_HEADER + 1)})),
    "a megabyte of header": lambda batch: sampled(batch, 0, sent(headers={"X": "v" * 2**20})),
    "a huge name": lambda batch: sampled(batch, 0, sent(headers={"X" * (MAX_HEADER_NAME + 1): ""})),
    "a huge URL": lambda batch: sampled(batch, 0, sent(url="u" * (MAX_URL + 1))),
    "a huge body": lambda batch: sampled(batch, 0, sent(body=b"b" * (MAX_REQUEST_BODY + 1))),
    "no UTF-8 in a URL": lambda batch: sampled(batch, 0, sent(url=_NO_TEXT)),
    "no UTF-8 in a header": lambda batch: sampled(batch, 0, sent(headers={"X": _NO_TEXT})),
    "no UTF-8 in a name": lambda batch: sampled(batch, 0, sent(headers={_NO_TEXT: "X"})),
    "a text for a body": lambda batch: sampled(batch, 0, sent(body="text")),
    "no request": lambda batch: packed([67, batch, 0, None, None]),
    "more fields": lambda batch: packed([67, batch, 0, sent(), None, 1]),
    "half a frame and an outcome": lambda batch: sampled(batch)[:-9] + packed([21, 0.0, 1]),
    "a hundred thousand": sampled,
    "a hundred thousand of the longest": lambda batch: sampled(
        batch, 0, sent(body=b"b" * MAX_REQUEST_BODY)
    ),
}
#: Which of them are said so often.
FLOODS = [lie for lie in LIES if lie.startswith("a hundred thousand")]


def _with_a_secret(batch: int, secret: str) -> Iterator[bytes]:
    """In each field and in each form; whatever came last is what is kept."""
    forms = list(forms_of(secret))
    for form in forms:
        yield sampled(batch, 0, sent(form[:16], f"https://{form}/{form}?q={form}#{form}"))
    headers = {f"X-{n} {form}"[:MAX_HEADER_NAME]: form for n, form in enumerate(forms)}
    kept = dict(list(headers.items())[:MAX_HEADERS])
    body = json.dumps({forms[0]: forms, "text": " ".join(forms)}).encode()
    yield sampled(
        batch,
        0,
        sent(secret[:16], f"https://{secret}/?{'&'.join(forms)}"[:MAX_URL], kept, body, 1, "d"),
        [400, kept, f"no JSON {forms}".encode()[:2000], 1, secret[:16]],
    )


def _with_odd_text(batch: int, secret: str) -> Iterator[bytes]:
    yield sampled(
        batch,
        0,
        sent(HOSTILE_TEXT[:16], HOSTILE_TEXT, {HOSTILE_TEXT: HOSTILE_TEXT}, b"\xff\x00", 2**53),
        [0, {HOSTILE_TEXT: HOSTILE_TEXT}, HOSTILE_TEXT.encode(), 0, ""],
    )


def _often(batch: int, secret: str) -> Iterator[bytes]:
    for n in range(60):
        yield sampled(batch, 0, sent(url=f"https://forged.example/{n}"))


#: What a worker may say, made for a batch that it has and a secret that it knows.
WELL_FORMED: dict[str, Callable[[int, str], Iterator[bytes]]] = {
    "with a secret": _with_a_secret,
    "with odd text": _with_odd_text,
    "often": _often,
}


def forms_of(secret: str) -> Iterator[str]:
    """A secret as programs write it."""
    yield secret
    yield urllib.parse.quote(secret, safe="")
    yield urllib.parse.quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    for before in ("", "x", "xy"):
        yield base64.b64encode(f"{before}{secret}".encode()).decode()
        yield base64.urlsafe_b64encode(f"{before}{secret}".encode()).decode()


def _wire() -> int:
    for fd in range(3, 64):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as found:
            if (found.family, found.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
                return fd
    raise OSError("there is no wire")
