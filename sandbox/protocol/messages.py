"""Messages on the stream between supervisor and worker, and what every message is."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec

from sandbox.protocol.declaration import Declaration
from sandbox.protocol.samples import GotAnswer, SentRequest

#: Longest text in an outcome, log line or error, in characters; senders truncate.
MAX_DETAIL = 2_000
#: A text that is refused where it is longer.
Detail = Annotated[str, msgspec.Meta(max_length=MAX_DETAIL)]
#: Most bytes that are kept of one connection's tokens.
MAX_KEPT = 16 * 1024
KeptBytes = Annotated[bytes, msgspec.Meta(max_length=MAX_KEPT)]
#: Which text a setting holds, without the text.
Digest = Annotated[bytes, msgspec.Meta(max_length=32)]
#: Most errors in the settings of one connection that are told.
MAX_ERRORS = 100
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


class OutcomeCode(enum.IntEnum):
    """How a delivery ended, on the wire. A frame with any other number is malformed.

    `RETRY_ALONE`: the batch failed as a whole, so each of its deliveries goes on its own next
    time, and a bad one fails alone. From `THROTTLED` to `SERVER`: retries whose cause is known,
    which is 429 and the like, no answer in time, no connection, the server's error. From
    `UNAUTHORIZED` on: what says nothing against the event, as long as others get it too. Its
    credentials were refused; they were refused with no event in the request, so that no other will
    pass either; a certificate or a host name has to be mended first.
    """

    DELIVERED = 0
    RETRY = 1
    FAILED = 2
    UNSUPPORTED = 3
    RETRY_ALONE = 4
    THROTTLED = 5
    TIMEOUT = 6
    CONNECT = 7
    SERVER = 8
    UNAUTHORIZED = 9
    LOCKED_OUT = 10
    SETUP = 11


class Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What every message is: an array, its kind in front, and nothing behind its fields."""


def tag_of(kind: type[Message]) -> int:
    """The small integer that a frame of this kind opens with."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


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


class DryRunBatch(Batch, frozen=True, array_like=True, tag=13):
    """A batch of a dry run: the worker also sends a `Raised` for what the destination raised."""


class Validate(Message, frozen=True, array_like=True, tag=4):
    """Check the settings of a connection; answered with `Validated`. To a declaring worker only."""

    connection: str
    destination: str
    settings: dict[str, Any]  # Any: not validated yet, that is the point


class RunSelftest(Message, frozen=True, array_like=True, tag=5):
    """Try the attack list against the worker's own jail. To a declaring worker.

    Answered with `SelftestRan`. The fields are what there is to attack, each
    harmless to reach: a file in a folder that is open to all, and a TCP port on
    loopback.
    """

    folder: str
    victim: str
    tcp_port: int


class Proceed(Message, frozen=True, array_like=True, tag=8):
    """The supervisor knows the copy of `CollectionStarted`, which may write from now on."""

    id: int


class CurrentToken(Message, frozen=True, array_like=True, tag=6):
    """Answers `AskToken`: `value` is what is kept of the connection, its `version` counts up."""

    connection: str
    version: int
    value: bytes

    def __repr__(self) -> str:
        return f"<CurrentToken {self.connection} {self.version}>"  # never the value: it is secret


class TokenGranted(Message, frozen=True, array_like=True, tag=7):
    """Answers `AskToken`: renew it, from `value` (empty: from the setting), and say so by `grant`.

    Nobody else renews it meanwhile, for as long as the supervisor's limit. `doubt` says why `value`
    may have been used already, "" where it cannot have been.
    """

    connection: str
    grant: int
    value: bytes
    doubt: str

    def __repr__(self) -> str:
        return f"<TokenGranted {self.connection} {self.grant}>"


class TokenStored(Message, frozen=True, array_like=True, tag=9):
    """Answers `KeepToken`: it is on disk, and the others get it."""

    connection: str
    version: int


class TokenDenied(Message, frozen=True, array_like=True, tag=10):
    """Answers `AskToken` or `KeepToken`: no, and why."""

    connection: str
    reason: str


class Ping(Message, frozen=True, array_like=True, tag=14):
    """Does the event loop come round to its wire? Answered at once, with `Pong`."""

    id: int


class WantSamples(Message, frozen=True, array_like=True, tag=15):
    """Whether `Sampled` is wanted from now on; until it is said, it is not."""

    is_wanted: bool


# --- worker to supervisor ---------------------------------------------------


class Ready(Message, frozen=True, array_like=True, tag=16):
    """Imports are done; the worker takes `credits` batches at once.

    A declaring worker says it ahead of its imports, with no credits. `layers`
    says of each sandbox layer "on", or why not.
    """

    credits: int
    layers: dict[str, str]


class Declared(Message, frozen=True, array_like=True, tag=17):
    """`answer` is what a destination declares, or why it could not be imported."""

    destination: str
    answer: Declaration | Detail


class Validated(Message, frozen=True, array_like=True, tag=18):
    """Errors in the settings of a connection, each opening with a key path; empty where valid."""

    connection: str
    errors: Annotated[list[Detail], msgspec.Meta(max_length=MAX_ERRORS)]


class Outcomes(Message, frozen=True, array_like=True, tag=19):
    """Outcomes as they come: (index in the batch, outcome, detail, seconds to wait or None)."""

    batch: int
    # Decoding an enum costs 1 ns an outcome beside the 51 of an integer, which is within the noise.
    outcomes: list[tuple[int, OutcomeCode, str, float | None]]


class BatchDone(Message, frozen=True, array_like=True, tag=20):
    """No further outcome of a batch follows, and its credit is free."""

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


class SelftestRan(Message, frozen=True, array_like=True, tag=23):
    """What became of each attempt: (attack, errno that stopped it or 0, layers that stop it)."""

    attempts: list[tuple[str, int, list[str]]]


class Raised(Message, frozen=True, array_like=True, tag=29):
    """Of a `DryRunBatch`: the traceback of what the destination's code raised, with its source."""

    batch: int
    traceback: str


