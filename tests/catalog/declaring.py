"""A fleet whose declaring workers do what a test says, in this process and at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from sandbox.protocol import (
    Abandon,
    Connect,
    Declaration,
    Declared,
    FromWorker,
    FromWorkerChannel,
    Limits,
    Message,
    ProtocolError,
    Spawn,
    Taken,
    Validate,
    Validated,
)
from supervisor.core.counted_time import CpuTimes
from supervisor.core.effects import ExitReason
from supervisor.diagnostics.exits import ExitRecord
from supervisor.telemetry.unanswered import Unanswered
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Exit, Listener, WorkerHandle
from supervisor.workers.spawn import PoolSpec

#: What a worker does at the import of a destination, or at the check of a connection's settings.
DIES, HANGS = "dies", "hangs"
LAYERS = {"seccomp": "on", "landlock": "on"}
TRACK = Declaration(types=frozenset({"track"}))


@dataclass
class ScriptedFleet:
    """`imports` by destination and `checks` by connection; what is not there goes well.

    `layers` are reported by workers whose label opens with `layers_of`, all others have all on.
    Workers before the number `starts_at` do not start, and the first one hangs in `hangs_once`.
    `lie` is what each worker says, or asks for, ahead of all else; `breaches` is how that ended.
    """

    imports: Mapping[str, Declaration | str] = field(default_factory=dict)
    checks: Mapping[str, list[str] | str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=lambda: dict(LAYERS))
    layers_of: str = ""
    lie: FromWorker | FromWorkerChannel | None = None
    breaches: list[str] = field(default_factory=list)
    starts: bool = True
    starts_at: int = 1
    hangs_once: str = ""
    unanswered: Unanswered = field(default_factory=Unanswered)
    workers: list[ScriptedWorker] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def spawn(self, order: Spawn, listener: Listener) -> ScriptedWorker:
        """Start a worker, which begins in the next turn of the loop."""
        worker = ScriptedWorker(self, order, listener)
        self.workers.append(worker)
        asyncio.get_running_loop().call_soon(worker.begin)
        return worker

    def as_fleet(self) -> WorkerFleet:
        """The same, for the code under test, which uses three members of a fleet."""
        return cast(WorkerFleet, self)


class ScriptedWorker:
    """One worker; it has what `probe` and `exit_record` use of a `WorkerHandle`."""

    uptime_s = 1.0
    pid = 4711
    #: nobody counts, so that all time does
    cpu_times: CpuTimes = MappingProxyType({})

    def __init__(self, fleet: ScriptedFleet, order: Spawn, listener: Listener) -> None:
        self.number = order.child
        self.label = order.label
        self.destinations = [name for name, _ in order.destinations]
        self.validated: list[str] = []
        self.story = ""
        self._fleet = fleet
        self._listener = listener
        self._is_ready = False
        self._is_gone = False

    @property
    def as_worker(self) -> WorkerHandle:
        """The same, for a listener."""
        return cast(WorkerHandle, self)

    def begin(self) -> None:
        """Get ready, then import one destination after the other."""
        if not self._fleet.starts or self.number < self._fleet.starts_at:
            self._end(ExitReason.CRASH, "fork: no memory")
            return
        self._is_ready = True
        has_layers = self.label.startswith(self._fleet.layers_of)
        self._listener.ready(self.as_worker, 0, self._fleet.layers if has_layers else LAYERS)
        if self._fleet.lie is not None:
            self._lie(self._fleet.lie)
            return
        for name in self.destinations:
            if name == self._fleet.hangs_once and self.number == 1:
                return
            match self._fleet.imports.get(name, TRACK):
                case "dies":
                    self._end(ExitReason.CRASH, "exit status 3")
                    return
                case "hangs":
                    return
                case answer:
                    self._say(Declared(name, answer))

    def send(self, message: Message) -> None:
        """A check of settings."""
        assert isinstance(message, Validate)
        self.validated.append(message.connection)
        match self._fleet.checks.get(message.connection, []):
            case "dies":
                self._later(self._end, ExitReason.CRASH, "SIGSEGV")
            case "hangs":
                pass
            case errors:
                self._later(self._say, Validated(message.connection, list(errors)))

    def come_forward(self) -> None:
        """It has no process that could."""

    def blame(self, story: str, connection: str | None) -> None:
        """What it is retired for."""
        self.story = story

    def retire(self, reason: ExitReason) -> None:
        """It ends in good order."""
        self._later(self._end, reason, self.story)

    def kill(self, reason: ExitReason, detail: str) -> None:
        """It ends at once."""
        self._end(reason, detail)

    def _lie(self, lie: FromWorker | FromWorkerChannel) -> None:
        try:
            if isinstance(lie, Connect | Taken | Abandon):
                self._listener.asked(self.as_worker, lie)
            else:
                self._listener.said(self.as_worker, lie)
        except ProtocolError as error:
            self._fleet.breaches.append(str(error))
        self._end(ExitReason.PROTOCOL, "a breach")

    def _say(self, message: Declared | Validated) -> None:
        if not self._is_gone:
            self._listener.said(self.as_worker, message)

    def _end(self, reason: ExitReason, detail: str) -> None:
        if not self._is_gone:
            self._is_gone = True
            end = Exit(reason, detail, was_ready=self._is_ready, at=0.0, usage=None, stacks="")
            self._listener.gone(self.as_worker, end)

    def _later(self, call: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_soon(call, *arguments)


@dataclass
class Exits:
    """Hears of exits, and keeps the records."""

    records: list[ExitRecord] = field(default_factory=list)

    def __call__(self, record: ExitRecord, stacks: str) -> None:
        """One more."""
        self.records.append(record)


def pool_spec(*destinations: str) -> PoolSpec:
    """A pool with these destinations."""
    return PoolSpec(
        name="default",
        workers=1,
        spares=0,
        batch_timeout_s=1.0,
        limits=Limits(1 << 28, 1 << 27, 256, 1.0),
        profile="strict",
        ca_file=None,
        destinations=tuple((name, None) for name in destinations),
        plugin_paths=(),
    )
