"""What is asked of a process that holds one heap snapshot, and what it answers: a line each.

A question and its answer are one line of JSON. The process reads a hostile file, so that whoever
asks bounds a line at `MAX_BROWSED_BYTES` and decodes it by these types.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

#: Most edges, holders, dominated objects or finds in one answer, and most steps of a path.
MAX_LISTED, MAX_STEPS = 200, 200
#: Longest text in an answer, and longest that is searched for, in characters.
MAX_HEAP_TEXT, MAX_SOUGHT = 300, 200
#: Longest line of an answer: every text of the longest list, each character escaped.
MAX_BROWSED_BYTES = 2 << 20

_Text = Annotated[str, Meta(max_length=MAX_HEAP_TEXT)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Listed = Annotated[int, Meta(ge=0, le=MAX_LISTED)]
_most = Meta(max_length=MAX_LISTED)


class ShowObject(msgspec.Struct, frozen=True, tag="show"):
    """One object; `id` None is the root. How many edges, holders and dominated ones to list."""

    id: _Count | None
    edges: _Listed = 100
    holders: _Listed = 100
    dominated: _Listed = 100


class ShowPath(msgspec.Struct, frozen=True, tag="path"):
    """The shortest way from the root to an object."""

    id: _Count | None


class FindObjects(msgspec.Struct, frozen=True, tag="find"):
    """Objects whose name has `sought` in it, whatever the case; `@` and digits are an id."""

    sought: Annotated[str, Meta(min_length=1, max_length=MAX_SOUGHT)]
    limit: _Listed = 50


HeapQuestion = ShowObject | ShowPath | FindObjects


class HeapObject(msgspec.Struct, frozen=True):
    """One object of a heap. `kept_bytes`: what it alone keeps alive, its own size included."""

    id: _Count
    type: _Text
    name: _Text
    size_bytes: _Count
    kept_bytes: _Count


class HeapEdge(msgspec.Struct, frozen=True):
    """A reference to an object, by the name that it has in Python."""

    label: _Text
    to: HeapObject


class HeapHolder(msgspec.Struct, frozen=True, rename={"holder": "from"}):
    """A reference from an object."""

    label: _Text
    holder: HeapObject


class HeapStep(msgspec.Struct, frozen=True):
    """A step of a path: the reference, and the object that it leads to. The first has no label."""

    label: _Text
    id: _Count
    type: _Text
    name: _Text


class HeapPath(msgspec.Struct, frozen=True):
    """From the root down. `left_out` steps of its middle are not there."""

    path: Annotated[list[HeapStep], Meta(max_length=MAX_STEPS)]
    left_out: _Count = 0


class HeapPage(msgspec.Struct, frozen=True):
    """One object with what is around it; lists are what keeps most first, of `..._total`."""

    id: _Count
    type: _Text
    name: _Text
    size_bytes: _Count
    kept_bytes: _Count
    edges: Annotated[list[HeapEdge], _most]
    edges_total: _Count
    holders: Annotated[list[HeapHolder], _most]
    holders_total: _Count
    dominated: Annotated[list[HeapObject], _most]
    dominated_total: _Count
    path: Annotated[list[HeapStep], Meta(max_length=MAX_STEPS)]
    path_left_out: _Count = 0


class HeapFound(msgspec.Struct, frozen=True):
    """What was found, what keeps most first; `more` are not listed."""

    found: Annotated[list[HeapObject], _most]
    more: _Count


class NoSuchObject(msgspec.Struct, frozen=True, tag="none"):
    """There is no object of that id."""


class HeapReady(msgspec.Struct, frozen=True, tag="ready"):
    """The snapshot is read; questions may come."""

    objects: _Count


class HeapUnread(msgspec.Struct, frozen=True, tag="unread"):
    """It cannot be read, or not be answered from; the text says why."""

    why: _Text


class HeapAnswered(msgspec.Struct, frozen=True, tag="answer"):
    """One of the three is there: the one that was asked for."""

    object: HeapPage | None = None
    path: HeapPath | None = None
    found: HeapFound | None = None


HeapAnswer = HeapReady | HeapUnread | NoSuchObject | HeapAnswered
