"""What destinations declare, asked of a jailed worker that sees no data.

Owns the one-shot workers that import a pool's destinations, declare them and
validate settings, when a pool starts or its config changes. A destination
whose import raises, hangs or kills its worker is named with the reason, and
the others are declared without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.protocol import (
    LAYERS,
    MAX_DETAIL,
    Declaration,
    Declared,
    FromWorker,
    FromWorkerChannel,
    ProtocolError,
    Validate,
    Validated,
)
from supervisor.core.effects import ExitReason
from supervisor.diagnostics.exit_record import worker_exit
from supervisor.diagnostics.exits import ExitRecord
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Exit, WorkerHandle
from supervisor.workers.log_lines import log_printed
from supervisor.workers.output import Printed
from supervisor.workers.patience import Patience
from supervisor.workers.spawn import PoolSpec

#: Seconds that one destination's import, or the check of one connection's settings, may take.
STEP_TIMEOUT_S = 5.0
#: How often a declaring worker is tried to be started, and seconds until the second time, doubling.
START_TRIES, START_AGAIN_S = 3, 0.2


@dataclass(frozen=True, slots=True)
class SettingsCheck:
    """A connection whose settings are to be checked. Any: the destination's schema decides."""

    connection: str
    destination: str
    settings: Mapping[str, Any]


@dataclass(slots=True)
class Declarations:
    """What was declared, what could not be loaded and why, and errors in settings.

    Errors open with a key path below the connection's `settings`.
    """

    by_destination: dict[str, Declaration] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    settings_errors: dict[str, list[str]] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    shielded: tuple[str, ...] = ()
    """Files in plugin folders that no worker sees, as far as somebody asked."""

    def without(self, broken: Mapping[str, str]) -> Declarations:
        """The same, where these destinations cannot be loaded any more."""
        kept = {
            name: declaration
            for name, declaration in self.by_destination.items()
            if name not in broken
        }
        return replace(self, by_destination=kept, broken={**self.broken, **broken})


#: Hears of the end of a declaring worker; the text is its stacks, "" where there are none.
OnExit = Callable[[ExitRecord, str], object]


def ignore_exit(record: ExitRecord, stacks: str) -> None:
    """A command shows what became of its workers, and keeps no exits."""


async def declare(
    fleet: WorkerFleet,
    pool_spec: PoolSpec,
    checks: Sequence[SettingsCheck],
    on_exit: OnExit = ignore_exit,
) -> Declarations:
    """Ask what the destinations of `pool_spec` are, and whether the settings suit them.

    Takes as many workers as there are destinations and settings that end one,
    and one more; `on_exit` hears of each of them. One that does not start says nothing of any
    destination, and another is tried; and the first one that lets a step's time pass is replaced
    before a destination is suspected: it may have been stopped, or the machine have stood still.
    """
    forgiven, not_started = False, 0
    declarations = Declarations()
    to_import = list(pool_spec.destinations)
    to_check = list(checks)
    # Once at least: a pool that has nothing to import yet has layers all the same.
    while to_import or not declarations.layers:
        checked = [check for check in to_check if check.destination in dict(to_import)]
        declaring = _DeclaringWorker(pool_spec.name, to_import, checked, on_exit)
        fleet.spawn(
            pool_spec.order(
                next(fleet.numbers),
                f"{pool_spec.name}#declare",
                declare=True,
                destinations=tuple(to_import),
            ),
            declaring,
        )
        end = await declaring.ended
        if end.reason is ExitReason.TIMEOUT:
            fleet.unanswered.tell(f"{pool_spec.name}#declare", end.detail)
        if not end.was_ready:
            not_started += 1
            if not_started < START_TRIES:
                await asyncio.sleep(START_AGAIN_S * 2.0 ** (not_started - 1))
                continue
            reason = f"no worker has started: {end.reason}: {end.detail}"
            declarations.layers = declarations.layers or dict.fromkeys(LAYERS, reason)
            declarations.broken |= {
                name: reason for name, _ in to_import if name not in declarations.by_destination
            }
            return declarations
        declarations.layers = declaring.layers or declarations.layers
        for declared in declaring.declared.values():
            _add(declarations, declared)
        declarations.settings_errors.update(declaring.validated)
        if declaring.is_complete:
            return declarations
        if end.reason is ExitReason.TIMEOUT and not forgiven:
            forgiven = True
            continue
        reason = f"{end.reason}: {end.detail}" if end.detail else str(end.reason)
        if (suspected := declaring.undeclared) is not None:
            declarations.broken[suspected] = f"importing it ended the worker ({reason})"
            to_import = [entry for entry in to_import if entry[0] != suspected]
        elif (check := declaring.unvalidated) is not None:
            declarations.settings_errors[check.connection] = [
                f"checking them ended the worker ({reason})"
            ]
            to_check = [other for other in to_check if other.connection != check.connection]
    return declarations


