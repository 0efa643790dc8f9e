"""From a batch to its outcomes: nothing that a destination raises gets past here.

Owns the destinations' instances in a worker (one a connection), the task of
each batch with its soft deadline, and the order of messages about it: outcomes
as they come, the rest at the end, then `BatchDone`. An event that the
destination reported no outcome of, for whatever reason, is a retry with that reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import logging
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from destinations.kit import (
    Delivered,
    Destination,
    Event,
    Outcome,
    requests,
)
from destinations.kit.client.sessions import UrlKeepingSession
from destinations.kit.contract import current_event, current_report
from destinations.kit.exchanged import current_exchanged
from destinations.kit.keeping import TokenKeeper, current_keeper
from destinations.kit.loading import LoadError
from destinations.kit.requests import current_raised
from sandbox import protocol
from sandbox.batch_report import BatchReport, shortened
from sandbox.heap.holders import Principals
from sandbox.keeping import TokenClient
from sandbox.marks import MarkerWriter, current_place
from sandbox.memory import MemoryReserve, is_want_of_memory
from sandbox.output import Handler, Lines
from sandbox.protocol import (
    MAX_TRACEBACK,
    STRAY_LINES_PER_S,
    Batch,
    Configure,
    Log,
    Message,
    OutcomeCode,
    OutOfMemory,
    Raised,
    UnhandledException,
)
from sandbox.samples import Sampling
from sandbox.soft_deadline import SoftDeadline

#: Seconds that a batch may take to end once it is cancelled, before its events are retried without
#: waiting for that.
CANCEL_S = 1.0
#: Seconds that the batch of a warm-up may take, which no supervisor has sent.
WARM_UP_S = 5.0

#: Folders whose frames a traceback does without.
_OURS = tuple(str(Path(module.__file__ or "").parent) for module in (protocol, requests))

_current_connection: contextvars.ContextVar[str] = contextvars.ContextVar("connection", default="")


class Runner:
    """All batches of one worker.

    `send` writes a message to the supervisor; what runs is marked in `page`;
    `connector` makes what a connection's HTTP session connects with; `on_want_of_files` is called
    with the connection whose own code met EMFILE; `starved_s` says for how many seconds of its life
    the thread of batches had no CPU.
    """

    def __init__(
        self,
        send: Callable[[Message], None],
        page: MarkerWriter,
        connector: Callable[[str], aiohttp.BaseConnector],
        on_want_of_files: Callable[[str], None],
        starved_s: Callable[[], float],
    ) -> None:
        self._send = send
        self._starved_s = starved_s
        self._on_want_of_files = on_want_of_files
        self._page = page
        self._reserve = MemoryReserve()
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._names: dict[int, str] = {}
        self.lines = Lines(self._log, self.running)
        self._unhandled = Lines(self._tell_unhandled, self.running, STRAY_LINES_PER_S)
        self._connector = connector
        self.tokens = TokenClient(send)
        """Takes the supervisor's answers about tokens."""
        self.sampling = Sampling(send)
        """Takes the supervisor's word whether samples are wanted."""
        self._classes: dict[str, type[Destination] | str] = {}
        self._connections: dict[str, _Instance] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_idle: Callable[[], None] | None = None

    def principals(self) -> Principals:
        """Whom objects of this worker may belong to."""
        return Principals(
            {name: cls for name, cls in self._classes.items() if not isinstance(cls, str)},
            {name: one.own for name, one in self._connections.items()},
            _current_connection,
            self,
            frozenset(map(id, self._tasks)),
        )

    @property
    def batches(self) -> int:
        """Batches under way."""
        return len(self._tasks)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Threads of destinations write by way of this loop, which runs in the calling thread."""
        self._loop, self._thread = loop, threading.get_ident()

    async def warm_up(self) -> None:
        """Run a batch of a destination that does nothing.

        Pages that are shared with the zygote until they are written to are ours then, and a spare
        that takes over is quick from the start.
        """
        keeper = self.tokens.keeper("")
        connection = _Instance("", 0, _Idle, {}, self.lines, self._connector, keeper)
        batch = Batch(0, "", WARM_UP_S, [b"{}"])
        await asyncio.get_running_loop().create_task(self._run(connection, batch, _unheard))
        await connection.close()

    def add(self, name: str, destination: type[Destination] | str) -> None:
        """Make a destination known by the name that the config gives it, or why it is missing."""
        self._classes[name] = destination

    def configure(self, message: Configure) -> None:
        """Take the settings of a connection; batches that run keep the old ones."""
        if message.number:
            self._names[message.number] = message.connection
        old = self._connections.get(message.connection)
        self._connections[message.connection] = _Instance(
            message.connection,
            message.number,
            self._classes[message.destination],
            message.settings,
            self.lines,
            self._connector,
            self.tokens.keeper(message.connection),
        )
        if old is not None:
            old.is_retired = True
            self._close_unused(old)

    def start(self, batch: Batch, *, is_dry_run: bool = False) -> None:
        """Begin a batch; what becomes of it goes to `send`; of a dry run also what raised."""
        connection = self._connections[batch.connection]
        context = contextvars.copy_context()
        if is_dry_run:
            context.run(current_raised.set, lambda error: self._raised(batch.id, error))
        context.run(current_place.set, (connection.number, batch.id))
        self._hold(
            asyncio.get_running_loop().create_task(
                self._run(connection, batch, self._send), context=context
            )
        )

    def when_idle(self, done: Callable[[], None]) -> None:
        """Call `done` once nothing runs any more."""
        self._on_idle = done
        self._call_if_idle()

    async def close(self) -> None:
        """Close the HTTP sessions and the destinations, each for a second at most."""
        for connection in self._connections.values():
            await connection.close()

    def unhandled(self, number: int, what: str, error: BaseException | None) -> None:
        """An exception that nothing catches; `number` is the connection's, 0: unknown.

        Called in whatever thread it was raised in.
        """
        name = self._names.get(number, "")
        if error is not None and is_want_of_memory(error):
            self._out_of_memory(name, error)
        if self._unhandled.room(name):
            text = f"{what}: {_describe(error)}" if error is not None else what
            self._unhandled.send(logging.ERROR, name, text)

    def tell_dropped(self) -> None:
        """Say how much was dropped of connections that wrote too much and have stopped."""
        self.lines.tell_dropped()
        self._unhandled.tell_dropped()

    def running(self) -> str:
        """The connection in whose context this is, "" where it is no connection's."""
        return _current_connection.get() or self._names.get(current_place.get()[0], "")

    def _out_of_memory(self, connection: str, error: BaseException) -> None:
        if connection and self._reserve.is_whole:
            self._reserve.release()
            self._say(OutOfMemory(connection, _describe(error)))

    def _log(self, level: int, connection: str, text: str, dropped: int) -> None:
        self._say(Log(level, connection, text, dropped))

    def _tell_unhandled(self, level: int, connection: str, text: str, dropped: int) -> None:
        self._say(UnhandledException(connection, text, dropped))

    def _say(self, message: Message) -> None:
        """Send from any thread: what another thread than the loop's writes waits its turn."""
        if threading.get_ident() == self._thread:
            self._send(message)
        elif self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker ends
                self._loop.call_soon_threadsafe(self._send, message)

    def _close_unused(self, connection: _Instance) -> None:
        if connection.is_retired and not connection.users:
            self._hold(asyncio.get_running_loop().create_task(connection.close()))

    def _raised(self, batch: int, error: BaseException) -> None:
        self._send(Raised(batch, _traceback(error)))

    def _hold(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._call_if_idle()

    def _call_if_idle(self) -> None:
        if self._on_idle is not None and not self._tasks:
            done, self._on_idle = self._on_idle, None
            done()

    async def _run(
        self, connection: _Instance, batch: Batch, send: Callable[[Message], None]
    ) -> None:
        samples = self.sampling.of_batch(connection.name, batch.id, connection.settings)
        report = BatchReport(batch.id, len(batch.events), send, samples.failed)
        current_report.set(report.report)
        if self.sampling.is_wanted:
            current_exchanged.set(samples.exchanged)
        current_event.set(self._page.at)
        _current_connection.set(connection.name)
        connection.users += 1
        code, reason = OutcomeCode.RETRY, ""
        soft: list[SoftDeadline] = []
        try:
            events = [Event(body) for body in batch.events]
            late = f"not finished within {batch.timeout_s:g} s"
            stuck = f"{late}, and does not end when it is cancelled"
            soft.append(
                SoftDeadline(
                    batch.timeout_s + CANCEL_S,
                    self._starved_s,
                    partial(report.give_up, OutcomeCode.TIMEOUT, stuck),
                )
            )
            async with asyncio.timeout(None) as deadline:
                expire = partial(deadline.reschedule, 0.0)
                soft.append(SoftDeadline(batch.timeout_s, self._starved_s, expire))
                destination = await connection.destination()
                returned = await destination.deliver(events)
            reason = report.take(returned)
            if reason:
                code = OutcomeCode.RETRY_ALONE
        except TimeoutError as error:
            if deadline.expired():
                code, reason = OutcomeCode.TIMEOUT, late
            else:
                current_raised.get()(error)
                code, reason = OutcomeCode.RETRY_ALONE, f"deliver raised {_describe(error)}"
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it does not end a worker
            current_raised.get()(error)
            if is_want_of_memory(error):
                self._out_of_memory(connection.name, error)
            elif isinstance(error, OSError) and error.errno == errno.EMFILE:
                self._on_want_of_files(connection.name)
            code, reason = OutcomeCode.RETRY_ALONE, f"deliver raised {_describe(error)}"
        finally:
            for one in soft:
                one.cancel()
            connection.users -= 1
            report.close(code, reason)
            self._close_unused(connection)


class _Idle(Destination):
    """Takes events and does nothing: see `Runner.warm_up`."""

    name = "idle"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """All of them are delivered."""
        return [Delivered()] * len(events)


def _unheard(message: Message) -> None:
    """The batch of a warm-up is not reported."""


class _Instance:
    """A destination's instance with its settings and its HTTP session."""

    def __init__(
        self,
        name: str,
        number: int,
        kind: type[Destination] | str,
        settings: dict[str, Any],  # Any: converted to the destination's own Settings below
        lines: Lines,
        connector: Callable[[str], aiohttp.BaseConnector],
        keeper: TokenKeeper,
    ) -> None:
        self.name = name
        self.number = number
        self.users = 0
        self.is_retired = False
        self._kind = kind
        self.settings = settings
        self._connector = connector
        self._keeper = keeper
        self._log = _logger(name, lines)
        self._starting: asyncio.Future[Destination] | None = None
        self._http: aiohttp.ClientSession | None = None

    @property
    def own(self) -> Sequence[object]:
        """What has all that is this connection's alone."""
        ready = self._starting
        if ready is None or not ready.done() or ready.cancelled() or ready.exception():
            return [self]
        return [self, ready.result()]

    async def destination(self) -> Destination:
        """The instance, made and started by the first batch; a failed start is repeated."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        starting = self._starting
        try:
            # Shielded: the deadline of the batch that came first is not that of the others.
            return await asyncio.shield(starting)
        except BaseException:
            if starting.done() and self._starting is starting:
                self._starting = None
            raise

    async def _start(self) -> Destination:
        if isinstance(self._kind, str):
            raise LoadError(self._kind)
        settings = msgspec.convert(self.settings, self._kind.Settings, strict=True)
        if self._http is None:
            self._http = _http_session(self._connector(self.name))
        current_keeper.set(self._keeper)  # in this task alone, which makes this instance
        destination = self._kind(settings, self._http, self._log)
        await destination.start()
        return destination

    async def close(self) -> None:
        """Close the destination, which gets a second for it, and its HTTP session."""
        if self._starting is not None and self._starting.done() and not self._starting.exception():
            try:
                async with asyncio.timeout(1.0):
                    await self._starting.result().close()
            except BaseException as error:  # noqa: BLE001 - a destination's code, contained
                self._log.error("close raised %s", _describe(error))
        if self._http is not None:
            await self._http.close()


def _http_session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return UrlKeepingSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0),
    )


def _describe(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as broken:  # noqa: BLE001 - an exception whose own __str__ raises
        text = f"(its text raised {type(broken).__name__})"
    return shortened(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _traceback(error: BaseException) -> str:
    """From the destination's own code on: how it was called is always the same."""
    try:
        told = traceback.TracebackException.from_exception(error)
        inner = [frame for frame in told.stack if not frame.filename.startswith(_OURS)]
        if inner:
            told.stack = traceback.StackSummary.from_list(inner)
        text = "".join(told.format(chain=False))
    except BaseException as broken:  # noqa: BLE001 - an exception whose own __str__ raises
        text = f"{type(error).__name__} (telling it raised {type(broken).__name__})"
    return text[-MAX_TRACEBACK:].encode("utf-8", "replace").decode()


def _logger(connection: str, lines: Lines) -> logging.Logger:
    # Not from the registry: any code may have taken a logger of that name.
    logger = logging.Logger(f"destination.{connection}", logging.INFO)
    logger.addHandler(Handler(lines, connection, lambda: connection))
    return logger
