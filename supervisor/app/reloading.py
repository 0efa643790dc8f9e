"""The config file, followed while the service runs: when it is read, and what is told of it.

Owns reloads, one at a time, whoever asks for them; the plan of what one would change; and whether
the files on disk are others than those that are followed. Must not change a running part itself:
`Service.follow` does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from supervisor.admin.plan import ConfigPlan, PlannedChanges, ReloadOutcome
from supervisor.app.code import taken
from supervisor.app.planning import digest_of, planned_changes, shown_errors, with_pending
from supervisor.app.reload import require_apart
from supervisor.catalog.catalog import declare_all, keeper, refuse_broken, refuse_impossible
from supervisor.catalog.probe import Declarations
from supervisor.config import Config, ConfigError, load
from supervisor.diagnostics.exits import ExitStore
from supervisor.dryrun.code import kept_for_command
from supervisor.errors import Busy, EvidenceFailed
from supervisor.queue import Queue
from supervisor.runtime import garbage
from supervisor.runtime.systemd import Notifier
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.code import CodeStore, KeptCode
from supervisor.workers.fleet import WorkerFleet

_log = structlog.get_logger(__name__)

#: Seconds that a request waits for its reload, less than a command does; and how many wait at once.
WAIT_S, MOST_WAITING = 50.0, 32
#: Seconds between two looks whether the files on disk are others.
LOOK_S = 5.0


class FollowingService(Protocol):
    """What a reload asks of the service."""

    @property
    def config(self) -> Config:
        """What is in force."""

    @property
    def said(self) -> Declarations:
        """What destinations declared for it."""

    @property
    def code(self) -> KeptCode:
        """The plugin code that workers run."""

    @property
    def code_store(self) -> CodeStore:
        """Where it is kept."""

    @property
    def fleet(self) -> WorkerFleet:
        """All worker processes."""

    @property
    def exits(self) -> ExitStore:
        """Every worker's exit."""

    @property
    def metrics(self) -> Metrics:
        """What is counted."""

    @property
    def queue(self) -> Queue:
        """What is pending."""

    @property
    def summary(self) -> str:
        """What runs, in a few words."""

    async def follow(self, wanted: Config, said: Declarations, code: KeptCode) -> Mapping[str, int]:
        """Bring it into force; how much became dead letters, by connections that are gone."""


@dataclass(slots=True)
class _Read:
    """A config that could be followed: what was planned with it, and of which files."""

    config: Config
    digest: str
    is_code_changed: bool
    errors: list[str] = field(default_factory=list)


