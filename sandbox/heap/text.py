"""Reports for a terminal. Names come from a hostile file: no control character gets through."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from sandbox.heap.analysis import Report, Suspect
from sandbox.heap.diff import Difference
from sandbox.heap.summary import Row as SummaryRow
from sandbox.heap.summary import Summary
from sandbox.protocol import printable

_ROWS = 20


def size(count: int) -> str:
    """Bytes as `512 B`, `1.5 KiB`, `20.0 MiB`; below zero with a minus."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


class _Page:
    def __init__(self, width: int) -> None:
        self._text = io.StringIO()
        self._console = Console(
            file=self._text, width=width, markup=False, highlight=False, emoji=False
        )

    def line(self, text: str = "") -> None:
        self._console.print(printable(text), soft_wrap=True)

    def table(self, title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        """The first column is text, the others are numbers."""
        made = Table(title=title, title_justify="left", box=None, pad_edge=False)
        made.add_column(columns[0], overflow="fold")
        for name in columns[1:]:
            made.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            made.add_row(*map(printable, row))
        self._console.print(made)

    @property
    def text(self) -> str:
        # rich pads lines to the width of a table.
        return "\n".join(line.rstrip() for line in self._text.getvalue().splitlines()) + "\n"


def report_text(report: Report, width: int) -> str:
    """What fills a heap, for a terminal of `width` columns."""
    page = _Page(width)
    page.line(f"{report.objects:,} objects, {size(report.bytes)}")
    for note in report.about.notes:
        page.line(f"note: {note}")
    page.line()
    if not report.suspects:
        page.line("no suspect: nothing holds a tenth of the heap by itself")
    for number, suspect in enumerate(report.suspects, 1):
        _suspect(page, number, suspect, "of the heap")
    page.line()
    page.table(
        "objects by class, without what they refer to",
        ("class", "objects", "size"),
        ((row.kind, f"{row.objects:,}", size(row.bytes)) for row in report.by_class[:_ROWS]),
    )
    return page.text


def difference_text(found: Difference, width: int) -> str:
    """What grew, for a terminal of `width` columns."""
    page = _Page(width)
    page.line(
        f"{found.objects_before:,} objects, {size(found.bytes_before)} before; "
        f"{found.objects_now:,} objects, {size(found.bytes_now)} now"
    )
    page.line(
        f"{found.new_objects:,} new objects, {size(found.new_bytes)} with what grew; "
        f"{found.gone_objects:,} objects are gone"
    )
    for note in found.notes:
        page.line(f"note: {note}")
    page.line()
    for number, suspect in enumerate(found.grew, 1):
        _suspect(page, number, suspect, "of what is new")
    page.line()
    page.table(
        "change by class",
        ("class", "objects", "size", "objects now", "size now"),
        (
            (
                change.kind,
                f"{change.objects:+,}",
                ("+" if change.bytes >= 0 else "") + size(change.bytes),
                f"{change.objects_now:,}",
                size(change.bytes_now),
            )
            for change in found.by_class[:_ROWS]
        ),
    )
    return page.text


def summary_text(summary: Summary, width: int) -> str:
    """A summary's two tables, for a terminal of `width` columns."""
    page = _Page(width)
    page.line(f"{summary.objects:,} objects, {size(summary.bytes)}")
    for note in summary.notes:
        page.line(f"note: {note}")
    for title, rows in (
        ("by class", summary.by_class),
        ("by the classes of what refers to them", summary.by_referrers),
    ):
        if rows:
            page.line()
            page.table(title, ("kind", "objects", "size", "share"), _shares(rows, summary.bytes))
    return page.text


def _shares(rows: list[SummaryRow], total: int) -> Iterable[tuple[str, ...]]:
    for row in rows[:_ROWS]:
        share = row.bytes / total if total else 0.0
        yield row.kind, f"{row.objects:,}", size(row.bytes), f"{share:.0%}"


def _suspect(page: _Page, number: int, suspect: Suspect, of_what: str) -> None:
    count = "" if suspect.objects == 1 else f"{suspect.objects:,} objects of "
    page.line(
        f"{number}. {suspect.path} holds {size(suspect.bytes)}, {suspect.share:.0%} {of_what}"
    )
    owner = suspect.module or "not told"
    if suspect.connection is not None:
        owner += f", connection {suspect.connection}"
    page.line(f"   owner: {owner}")
    page.line(f"   dominated by: {count}{suspect.what}")
    page.line(f"   accumulates in: {suspect.accumulation}")
    held = ", ".join(f"{row.objects:,} {row.kind} ({size(row.bytes)})" for row in suspect.holds[:5])
    page.line(f"   holds: {held}")