class CollectionStarted(Message, frozen=True, array_like=True, tag=26):
    """What a `Collect` asked for is under way.

    Process `pid`, where there is one, is a copy of the worker that waits for `Proceed`.
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
    """A batch of `connection` met a MemoryError with `text`. Comes once.

    The worker has raised its soft limit to the hard one: it can do what is left
    to do, and write down what its memory holds.
    """

    connection: str
    text: str


class UnhandledException(Message, frozen=True, array_like=True, tag=25):
    """An exception that nothing catches, in what `connection` ("": unknown) began.

    `dropped` exceptions before it were not sent.
    """

    connection: str
    text: str
    dropped: int


class Pong(Message, frozen=True, array_like=True, tag=30):
    """The event loop has read the `Ping` of that id."""

    id: int


class AskToken(Message, frozen=True, array_like=True, tag=64):
    """What is kept of `connection`, if it is newer than version `seen`; else the right to renew it.

    It stems from the text in `setting` (a dotted path), whose `digest` says which one the worker
    has: what stems from another one is void.
    """

    connection: Detail
    setting: Detail
    digest: Digest
    seen: int


class KeepToken(Message, frozen=True, array_like=True, tag=65):
    """By the right `grant`, the token was renewed: keep `value` before anybody uses it."""

    connection: Detail
    grant: int
    value: KeptBytes

    def __repr__(self) -> str:
        return f"<KeepToken {self.connection} {self.grant}>"


class GiveUpToken(Message, frozen=True, array_like=True, tag=66):
    """The right `grant` goes back. `is_lost`: nobody knows whether the partner has renewed it."""

    connection: Detail
    grant: int
    is_lost: bool


class Sampled(Message, frozen=True, array_like=True, tag=67):
    """What was sent in an attempt that failed, and the answer, None where none came.

    Comes before the outcome of that event, `index` of `batch`, and only for some.
    """

    batch: int
    index: int
    request: SentRequest
    answer: GotAnswer | None


ToWorker = (
    Configure
    | Batch
    | DryRunBatch
    | Drain
    | Validate
    | RunSelftest
    | Proceed
    | Ping
    | CurrentToken
    | TokenGranted
    | TokenStored
    | TokenDenied
    | WantSamples
)
FromWorker = (
    Ready
    | Declared
    | Validated
    | Outcomes
    | BatchDone
    | Stats
    | Log
    | SelftestRan
    | Raised
    | CollectionStarted
    | Collected
    | OutOfMemory
    | UnhandledException
    | Pong
    | AskToken
    | KeepToken
    | GiveUpToken
    | Sampled
)
