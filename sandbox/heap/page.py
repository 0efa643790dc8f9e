"""A report as one HTML page: no other file, no network, and names that only ever are text."""

from __future__ import annotations

import functools
import html
from importlib.resources import files

import msgspec

from sandbox.heap.analysis import Heap, Report, Suspect
from sandbox.heap.diff import Difference
from sandbox.heap.picture import Cell, picture
from sandbox.heap.text import size


class _Class(msgspec.Struct, frozen=True):
    """A line of the table: `objects` and `bytes` may be changes."""

    kind: str
    objects: int
    bytes: int


class _Page(msgspec.Struct, frozen=True):
    """What `page.html` shows.

    whole: what shares are of. bytes: the size of that. is_change: whether the classes' numbers are
    changes.
    """

    title: str
    summary: str
    notes: list[str]
    whole: str
    bytes: int
    suspects: list[Suspect]
    picture: Cell
    is_change: bool
    classes: list[_Class]


def report_page(heap: Heap, report: Report, title: str) -> str:
    """The page of a heap; `title` says what it is of."""
    classes = [_Class(row.kind, row.objects, row.bytes) for row in report.by_class]
    return _page(
        _Page(
            title=title or "Heap",
            summary=f"{report.objects:,} objects, {size(report.bytes)}",
            notes=report.about.notes,
            whole="of the heap",
            bytes=report.bytes,
            suspects=report.suspects,
            picture=picture(heap),
            is_change=False,
            classes=classes,
        )
    )


def difference_page(heap: Heap, found: Difference, title: str) -> str:
    """The page of what grew; in `heap` only that has any weight."""
    classes = [_Class(change.kind, change.objects, change.bytes) for change in found.by_class]
    summary = (
        f"{size(found.bytes_before)} before, {size(found.bytes_now)} now; "
        f"{found.new_objects:,} new objects, {size(found.new_bytes)} with what grew, "
        f"{found.gone_objects:,} objects gone"
    )
    return _page(
        _Page(
            title=title or "What grew",
            summary=summary,
            notes=found.notes,
            whole="of what is new",
            bytes=found.new_bytes,
            suspects=found.grew,
            picture=picture(heap),
            is_change=True,
            classes=classes,
        )
    )


@functools.cache
def page_template() -> str:
    """The page without its data, with the picture's script, which is a module elsewhere, in it."""
    here = files(__package__)
    script = (here / "icicle.js").read_text("utf-8").replace("\nexport function ", "\nfunction ")
    return (here / "page.html").read_text("utf-8").replace("/*ICICLE*/", script)


def _page(page: _Page) -> str:
    # Inside <script>: JSON has no other place for these than in texts.
    text = msgspec.json.encode(page).decode().replace("<", "\\u003c")
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    before, _, rest = page_template().partition("/*DATA*/null")
    head, _, tail = before.partition("TITLE")
    return f"{head}{html.escape(page.title)}{tail}{text}{rest}"
