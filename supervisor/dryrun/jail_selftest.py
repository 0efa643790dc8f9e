"""The jail's self-test: a worker runs the attack list against its own jail.

Owns what there is to attack, and the worker that attacks. The list, and what
stops what, are the sandbox's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import dataclass, field

import msgspec

from sandbox.protocol import FromWorker, FromWorkerChannel, ProtocolError, RunSelftest, SelftestRan
from supervisor.core.effects import ExitReason
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Exit, WorkerHandle
from supervisor.workers.output import Printed
from supervisor.workers.resources.removal import temporary_folder
from supervisor.workers.spawn import PoolSpec

#: Seconds that all attempts together may take.
TIMEOUT_S = 60.0


class Attempt(msgspec.Struct, frozen=True):
    """One attack: `error` is what it ended with, empty where it got through.

    `layers` are those in force that stop it by themselves, by the jail's own table.
    """

    attack: str
    error: str
    layers: tuple[str, ...]

    @property
    def is_stopped(self) -> bool:
        """Whether it came to nothing."""
        return bool(self.error)


class SelftestFailed(Exception):
    """The worker did not finish its attempts; the text says why."""


async def run_selftest(fleet: WorkerFleet, pool_spec: PoolSpec) -> list[Attempt]:
    """Have a worker of `pool_spec` attack its jail. Raises SelftestFailed."""
    with (
        temporary_folder("bulkhead-jail-") as made,
        socket.create_server(("127.0.0.1", 0)) as port,
    ):
        listener = _SelftestListener(RunSelftest(made, _victim(made), port.getsockname()[1]))
        order = pool_spec.order(
            next(fleet.numbers), f"{pool_spec.name}#jail", declare=True, destinations=()
        )
        worker = fleet.spawn(order, listener)
        # Not `asyncio.timeout`, which would cancel the future that the end is still to be heard by.
        await asyncio.wait({listener.ended}, timeout=TIMEOUT_S)
        if not listener.ended.done():
            worker.kill(ExitReason.TIMEOUT, f"no answer within {TIMEOUT_S:g} s")
        end = await listener.ended
        if listener.answer is None:
            raise SelftestFailed(
                f"the worker of the self-test ended first ({end.reason}: {end.detail})"
            )
        return [
            Attempt(attack, _text(code), tuple(layers))
            for attack, code, layers in listener.answer.attempts
        ]


def _victim(folder: str) -> str:
    """A file that is open to all: the jail has to stop a worker, and no mode of ours."""
    path = os.path.join(folder, "victim")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    os.chmod(path, 0o666)  # noqa: S103 - see above
    os.chmod(folder, 0o777)  # noqa: S103 - see above
    return path


def _text(code: int) -> str:
    if code < 0:
        return f"signal {-code}"
    return f"{errno.errorcode.get(code, code)}: {os.strerror(code)}" if code else ""


@dataclass(slots=True)
class _SelftestListener:
    """The worker of the self-test. Implements `handle.Listener`."""

    request: RunSelftest
    answer: SelftestRan | None = None
    ended: asyncio.Future[Exit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def ready(self, worker: WorkerHandle, credits: int, layers: dict[str, str]) -> None:
        """The jail of the worker is up."""
        worker.send(self.request)

    def said(self, worker: WorkerHandle, message: FromWorker) -> None:
        """`SelftestRan`, once."""
        if not isinstance(message, SelftestRan) or self.answer is not None:
            raise ProtocolError(f"{type(message).__name__} from a worker of the self-test")
        self.answer = message
        worker.retire(ExitReason.DRAIN)

    def asked(self, worker: WorkerHandle, message: FromWorkerChannel) -> None:
        """The worker of the self-test has no connections."""
        raise ProtocolError(f"{type(message).__name__} from a worker of the self-test")

    def printed(self, worker: WorkerHandle, printed: Printed) -> None:
        """What an attempt prints is no result."""

    def vacated(self, worker: WorkerHandle) -> None:
        """A self-test has no second worker."""

    def gone(self, worker: WorkerHandle, end: Exit) -> None:
        """The worker has ended."""
        if not self.ended.done():
            self.ended.set_result(end)
