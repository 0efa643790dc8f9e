"""The life of one worker process, from the request to fork it to its burial.

Owns the only table of states and events of a child. Every pair is decided:
facts that come too late (a frame of a worker that was just killed) change
nothing, and facts that cannot be (a second fork) raise `Impossible`, since
they are bugs of the shell and not of a worker.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum, auto

from supervisor.core.effects import Announce, ExitReason, Kill, Reap, SendDrain, Watch

#: Reasons to retire a worker that name the connection to blame.
_BLAMED = frozenset({ExitReason.LEAK, ExitReason.OOM})


class ProcessState(Enum):
    """Where a child stands."""

    FORKING = auto()
    """The zygote was asked."""
    DOOMED = auto()
    """Not wanted any more, but the zygote has not answered yet."""
    STARTING = auto()
    """It runs: jail, imports."""
    READY = auto()
    """It takes batches, in a slot or as a spare."""
    DRAINING = auto()
    """It was told to finish and exit."""
    KILLED = auto()
    """SIGKILL is under way; its exit is awaited."""
    GONE = auto()
    """Reaped."""


@dataclass(frozen=True, slots=True)
class Forked:
    """The zygote answered: process `pid` is our child."""

    pid: int


@dataclass(frozen=True, slots=True)
class ForkFailed:
    """The zygote could not fork, or died before it answered."""

    detail: str


@dataclass(frozen=True, slots=True)
class BecameReady:
    """Its `Ready` frame came."""

    credits: int


@dataclass(frozen=True, slots=True)
class RetireAsked:
    """The pool has no more use for it; it may finish what it has."""

    reason: ExitReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class KillAsked:
    """It broke a rule: `reason` and `detail` go on its certificate."""

    reason: ExitReason
    detail: str


@dataclass(frozen=True, slots=True)
class DrainOverdue:
    """It was told to finish and exit, has nothing left to finish, and is still there."""

    detail: str


@dataclass(frozen=True, slots=True)
class WireClosed:
    """Its end of the wire is shut: it is dead, dying, or has cut itself off."""


@dataclass(frozen=True, slots=True)
class Exited:
    """It was reaped; `status` as of `os.waitstatus_to_exitcode` (negative: signal)."""

    status: int


Event = (
    Forked | ForkFailed | BecameReady | RetireAsked | KillAsked | DrainOverdue | WireClosed | Exited
)
Effect = Watch | SendDrain | Kill | Announce | Reap


class Impossible(Exception):
    """The shell reported what cannot have happened."""


@dataclass(slots=True)
class WorkerLifecycle:
    """One child: its state, and what its certificate will say."""

    state: ProcessState = ProcessState.FORKING
    reason: ExitReason | None = None
    detail: str = ""
    was_ready: bool = False

    def handle(self, event: Event) -> list[Effect]:
        """Take one fact, change state, and say what is to be done."""
        match event:
            case Forked():
                return self._forked(event)
            case ForkFailed():
                return self._fork_failed(event)
            case BecameReady():
                return self._became_ready(event)
            case RetireAsked():
                return self._retire_asked(event)
            case KillAsked():
                return self._kill_asked(event)
            case DrainOverdue():
                return self._drain_overdue(event)
            case WireClosed():
                return self._wire_closed()
            case Exited():
                return self._exited(event)

    def _forked(self, event: Forked) -> list[Effect]:
        match self.state:
            case ProcessState.FORKING:
                self.state = ProcessState.STARTING
                return [Watch(event.pid)]
            case ProcessState.DOOMED:
                self.state = ProcessState.KILLED
                return [Watch(event.pid), Kill()]
            case (
                ProcessState.STARTING
                | ProcessState.READY
                | ProcessState.DRAINING
                | ProcessState.KILLED
                | ProcessState.GONE
            ):
                raise Impossible(f"forked twice, now as {event.pid}")

    def _fork_failed(self, event: ForkFailed) -> list[Effect]:
        match self.state:
            case ProcessState.FORKING | ProcessState.DOOMED:
                self.state = ProcessState.GONE
                return [Reap(self.reason or ExitReason.LIMIT, event.detail, was_ready=False)]
            case (
                ProcessState.STARTING
                | ProcessState.READY
                | ProcessState.DRAINING
                | ProcessState.KILLED
                | ProcessState.GONE
            ):
                raise Impossible(f"fork failed after it had succeeded: {event.detail}")

    def _became_ready(self, event: BecameReady) -> list[Effect]:
        match self.state:
            case ProcessState.STARTING:
                self.state = ProcessState.READY
                self.was_ready = True
                return [Announce(event.credits)]
            case ProcessState.READY:
                return self._kill_asked(
                    KillAsked(ExitReason.PROTOCOL, "it said twice that it is ready")
                )
            case ProcessState.DRAINING | ProcessState.KILLED | ProcessState.GONE:
                return []
            case ProcessState.FORKING | ProcessState.DOOMED:
                raise Impossible("ready before it was forked")

    def _retire_asked(self, event: RetireAsked) -> list[Effect]:
        match self.state:
            case ProcessState.FORKING:
                self.state = ProcessState.DOOMED
                self.reason, self.detail = event.reason, event.detail
                return []
            case ProcessState.STARTING:
                # It has nothing to finish, and may hang in an import: no reason to wait for it.
                self.state = ProcessState.KILLED
                self.reason, self.detail = event.reason, event.detail
                return [Kill()]
            case ProcessState.READY:
                self.state = ProcessState.DRAINING
                self.reason, self.detail = event.reason, event.detail
                return [SendDrain()]
            case (
                ProcessState.DOOMED
                | ProcessState.DRAINING
                | ProcessState.KILLED
                | ProcessState.GONE
            ):
                return []

    def _kill_asked(self, event: KillAsked) -> list[Effect]:
        match self.state:
            case ProcessState.FORKING:
                self.state = ProcessState.DOOMED
                self.reason, self.detail = event.reason, event.detail
                return []
            case ProcessState.STARTING | ProcessState.READY | ProcessState.DRAINING:
                self.state = ProcessState.KILLED
                self.reason, self.detail = event.reason, event.detail
                return [Kill()]
            case ProcessState.DOOMED | ProcessState.KILLED | ProcessState.GONE:
                return []

    def _drain_overdue(self, event: DrainOverdue) -> list[Effect]:
        match self.state:
            case ProcessState.DRAINING:
                self.state = ProcessState.KILLED
                if self.reason in _BLAMED:
                    # How it ends is no news: somebody is to hear why it had to go.
                    self.detail = f"{self.detail}; {event.detail}"
                else:
                    self.reason, self.detail = ExitReason.TIMEOUT, event.detail
                return [Kill()]
            case ProcessState.FORKING | ProcessState.STARTING | ProcessState.READY:
                return []  # it was not told yet: its evidence is awaited
            case ProcessState.DOOMED | ProcessState.KILLED | ProcessState.GONE:
                return []

    def _wire_closed(self) -> list[Effect]:
        match self.state:
            case ProcessState.STARTING | ProcessState.READY:
                # Dead already, most likely: the kill then hits a zombie, and its own status is
                # what the certificate says.
                self.state = ProcessState.KILLED
                self.detail = "it closed its wire"
                return [Kill()]
            case ProcessState.FORKING | ProcessState.DOOMED:
                # The zygote died, or the worker did before the zygote's answer was read: that
                # answer, or its absence, says which.
                return []
            case ProcessState.DRAINING | ProcessState.KILLED | ProcessState.GONE:
                return []

    def _exited(self, event: Exited) -> list[Effect]:
        match self.state:
            case (
                ProcessState.STARTING
                | ProcessState.READY
                | ProcessState.DRAINING
                | ProcessState.KILLED
            ):
                self.state = ProcessState.GONE
                return [self._certificate(event.status)]
            case ProcessState.FORKING | ProcessState.DOOMED | ProcessState.GONE:
                raise Impossible(
                    f"exited with {event.status} while {ProcessState(self.state).name}"
                )

    def _certificate(self, status: int) -> Reap:
        ours = self.reason is not None and (status == -signal.SIGKILL or status == 0)
        if ours and self.reason is not None:
            return Reap(self.reason, self.detail, self.was_ready)
        if status < 0:
            return Reap(ExitReason.SIGNAL, _signal_name(-status), self.was_ready)
        text = f"exit status {status}"
        return Reap(ExitReason.CRASH, text if status else f"{text}, unasked", self.was_ready)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {number}"
