"""Rows for a heap that is opened object by object, and for two that are compared.

Owns what their requests may ask for and the shape of their answers. Must not read a snapshot:
`heap_session.py` asks a process that does.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from aiohttp import web

from sandbox.protocol import (
    MAX_LISTED,
    MAX_SOUGHT,
    FindObjects,
    HeapAnswered,
    HeapQuestion,
    ShowObject,
    ShowPath,
)
from supervisor.admin.answers import json_answer, name_of
from supervisor.admin.debug import DiagnosticsSource
from supervisor.admin.parameters import BadRequest, read_parameters
from supervisor.admin.table import Deed, Right, Route, say_done
from supervisor.console.heap_session import HeapSessions
from supervisor.diagnostics.snapshots import Snapshot
from supervisor.errors import EvidenceFailed, NotFound, Refused

#: The id that is the root of a heap, in a path.
ROOT = "root"
_DEFAULT_LISTED = 100


def rows(evidence: DiagnosticsSource, sessions: HeapSessions) -> tuple[Route, ...]:
    """The rows, bound to what was kept and to the reader of one snapshot."""
    bound = _HeapRows(evidence, sessions)
    at = "/debug/snapshots"
    return (
        Route("POST", at, bound.take, Right.EVIDENCE),
        Route("GET", f"{at}/diff", bound.difference, Right.EVIDENCE, is_work=True),
        Route("GET", f"{at}/{{name}}/objects/{{id}}", bound.object, Right.EVIDENCE, is_work=True),
        Route("GET", f"{at}/{{name}}/find", bound.find, Right.EVIDENCE, is_work=True),
        Route("GET", f"{at}/{{name}}/path/{{id}}", bound.path, Right.EVIDENCE, is_work=True),
    )


class _Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /debug/snapshots`."""

    worker: str


class _Change(msgspec.Struct, frozen=True):
    """A class in the report of what grew: how much more there is, and how much there is now."""

    kind: str
    objects: int
    bytes: int
    objects_now: int
    bytes_now: int


class _Difference(msgspec.Struct, frozen=True):
    """What of that report is shown."""

    grew: list[msgspec.Raw]
    by_class: list[_Change]
    notes: list[str]
    new_objects: int
    new_bytes: int
    gone_objects: int


@dataclass(frozen=True, slots=True)
class _HeapRows:
    evidence: DiagnosticsSource
    sessions: HeapSessions

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take a snapshot of a worker, and keep it."""
        body = await request.read()
        try:
            asked = msgspec.json.decode(body, type=_Taken)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f'the body is no {{"worker": "default-1"}}: {error}') from error
        kept = await self.evidence.heap(asked.worker[:200], "heapsnapshot", full_strings=False)
        say_done(request, Deed("snapshot", kept.worker, note=kept.name))
        return json_answer({"name": kept.name})

    async def object(self, request: web.Request) -> web.StreamResponse:
        """One object with what is around it."""
        given = read_parameters(list(request.query.items()), ("edges", "holders", "dominated"))
        number = _id(request)
        listed = {
            name: _listed(name, given.get(name)) for name in ("edges", "holders", "dominated")
        }
        answer = await self._ask(request, ShowObject(number, **listed))
        return json_answer(answer.object)

    async def path(self, request: web.Request) -> web.StreamResponse:
        """The shortest way from the root to an object."""
        read_parameters(list(request.query.items()), ())
        return json_answer((await self._ask(request, ShowPath(_id(request)))).path)

    async def find(self, request: web.Request) -> web.StreamResponse:
        """Objects with a word in their name."""
        given = read_parameters(list(request.query.items()), ("q", "limit"))
        sought = given.get("q", "")
        if not 0 < len(sought) <= MAX_SOUGHT:
            raise BadRequest(
                f"q: give a part of a name, of at most {MAX_SOUGHT} characters, or @ and an id"
            )
        question = FindObjects(sought, _listed("limit", given.get("limit")))
        return json_answer((await self._ask(request, question)).found)

    async def difference(self, request: web.Request) -> web.StreamResponse:
        """What grew between two snapshots."""
        given = read_parameters(list(request.query.items()), ("old", "new"))
        if given.keys() != {"old", "new"}:
            raise BadRequest("name two snapshots: ?old=NAME&new=NAME")
        old, new = self._kept(given["old"]), self._kept(given["new"])
        told = await self.evidence.difference(old, new)
        try:
            found = msgspec.json.decode(told, type=_Difference)
        except msgspec.MsgspecError as error:
            raise EvidenceFailed(f"{new.name}: the report of it is none: {error}") from error
        return json_answer(
            {
                "classes": [
                    {
                        "type": change.kind,
                        "count_old": change.objects_now - change.objects,
                        "count_new": change.objects_now,
                        "bytes_old": change.bytes_now - change.bytes,
                        "bytes_new": change.bytes_now,
                    }
                    for change in found.by_class
                ],
                "held_by": found.grew,
                "notes": found.notes,
                "new_objects": found.new_objects,
                "new_bytes": found.new_bytes,
                "gone_objects": found.gone_objects,
            }
        )

    async def _ask(self, request: web.Request, question: HeapQuestion) -> HeapAnswered:
        kept = self._kept(name_of(request, "name"))
        if kept.kind != "heapsnapshot":
            raise Refused(f"{kept.name} has no objects; take a snapshot of the kind heapsnapshot")
        return await self.sessions.ask(kept.name, self.evidence.store.path(kept), question)

    def _kept(self, name: str) -> Snapshot:
        kept = self.evidence.store.get(name)
        if kept is None:
            raise NotFound(
                f"there is no snapshot {name[:200]!r}; GET /debug/snapshots lists what was kept"
            )
        return kept


def _id(request: web.Request) -> int | None:
    """The object in the path; None for the root. Raises BadRequest."""
    text = name_of(request, "id")
    if text == ROOT:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadRequest(f"id: {text[:100]!r} is neither {ROOT!r} nor the number of an object")
    return int(text)


def _listed(name: str, text: str | None) -> int:
    if text is None:
        return _DEFAULT_LISTED
    if not (text.isascii() and text.isdecimal() and len(text) < 4 and int(text) <= MAX_LISTED):
        raise BadRequest(f"{name}: {text[:100]!r} is no whole number from 0 to {MAX_LISTED}")
    return int(text)
