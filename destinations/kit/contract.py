"""What a destination is: its declaration, its instance, its way to report early.

Owns the `Destination` base class. Must not send anything: that is the
destination's own part, or that of the helpers.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar

import aiohttp
import msgspec

from destinations.kit.event import Event
from destinations.kit.keeping import MemoryKeeper, TokenKeeper, current_keeper
from destinations.kit.mapping.table import MappingTable
from destinations.kit.outcomes import Outcome
from destinations.kit.spec import EVENT_TYPES as EVENT_TYPES


def _unheard(index: int, outcome: Outcome) -> None:
    """Outside of a batch, as in a test of `deliver`, nobody listens to early reports."""


#: Where `Destination.report` goes. The runner sets it in each batch's task, since batches of one
#: connection run concurrently on one instance.
current_report: ContextVar[Callable[[int, Outcome], None]] = ContextVar(
    "current_report", default=_unheard
)


def _unmarked(index: int) -> None:
    """Outside of a worker nobody looks."""


#: Where `Destination.at` goes; the runner sets it as it does `current_report`.
current_event: ContextVar[Callable[[int], None]] = ContextVar("current_event", default=_unmarked)


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a destination that has none."""


class Destination(ABC):
    """A kind of system that events go to; one instance a connection and worker.

    `deliver` may run several times at once on one instance.
    """

    name: ClassVar[str]
    """Lower-case letters, digits and dashes; what the config calls it."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other names that an event's `integrations` object may call it by, in any case."""
    types: ClassVar[frozenset[str]] = EVENT_TYPES
    """Event types that it has a use for; others are never handed to it."""
    hosts: ClassVar[tuple[str, ...]] = ()
    """Hosts that it speaks to, each with an optional `:port`; "{url}": the host in a setting."""
    batch_events: ClassVar[int] = 1
    """Most events in one `deliver` call."""
    batch_bytes: ClassVar[int] = 1024 * 1024
    """Most bytes of events in one `deliver` call; a single larger event still comes alone."""
    dry_answers: ClassVar[Mapping[str, str]] = {}
    """What its server answers where all is well, JSON by method and path ("POST /v1/leads"; "*"
    stands for any one segment): what a dry run goes on with where 200 and {} would not do."""
    defaults: ClassVar[MappingTable | None] = None
    """The fields that events become by default, where `settings.mapping` may change them."""
    Settings: ClassVar[type[msgspec.Struct]] = NoSettings
    """A msgspec Struct; the config's settings are validated against it."""

    # Any: a base class cannot name the type of a subclass's nested `Settings`.
    def __init__(self, settings: Any, http: aiohttp.ClientSession, log: logging.Logger) -> None:
        self.settings = settings
        self.http = http
        self.log = log
        self.keeper: TokenKeeper = current_keeper.get() or MemoryKeeper()

    # The two hooks are optional, and so not abstract.
    async def start(self) -> None:  # noqa: B027
        """Called once, before the first `deliver`."""

    async def close(self) -> None:  # noqa: B027
        """Called once, when no `deliver` will follow."""

    @abstractmethod
    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Deliver the events; return one outcome an event, in order."""

    def report(self, index: int, outcome: Outcome) -> None:
        """Say the outcome of one event of this `deliver` call now; the first word counts.

        What was reported survives the death of the worker.
        """
        current_report.get()(index, outcome)

    def at(self, index: int) -> None:
        """Say that what this task does next is for one event of this `deliver` call; -1: for none.

        Optional: it names the event to suspect first should the worker die. The helpers say it.
        """
        current_event.get()(index)
