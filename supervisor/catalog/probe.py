"""What destinations say of themselves, asked of a jailed worker that sees no data.

Owns the one-shot workers that import a pool's destinations, declare them and
validate settings, when a pool starts or its config changes. A destination
whose import raises, hangs or kills its worker is named with the reason, and
the others are declared without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.protocol import (
    LAYERS,
    MAX_DETAIL,
    Declared,
    FromWorker,
    FromWorkerChannel,
    ProtocolError,
    Validate,
    Validated,
)
from supervisor.catalog.declaration import Declaration
from supervisor.core.effects import ExitReason
from supervisor.diagnostics.exit_record import worker_exit
from supervisor.diagnostics.exits import ExitRecord
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.log_lines import log_printed
from supervisor.workers.output import Printed
from supervisor.workers.process import Exit, Worker
from supervisor.workers.spawn import PoolSpec

#: Seconds that one destination's import, or the check of one connection's settings, may take.
STEP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A connection whose settings are to be checked. Any: the destination's schema decides."""

    connection: str
    destination: str
    settings: Mapping[str, Any]


@dataclass(slots=True)
class Declarations:
    """The answers: what was declared, what could not be loaded and why, and settings' errors.

    Errors open with a key path below the connection's `settings`.
    """

    by_destination: dict[str, Declaration] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    settings_errors: dict[str, list[str]] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)


#: Hears how a declaring worker ended; the text is that of its stacks, "" where there are none.
Ended = Callable[[ExitRecord, str], object]


def keep_nothing(record: ExitRecord, stacks: str) -> None:
    """A command shows what became of its workers, and keeps no exits."""


async def declare(
    fleet: WorkerFleet,
    pool_spec: PoolSpec,
    connections: Sequence[Asked],
    ended: Ended = keep_nothing,
) -> Declarations:
    """Ask what the destinations of `pool_spec` are, and whether the settings suit them.

    Takes as many workers as there are destinations and settings that end one,
    and one more; `ended` is told of each of them.
    """
    answers = Declarations()
    to_import = list(pool_spec.destinations)
    to_check = list(connections)
    # Once at least: a pool that has nothing to import yet has layers all the same.
    while to_import or not answers.layers:
        to_ask = [ask for ask in to_check if ask.destination in dict(to_import)]
        round_ = _Round(pool_spec.name, to_import, to_ask, ended)
        fleet.spawn(
            pool_spec.order(
                next(fleet.numbers),
                f"{pool_spec.name}#declare",
                declare=True,
                destinations=tuple(to_import),
            ),
            round_,
        )
        end = await round_.ended
        if not round_.layers and not to_import:
            reason = f"no worker has started: {end.reason}: {end.detail}"
            answers.layers = dict.fromkeys(LAYERS, reason)
        answers.layers = round_.layers or answers.layers
        for said in round_.declared.values():
            _note(answers, said)
        answers.settings_errors.update(round_.validated)
        if round_.is_complete:
            return answers
        reason = f"{end.reason}: {end.detail}" if end.detail else str(end.reason)
        if (culprit := round_.undeclared) is not None:
            answers.broken[culprit] = f"importing it ended the worker ({reason})"
            to_import = [entry for entry in to_import if entry[0] != culprit]
        elif (ask := round_.unvalidated) is not None:
            answers.settings_errors[ask.connection] = [f"checking them ended the worker ({reason})"]
            to_check = [other for other in to_check if other.connection != ask.connection]
    return answers


def _note(answers: Declarations, said: Declared) -> None:
    if said.error is not None:
        answers.broken[said.destination] = said.error
        return
    answers.broken.pop(said.destination, None)
    answers.by_destination[said.destination] = Declaration(
        destination=said.destination,
        types=frozenset(said.types),
        aliases=tuple(said.aliases),
        hosts=tuple(said.hosts),
        batch_events=said.batch_events,
        batch_bytes=said.batch_bytes,
        settings_schema=said.settings_schema,
        dry_answers=said.dry_answers,
    )


