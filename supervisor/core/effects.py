"""What the core asks of the shell, as values. Imperative names: `Fork`, `Kill`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ExitReason(StrEnum):
    """Why a worker ended, in the words of `/status`."""

    CRASH = "crash"
    SIGNAL = "signal"
    OOM = "oom"
    LEAK = "leak"
    LIMIT = "limit"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    EGRESS = "egress"
    RECYCLE = "recycle"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a worker and call it `child`."""

    child: int


@dataclass(frozen=True, slots=True)
class Assign:
    """`child` serves as worker number `slot` from now on."""

    child: int
    slot: int


@dataclass(frozen=True, slots=True)
class Isolate:
    """`child` serves `connection` alone from now on."""

    child: int
    connection: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Take no new batch for `child`; let it finish what it has and exit."""

    child: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Watch:
    """Follow process `pid`: it has begun."""

    pid: int


@dataclass(frozen=True, slots=True)
class SendDrain:
    """Tell the worker that no batch will follow."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL."""


@dataclass(frozen=True, slots=True)
class Announce:
    """The worker is ready for work and takes `credits` batches at once."""

    credits: int


@dataclass(frozen=True, slots=True)
class Reap:
    """The worker is gone for good; `detail` says more than `reason` where more is known."""

    reason: ExitReason
    detail: str
    was_ready: bool


@dataclass(frozen=True, slots=True)
class Wake:
    """Call again at `at` (seconds of the clock that events are stamped with)."""

    at: float
