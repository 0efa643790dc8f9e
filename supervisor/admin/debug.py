"""The debug part of the admin API: heaps, stacks, profiles, and what was kept of them.

Owns the way from a request to a file that streams out with back-pressure: a
slow client holds a piece of it in memory, never the whole, and one that goes
away stops the work. Each pull is logged with its caller and what it took.
"""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast

import structlog
from aiohttp import web

from supervisor.admin.parameters import BadRequest
from supervisor.admin.table import Deed, say_done
from supervisor.diagnostics.collector import Kind
from supervisor.diagnostics.reports import ReportFormat
from supervisor.diagnostics.snapshots import Snapshot, SnapshotStore
from supervisor.errors import NotFound
from supervisor.runtime.rfc3339 import rfc3339

_log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Bytes that are read, packed and sent at once.
PIECE_BYTES = 256 * 1024
#: Seconds between two looks whether a client that waits is still there.
LOOK_S = 0.25
#: Seconds that a profile may take.
MOST_PROFILE_S = 60.0

_HEAP_KINDS = ("heapsnapshot", "summary", "hpy")
_PROFILE_KINDS = ("speedscope", "collapsed")
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_MEDIA_TYPES = {"summary": "application/json", "heapsnapshot": "application/json"}


class DiagnosticsSource(Protocol):
    """What the service gives; `supervisor.app.diagnostics` implements it."""

    @property
    def store(self) -> SnapshotStore:
        """What was kept."""

    async def heap(self, worker_id: str, kind: Kind, *, full_strings: bool) -> Snapshot:
        """Take a snapshot and keep it."""

    async def look(self, worker_id: str, kind: Kind, seconds: float) -> bytes:
        """What a worker writes about itself."""

    async def stacks(self, worker_id: str) -> str:
        """Python stacks of all threads and tasks, as text."""

    def loop(self, worker_id: str) -> Mapping[str, object]:
        """How its event loop fares."""

    async def report(self, snapshot: Snapshot, form: ReportFormat) -> bytes:
        """What fills the heap, as "text", "json" or "html"."""

    async def difference(self, old: Snapshot, new: Snapshot) -> bytes:
        """What grew from one heap to another, as JSON."""