class _Round:
    """One declaring worker. Implements `process.Listener`."""

    def __init__(
        self,
        pool: str,
        destinations: Sequence[tuple[str, str | None]],
        asked: Sequence[Asked],
        ended: Ended,
    ) -> None:
        self._pool = pool
        self._tell = ended
        self._names = [name for name, _ in destinations]
        self._asked = list(asked)
        self.declared: dict[str, Declared] = {}
        self.validated: dict[str, list[str]] = {}
        self.layers: dict[str, str] = {}
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._worker: Worker | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: what is to be checked, as of so many declarations
        self._checks: tuple[int, list[Asked]] | None = None

    @property
    def undeclared(self) -> str | None:
        """The destination whose turn it was when the worker ended."""
        return next((name for name in self._names if name not in self.declared), None)

    @property
    def unvalidated(self) -> Asked | None:
        """The connection whose turn it was."""
        checks = self._to_check
        # They are answered in order: a look through all of them, for each, would take minutes
        # with ten thousand connections.
        return checks[len(self.validated)] if len(self.validated) < len(checks) else None

    @property
    def is_complete(self) -> bool:
        """Everything was answered."""
        return self.undeclared is None and self.unvalidated is None

    @property
    def _to_check(self) -> list[Asked]:
        if self._checks is None or self._checks[0] != len(self.declared):
            good = {name for name, said in self.declared.items() if said.error is None}
            checks = [ask for ask in self._asked if ask.destination in good]
            self._checks = (len(self.declared), checks)
        return self._checks[1]

    def ready(self, worker: Worker, credits: int, layers: dict[str, str]) -> None:
        """Its jail is up, and the first import begins."""
        self._worker, self.layers = worker, layers
        self._restart_timer()
        if self.undeclared is None:  # there was nothing to declare: it came for its layers
            self._next_check(worker)

    def said(self, worker: Worker, message: FromWorker) -> None:
        """`Declared` and `Validated`, each in its turn."""
        match message:
            case Declared():
                if message.destination != self.undeclared:
                    raise ProtocolError(f"declared {message.destination!r} out of turn")
                if message.error is None and not (
                    1 <= message.batch_events <= 100_000 and message.batch_bytes >= 1
                ):
                    raise ProtocolError(f"{message.destination} declares impossible batches")
                self.declared[message.destination] = message
                self._restart_timer()
                if self.undeclared is None:
                    self._next_check(worker)
            case Validated():
                turn = self.unvalidated
                if turn is None or message.connection != turn.connection:
                    raise ProtocolError("validated a connection that was not asked for")
                self.validated[message.connection] = message.errors
                self._next_check(worker)
            case _:
                raise ProtocolError(f"{type(message).__name__} from a worker that declares")

    def asked(self, worker: Worker, message: FromWorkerChannel) -> None:
        """There is nothing to connect to for a worker that has no connections."""
        raise ProtocolError(f"{type(message).__name__} from a worker that declares")

    def printed(self, worker: Worker, printed: Printed) -> None:
        """What an import prints is in the log, under the worker's name."""
        log_printed(worker, printed, None)

    def vacated(self, worker: Worker) -> None:
        """Nobody takes its place before it is known why it ended."""

    def gone(self, worker: Worker, end: Exit) -> None:
        """The last word."""
        if self._timer is not None:
            self._timer.cancel()
        destination = connection = None
        if end.was_ready and (destination := self.undeclared) is None:
            ask = self.unvalidated
            if ask is not None:
                destination, connection = ask.destination, ask.connection
        record = worker_exit(
            self._pool, worker, end, destination=destination, connection=connection
        )
        self._tell(record, end.stacks)
        if not self.ended.done():
            self.ended.set_result(end)

    def _next_check(self, worker: Worker) -> None:
        self._restart_timer()
        ask = self.unvalidated
        if ask is None:
            worker.blame(self._story()[:MAX_DETAIL], None)
            worker.retire(ExitReason.DRAIN)
        else:
            worker.send(Validate(ask.connection, ask.destination, dict(ask.settings)))

    def _story(self) -> str:
        broken = [said for said in self.declared.values() if said.error is not None]
        if not broken:
            return "it has declared all that there is"
        failed = "; ".join(
            f"{said.destination} could not be loaded: {said.error}" for said in broken
        )
        return f"it has declared the others: {failed}"

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(STEP_TIMEOUT_S, self._too_slow)

    def _too_slow(self) -> None:
        if self._worker is not None:
            what = "the import" if self.undeclared is not None else "the check of settings"
            self._worker.kill(ExitReason.TIMEOUT, f"{what} took longer than {STEP_TIMEOUT_S:g} s")
