"""What a run shows, simulated or real: a table on the terminal, a plot as SVG or PNG.

Owns the looks. Must not simulate or judge.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from scripts.simulator.figures import Figures, Result, percentile_s

#: Connections that a table lists, those with most events first; the others are one line.
MOST_ROWS = 12
_BARS = " ▁▂▃▄▅▆▇█"
#: Characters of the little curves on the terminal, and points of those in a plot.
_CURVE, _POINTS = 72, 600
#: What the axis of time is marked in: the largest unit of which there are a few, or seconds.
_UNITS = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
_LEAST_UNITS = 4


def show(result: Result, console: Console) -> None:
    """Print one line a connection, and the course of the busiest one."""
    table = Table(title=result.title, title_justify="left")
    for column in ("connection", "events", "events/s", "attempts", "retries", "p50", "p99"):
        table.add_column(column, justify="left" if column == "connection" else "right")
    for column in ("worst backlog", "pending", "given up"):
        table.add_column(column, justify="right")
    figures = result.figures
    names = sorted(figures, key=lambda name: -figures[name].total.arrived)
    for name in names[:MOST_ROWS]:
        _add(table, name, figures[name], result)
    rest = names[MOST_ROWS:]
    if rest:
        latencies: Counter[int] = Counter()
        for name in rest:
            latencies += figures[name].latencies
        table.add_row(
            f"{len(rest)} others",
            f"{sum(figures[name].total.arrived for name in rest):,}",
            "",
            f"{sum(figures[name].total.first + figures[name].total.retries for name in rest):,}",
            f"{sum(figures[name].total.retries for name in rest):,}",
            _seconds(percentile_s(latencies, 0.5)),
            _seconds(percentile_s(latencies, 0.99)),
            f"{max(figures[name].worst_pending for name in rest):,}",
            f"{sum(result.pending[name] for name in rest):,}",
            f"{sum(figures[name].given_up for name in rest):,}",
        )
    console.print(table)
    busiest = figures[names[0]]
    for what in ("first", "retries", "proven", "delivered", "pending"):
        values = busiest.series(what, result.until)
        console.print(f"{what:>10} {_curve(values)} most {max(values):,.0f}", highlight=False)


def _add(table: Table, name: str, figures: Figures, result: Result) -> None:
    total = figures.total
    table.add_row(
        name,
        f"{total.arrived:,}",
        f"{total.delivered / result.until:,.1f}",
        f"{total.first + total.retries:,}",
        f"{total.retries:,}",
        _seconds(figures.percentile_s(0.5)),
        _seconds(figures.percentile_s(0.99)),
        f"{figures.worst_pending:,}",
        f"{result.pending[name]:,}",
        f"{figures.given_up:,}",
    )


def plot(results: list[Result], path: Path) -> None:
    """Rates and backlog by time, and latencies: one column a result. The suffix is the format."""
    figure, axes = pyplot.subplots(
        3, len(results), figsize=(8 * len(results), 10), squeeze=False, sharey="row"
    )
    for column, result in enumerate(results):
        rates, backlog, latency = (row[column] for row in axes)
        _plot_course(result, rates, backlog)
        _plot_latency(result, latency)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _plot_course(result: Result, rates: Axes, backlog: Axes) -> None:
    """The busiest connection by time, and what all others do together."""
    figures = result.figures
    name = max(figures, key=lambda one: figures[one].total.arrived)
    busiest = figures[name]
    fitting = (unit for unit in _UNITS if result.until >= _LEAST_UNITS * unit[0])
    unit_s, unit = next(fitting, (1.0, "seconds"))
    curves = [
        (label, color, busiest.series(what, result.until))
        for what, label, color in (
            ("proven", "retries: proven rate", "silver"),
            ("first", "first attempts", "tab:blue"),
            ("retries", "retries", "tab:orange"),
            ("delivered", "delivered", "tab:green"),
        )
    ]
    others = [figures[one].series("delivered", result.until) for one in figures if one != name]
    if len(others) > MOST_ROWS:
        together = [sum(column) for column in zip(*others, strict=True)]
        curves.append((f"delivered of {len(others):,} others", "tab:purple", together))
    for label, color, series in curves:
        values, slots = _peaks(series, _POINTS)
        if any(values):
            times = [slot * busiest.bucket_s / unit_s for slot in slots]
            rates.plot(times, values, label=label, color=color, linewidth=1)
    rates.set_title(f"{result.title}\n{name}")
    rates.set_ylabel("events/s")
    rates.set_ylim(bottom=0)
    rates.legend(loc="best", fontsize=8)
    values, slots = _peaks(busiest.series("pending", result.until), _POINTS)
    backlog.fill_between([slot * busiest.bucket_s / unit_s for slot in slots], values, alpha=0.5)
    backlog.set_ylabel("pending")
    backlog.set_ylim(bottom=0)
    each_s = slots.step * busiest.bucket_s
    backlog.set_xlabel(f"{unit}; the highest of each {each_s:g} s")
    for time, text in result.marks:
        for axis in (rates, backlog):
            axis.axvline(time / unit_s, linestyle=":", color="grey")
        backlog.annotate(text, (time / unit_s, backlog.get_ylim()[1] * 0.95), fontsize=8)


def _plot_latency(result: Result, latency: Axes) -> None:
    """Of each connection; of very many, of the busiest and all others together."""
    figures = result.figures
    busy = sorted(figures, key=lambda one: -figures[one].total.arrived)
    shown = {name: figures[name].latencies for name in busy[:MOST_ROWS]}
    if len(busy) > MOST_ROWS:
        together: Counter[int] = Counter()
        for name in busy[1:]:
            together.update(figures[name].latencies)
        shown = {busy[0]: figures[busy[0]].latencies, f"{len(busy) - 1:,} others": together}
    shares = [0.5, 0.9, 0.99, 0.999]
    for name, latencies in shown.items():
        seconds = [max(1e-4, percentile_s(latencies, share)) for share in shares]
        latency.plot([str(share) for share in shares], seconds, marker="o", label=name)
    latency.set_yscale("log")
    latency.set_ylabel("receipt to delivery, s")
    latency.set_xlabel("share of deliveries")
    latency.legend(fontsize=7, ncols=2)


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _curve(values: list[float]) -> str:
    """Values as blocks, the highest in each stretch of time."""
    most = max(values, default=0.0) or 1.0
    peaks, _ = _peaks(values, _CURVE)
    return "".join(_BARS[round(peak / most * (len(_BARS) - 1))] for peak in peaks)


def _peaks(values: list[float], most: int) -> tuple[list[float], range]:
    """The highest in each stretch, and where each begins: `most` of them, or all where fewer."""
    stretch = max(1, -(-len(values) // most))
    starts = range(0, len(values), stretch)
    return [max(values[at : at + stretch]) for at in starts], starts