class Reloader:
    """Implements `admin.plan.Planner`. `asked` is set by SIGHUP."""

    def __init__(self, service: FollowingService, asked: asyncio.Event, notifier: Notifier) -> None:
        self._service = service
        self._asked = asked
        self._notifier = notifier
        self._waiting: list[asyncio.Future[ReloadOutcome]] = []
        self._following: asyncio.Task[Mapping[str, int]] | None = None
        self._is_planning = False
        self._planned: _Read | None = None
        self._planned_for: Config | None = None
        self._digest = ""
        self._same: str | None = None
        self._differs = False
        self._looked_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._code_seen: tuple[object, str] = (None, "")

    async def began(self) -> None:
        """The config that the service started with is in force."""
        service = self._service
        self._digest = await asyncio.to_thread(digest_of, service.config, service.code.digest)
        service.metrics.config_followed(is_success=True, at=time.time())

    # --- reload ---

    async def serve(self) -> None:
        """One at a time: what is asked for meanwhile, however often, is one reload more."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            outcome = ReloadOutcome(errors=["it did not come to its end: the log says why"])
            try:
                outcome = await self._reload()
            except Exception:  # noqa: BLE001 - the next one may go well
                _log.exception("reload_failed")
                self._notifier.ready("reload failed: see the log")
            finally:
                for one in waiting:
                    if not one.done():
                        one.set_result(outcome)
            self._service.metrics.config_followed(is_success=not outcome.errors, at=time.time())

    async def reload(self) -> ReloadOutcome:
        """Ask for one and wait for it. Raises Busy where it takes longer than `WAIT_S`."""
        if len(self._waiting) >= MOST_WAITING:
            raise Busy(f"{len(self._waiting)} requests wait for a reload already; ask again")
        told: asyncio.Future[ReloadOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        self._asked.set()
        try:
            async with asyncio.timeout(WAIT_S):
                return await told
        except TimeoutError:
            raise Busy(
                f"the reload has taken longer than {WAIT_S:g} s and goes on; the log tells its end"
            ) from None

    async def ended(self) -> None:
        """What has begun to change is changed."""
        if self._following is not None:
            await asyncio.wait({self._following})

    async def _reload(self) -> ReloadOutcome:
        """Follow the config file. An invalid one changes nothing."""
        service = self._service
        self._notifier.reloading("reading the config")
        old, path = service.config, service.config.path
        try:
            config = await asyncio.to_thread(load, path, environ=os.environ)
            code = await taken(service.code_store, require_apart(old, config))
            digest = await asyncio.to_thread(digest_of, config, code.digest)
            said = await self._declared(config, code)
        except ConfigError as error:
            for line in error.errors:
                _log.error("reload_refused", error=line, consequence="the running config stays")
            self._notifier.ready("reload refused: the running config stays in force")
            shown = await asyncio.to_thread(shown_errors, error.errors, path)
            return ReloadOutcome(errors=shown)
        changed_code = _changed(config, code.digest != service.code.digest)
        changes = await asyncio.to_thread(
            partial(planned_changes, old, config, changed_code=changed_code)
        )
        # A stop cancels what comes before; what has begun to change is changed to its end.
        self._following = asyncio.create_task(service.follow(config, said, code))
        buried = await asyncio.shield(self._following)
        garbage.settle()
        self._digest = digest
        self._same, self._differs = None, False
        self._notifier.ready(service.summary)
        return ReloadOutcome(with_pending(changes, lambda name: buried.get(name, 0)))

    async def _declared(self, config: Config, code: KeptCode) -> Declarations:
        """What destinations say of a config that may go into force. Raises ConfigError."""
        service = self._service
        said = await declare_all(
            code.running(config), service.fleet, keeper(service.exits, service.metrics)
        )
        refuse_impossible(config, said)
        refuse_broken(config, said, service.said)
        return said

    # --- plan ---

    async def plan(self) -> ConfigPlan:
        """What the file on disk would change. Raises Busy while another asks."""
        if self._is_planning:
            raise Busy("a plan is being made already; ask again")
        self._is_planning = True
        try:
            return await self._plan()
        finally:
            self._is_planning = False

    async def _plan(self) -> ConfigPlan:
        service, read_at = self._service, time.time()
        known = self._planned
        is_known = (
            known is not None
            and self._planned_for is service.config
            and known.digest == await self._digest_of(known.config)
        )
        try:
            read = known if known is not None and is_known else await self._read()
        except ConfigError as error:
            shown = await asyncio.to_thread(shown_errors, error.errors, service.config.path)
            return ConfigPlan(PlannedChanges(), shown, read_at)
        self._planned, self._planned_for = read, service.config
        changed_code = _changed(read.config, read.is_code_changed)
        changes = await asyncio.to_thread(
            partial(planned_changes, service.config, read.config, changed_code=changed_code)
        )
        planned = ConfigPlan(
            with_pending(changes, lambda name: service.queue.depth(name).pending),
            read.errors,
            read_at,
        )
        if not planned.differs:
            # Written differently, and the same: nothing that Overview has to point at.
            self._same = await self._digest_of(service.config)
            self._differs = False
        return planned

    async def _read(self) -> _Read:
        """Read and judge the file on disk as a reload would. Raises ConfigError."""
        service = self._service
        config = await asyncio.to_thread(load, service.config.path, environ=os.environ)
        apart = await asyncio.to_thread(require_apart, service.config, config)
        digest = await self._digest_of(config)
        code_digest = await asyncio.to_thread(CodeStore.digest_of, config)
        read = _Read(config, digest, code_digest != service.code.digest)
        with ExitStack() as stack:
            code = service.code
            if read.is_code_changed:
                # Nothing that runs may have to make room for what was only looked at.
                try:
                    code = await asyncio.to_thread(stack.enter_context, kept_for_command(apart))
                except OSError as error:
                    raise EvidenceFailed(f"no room to look at plugins: {error.strerror}") from error
            try:
                await self._declared(config, code)
            except ConfigError as error:
                read.errors = await asyncio.to_thread(shown_errors, error.errors, config.path)
            await asyncio.to_thread(stack.close)
        return read

    # --- whether it differs ---

    def plan_differs(self) -> bool:
        """As last looked: digests are compared in a thread, a few seconds apart, where asked."""
        now = asyncio.get_running_loop().time()
        if self._looking is None and now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._has_looked)
        return self._differs

    async def _look(self) -> None:
        config = self._service.config
        found = await self._digest_of(config)
        if config is self._service.config:  # else a reload came between
            self._differs = found not in (self._digest, self._same)

    def _has_looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("config_not_looked_at", exc_info=error)

    async def _digest_of(self, config: Config) -> str:
        return await asyncio.to_thread(self._digested, config)

    def _digested(self, config: Config) -> str:
        """In a thread. Code is read again only where its files' names, sizes or times changed."""
        stamp, digest = self._code_seen
        now = (config.service.plugin_paths, CodeStore.stamp_of(config))
        if now != stamp:
            digest = CodeStore.digest_of(config)
            self._code_seen = (now, digest)
        return digest_of(config, digest)


def _changed(config: Config, is_code_changed: bool) -> tuple[str, ...]:
    """The destinations that run other code now."""
    return tuple(config.destinations) if is_code_changed else ()
