"""Rows of the admin API on what is kept for people to look at: trends, issues and the tap.

Owns their parameters and the shape of their answers. What is counted, and who sees what of a value,
is insight's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from supervisor.admin import viewers
from supervisor.admin.answers import error_answer, json_answer, name_of
from supervisor.admin.kept_samples import kept_json
from supervisor.admin.parameters import BadRequest, read_limit, read_parameters, read_time
from supervisor.admin.table import Caller, Right, Route, caller_of
from supervisor.config import Config
from supervisor.core.causes import cause_of, remedy_of
from supervisor.core.public_causes import public_cause
from supervisor.errors import NotFound
from supervisor.insight.disk import DiskUnavailable
from supervisor.insight.frames import COLUMNS, HOUR_S, KEPT_S, Frame, merged
from supervisor.insight.history import ALL, CONNECTION, SOURCE, Key
from supervisor.insight.insight import Insight
from supervisor.insight.issues import KINDS, Issue
from supervisor.insight.masking import Masking, Sight, public_name, shape
from supervisor.insight.tap import MOST_ROWS, Ring, TapRow
from supervisor.insight.trends import Trend
from supervisor.runtime.rfc3339 import rfc3339
from supervisor.telemetry.latencies import quantile_s
from supervisor.telemetry.steps import in_steps

#: Points of one answer at most: 90 days by the hour.
MOST_POINTS: Final = 2200
#: Issues of one page at most.
MOST_ISSUES: Final = 500
#: Rows of the tap of one answer where the request does not say.
DEFAULT_ROWS: Final = 50
#: Rows that are masked in one step of the event loop.
_STEP: Final = 4
_QUANTILES: Final = (("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99))
_OF_INTAKE: Final = ("received", "rejected", "duplicates")
_TYPES: Final = frozenset({"identify", "track", "page", "screen", "group", "alias"})

Json = dict[str, Any]  # Any: JSON


class Watched(Protocol):
    """What the rows are of."""

    @property
    def config(self) -> Config:
        """What is in force."""


def rows(watched: Watched, insight: Insight, masking: Callable[[], Masking]) -> tuple[Route, ...]:
    """Those of this part; `masking` is what is in force."""
    data = _Data(watched, insight, masking)
    return (
        Route("GET", "/trends", data.trends, Right.VIEW),
        Route("GET", "/issues", data.issues, Right.VIEW),
        Route("GET", "/issues/{id}", data.issue, Right.VIEW),
        Route("GET", "/tap/{source}", data.tap, Right.VIEW),
    )


class _Data:
    def __init__(self, watched: Watched, insight: Insight, masking: Callable[[], Masking]) -> None:
        self._watched = watched
        self._insight = insight
        self._masking = masking

    async def trends(self, request: web.Request) -> web.StreamResponse:
        """Counts and latencies by the minute or coarser, of one connection, one source or all."""
        asked = read_parameters(
            list(request.query.items()), ("connection", "source", "from", "to", "step")
        )
        key = self._key(asked.get("connection"), asked.get("source"))
        start, stop, step_s = read_period(asked, time.time())
        try:
            trend = await self._insight.trends.read(key, start, stop, step_s)
        except DiskUnavailable as error:
            return error_answer(503, "not_kept", f"trends cannot be read now: {error}")
        return json_answer(trend_json(trend, key))

    def _key(self, connection: str | None, source: str | None) -> Key:
        if connection is not None and source is not None:
            raise BadRequest("connection, source: give one of them")
        config = self._watched.config
        if connection is not None:
            if connection not in config.connections and not self._insight.trends.knows(connection):
                raise NotFound(f"there is no connection {connection!r}")
            return CONNECTION, connection
        if source is not None:
            if source not in config.sources:
                raise NotFound(f"there is no source {source!r}")
            return SOURCE, source
        return ALL, ""

    async def issues(self, request: web.Request) -> web.StreamResponse:
        """A page of issues, the one that was seen last first."""
        asked = read_parameters(
            list(request.query.items()),
            ("connection", "source", "kind", "open", "limit", "after"),
        )
        kind, is_open = asked.get("kind"), asked.get("open")
        if kind is not None and kind not in KINDS:
            raise BadRequest(f"kind: {kind[:100]!r} is none of {', '.join(KINDS)}")
        if is_open not in (None, "yes", "no"):
            raise BadRequest("open: yes or no")
        limit = read_limit(asked.get("limit"), most=MOST_ISSUES)
        now = time.time()
        found: list[Issue] = []
        all_issues = list(self._insight.issues.listed())
        async for some in in_steps(_behind(all_issues, _read_cursor(asked.get("after")))):
            found += (
                issue
                for issue in some
                if asked.get("connection") in (None, issue.connection)
                and asked.get("source") in (None, issue.source)
                and kind in (None, issue.kind)
                and (is_open is None or issue.is_open(now) is (is_open == "yes"))
            )
            if len(found) > limit:
                break
        shown = found[:limit]
        is_viewer = caller_of(request).is_viewer
        return json_answer(
            {
                "issues": [issue_json(issue, now, is_viewer=is_viewer) for issue in shown],
                "next": _cursor(shown[-1]) if len(found) > limit else None,
                "forgotten": self._insight.issues.forgotten,
            }
        )

    async def issue(self, request: web.Request) -> web.StreamResponse:
        """One issue, and when it was seen."""
        read_parameters(list(request.query.items()), ())
        issue_id = name_of(request, "id")
        issue = self._insight.issues.get(issue_id)
        if issue is None:
            raise NotFound(
                f"there is no issue {issue_id!r}: it may have made room for others; see /issues"
            )
        now = time.time()
        try:
            minutes = await self._insight.issues.minutes(issue, now)
        except DiskUnavailable:
            minutes = []  # what is known without the disk is worth showing all the same
        caller = caller_of(request)
        told = issue_json(issue, now, is_viewer=caller.is_viewer)
        samples = await self._samples(issue, caller)
        return json_answer({**told, "minutes": minutes, "samples": samples})

    async def _samples(self, issue: Issue, caller: Caller) -> list[Json]:
        masking = self._masking()
        sight = masking.sight(is_operator=not caller.is_viewer)
        connection = self._watched.config.connections.get(issue.connection or "")
        source = None if connection is None else connection.source
        kept = await self._insight.samples.of(issue.number)
        return [kept_json(n, source, one, masking, sight) for n, one in enumerate(kept)]

    async def tap(self, request: web.Request) -> web.StreamResponse:
        """The newest of what a source sent, or of what was not taken of it."""
        asked = read_parameters(list(request.query.items()), ("ring", "after", "limit"))
        source = name_of(request, "source")
        if source not in self._watched.config.sources:
            raise NotFound(f"there is no source {source!r}")
        ring = read_ring(asked.get("ring"))
        after = asked.get("after")
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 17):
            raise BadRequest(f"after: {after[:100]!r} is no number of a row")
        limit = read_limit(asked.get("limit"), default=DEFAULT_ROWS, most=MOST_ROWS)
        page = await tap_page(
            self._insight,
            self._masking(),
            source,
            ring,
            after=None if after is None else int(after),
            limit=limit,
            is_operator=not caller_of(request).is_viewer,
        )
        return json_answer(page)


# --- trends ---------------------------------------------------------------------


def read_period(asked: Mapping[str, str], now: float) -> tuple[int, int, int]:
    """From, to and step in seconds, of parameters by these names. Raises BadRequest."""
    stop = _read_moment("to", asked.get("to"), now)
    start = _read_moment("from", asked.get("from"), stop - HOUR_S)
    if not start < stop:
        raise BadRequest("from: must be before `to`")
    text = asked.get("step")
    if text is None:
        oldest_s = now - start
        step_s = next((step for step, kept_s in KEPT_S.items() if oldest_s <= kept_s), HOUR_S)
    elif text not in map(str, KEPT_S):
        raise BadRequest(f"step: {text[:100]!r} is none of {', '.join(map(str, KEPT_S))} (seconds)")
    else:
        step_s = int(text)
    # What is older than anything that is kept needs no point.
    start = max(start, now - KEPT_S[step_s] - step_s)
    stop = max(start + 1, min(stop, now + 1))
    if (stop - start) / step_s > MOST_POINTS:
        raise BadRequest(
            f"step: more than {MOST_POINTS} points; ask for less time, or a longer step"
        )
    return int(start), math.ceil(stop), step_s


def _read_moment(name: str, text: str | None, otherwise: float) -> float:
    if text is None:
        return otherwise
    if text.isascii() and text.isdigit() and len(text) <= 11:
        return float(text)
    try:
        moment = read_time(name, text)
    except BadRequest as error:
        raise BadRequest(f"{error}, nor whole seconds since 1970") from error
    return otherwise if moment is None else moment


def trend_json(trend: Trend, key: Key) -> Json:
    """Columns of numbers; null where the service did not run, or nothing was delivered."""
    frames = trend.frames
    columns: dict[str, list[float | int | None]] = {
        name: [None if frame is None else frame.counts[which] for frame in frames]
        for which, name in enumerate(COLUMNS)
        if key[0] == ALL or (name in _OF_INTAKE) is (key[0] == SOURCE)
    }
    if key[0] != SOURCE:
        columns["depth"] = [None if frame is None else frame.depth for frame in frames]
        for name, share in _QUANTILES:
            columns[name] = [_rounded(frame, share) for frame in frames]
    whole = merged(frame for frame in frames if frame is not None)
    totals: Json = {
        name: total for name, total in zip(COLUMNS, whole.counts, strict=True) if name in columns
    }
    if key[0] != SOURCE:
        totals |= {name: _rounded(whole, share) for name, share in _QUANTILES}
    return {
        "from": trend.start,
        "to": trend.stop,
        "step_s": trend.step_s,
        "reaches_back_to": trend.reaches_back_to,
        "times": [trend.start + n * trend.step_s for n in range(len(frames))],
        "columns": columns,
        "restart": [n for n, frame in enumerate(frames) if frame is not None and frame.gap_s],
        "totals": totals,
    }


def _rounded(frame: Frame | None, share: float) -> float | None:
    found = None if frame is None else quantile_s(frame.latency, share)
    return None if found is None else float(f"{found:.3g}")


# --- issues ---------------------------------------------------------------------


def issue_json(issue: Issue, now: float, *, is_viewer: bool) -> Json:
    """One issue; `meaning` and `action` are ours, `cause` is made of a stranger's text."""
    remedy = remedy_of(issue.cause)
    return {
        "id": issue.id,
        "kind": issue.kind,
        "connection": issue.connection,
        "source": issue.source,
        "cause": public_cause(issue.cause) if is_viewer else issue.cause,
        "count": issue.count,
        "first_seen": rfc3339(issue.first_seen),
        "last_seen": rfc3339(issue.last_seen),
        "open": issue.is_open(now),
        "meaning": remedy.meaning,
        "action": remedy.action,
    }


