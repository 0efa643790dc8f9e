"""Which engine keeps the queue: the one place outside an engine's package that knows any.

Owns the table of engines, the queue that `queue.engine` asks for, and what can be read from a
state directory without a service. Must not know how an engine stores anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from supervisor.config import ConfigError, QueueConfig
from supervisor.queue import Books, Queue, QueueUnavailable
from supervisor.queue.sqlite import engine as sqlite_engine
from supervisor.runtime.clock import Clock


class MakeEngine(Protocol):
    """Builds a queue that is not started yet, see `make_queue`."""

    def __call__(
        self, state_dir: Path, config: QueueConfig, clock: Clock, *, max_retry_delay_s: float
    ) -> Queue: ...


class ReadBooks(Protocol):
    """Books by connection from the files alone, `pending` counted anew. Raises QueueUnavailable."""

    def __call__(self, state_dir: Path) -> Mapping[str, Books]: ...


class LastSeen(Protocol):
    """The newest time that the engine has written down, epoch seconds; 0.0 where none."""

    def __call__(self, state_dir: Path) -> float: ...


class IsPresent(Protocol):
    """Whether the engine has files in a state directory."""

    def __call__(self, state_dir: Path) -> bool: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine offers. All but `make` read files, beside a running service or without one."""

    make: MakeEngine
    is_present: IsPresent
    read_books: ReadBooks
    last_seen: LastSeen


#: By the word that stands for it in `queue.engine`.
ENGINES: Final[Mapping[str, Engine]] = {
    "sqlite": Engine(
        sqlite_engine.SqliteQueue,
        sqlite_engine.is_present,
        sqlite_engine.read_books,
        sqlite_engine.last_seen,
    ),
}


def make_queue(
    state_dir: Path, config: QueueConfig, clock: Clock, *, max_retry_delay_s: float
) -> Queue:
    """The queue that `queue.engine` asks for, not started. Raises ConfigError for an unknown one.

    After a restart no retry lies further ahead than `max_retry_delay_s` seconds.
    """
    engine = ENGINES.get(config.engine)
    if engine is None:
        known = " or ".join(f'"{name}"' for name in ENGINES)
        raise ConfigError([f'queue.engine: "{config.engine}" is not built in; use {known}'])
    return engine.make(state_dir, config, clock, max_retry_delay_s=max_retry_delay_s)


def last_seen(state_dir: Path) -> float:
    """The newest time that a service has written down here, epoch seconds; 0.0 where none has."""
    return max(engine.last_seen(state_dir) for engine in ENGINES.values())


def audit(state_dir: Path) -> Mapping[str, Books]:
    """The books by connection, `pending` counted anew. Raises QueueUnavailable.

    Takes no lock and changes no file. Connections that have never had an event, or are not in the
    config any more, are there as far as the books know them.
    """
    for engine in ENGINES.values():
        if engine.is_present(state_dir):
            return engine.read_books(state_dir)
    raise QueueUnavailable(
        f"{state_dir}: there is no queue here; is this the service.state_dir of a service "
        "that has run?"
    )
