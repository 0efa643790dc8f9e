"""A worker as those see it that give it work or look at it.

Owns the least that a pool, its watchdog and diagnostics need of `process.Worker`, and what that
tells them, so that none of them knows sockets, descriptors or the zygote, and a test's stand-in is
held to it by its type.
"""

from __future__ import annotations

import resource
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox.protocol import Batch, FromWorker, FromWorkerChannel, Limits, Message, ToWorkerChannel
from supervisor.core.counted_time import CpuTimes
from supervisor.core.effects import ExitReason
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.workers.channel import Descriptor
from supervisor.workers.descendants import Descendants
from supervisor.workers.output import Printed
from supervisor.workers.resources.headroom import Headroom


@dataclass(frozen=True, slots=True)
class Mark:
    """What a worker was at, as its marker page says: a hint, since its code can write there.

    `batch` is the low 32 bits of its id, `event` an index in the
    batch where its destination said so. Not `is_running`: the last step was
    over, so that something else (a callback, a thread) or nothing ran.
    """

    connection: str
    batch: int
    event: int | None
    is_running: bool

    def __str__(self) -> str:
        place = f"batch {self.batch}" if self.event is None else f"event {self.event} of its batch"
        return f"{'in' if self.is_running else 'after'} a step of {self.connection}, {place}"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended; `at` is epoch seconds of wall time.

    `usage` is the kernel's account of it, None where it never ran; `connection`
    is the one to blame where one is known: that whose step ran, or whose name was given with
    the reason that it was ended for. `is_anybodys`: that reason was given, and no name, since it
    may be the doing of any that were there. `stacks` is what faulthandler wrote, "" where it did
    not.
    """

    reason: ExitReason
    detail: str
    was_ready: bool
    at: float
    usage: resource.struct_rusage | None
    mark: Mark | None = None
    stacks: str = ""
    connection: str | None = None
    is_anybodys: bool = False


class Listener(Protocol):
    """Who asked for a worker hears of its life; `gone` is the last word."""

    def ready(self, worker: WorkerHandle, credits: int, layers: dict[str, str]) -> None:
        """It takes batches."""

    def said(self, worker: WorkerHandle, message: FromWorker) -> None:
        """Any other frame. Raises ProtocolError where it is out of turn."""

    def asked(self, worker: WorkerHandle, message: FromWorkerChannel) -> None:
        """What came on its channel. Raises ProtocolError where it is out of turn."""

    def printed(self, worker: WorkerHandle, printed: Printed) -> None:
        """It, or a child of it, wrote to standard output or error, past Python."""

    def vacated(self, worker: WorkerHandle) -> None:
        """It will do no more work: dead, dying or about to be killed. Comes once, before `gone`."""

    def gone(self, worker: WorkerHandle, end: Exit) -> None:
        """It is reaped, and every frame that it had sent was heard."""


class WorkerChannel(Protocol):
    """Where descriptors go to a worker."""

    def send(self, message: ToWorkerChannel, descriptor: Descriptor | None = None) -> None:
        """Send a message, with a descriptor that is the channel's from then on."""


class WorkerHandle(Protocol):
    """One worker process. What can be read of it is from the kernel, but for `marked`."""

    @property
    def number(self) -> int:
        """It is given once in the life of the service."""

    @property
    def label(self) -> str:
        """What operators call it: `<pool>-<slot>` where it serves."""

    @label.setter
    def label(self, label: str) -> None: ...

    @property
    def limits(self) -> Limits:
        """What it was forked under."""

    @property
    def pid(self) -> int | None:
        """None until it is forked."""

    @property
    def state(self) -> ProcessState:
        """Where it stands."""

    @property
    def channel(self) -> WorkerChannel:
        """Where descriptors go to it."""

    @property
    def asked_at(self) -> float:
        """When it was asked for, in seconds of the monotonic clock."""

    @property
    def ready_at(self) -> float | None:
        """When it was ready, in the same; None before that."""

    @property
    def uptime_s(self) -> float:
        """Seconds since it was ready; 0 before that."""

    @property
    def rss_bytes(self) -> int:
        """Resident memory in bytes, shared pages included; 0 where it is not alive."""

    @property
    def private_bytes(self) -> int:
        """Memory that is its own, in bytes; 0 where it is not alive."""

    def tables(self) -> int | None:
        """A descriptor for `free_tables`, to be closed by that; None where it is gone.

        Raises OSError.
        """

    @property
    def below(self) -> Descendants:
        """What it has forked."""

    @property
    def unasked_processes(self) -> int:
        """Processes below it that it was not asked to fork."""

    @property
    def open_files(self) -> int | None:
        """How many descriptors it has, by the kernel's count; None where that cannot be had."""

    @property
    def excess(self) -> str:
        """What it has written too much of to its scratch folder; empty where all is well."""

    @property
    def is_full(self) -> bool:
        """Whether its scratch folder is, as far as the kernel says so by itself."""

    @property
    def headroom(self) -> Headroom:
        """How near it is to its limits of memory."""

    @property
    def cpu_times(self) -> CpuTimes:
        """What its threads had of the CPUs, for time that counts."""

    @property
    def beats(self) -> int:
        """How often its event loop came round, as its marker page says."""

    @property
    def worked(self) -> Counter[str]:
        """Events of each connection in batches that it has ended."""

    @property
    def running(self) -> Counter[str]:
        """Events of each connection in batches that it has."""

    def marked(self) -> Mark | None:
        """What it is at, as its marker page says; None where nothing was marked."""

    def forked_in(self) -> Mark | None:
        """What it was at when it forked last, as its page says; None where that was nothing."""

    async def take_stacks(self) -> str:
        """Python stacks of all its threads, hung or not; "" where it wrote none in time."""

    def raise_soft_limit(self) -> bool:
        """Let it go on beyond its soft limit of memory, to say that it met it; whether we may."""

    def blame(self, detail: str, connection: str | None) -> None:
        """What its exit record is to say where it is ended for that, and whose name it bears.

        None: nobody's, whatever runs at its end.
        """

    def configure(self, connection: str, destination: str, settings: dict[str, Any]) -> None:
        """Tell it the settings of a connection. Any: the destination's schema decides."""

    def send(self, message: Message) -> None:
        """Write a frame; silently nothing once it is dying."""

    def ask(self) -> int:
        """Ask it over its wire, where nothing is asked yet; how often it has answered so far.

        Its event loop alone can answer, or code of its own that takes over the whole wire.
        """

    def send_batch(self, message: Batch) -> None:
        """Write a batch; the worker may say that much more."""

    def give_way(self) -> None:
        """From now on it has what the others leave of the CPUs."""

    def come_forward(self) -> None:
        """It has as much of the CPUs as the others."""

    def retire(self, reason: ExitReason) -> None:
        """Let it finish what it has and exit."""

    def kill(self, reason: ExitReason, detail: str) -> None:
        """SIGKILL it."""

    def kill_late(self, detail: str) -> None:
        """SIGKILL it, which was told to exit and has nothing left to do."""
