"""The wire between supervisor and worker: pure, bytes to messages and back.

Owns frame layouts and their limits; the only module that both sides import.
A frame is one msgpack array that opens with a small integer kind. The stream
needs no length prefix: msgpack delimits itself, and `FrameReader` refuses what
is larger or deeper than any honest frame before it has been buffered.
Must not do I/O, log, or know what a destination is.
"""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec

#: Largest frame a worker may send: outcomes of a full batch with their details.
MAX_FRAME_FROM_WORKER = 4 * 1024 * 1024
#: Largest frame the supervisor sends: a batch of its largest size and head room.
MAX_FRAME_TO_WORKER = 64 * 1024 * 1024
#: Longest text in an outcome, log line or error, in characters; senders truncate.
MAX_DETAIL = 2_000


class Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What every message is: an array, its kind in front, and nothing behind its fields."""


# --- supervisor to worker ---------------------------------------------------


class Configure(Message, frozen=True, array_like=True, tag=1):
    """Settings of a connection, ahead of its first batch; again when they changed."""

    connection: str
    destination: str
    settings: dict[str, Any]  # Any: whatever the destination's own schema says


class Batch(Message, frozen=True, array_like=True, tag=2):
    """Deliveries of one connection; `events` are JSON as stored. `timeout_s` is the soft limit."""

    id: int
    connection: str
    timeout_s: float
    events: list[bytes]


class Drain(Message, frozen=True, array_like=True, tag=3):
    """No batch will follow: finish what runs, then exit with status 0."""


class Validate(Message, frozen=True, array_like=True, tag=4):
    """Check the settings of a connection; answered with `Validated`. To a declaring worker only."""

    connection: str
    destination: str
    settings: dict[str, Any]  # Any: not validated yet, that is the point


# --- worker to supervisor ---------------------------------------------------


class Ready(Message, frozen=True, array_like=True, tag=16):
    """Imports are done; the worker takes `credits` batches at once.

    A declaring worker says it ahead of its imports, with no credits. `layers`
    says of each sandbox layer "on", or why not.
    """

    credits: int
    layers: dict[str, str]


class Declared(Message, frozen=True, array_like=True, tag=17):
    """What a destination says of itself, before the worker has seen any data.

    `error` is why it could not be imported; then nothing else holds.
    `settings_schema` is JSON Schema.
    """

    destination: str
    error: str | None
    types: list[str]
    aliases: list[str]
    hosts: list[str]
    batch_events: int
    batch_bytes: int
    settings_schema: dict[str, Any]  # Any: JSON Schema, shown and never interpreted


class Validated(Message, frozen=True, array_like=True, tag=18):
    """Errors in the settings of a connection, each opening with a key path; empty where valid."""

    connection: str
    errors: list[str]


class Outcomes(Message, frozen=True, array_like=True, tag=19):
    """Outcomes as they come: (index in the batch, outcome, detail, seconds to wait or None)."""

    batch: int
    outcomes: list[tuple[int, int, str, float | None]]


class BatchDone(Message, frozen=True, array_like=True, tag=20):
    """Nothing more will be said of a batch, and its credit is free."""

    batch: int


class Stats(Message, frozen=True, array_like=True, tag=21):
    """Once a second, and so a heartbeat. `loop_lag_s` is the worst since the last one."""

    loop_lag_s: float
    tasks: int


class Log(Message, frozen=True, array_like=True, tag=22):
    """A log line of a destination. `level` as in `logging`; `dropped` were not sent before it."""

    level: int
    connection: str
    text: str
    dropped: int


ToWorker = Configure | Batch | Drain | Validate
FromWorker = Ready | Declared | Validated | Outcomes | BatchDone | Stats | Log

# What an outcome is called on the wire. RETRY_ALONE: the batch failed as a whole, so each of its
# deliveries goes on its own next time, and a bad one fails alone.
DELIVERED, RETRY, FAILED, UNSUPPORTED, RETRY_ALONE = range(5)


# --- supervisor and zygote: trusted, one datagram a message on a SEQPACKET pair ------


class Spawn(Message, frozen=True, array_like=True, tag=32):
    """Fork a worker; the worker's end of its wire travels with the datagram.

    `destinations` is (name, class path or None for a built-in one). A worker
    that is to `declare` describes them and validates settings, and serves no
    batches. It carries no settings and no secrets.
    """

    child: int
    label: str
    destinations: list[tuple[str, str | None]]
    plugin_paths: list[str]
    declare: bool


class Spawned(Message, frozen=True, array_like=True, tag=33):
    """The worker's process id; it is the supervisor's child by the time this is read."""

    child: int
    pid: int


class SpawnFailed(Message, frozen=True, array_like=True, tag=34):
    """The fork failed: no processes or memory left."""

    child: int
    reason: str


class Warm(Message, frozen=True, array_like=True, tag=35):
    """The zygote has imported what workers share, and takes requests."""


FromZygote = Spawned | SpawnFailed | Warm
#: Largest datagram between supervisor and zygote, in bytes.
MAX_DATAGRAM = 64 * 1024


class ProtocolError(Exception):
    """The peer sent something that is no message; the text says what."""


def encode(message: Message) -> bytes:
    """One frame. Raises ValueError for what msgpack cannot carry (integers past 64 bits)."""
    return _encoder.encode(message)


_encoder = msgspec.msgpack.Encoder()


class FrameReader:
    """Bytes in, messages out, however the bytes are cut.

    `feed` raises ProtocolError for garbage, for frames of another kind than
    `kinds`, and for frames larger than `max_frame` bytes; the reader is of no
    use after that, and the peer is not to be trusted any more.
    """

    def __init__(self, kinds: Any, max_frame: int) -> None:  # Any: a union of Message classes
        self._kinds = kinds
        self._unpacker = msgpack.Unpacker(
            raw=False,
            strict_map_key=True,
            max_buffer_size=max_frame,
            unicode_errors="strict",
        )

    def feed(self, data: bytes) -> list[Any]:  # Any: instances of `kinds`
        """Take bytes from the stream and return the messages that are complete now."""
        messages: list[Any] = []
        try:
            self._unpacker.feed(data)
            for frame in self._unpacker:
                if not isinstance(frame, list):
                    raise ProtocolError(f"a frame is an array, not {type(frame).__name__}")
                messages.append(msgspec.convert(frame, self._kinds))
        except msgspec.ValidationError as error:
            raise ProtocolError(f"malformed frame: {error}") from error
        except msgpack.BufferFull as error:
            raise ProtocolError("frame larger than any honest one") from error
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ProtocolError(f"not msgpack: {type(error).__name__}: {error}") from error
        return messages
