"""The row that tries one event at a connection: the requests that it becomes, and its outcome.

Owns the process that does it, one at a time: how long it may take, how much it may hold and say.
Must not deliver by itself: `dryrun/one_event.py` does, in that process. A request names a
connection and brings one event, and never a setting or a path.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog
from aiohttp import web

from supervisor.admin.answers import json_answer
from supervisor.admin.parameters import BadRequest, check_length
from supervisor.admin.routes import MAX_BODY
from supervisor.admin.table import Deed, Right, Route, say_done
from supervisor.config import Config, Connection
from supervisor.diagnostics.reports import report_environment
from supervisor.dryrun.order import MAX_LINE_BYTES, OneEventResult, order_of
from supervisor.errors import Busy, EvidenceFailed, NotFound, Refused
from supervisor.ingest.validation import BadBody, EventReader, read_batch
from supervisor.insight.masking import Masking, Sight
from supervisor.queue import NewEvent
from supervisor.queue import Route as EventRoute
from supervisor.runtime.threads import in_thread
from supervisor.workers.code import KeptCode
from supervisor.workers.patience import Patience
from supervisor.workers.resources.priority import as_usual
from supervisor.workers.resources.procfs import cpu_times, own_bytes

_log = structlog.get_logger(__name__)

#: Seconds of time that counts that a try may take, and at most in all; between two looks.
LIMIT_S, MOST_S, LOOK_S = 10.0, 30.0, 0.1
#: Bytes of memory that its process may hold, its workers' aside.
MOST_BYTES = 512 << 20
#: Bytes of a request beside its event: the connection's name, and blanks.
MOST_BESIDE = 16 * 1024
#: What a try that was sent is in the books.
IN_NO_BOOK = "sent by hand; in no book"


class AskedDryRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /try`. `live`: send it for real."""

    connection: str
    event: msgspec.Raw
    live: bool = False


@dataclass(slots=True)
class EventTester:
    """Tries events of one service, one at a time.

    config, code, masking: what holds now. may_send: why a connection may not send now, None where
    it may and has spent one event of its rate; keeps_token: whether its partner takes each token
    once, so that a try would use up the service's. started, ended: as for any child that is no
    worker.
    """

    config: Callable[[], Config]
    code: Callable[[], KeptCode]
    masking: Callable[[], Masking]
    may_send: Callable[[str], str | None]
    keeps_token: Callable[[str], Awaitable[bool]]
    started: Callable[[int], None]
    ended: Callable[[int], None]
    environment: Mapping[str, str] = field(default_factory=report_environment)
    limit_s: float = LIMIT_S
    _is_busy: bool = False

    async def run(self, asked: AskedDryRun) -> OneEventResult:
        """What becomes of the event.

        Raises NotFound, BadRequest for what is no event, Busy while another is tried, Refused where
        the connection may not send, EvidenceFailed where it could not be run.
        """
        check_length("connection", asked.connection)
        config = self.config()
        connection = config.connections.get(asked.connection)
        if connection is None:
            raise NotFound(f"there is no connection {asked.connection!r}; GET /queues lists them")
        event = read_event(asked.event, connection, config)
        if self._is_busy:
            raise Busy("another event is being tried; ask again")
        self._is_busy = True
        try:
            if asked.live:
                await self._require_live(connection)
            order = order_of(config, self.code(), connection, event, is_live=asked.live)
            result = await self._in_process(order)
        finally:
            self._is_busy = False
        if result.error is not None:
            raise EvidenceFailed(f"{connection.destination} cannot be tried: {result.error}")
        return self._seen(result)

    async def _require_live(self, connection: Connection) -> None:
        if not connection.enabled:
            raise Refused(f"{connection.name} is disabled in the config; try it without live")
        if await self.keeps_token(connection.name):
            raise Refused(
                f"{connection.name} renews a token that its partner takes once, which a try would "
                "use up; try it without live"
            )
        why = self.may_send(connection.name)
        if why is not None:
            raise Refused(f"{connection.name} may not send now: it waits for {why}")

    def _seen(self, result: OneEventResult) -> OneEventResult:
        """As far as `console.payloads` lets an operator see: the event is the operator's own."""
        masking = self.masking()
        sight = masking.sight(is_operator=True)
        replace = msgspec.structs.replace
        answers = [
            replace(one, body=masking.message(one.body, sight) or "") if one.body else one
            for one in result.answers
        ]
        if sight is Sight.NOTHING:
            requests = [
                replace(one, url=one.url.partition("?")[0], headers={}, body="")
                for one in result.requests
            ]
            return replace(result, requests=requests, answers=answers, detail="", raised=[])
        return replace(result, answers=answers)

    # --- its process ---

    async def _in_process(self, order: bytes) -> OneEventResult:
        try:
            process = _start(self.environment)
        except OSError as error:
            raise EvidenceFailed(f"no process to try it in: {error.strerror}") from error
        self.started(process.pid)
        overdue = asyncio.Event()
        patience = Patience(
            self.limit_s, partial(cpu_times, process.pid), overdue.set, most_s=MOST_S
        )
        try:
            talk = in_thread("try", partial(_talk, process, order))
        except RuntimeError as error:
            patience.cancel()
            await self._end(process)
            raise EvidenceFailed(f"nobody to hear what became of it: {error}") from error
        try:
            why = ""
            while not talk.done() and not why:
                await asyncio.wait({talk}, timeout=LOOK_S)
                if overdue.is_set():
                    why = f"not done within {self.limit_s:g} s"
                elif own_bytes(process.pid) > MOST_BYTES:
                    why = f"its requests take more than {MOST_BYTES >> 20} MiB"
        finally:
            patience.cancel()
            await self._end(process)
        if why and not talk.done():
            _log.warning("try_ended", pid=process.pid, reason=why)
            raise EvidenceFailed(f"the try was ended: {why}")
        line = await talk
        try:
            return msgspec.json.decode(line, type=OneEventResult)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EvidenceFailed(
                f"its process ended with {process.returncode} and said nothing of it"
            ) from error

    async def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        try:
            await asyncio.wait({in_thread("try-end", process.wait)}, timeout=5.0)
        except RuntimeError:
            process.wait()  # no thread is left: it was killed, so that this is short
        self.ended(process.pid)


