"""Which engine keeps the queue: the one place outside an engine's package that knows any.

Owns the table of engines, the queue that `queue.engine` asks for, and what can be read from a
state directory without a service. Must not know how an engine stores anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from supervisor.config import ConfigError, QueueConfig
from supervisor.queue import Books, Queue, QueueUnavailable
from supervisor.queue.sqlite import engine as sqlite_engine
from supervisor.runtime.clock import Anchored, Clock, LastRun

#: Of a queue that is opened by itself: times that lie ahead of its clock are taken back.
_NOT_ANCHORED: Final = Anchored()


class MakeEngine(Protocol):
    """Builds a queue that is not started yet, see `make_queue`."""

    def __call__(
        self,
        state_dir: Path,
        config: QueueConfig,
        clock: Clock,
        *,
        max_retry_delay_s: float,
        anchored: Anchored,
    ) -> Queue: ...


class ReadBooks(Protocol):
    """Books by connection from the files alone, `pending` counted anew. Raises QueueUnavailable."""

    def __call__(self, state_dir: Path) -> Mapping[str, Books]: ...


class ReadLastRun(Protocol):
    """What the last service has left of its clock."""

    def __call__(self, state_dir: Path) -> LastRun: ...


class BackUp(Protocol):
    """A copy of the queue in one file, beside a running service or without. See `back_up`."""

    def __call__(
        self, state_dir: Path, file: Path, progress: Callable[[int, int], None]
    ) -> None: ...


class AcceptLoss(Protocol):
    """Give up what is known to be missing. See `accept_loss`."""

    def __call__(self, state_dir: Path, commits: int) -> bool: ...


class IsPresent(Protocol):
    """Whether the engine has files in a state directory."""

    def __call__(self, state_dir: Path) -> bool: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine offers. All but `make` read files, beside a running service or without one."""

    make: MakeEngine
    is_present: IsPresent
    read_books: ReadBooks
    last_run: ReadLastRun
    back_up: BackUp
    accept_loss: AcceptLoss


#: By the word that stands for it in `queue.engine`.
ENGINES: Final[Mapping[str, Engine]] = {
    "sqlite": Engine(
        sqlite_engine.SqliteQueue,
        sqlite_engine.is_present,
        sqlite_engine.read_books,
        sqlite_engine.last_run,
        sqlite_engine.back_up,
        sqlite_engine.accept_loss,
    ),
}


def make_queue(
    state_dir: Path,
    config: QueueConfig,
    clock: Clock,
    *,
    max_retry_delay_s: float,
    anchored: Anchored = _NOT_ANCHORED,
) -> Queue:
    """The queue that `queue.engine` asks for, not started. Raises ConfigError for an unknown one.

    After a restart no retry lies further ahead than `max_retry_delay_s` seconds. What an earlier
    run has kept is moved as `anchored` says.
    """
    engine = ENGINES.get(config.engine)
    if engine is None:
        known = " or ".join(f'"{name}"' for name in ENGINES)
        raise ConfigError([f'queue.engine: "{config.engine}" is not built in; use {known}'])
    return engine.make(
        state_dir, config, clock, max_retry_delay_s=max_retry_delay_s, anchored=anchored
    )


def is_present(state_dir: Path) -> bool:
    """Whether a service has run with this state directory, which may be empty, or not there."""
    return any(engine.is_present(state_dir) for engine in ENGINES.values())


def last_run(state_dir: Path) -> LastRun:
    """What the last service here has left of its clock; nothing where there was none."""
    return max(
        (engine.last_run(state_dir) for engine in ENGINES.values()), key=lambda run: run.seen
    )


def back_up(state_dir: Path, file: Path, progress: Callable[[int, int], None]) -> None:
    """Copy the queue as it is in this moment to `file`. Raises QueueUnavailable.

    `progress` hears how much is done, and of how much. Put where the engine keeps its database, the
    copy is what the next start begins with.
    """
    _present(state_dir).back_up(state_dir, file, progress)


def accept_loss(state_dir: Path, commits: int) -> bool:
    """Go on without what is missing of so many commits; False where that is not what is missing.

    Raises QueueUnavailable where a service runs there.
    """
    return any(engine.accept_loss(state_dir, commits) for engine in ENGINES.values())


def audit(state_dir: Path) -> Mapping[str, Books]:
    """The books by connection, `pending` counted anew. Raises QueueUnavailable.

    Takes no lock and changes no file. Connections that have never had an event, or are not in the
    config any more, are there as far as the books know them.
    """
    return _present(state_dir).read_books(state_dir)


def _present(state_dir: Path) -> Engine:
    for engine in ENGINES.values():
        if engine.is_present(state_dir):
            return engine
    raise QueueUnavailable(
        f"{state_dir}: there is no queue here; is this the service.state_dir of a service "
        "that has run?"
    )