async def heap(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """Take a snapshot of a worker, and stream it."""
    kind = _choice(request, "format", _HEAP_KINDS)
    strings = _choice(request, "strings", ("truncated", "full"))
    worker = request.match_info["id"]
    _pulled(request, kind, worker)
    kept = await _while_there(
        request,
        evidence.heap(worker, cast(Kind, kind), full_strings=strings == "full"),
    )
    return await _stream(request, evidence.store.path(kept), kept.name, kept.kind)


async def stacks(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """Stacks of every thread and task."""
    worker = request.match_info["id"]
    _pulled(request, "stacks", worker)
    return web.Response(text=await evidence.stacks(worker))


async def profile(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """Sample a worker for some seconds."""
    kind = _choice(request, "format", _PROFILE_KINDS)
    worker = request.match_info["id"]
    seconds = _seconds(request)
    _pulled(request, kind, worker)
    body = await _while_there(request, evidence.look(worker, cast(Kind, kind), seconds))
    ending, media = (
        ("speedscope.json", "application/json") if kind == "speedscope" else ("txt", "text/plain")
    )
    return web.Response(
        body=body,
        content_type=media,
        headers={"Content-Disposition": f'attachment; filename="{worker}.{ending}"'},
    )


async def loop(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """How a worker's event loop fares."""
    return _json(evidence.loop(request.match_info["id"]))


async def snapshots(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """What was kept, newest first."""
    return _json({"snapshots": [about(kept) for kept in evidence.store.all()]})


async def snapshot(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """Stream one that was kept."""
    kept = _kept(evidence, request)
    _pulled(request, "snapshot", kept.name)
    return await _stream(request, evidence.store.path(kept), kept.name, kept.kind)


async def delete(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """Forget one that was kept."""
    kept = _kept(evidence, request)
    evidence.store.delete(kept.name)
    say_done(request, Deed("delete snapshot", kept.name))
    return _json({"done": True})


async def report(evidence: DiagnosticsSource, request: web.Request) -> web.StreamResponse:
    """What fills a heap that was kept, and what holds it."""
    kept = _kept(evidence, request)
    _pulled(request, "report", kept.name)
    accepted = request.headers.get("Accept", "")
    form: ReportFormat = "text"
    media = "text/plain"
    if "json" in accepted:
        form, media = "json", "application/json"
    elif "html" in accepted:
        form, media = "html", "text/html"
    body = await _while_there(request, evidence.report(kept, form))
    answer = web.Response(body=body, content_type=media, charset="utf-8")
    # A page made of a hostile file: whatever it runs is of no origin and reaches nothing.
    answer.headers["Content-Security-Policy"] = _REPORT_POLICY
    return answer


def about(kept: Snapshot) -> dict[str, object]:
    """A kept snapshot, as it is listed."""
    return {
        "name": kept.name,
        "worker": kept.worker,
        "pool": kept.pool,
        "pid": kept.pid,
        "format": kept.kind,
        "reason": kept.reason,
        "connection": kept.connection,
        "at": rfc3339(kept.at),
        "size_bytes": kept.size_bytes,
        "pause_s": kept.pause_s,
    }


def _kept(evidence: DiagnosticsSource, request: web.Request) -> Snapshot:
    name = request.match_info["name"]
    kept = evidence.store.get(name)
    if kept is None:
        raise NotFound(
            f"there is no snapshot {name[:200]!r}; GET /debug/snapshots lists what was kept"
        )
    return kept


def _choice(request: web.Request, key: str, choices: tuple[str, ...]) -> str:
    given = request.query.get(key, choices[0])
    if given not in choices:
        raise BadRequest(f"{key}: {given[:100]!r} is none of {', '.join(choices)}")
    return given


def _seconds(request: web.Request) -> float:
    given = request.query.get("seconds", "10")
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MOST_PROFILE_S:
        raise BadRequest(f"seconds: {given[:100]!r} is not a number up to {MOST_PROFILE_S:g}")
    return seconds


def _pulled(request: web.Request, what: str, of: str) -> None:
    _log.info(
        "evidence_pulled",
        what=what,
        of=of[:200],
        by=request.remote,
        agent=request.headers.get("User-Agent", "")[:200],
    )


async def _while_there(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, which is cancelled where the client goes away."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if request.transport is None or request.transport.is_closing():
                break
        if task.done():
            return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    raise ConnectionResetError("the client went away")


async def _stream(request: web.Request, path: Path, name: str, kind: str) -> web.StreamResponse:
    """A file, piece by piece, gzipped where the client takes that."""
    response = web.StreamResponse()
    response.content_type = _MEDIA_TYPES.get(kind, "application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    packer = None
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response.headers["Content-Encoding"] = "gzip"
        packer = zlib.compressobj(level=6, wbits=31)
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError:
        raise NotFound(f"snapshot {name} is gone: it made room for newer ones") from None
    with file:
        if packer is None:
            response.content_length = os.fstat(file.fileno()).st_size
        await response.prepare(request)
        while piece := await asyncio.to_thread(_piece, file, packer):
            # Returns when the client has taken enough of what was sent before.
            await response.write(piece)
        if packer is not None:
            await response.write(packer.flush())
        await response.write_eof()
    return response


def _piece(file: BinaryIO, packer: Any) -> bytes:  # Any: zlib's type has no public name
    while data := file.read(PIECE_BYTES):
        if packer is None:
            return data
        packed: bytes = packer.compress(data)
        if packed:
            return packed
    return b""


def _json(value: object) -> web.Response:
    return web.Response(text=json.dumps(value), content_type="application/json")
