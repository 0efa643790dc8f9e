"""Connections whose credentials are refused: what is decided of them is told, kept and counted.

The shell around `core/scheduling/credentials.py`, one a pool. Owns that a hold is in the log, in
the metrics, and there again after a restart. Must not decide whose fault a refusal is.
"""

from __future__ import annotations

import random

import structlog

from supervisor.core.scheduling.credentials import CredentialsHold, Refusal
from supervisor.core.scheduling.scheduler import Scheduler
from supervisor.runtime.clock import Clock
from supervisor.state.credentials import CredentialStore, HoldRecord
from supervisor.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


class CredentialFaults:
    """Those of one pool's connections."""

    def __init__(
        self, scheduler: Scheduler, store: CredentialStore, metrics: Metrics, clock: Clock
    ) -> None:
        self._scheduler = scheduler
        self._store = store
        self._metrics = metrics
        self._clock = clock

    def opened(self, connection: str) -> None:
        """A connection is there: what an earlier run has left of it holds, until a probe passes."""
        hold, record = self._of(connection), self._store.of(connection)
        if record is not None and not hold.since and not hold.ended_at:
            hold.restore(record.since, record.reason, record.ended_at, self._clock())

    def changed(self, connection: str) -> None:
        """Its settings are others: that may have mended it, so a probe goes at once."""
        self._of(connection).ask_now(self._clock())

    def released(self, connection: str) -> None:
        """An operator lets it go on."""
        hold, now = self._of(connection), self._clock()
        if hold.is_held:
            hold.release(now)
            self._store.put(connection, HoldRecord(ended_at=now))

    def refused(
        self, connection: str, event: int, why: str, *, is_certain: bool, started: float
    ) -> Refusal:
        """An event of a batch that was `started` then got it; `event` is any number of its own."""
        hold = self._of(connection)
        before = hold.is_held
        verdict = hold.refused(
            event,
            why,
            is_certain=is_certain,
            started=started,
            now=self._clock(),
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
        self._metrics.credentials_refused(connection)
        if hold.is_held and not before:
            _log.error(
                "credentials_refused",
                connection=connection,
                reason=why,
                consequence="the connection is held: its events wait, and one probe at a time goes",
            )
            self._store.put(connection, HoldRecord(why, hold.since, hold.ended_at))
        return verdict

    def passed(self, connection: str, started: float) -> None:
        """An event of a batch that was `started` then was delivered."""
        hold = self._of(connection)
        since = hold.since
        if hold.passed(started, self._clock()):
            _log.info(
                "credentials_accepted",
                connection=connection,
                held_s=round(hold.ended_at - since, 1),
            )
            self._store.put(connection, HoldRecord(ended_at=hold.ended_at))
            self._scheduler.schedules[connection].concurrency.ramp()
            self._scheduler.work_came(connection)

    def window_from(self, connection: str) -> float:
        """Retry windows that began before this time begin there: they did not run meanwhile."""
        return self._of(connection).ended_at

    def _of(self, connection: str) -> CredentialsHold:
        """That of a connection; one that has left the config has a clean slate."""
        schedule = self._scheduler.schedules.get(connection)
        return CredentialsHold() if schedule is None else schedule.credentials
