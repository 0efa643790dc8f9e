"""The wire between supervisor and worker: pure, bytes to messages and back.

Owns frame layouts and their limits; the only module that both sides import.
A frame is one msgpack array that opens with a small integer kind. The stream
needs no length prefix: msgpack delimits itself, and `FrameReader` refuses what
is larger or deeper than any honest frame before it has been decoded.
Must not do I/O, log, or know what a destination is.
"""

from __future__ import annotations

import signal
from typing import Any, Literal, NamedTuple

import msgpack
import msgspec

#: Largest frame a worker may send: outcomes of a full batch with their details.
MAX_FRAME_FROM_WORKER = 4 * 1024 * 1024
#: Largest frame the supervisor sends: a batch of its largest size and head room.
MAX_FRAME_TO_WORKER = 64 * 1024 * 1024
#: Longest text in an outcome, log line or error, in characters; senders truncate.
MAX_DETAIL = 2_000
#: Longest traceback in a `Raised`, in characters.
MAX_TRACEBACK = 16_000
#: Layers of the sandbox, by the names that `Ready` reports them, `/status` lists them and
#: `sandbox.require` asks for them.
LAYERS = (
    "descriptors",
    "rlimits",
    "uid",
    "no_new_privs",
    "landlock",
    "seccomp",
    "cgroup",
    "egress",
)


class Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What every message is: an array, its kind in front, and nothing behind its fields."""


# --- supervisor to worker ---------------------------------------------------


class Configure(Message, frozen=True, array_like=True, tag=1):
    """Settings of a connection, ahead of its first batch; again when they changed.

    `number` is what the worker calls it in the marker page; 0 is not marked.
    """

    connection: str
    destination: str
    settings: dict[str, Any]  # Any: whatever the destination's own schema says
    number: int = 0


class Batch(Message, frozen=True, array_like=True, tag=2):
    """Deliveries of one connection; `events` are JSON as stored. `timeout_s` is the soft limit."""

    id: int
    connection: str
    timeout_s: float
    events: list[bytes]


class Drain(Message, frozen=True, array_like=True, tag=3):
    """No batch will follow: finish what runs, then exit with status 0."""


class Try(Batch, frozen=True, array_like=True, tag=13):
    """A batch of which the worker says more: where its destination's code raised, by `Raised`."""


class Validate(Message, frozen=True, array_like=True, tag=4):
    """Check the settings of a connection; answered with `Validated`. To a declaring worker only."""

    connection: str
    destination: str
    settings: dict[str, Any]  # Any: not validated yet, that is the point


class TryJail(Message, frozen=True, array_like=True, tag=5):
    """Try the attack list against your own jail; answered with `JailTried`. To a declaring worker.

    The rest is what there is to attack, each harmless to reach: a file in a
    folder that anybody may write to, and a TCP port on loopback.
    """

    folder: str
    victim: str
    tcp_port: int


class Proceed(Message, frozen=True, array_like=True, tag=8):
    """The copy of `Begun` is known: it may write."""

    id: int


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
    `settings_schema` is JSON Schema; `dry_answers` are bodies by method and path.
    """

    destination: str
    error: str | None
    types: list[str]
    aliases: list[str]
    hosts: list[str]
    batch_events: int
    batch_bytes: int
    settings_schema: dict[str, Any]  # Any: JSON Schema, shown and never interpreted
    dry_answers: dict[str, str] = {}


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
    """Once a second, and so a heartbeat. `loop_lag_s` is the worst since the last one.

    `open_files` is how many descriptors the worker has.
    """

    loop_lag_s: float
    tasks: int
    open_files: int = 0


class Log(Message, frozen=True, array_like=True, tag=22):
    """A log line of a destination. `level` as in `logging`; `dropped` were not sent before it."""

    level: int
    connection: str
    text: str
    dropped: int


class JailTried(Message, frozen=True, array_like=True, tag=23):
    """What became of each attempt: (attack, errno that stopped it or 0, layers that stop it)."""

    attempts: list[tuple[str, int, list[str]]]


class Raised(Message, frozen=True, array_like=True, tag=29):
    """In a `Try`: the traceback of what the destination's code raised, with its source lines."""

    batch: int
    traceback: str


class Begun(Message, frozen=True, array_like=True, tag=26):
    """What was asked for is under way. Process `pid`, where there is one, is a copy of the worker
    that waits for `Proceed`.
    """

    id: int
    pid: int | None


class Gathered(Message, frozen=True, array_like=True, tag=27):
    """The end of a `Gather`: all is written, or `error` says why not.

    `pause_s` is how long the worker stood still for it.
    """

    id: int
    error: str
    pause_s: float


class OutOfMemory(Message, frozen=True, array_like=True, tag=24):
    """A batch of `connection` met a MemoryError; `text` is what it said. Comes once.

    The worker has raised its soft limit to the hard one: it can do what is left
    to do, and write down what its memory holds.
    """

    connection: str
    text: str


class Stray(Message, frozen=True, array_like=True, tag=25):
    """Something was raised where nobody catches it, in what `connection` ("": unknown) began.

    `dropped` were not told before it.
    """

    connection: str
    text: str
    dropped: int