def _start(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # Not asyncio's: its child watcher would reap processes that are ours to reap.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "supervisor.dryrun.one_event"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    as_usual(process.pid)
    return process


def _talk(process: subprocess.Popen[bytes], order: bytes) -> bytes:
    """In a thread: hand it the order, and hear it. A killed process ends both."""
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            process.stdin.write(order)
            process.stdin.close()
        except OSError:
            return b""  # it has ended: what it said, if anything, is not of this order
        return process.stdout.readline(MAX_LINE_BYTES + 2)


_NOWHERE = EventRoute()


def read_event(raw: msgspec.Raw, connection: Connection, config: Config) -> NewEvent:
    """The event as the tracking API would store it. Raises BadRequest with what is wrong."""
    most = config.api.max_event
    body = bytes(raw)
    if len(body) > most:
        raise BadRequest(f"event: {len(body)} bytes, and api.max_event is {most}")
    try:
        envelope = read_batch(b'{"batch":[' + body + b"]}")
    except BadBody as error:
        raise BadRequest(f"event: {error}") from error
    reader = EventReader(
        envelope,
        source=connection.source,
        route=lambda source, kind, integrations: _NOWHERE,
        received_at=time.time(),
        max_event=most,
        max_request=config.api.max_request,
    )
    reader.read(0, 1)
    if reader.rejected:
        raise BadRequest(f"event: {reader.rejected[0].message}")
    (event,) = reader.events
    return event


# --- rows ---


def rows(tester: EventTester) -> tuple[Route, ...]:
    """The row, bound to what tries."""

    async def try_(request: web.Request) -> web.StreamResponse:
        """Try one event at a connection."""
        body = await _read(request, tester.config().api.max_event)
        try:
            asked = msgspec.json.decode(body, type=AskedDryRun)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(
                f'the body is no {{"connection": "NAME", "event": {{}}, "live": false}}: {error}'
            ) from error
        result = await tester.run(asked)
        if asked.live:
            say_done(request, Deed("try", asked.connection, 1, f"{result.outcome}; {IN_NO_BOOK}"))
        told = msgspec.to_builtins(result)
        del told["error"]
        note = IN_NO_BOOK if asked.live else "nothing was sent; answers are assumed"
        return json_answer({**told, "live": asked.live, "note": note})

    return (Route("POST", "/try", try_, Right.ACT),)


async def _read(request: web.Request, max_event: int) -> bytes:
    """The body, which may hold any event that the tracking API takes. Raises BadRequest."""
    most = max(MAX_BODY, max_event + MOST_BESIDE)
    try:
        return await request.clone(client_max_size=most).read()
    except web.HTTPRequestEntityTooLarge as error:
        raise BadRequest(
            f"the body has more than {most} bytes, and api.max_event is {max_event}"
        ) from error
