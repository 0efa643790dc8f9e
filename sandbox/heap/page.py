"""A report as one HTML page: no other file, no network, and names that only ever are text."""

from __future__ import annotations

import html
from importlib.resources import files

import msgspec

from sandbox.heap.analysis import Heap, Report
from sandbox.heap.picture import picture


def page(heap: Heap, report: Report, title: str) -> str:
    """The page for a heap; `title` says what it is of."""
    template = (files(__package__) / "page.html").read_text("utf-8")
    data = msgspec.json.encode({"title": title, "report": report, "picture": picture(heap)})
    # Inside <script>: JSON has no other place for these than in texts.
    text = data.decode().replace("<", "\\u003c").replace("\u2028", "\\u2028")
    text = text.replace("\u2029", "\\u2029")
    before, _, rest = template.partition("/*DATA*/null")
    head, _, tail = before.partition("TITLE")
    return f"{head}{html.escape(title or 'heap')}{tail}{text}{rest}"
