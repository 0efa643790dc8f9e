"""Messages on the stream between supervisor and worker, and what every message is."""

from __future__ import annotations

from typing import Any

import msgspec

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

    `open_files` is how many descriptors the worker has. It comes at once where none is left, and
    names the `connection` whose own code met that first, "" where it is not known.
    """

    loop_lag_s: float
    tasks: int
    open_files: int = 0
    connection: str = ""


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


class Collected(Message, frozen=True, array_like=True, tag=27):
    """The end of a `Collect`: all is written, or `error` says why not.

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
    | Collected
    | OutOfMemory
    | Stray
)

# What an outcome is called on the wire. RETRY_ALONE: the batch failed as a whole, so each of its
# deliveries goes on its own next time, and a bad one fails alone. From THROTTLED on: retries whose
# cause is known, which is 429 and the like, no answer in time, no connection, the server's error.
DELIVERED, RETRY, FAILED, UNSUPPORTED, RETRY_ALONE, THROTTLED, TIMEOUT, CONNECT, SERVER = range(9)