ToWorker = Configure | Batch | Try | Drain | Validate | TryJail | Proceed
FromWorker = (
    Ready
    | Declared
    | Validated
    | Outcomes
    | BatchDone
    | Stats
    | Log
    | JailTried
    | Raised
    | Begun
    | Gathered
    | OutOfMemory
    | Stray
)

# What an outcome is called on the wire. RETRY_ALONE: the batch failed as a whole, so each of its
# deliveries goes on its own next time, and a bad one fails alone. From THROTTLED on: retries whose
# cause is known, which is 429 and the like, no answer in time, no connection, the server's error.
DELIVERED, RETRY, FAILED, UNSUPPORTED, RETRY_ALONE, THROTTLED, TIMEOUT, CONNECT, SERVER = range(9)


# --- the channel: one datagram a message on a SEQPACKET pair, where descriptors may travel ------


class Connect(Message, frozen=True, array_like=True, tag=48):
    """Worker: connect me to `host`:`port`, for `connection`. Ids count up.

    Each is answered once, with `Connected` or `Unconnected`.
    """

    id: int
    connection: str
    host: str
    port: int


class Taken(Message, frozen=True, array_like=True, tag=49):
    """Worker: I have read this `Connected`, whether its descriptor was there or lost."""

    id: int


class Abandon(Message, frozen=True, array_like=True, tag=50):
    """Worker: nobody waits for this any more. It is answered all the same."""

    id: int


class Connected(Message, frozen=True, array_like=True, tag=56):
    """Supervisor: the connected socket travels with this datagram."""

    id: int


class Unconnected(Message, frozen=True, array_like=True, tag=57):
    """Supervisor: there is none. `kind` is one of those below, `errno` 0 where it has no number."""

    id: int
    kind: int
    errno: int
    text: str


class Gather(Message, frozen=True, array_like=True, tag=58):
    """Supervisor: write evidence of `kind` to the pipe that travels with this datagram.

    `full_strings`: with values that are customers' data. `seconds` is how long to look, for kinds
    that look for a while. Answered on the wire, by `Begun` where it takes a copy, and `Gathered`.
    """

    id: int
    kind: Literal["heapsnapshot", "summary", "hpy", "tasks", "speedscope", "collapsed"]
    full_strings: bool
    seconds: float


FromWorkerChannel = Connect | Taken | Abandon
ToWorkerChannel = Connected | Unconnected | Gather
# Kinds of `Unconnected`: forbidden by the config, no such name or no answer from a name server,
# the network's or the proxy's own error, too slow, more at once than there is room for.
REFUSED, UNRESOLVED, UNREACHABLE, TIMED_OUT, BUSY = range(5)
#: Largest datagram on a channel, in bytes.
MAX_CHANNEL_DATAGRAM = 4096
#: Requests that a worker may have unanswered, for one connection and in all. It keeps to that by
#: itself; one that does not is no honest worker.
MAX_ASKED_PER_CONNECTION = 64
MAX_ASKED = 1024


# --- supervisor and zygote: trusted, one datagram a message on a SEQPACKET pair ------


