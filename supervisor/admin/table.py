"""Rows of the admin API as values, and who may use each.

Owns the rights and roles, and what a handler learns of its caller and says of what it did. Other
rooms hand rows to `AdminApi`; a row without a right cannot be written. Must not know any path.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Right(enum.Enum):
    """What a row asks of its caller."""

    PUBLIC = "public"
    """Nothing: it says nothing of customers."""
    VIEW = "view"
    """Shapes, counts and causes; its handler masks for a viewer what is more than that."""
    EVIDENCE = "evidence"
    """Memory, stacks, profiles, bodies of events: values of customers, in full."""
    ACT = "act"
    """Something changes, or somebody's work is done at once."""


class Role(enum.StrEnum):
    """Who calls: whoever has `admin.token` is an operator, whoever has `admin.view_token` a viewer.

    Without a token, where only this machine can call, everybody is an operator.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"

    def may(self, needs: Right) -> bool:
        """Whether a row of that right is for this role."""
        return self is Role.OPERATOR or needs in (Right.PUBLIC, Right.VIEW)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request. `name` is for people: a proxy's user, else the role and the address."""

    role: Role
    name: str

    @property
    def is_viewer(self) -> bool:
        """Whether values must be masked for them."""
        return self.role is Role.VIEWER


@dataclass(frozen=True, slots=True)
class Deed:
    """What a request did: one line of the log and of what was done by hand.

    `on` names what it was done to, `how_many` of it where that is a count.
    """

    action: str
    on: str
    how_many: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    `is_work` has a worker, a process or the whole queue do something, which no HEAD asks for and no
    page of another site may cause. What is no GET is work, too.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    needs: Right
    is_work: bool = False

    @property
    def is_guarded(self) -> bool:
        """Whether no page of another site may have it done."""
        return self.is_work or self.method != "GET"


_CALLER = web.RequestKey("caller", Caller)
_STANDING: web.RequestKey[Callable[[], bool]] = web.RequestKey("standing")
_DEED = web.RequestKey("deed", Deed)


def caller_of(request: web.Request) -> Caller:
    """Who made a request to a row that is not public."""
    return request[_CALLER]


def is_still_allowed(request: web.Request) -> bool:
    """Whether the same request would be let in now, as the same role: for answers without end."""
    return request[_STANDING]()


def set_caller(request: web.Request, caller: Caller, standing: Callable[[], bool]) -> None:
    """For `AdminApi` alone, before the handler. `standing` is asked by `is_still_allowed`."""
    request[_CALLER], request[_STANDING] = caller, standing


def say_done(request: web.Request, deed: Deed) -> None:
    """What this request has done. A handler of a row that acts says it, but for a dry run."""
    request[_DEED] = deed


def deed_of(request: web.Request) -> Deed | None:
    """What a handler said that it did."""
    return request.get(_DEED)