def _cursor(issue: Issue) -> str:
    return f"{issue.last_seen!r}-{issue.id}"


def _read_cursor(text: str | None) -> tuple[float, str] | None:
    if text is None:
        return None
    seen, _, issue_id = text.partition("-")
    try:
        moment = float(seen)
    except ValueError:
        moment = math.nan
    if not math.isfinite(moment) or not issue_id:
        raise BadRequest(f"after: {text[:100]!r} is not what a page gave as `next`")
    return moment, issue_id


def _behind(issues: Sequence[Issue], after: tuple[float, str] | None) -> Sequence[Issue]:
    """Those behind the last one of another page; that may be gone, or have been seen since."""
    if after is None:
        return issues
    for at, issue in enumerate(issues):
        if issue.last_seen < after[0]:
            return issues[at:]
        if (issue.last_seen, issue.id) == after:
            return issues[at + 1 :]
    return ()


# --- the tap --------------------------------------------------------------------


class _Head(msgspec.Struct):
    """What names an event; of whatever type a sender made it."""

    type: object = None
    event: object = None
    name: object = None
    messageId: object = None


_decode_head = msgspec.json.Decoder(_Head).decode


def read_ring(text: str | None) -> Ring:
    """Which of the two rings. Raises BadRequest."""
    match text:
        case None | "taken":
            return "taken"
        case "rejected":
            return "rejected"
        case _:
            raise BadRequest(f"ring: {text[:100]!r} is neither taken nor rejected")