class Limits(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What one worker may use. Memory is in bytes, open files are counted.

    `block_timeout_s`: its event loop may be silent for so long.
    """

    memory_limit: int
    memory_soft_limit: int
    max_open_files: int
    block_timeout_s: float


class Withheld(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Why a worker is not given something that its jail could use."""

    reason: str


#: Descriptors that travel with a `Spawn`, in this order. `wire` is the stream of frames;
#: `channel` is SEQPACKET, for what carries descriptors itself: a stream may lose those. `page`
#: is the marker page below; faulthandler writes into `stacks`, which was opened before anything
#: could go wrong; `output` is the writing end of a pipe, for standard output and error.
DESCRIPTORS = ("wire", "channel", "page", "stacks", "output")


class Spawn(Message, frozen=True, array_like=True, tag=32):
    """Fork a worker; its ends of `DESCRIPTORS` travel with the datagram.

    `destinations` is (name, class path or None for a built-in one). A worker
    that is to `declare` describes them and validates settings, and serves no
    batches. `profile` and `ca_file` are the config's, of its sandbox; `uid` is
    a user that no other worker has, `cgroup` the path of a control group to
    join, `scratch` the folder for its files, and `write_paths` are others that
    it may write to. `ca_file` and `scratch` are absolute and free of links. It
    carries no settings and no secrets.
    """

    child: int
    label: str
    destinations: list[tuple[str, str | None]]
    plugin_paths: list[str]
    limits: Limits
    profile: str
    ca_file: str | None
    declare: bool
    uid: int | Withheld
    cgroup: str | Withheld
    scratch: str | Withheld
    write_paths: list[str]


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


# --- the marker page: memory that worker and supervisor share -----------------------
# 64-bit words in native order. It costs the worker two stores a task step and the supervisor one
# read a look, and it outlives the worker. Destination code can write there too: a hint, no proof.

#: Bytes of the page, and of the file that stacks are written to.
PAGE_BYTES, STACKS_BYTES = 4096, 256 * 1024
#: Words: how often the event loop has come round; what runs, as of `mark_word`.
BEATS, MARK = range(2)
#: Set in `MARK` while that is running, clear once its step is over.
RUNNING = 1 << 63
#: Most events of a batch that a mark tells apart, and most connections of a worker.
MARKED_EVENTS, MARKED_CONNECTIONS = 0xFFFF, 0x7FFF

#: Write the stacks of all threads into `stacks` and go on, or end.
STACKS_SIGNAL, LAST_STACKS_SIGNAL = signal.SIGUSR1, signal.SIGUSR2


class RawMark(NamedTuple):
    """`number` is the connection's of `Configure`, `batch` the low 32 bits of a batch's id.

    `event` is None where the destination did not say, or has more than can be told apart.
    """

    number: int
    batch: int
    event: int | None
    is_running: bool


def mark_word(number: int, batch: int, event: int | None) -> int:
    """A mark of what does not run; `RUNNING` is added by whoever runs it."""
    place = 0 if event is None or not 0 <= event < MARKED_EVENTS else event + 1
    return (number & MARKED_CONNECTIONS) << 48 | (batch & 0xFFFFFFFF) << 16 | place


def read_mark(word: int) -> RawMark | None:
    """What a word of the page says; None where nothing ever ran that is marked."""
    number = word >> 48 & MARKED_CONNECTIONS
    if number == 0:
        return None
    place = word & 0xFFFF
    return RawMark(
        number, word >> 16 & 0xFFFFFFFF, place - 1 if place else None, bool(word & RUNNING)
    )


FromZygote = Spawned | SpawnFailed | Warm
#: Largest datagram between supervisor and zygote, in bytes.
MAX_DATAGRAM = 64 * 1024


class ProtocolError(Exception):
    """The peer sent something that is no message; the text says what."""


def encode(message: Message) -> bytes:
    """One frame. Raises ValueError for what msgpack cannot carry.

    That is integers past 64 bits, and text that is no Unicode (lone surrogates).
    """
    try:
        return _encoder.encode(message)
    except OverflowError as error:
        raise ValueError(str(error)) from error


_encoder = msgspec.msgpack.Encoder()


class FrameReader:
    """Bytes in, messages out, however the bytes are cut.

    A frame is first only measured, and decoded once it is whole: what a peer claims (an
    array of four thousand million, a thousand of them nested) costs no memory, and what it
    holds back costs at most `max_frame` bytes.
    """

    def __init__(self, kinds: Any, max_frame: int) -> None:  # Any: a union of Message classes
        self._decoder = msgspec.msgpack.Decoder(kinds, ext_hook=_no_extensions)
        self._max_frame = max_frame
        self._begun = bytearray()
        self._fault: ProtocolError | None = None
        # It delimits frames; how much is buffered is for `feed` to bound, and 0 is no bound.
        # Its first buffer is of `read_size`, a whole megabyte by default; it grows as it must.
        self._unpacker = msgpack.Unpacker(max_buffer_size=0, read_size=256 * 1024)
        self._end = 0

    def feed(self, data: bytes) -> list[Any]:  # Any: instances of `kinds`
        """Take bytes from the stream and return the messages that are complete now.

        Raises ProtocolError for garbage, for frames of another kind than `kinds`, and for
        frames larger than `max_frame` bytes; the peer is not to be trusted any more. Messages
        that are complete before the fault are returned first, and hold: then it is `check`,
        or the next `feed`, that raises.
        """
        self.check()
        messages: list[Any] = []
        try:
            self._read(data, messages)
        except ProtocolError as error:
            self._fault = error
            self._begun.clear()
            if not messages:
                raise
        return messages

    def check(self) -> None:
        """Raise the ProtocolError that follows the messages of the last `feed`, if any."""
        if self._fault is not None:
            raise self._fault

    def _read(self, data: bytes, messages: list[Any]) -> None:
        self._unpacker.feed(data)
        # The first frame may have begun in earlier data; `start` is where it begins in `data`.
        start = -len(self._begun)
        base = self._end + len(self._begun)
        view = memoryview(data)
        while self._skip():
            self._end = self._unpacker.tell()
            end = self._end - base
            if end - start > self._max_frame:
                raise ProtocolError("frame larger than any honest one")
            frame = view[start:end] if start >= 0 else b"".join((self._begun, view[:end]))
            messages.append(self._decode(frame))
            self._begun.clear()
            start = end
        if len(data) - start > self._max_frame:
            raise ProtocolError("frame larger than any honest one")
        self._begun += view[max(start, 0) :]

    def _skip(self) -> bool:
        """Move past one frame; False where it is not whole."""
        try:
            self._unpacker.skip()
        except msgpack.OutOfData:
            return False
        except (ValueError, msgpack.UnpackException) as error:
            raise ProtocolError(f"not msgpack: {type(error).__name__}: {error}") from error
        return True

    def _decode(self, frame: bytes | memoryview) -> Any:  # Any: an instance of `kinds`
        try:
            return self._decoder.decode(frame)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"malformed frame: {error}") from error


def _no_extensions(code: int, data: memoryview) -> None:
    raise ValueError(f"extension type {code}")
