"""A client of the tracking API that loses nothing: lines in, batches out, counts at the end.

Owns how lines become batches, what is sent again and when, and which answers
end the work. Batches go one after the other over one connection, so that
events arrive in the order of the file. Must not print.
"""

from __future__ import annotations

import base64
import http.client
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from supervisor.commands.endpoint import Endpoint
from supervisor.commands.event_files import NOT_JSON, lines_of, unpacked
from supervisor.ingest.validation import mend_surrogates

#: Most events in a batch.
BATCH_EVENTS = 100
#: Most bytes in a request: what the tracking API takes by default.
BATCH_BYTES = 500 * 1024
#: Seconds between two batches where a rate is given and allows more than one event in that time.
STEP_S = 0.1
#: Bytes around the events of a batch: `{"batch":[...],"sentAt":"..."}`.
ENVELOPE_BYTES = 64
#: Seconds that one answer may take.
TIMEOUT_S = 60.0
#: Seconds of the first and of the longest pause, where the service does not name one.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

#: Answers that a later attempt may change.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Line:
    """One event: the line it stood on, and its JSON with a messageId."""

    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not taken, by us or by the service."""

    line: int
    code: str
    message: str


@dataclass(slots=True)
class Counts:
    """Lines read so far, blank ones left out, and what became of them."""

    lines: int = 0
    accepted: int = 0
    rejected: int = 0


class Undelivered(Exception):
    """The service cannot be reached or does not take these events; the text says why."""


class _Refusal(msgspec.Struct, frozen=True):
    index: int
    code: str
    message: str


class _Answer(msgspec.Struct, frozen=True):
    """What the tracking API answers, good or bad."""

    code: str = ""
    message: str = ""
    rejected: list[_Refusal] = msgspec.field(default_factory=list)


def events_per_batch(rate: float | None) -> int:
    """How many events go together: slow rates are kept in small steps and not in bursts."""
    return BATCH_EVENTS if rate is None else max(1, min(BATCH_EVENTS, int(rate * STEP_S)))


def batches(
    stream: BinaryIO,
    counts: Counts,
    on_rejected: Callable[[Rejected], None],
    most: int = BATCH_EVENTS,
) -> Iterator[list[Line]]:
    """Cut a stream of events (see `event_files`) into batches; what is none goes to `on_rejected`.

    Raises OSError, and EventFileError for an array or a gzip stream that is broken.
    """
    batch: list[Line] = []
    size = ENVELOPE_BYTES
    for number, text in lines_of(unpacked(stream), BATCH_BYTES):
        counts.lines += 1
        line = _read(number, text)
        if isinstance(line, Rejected):
            counts.rejected += 1
            on_rejected(line)
            continue
        if batch and size + len(line.body) + 1 > BATCH_BYTES:
            yield batch
            batch, size = [], ENVELOPE_BYTES
        batch.append(line)
        size += len(line.body) + 1
        if len(batch) == most:
            yield batch
            batch, size = [], ENVELOPE_BYTES
    if batch:
        yield batch


def _read(number: int, text: bytes | None) -> Line | Rejected:
    if text is None:
        return Rejected(number, "too_large", f"longer than {BATCH_BYTES} bytes")
    try:
        event = msgspec.json.decode(mend_surrogates(text), type=dict[str, msgspec.Raw])
    except NOT_JSON as error:
        hint = "; one event stands on one line, as `jq -c .` writes it" if text[:1] == b"{" else ""
        return Rejected(number, "invalid_json", f"not a JSON object: {error}{hint}")
    if bytes(event.get("messageId", b"null")) in (b"null", b'""'):
        event["messageId"] = msgspec.Raw(f'"{uuid.uuid4()}"'.encode())
    body = msgspec.json.encode(event)
    if len(body) + 1 + ENVELOPE_BYTES > BATCH_BYTES:
        return Rejected(number, "too_large", f"longer than {BATCH_BYTES} bytes")
    return Line(number, body)


class Sender:
    """Sends batches over one connection, and again until each line is taken or rejected.

    A context manager, which closes the connection.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        write_key: str,
        *,
        patience_s: float,
        rate: float | None = None,
        on_wait: Callable[[str, float], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_wait` hears why the next attempt has to wait, and for how many seconds.

        `patience_s`: seconds without an answer that takes anything until
        `Undelivered` is raised. `rate`: most events a second, in the long run.
        """
        self._endpoint = endpoint
        key = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {key}", "Content-Type": "application/json"}
        self._patience_s = patience_s
        self._rate = rate
        self._on_wait = on_wait
        self._sleep = sleep
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None
        self._was_answered = False
        self._next_at = clock()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *exc: object) -> None:
        self._disconnect()

    def send(
        self, batch: list[Line], counts: Counts, on_rejected: Callable[[Rejected], None]
    ) -> None:
        """Returns when each line is taken or rejected. Raises Undelivered."""
        self._keep_to_rate(len(batch))
        status, answer = self._until_answered(batch)
        if status == http.client.REQUEST_ENTITY_TOO_LARGE and len(batch) > 1:
            # The service takes less than the default: smaller pieces may fit.
            half = len(batch) // 2
            for piece in (batch[:half], batch[half:]):
                self.send(piece, counts, on_rejected)
            return
        refused = self._refused(status, answer, batch)
        counts.accepted += len(batch) - len(refused)
        counts.rejected += len(refused)
        for line in refused:
            on_rejected(line)

    def _refused(self, status: int, answer: _Answer, batch: list[Line]) -> list[Rejected]:
        """The lines that were not taken. Raises Undelivered where that is not about lines."""
        if status == http.client.OK or (status == http.client.BAD_REQUEST and answer.rejected):
            return [
                Rejected(batch[refusal.index].number, refusal.code, refusal.message)
                for refusal in answer.rejected
                if 0 <= refusal.index < len(batch)
            ]
        if status in (http.client.BAD_REQUEST, http.client.REQUEST_ENTITY_TOO_LARGE):
            return [Rejected(line.number, answer.code, answer.message) for line in batch]
        if status == http.client.UNAUTHORIZED:
            raise Undelivered(
                f"{self._endpoint.text}: the write key is unknown; "
                "see [sources] in the service's config"
            )
        raise Undelivered(
            f"{self._endpoint.text}: status {status}; is that a tracking API? "
            f"{answer.message[:200]}".rstrip()
        )

    def _until_answered(self, batch: list[Line]) -> tuple[int, _Answer]:
        """An answer that is no passing trouble. Raises Undelivered when patience is at its end."""
        give_up_at = self._clock() + self._patience_s
        attempt = 0
        while True:
            is_reused = self._connection is not None
            try:
                status, retry_after, answer = self._once(batch, attempt)
            except (OSError, http.client.HTTPException) as error:
                self._disconnect()
                if is_reused:
                    continue  # closed while idle, as servers do: a new one tells how things are
                why = self._endpoint.unreachable(error, "--url")
                if not self._was_answered and isinstance(error, OSError):
                    # Nobody was ever there: a wrong address, more likely than an outage.
                    raise Undelivered(why) from error
                retry_after = None
            else:
                self._was_answered = True
                if status not in _TRANSIENT:
                    return status, answer
                why = f"the service answers {status}: {answer.message or 'no reason given'}"
            ceiling = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
            pause_s = retry_after or random.uniform(ceiling / 2, ceiling)  # noqa: S311  # jitter
            if self._clock() + pause_s > give_up_at:
                raise Undelivered(f"{why}; gave up after {self._patience_s:.0f} s (--patience)")
            self._on_wait(why, pause_s)
            self._sleep(pause_s)
            attempt = min(attempt + 1, 20)

    def _once(self, batch: list[Line], attempt: int) -> tuple[int, float | None, _Answer]:
        if self._connection is None:
            self._connection = self._endpoint.connect(TIMEOUT_S)
        sent_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = b'{"batch":[%b],"sentAt":"%b"}' % (
            b",".join(line.body for line in batch),
            sent_at.encode(),
        )
        headers = {**self._headers, "X-Retry-Count": str(attempt)} if attempt else self._headers
        self._connection.request("POST", f"{self._endpoint.base}/v1/batch", body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.will_close:
            self._disconnect()
        return response.status, _seconds(response.getheader("Retry-After")), _decoded(content)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _keep_to_rate(self, events: int) -> None:
        if self._rate is None:
            return
        wait_s = self._next_at - self._clock()
        if wait_s > 0:
            self._sleep(wait_s)
        # From now where we are late: what was lost in an outage is not made up by a flood.
        self._next_at = max(self._next_at, self._clock()) + events / self._rate


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; a date, which our service never sends, counts as not given."""
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit()):
        return None
    return float(retry_after)


def _decoded(content: bytes) -> _Answer:
    try:
        return msgspec.json.decode(content, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # A proxy in between; the status alone decides, and its text is the only explanation.
        return _Answer(message=content[:200].decode(errors="replace"))