async def tap_page(
    insight: Insight,
    masking: Masking,
    source: str,
    ring: Ring,
    *,
    after: int | None,
    limit: int,
    is_operator: bool,
) -> Json:
    """The answer of `GET /tap/{source}`, for a caller of that role; masked in steps."""
    page = insight.tap.page(source, ring, after, limit)
    sight = masking.sight(is_operator=is_operator)
    samples: list[Json] = []
    for start in range(0, len(page.rows), _STEP):
        if start:
            await asyncio.sleep(0)
        samples += [
            tapped_json(source, row, masking, sight) for row in page.rows[start : start + _STEP]
        ]
    return {
        "source": source,
        "seen": page.seen,
        "kept": page.kept,
        "rejected_seen": page.rejected_seen,
        "sampled": page.sampled,
        "rejected_kept": page.rejected_kept,
        "rejected_sampled": page.rejected_sampled,
        "next": page.next,
        "lossy": page.is_lossy,
        "rows": samples,
    }


def tapped_json(source: str, row: TapRow, masking: Masking, sight: Sight) -> Json:
    """A row of the tap as a sample."""
    head = _head_of(row)
    is_open = sight in (Sight.FULL, Sight.MASKED)
    event_type = row.type or head.type
    name = head.event if event_type == "track" else head.name
    name = name if isinstance(name, str) else None
    message_id = row.message_id or head.messageId
    message_id = message_id if isinstance(message_id, str) else None
    return {
        "n": row.n,
        "at": rfc3339(row.at),
        "source": source,
        "connection": None,
        "message_id": message_id if is_open or message_id is None else shape(message_id),
        "type": event_type if isinstance(event_type, str) and event_type in _TYPES else None,
        "name": name if is_open else public_name(name),
        "outcome": row.outcome,
        "code": row.code or None,
        "cause": _cause_of(row, is_open=is_open),
        "reason": masking.text(row.reason, sight) if row.reason else None,
        "to": row.route.pending,
        "unsupported": row.route.unsupported,
        "filtered": row.route.filtered,
        "attempt": None,
        "worker": None,
        "body": None if row.body is None else masking.event(row.body, sight),
        "size_bytes": row.size_bytes,
        "request": None,
        "answer": None,
    }


def _cause_of(row: TapRow, *, is_open: bool) -> str | None:
    if not row.code:
        return None
    reason = f"{row.code}: {row.reason}"
    return cause_of(reason) if is_open else viewers.cause(reason)


def _head_of(row: TapRow) -> _Head:
    if row.body is None:
        return _Head()
    try:
        return _decode_head(row.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Head()  # a body that is no event was not taken for that