def _add(declarations: Declarations, declared: Declared) -> None:
    match declared.answer:
        case Declaration() as declaration:
            declarations.broken.pop(declared.destination, None)
            declarations.by_destination[declared.destination] = declaration
        case reason:
            declarations.broken[declared.destination] = reason


class _DeclaringWorker:
    """One declaring worker. Implements `handle.Listener`."""

    def __init__(
        self,
        pool: str,
        destinations: Sequence[tuple[str, str | None]],
        checks: Sequence[SettingsCheck],
        on_exit: OnExit,
    ) -> None:
        self._pool = pool
        self._on_exit = on_exit
        self._names = [name for name, _ in destinations]
        self._checks = list(checks)
        self.declared: dict[str, Declared] = {}
        self.validated: dict[str, list[str]] = {}
        self.layers: dict[str, str] = {}
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._worker: WorkerHandle | None = None
        self._timer: Patience | None = None
        #: Checks of destinations that are declared, as of so many declarations
        self._possible_checks: tuple[int, list[SettingsCheck]] | None = None

    @property
    def undeclared(self) -> str | None:
        """The next destination: the one at whose import the worker ended, if it did."""
        return next((name for name in self._names if name not in self.declared), None)

    @property
    def unvalidated(self) -> SettingsCheck | None:
        """The next check, once its destination is declared."""
        checks = self._to_check
        # They are answered in order: a look through all of them, for each, would take minutes
        # with ten thousand connections.
        return checks[len(self.validated)] if len(self.validated) < len(checks) else None

    @property
    def is_complete(self) -> bool:
        """Everything was answered."""
        return self.undeclared is None and self.unvalidated is None

    @property
    def _to_check(self) -> list[SettingsCheck]:
        if self._possible_checks is None or self._possible_checks[0] != len(self.declared):
            good = {
                name
                for name, declared in self.declared.items()
                if isinstance(declared.answer, Declaration)
            }
            checks = [check for check in self._checks if check.destination in good]
            self._possible_checks = (len(self.declared), checks)
        return self._possible_checks[1]

    def ready(self, worker: WorkerHandle, credits: int, layers: dict[str, str]) -> None:
        """Its jail is up, and the first import begins."""
        self._worker, self.layers = worker, layers
        worker.come_forward()  # a start or a reload waits for it
        self._restart_timer()
        if self.undeclared is None:  # there was nothing to declare: it came for its layers
            self._next_check(worker)

    def said(self, worker: WorkerHandle, message: FromWorker) -> None:
        """`Declared` and `Validated`, each in its turn."""
        match message:
            case Declared():
                if message.destination != self.undeclared:
                    raise ProtocolError(f"declared {message.destination!r} out of turn")
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

    def asked(self, worker: WorkerHandle, message: FromWorkerChannel) -> None:
        """A declaring worker has no connections, and so nothing to connect to."""
        raise ProtocolError(f"{type(message).__name__} from a worker that declares")

    def printed(self, worker: WorkerHandle, printed: Printed) -> None:
        """What an import prints is in the log, under the worker's name."""
        log_printed(worker, printed, None)

    def vacated(self, worker: WorkerHandle) -> None:
        """A further worker is started only once it is known why this one ended."""

    def gone(self, worker: WorkerHandle, end: Exit) -> None:
        """The worker has ended."""
        if self._timer is not None:
            self._timer.cancel()
        destination = connection = None
        if end.was_ready and (destination := self.undeclared) is None:
            check = self.unvalidated
            if check is not None:
                destination, connection = check.destination, check.connection
        record = worker_exit(
            self._pool, worker, end, destination=destination, connection=connection
        )
        self._on_exit(record, end.stacks)
        if not self.ended.done():
            self.ended.set_result(end)

    def _next_check(self, worker: WorkerHandle) -> None:
        self._restart_timer()
        check = self.unvalidated
        if check is None:
            worker.blame(self._story()[:MAX_DETAIL], None)
            worker.retire(ExitReason.DRAIN)
        else:
            worker.send(Validate(check.connection, check.destination, dict(check.settings)))

    def _story(self) -> str:
        failed = "; ".join(
            f"{declared.destination} could not be loaded: {declared.answer}"
            for declared in self.declared.values()
            if isinstance(declared.answer, str)
        )
        if not failed:
            return "it has declared all that there is"
        return f"it has declared the others: {failed}"

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if (worker := self._worker) is not None:
            self._timer = Patience(STEP_TIMEOUT_S, lambda: worker.cpu_times, self._too_slow)

    def _too_slow(self) -> None:
        if self._worker is not None:
            what = "the import" if self.undeclared is not None else "the check of settings"
            self._worker.kill(ExitReason.TIMEOUT, f"{what} took longer than {STEP_TIMEOUT_S:g} s")
