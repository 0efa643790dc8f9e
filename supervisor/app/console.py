"""The wiring of the web console: what it is made of, and the rows that it adds to the admin API.

Owns which part is bound to what of the service. Must not hold anything that a row answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial

from supervisor.admin.access import Access
from supervisor.admin.control import Control
from supervisor.admin.table import Caller, Deed, Route
from supervisor.app.operator import RunningService
from supervisor.config import Config
from supervisor.console import data_rows, heap_rows, jobs, letter_causes, schema_rows, try_
from supervisor.console.activity import MOST_LINES, ActivityLog
from supervisor.console.heap_session import HeapSessions
from supervisor.console.jobs import Jobs
from supervisor.console.live import Live
from supervisor.console.looks import looks_of, taps_of
from supervisor.console.overview import Overview
from supervisor.console.pools import Pools
from supervisor.console.queues import Queues
from supervisor.console.session import LoginSessions
from supervisor.console.site import Site
from supervisor.console.sources import Sources
from supervisor.console.status_watch import StatusWatch
from supervisor.console.try_ import EventTester
from supervisor.insight.done_lines import DoneLines
from supervisor.insight.frames import COLUMNS
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.state.jobs import JobStore
from supervisor.state.logouts import LogoutStore
from supervisor.state.tokens import FileTokenStore


class ConsoleParts:
    """Of one service. Where the config turns it off, it has no rows and keeps nothing."""

    def __init__(self, service: RunningService, control: Control) -> None:
        config = service.config
        self._service = service
        self._control = control
        self._live: Live | None = None
        insight = service.watching.insight
        self._watch = StatusWatch(
            control.status,
            lambda: service.config.sources,
            _silent if insight is None else insight.rates,
        )
        self._activity = ActivityLog(
            time.time, None if insight is None else DoneLines(insight.disk, MOST_LINES)
        )
        self.is_on = config.console.enabled
        self.sessions = LoginSessions(
            Access.of(config.admin),
            config.console.payloads,
            LogoutStore(config.service.state_dir),
        )
        self._jobs = Jobs(service.queue, JobStore(config.service.state_dir), service.clock)
        fleet = service.fleet
        self._heaps = HeapSessions(fleet.spared.add, fleet.spared.discard, fleet.unanswered)
        self._tester = self._made_tester()
        self.rows: tuple[Route, ...] = tuple(self._rows()) if self.is_on else ()

    def _rows(self) -> Iterator[Route]:
        """Those of each part."""
        control, service, watch = self._control, self._service, self._watch
        insight = service.watching.insight
        assert insight is not None, "what is shown is kept wherever the console is on"
        overview = Overview(
            control,
            watch,
            lambda: service.config,
            last_hour=partial(_last_hour, insight),
            plan_differs=lambda: service.reloader.plan_differs(),
        )

        def masking() -> Masking:
            return service.watching.masking

        queues, pools = Queues(service, control, watch, service.watching.redact), Pools(control)
        sources = Sources(lambda: service.config, watch, insight.rates)
        self._live = Live(
            looks_of(overview, queues, pools, self._jobs),
            taps_of(service, insight, masking),
        )
        for part in (overview, queues, sources, pools, self._live):
            yield from part.rows()
        yield from data_rows.rows(service, insight, masking)
        yield from schema_rows.rows(service, insight.shapes, masking)
        yield from Site().rows()
        yield from self.sessions.rows()
        yield from self._activity.rows()
        yield from letter_causes.rows(self._service.queue)
        yield from jobs.rows(self._jobs)
        yield from try_.rows(self._tester)
        yield from heap_rows.rows(self._service.diagnostics, self._heaps)

    def _made_tester(self) -> EventTester:
        service = self._service

        def may_send(connection: str) -> str | None:
            runner = service.pool_of(connection)
            held = None if runner is None else runner.send_by_hand(connection)
            return None if held is None else str(held.rule.value)

        async def keeps_token(connection: str) -> bool:
            return connection in await FileTokenStore(service.config.service.state_dir).load()

        return EventTester(
            lambda: service.config,
            lambda: service.code,
            lambda: service.watching.masking,
            may_send,
            keeps_token,
            service.fleet.spared.add,
            service.fleet.spared.discard,
        )

    def heard(self, caller: Caller, deed: Deed) -> None:
        """Something was done by hand."""
        self._activity.heard(caller, deed)
        self._watch.forget()

    async def start(self) -> None:
        """Before the first request."""
        if self.is_on:
            await self.sessions.start()
            await self._jobs.start()

    async def hang_up(self, app: object) -> None:
        """Streams have no end of their own, and a stop waits for none."""
        if self._live is not None:
            await self._live.close()

    async def close(self) -> None:
        """After the last request."""
        await self._watch.close()
        await self._jobs.close()
        await self._heaps.close()

    def follow(self, config: Config) -> None:
        """A reload: off at once; on at the next start."""
        self.is_on = self.is_on and config.console.enabled
        self.sessions.follow(Access.of(config.admin), config.console.payloads)


def _silent(source: str) -> tuple[float, float]:
    """Rates, where nothing is counted."""
    return 0.0, 0.0


def _last_hour(insight: Insight) -> tuple[float, Mapping[str, int]]:
    since, counts = insight.trends.last_hour()
    return since, dict(zip(COLUMNS, counts, strict=True))
