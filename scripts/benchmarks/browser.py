"""Whether the console stays flat in a browser that is left open: memory, nodes and listeners.

Owns the tabs, which look at a service under a steady load for as long as the run takes, and what
Chromium says of each after a collection of its garbage. `bulkhead` and `load` have the service.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import psutil

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure
from scripts.benchmarks.load import Load

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: What each tab looks at.
ADDRESSES = (
    "/sources/test/debugger",
    "/",
    f"/connections/{bulkhead.CONNECTION}/delivery",
    "/pools/default",
)
#: What a tab may gain between the second and the last quarter of a run.
GOAL_HEAP, GOAL_NODES, GOAL_MEMORY = 1.1, 1.1, 1.1
#: Milliseconds within which a page shows something when it is opened.
GOAL_PAINT_MS = 500.0
SAMPLES = 60
#: Times that each page is opened to see when it paints.
PAINTS = 5
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """One look at a tab: bytes of its JavaScript heap, nodes, and listeners."""

    heap: float
    nodes: float
    listeners: float


def run(*, minutes: float, rate: float) -> list[Figure]:
    """The figures of each tab, of all the browser's processes, and of the supervisor."""
    with (
        bulkhead.running(bulkhead.plugin_sections("bench-count")) as service,
        _browser() as browser,
    ):
        base = f"http://127.0.0.1:{service.admin_port}/console/"
        seconds = minutes * 60
        # It is stopped once all has been looked at.
        load = Load(service.api_port, bulkhead.next_prefix(), seconds=2 * seconds + 600, rate=rate)
        with load:
            load.start()
            paints = {address: _paints_ms(browser, base, address) for address in ADDRESSES}
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tabs = {address: _open(context.new_page(), base, address) for address in ADDRESSES}
            ends = time.monotonic() + seconds
            looks: dict[str, list[Sample]] = {address: [] for address in ADDRESSES}
            browser_bytes, supervisor_bytes = [], []
            for left in range(SAMPLES, 0, -1):
                time.sleep(max(0.0, (ends - time.monotonic()) / left))
                for address, tab in tabs.items():
                    looks[address].append(_look(tab))
                browser_bytes.append(_memory_of_browser())
                supervisor_bytes.append(psutil.Process(service.pid).memory_info().rss)
                last = {address: looks[address][-1].heap / _MIB for address in ADDRESSES}
                click.echo(
                    f"{SAMPLES - left + 1} of {SAMPLES}: heaps "
                    + ", ".join(f"{address} {mib:.1f}" for address, mib in last.items())
                    + f"; browser {browser_bytes[-1] / _MIB:.0f}, supervisor "
                    f"{supervisor_bytes[-1] / _MIB:.0f} MiB",
                    err=True,
                )
            shown = tabs[ADDRESSES[0]].locator("#main").inner_text()
            load.stop()
            report = load.finish()
        sent = Figure(
            "events accepted a second", report.events / report.seconds, "", rate * 0.95, True, 0.0,
            f"{report.events:,} in {report.seconds:,.0f} s; the debugger said: {shown[:120]!r}",
        )  # fmt: skip
    figures = [sent]
    for address, samples in looks.items():
        heaps = [sample.heap / _MIB for sample in samples]
        figures += [
            _flat(f"{address}: heap", heaps, "MiB", GOAL_HEAP),
            _flat(f"{address}: nodes", [sample.nodes for sample in samples], "", GOAL_NODES),
            _flat(f"{address}: listeners", [s.listeners for s in samples], "", GOAL_NODES),
            Figure.median(
                f"{address}: first paint", paints[address], "ms", GOAL_PAINT_MS, False, 0.0
            ),
        ]
    return [
        *figures,
        _flat("browser memory", [n / _MIB for n in browser_bytes], "MiB", GOAL_MEMORY),
        _flat("supervisor memory", [n / _MIB for n in supervisor_bytes], "MiB", GOAL_MEMORY),
    ]


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium")
    if found is None:
        raise click.ClickException("chromium is not installed; ./scripts/test setup does it")
    with sync_playwright() as playwright:
        # Its own sandbox needs what containers lack; pages here are ours, on loopback.
        browser = playwright.chromium.launch(
            executable_path=found,
            args=["--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"],
            chromium_sandbox=False,
        )
        try:
            yield browser
        finally:
            browser.close()


def _open(page: Page, base: str, address: str) -> Page:
    page.set_default_timeout(60_000)
    page.goto(f"{base}#{address}")
    page.get_by_role("heading", level=1).first.wait_for()
    return page


def _paints_ms(browser: Browser, base: str, address: str) -> list[float]:
    """From the request to the first content, each time in a window that has nothing kept."""
    times = []
    for _ in range(PAINTS):
        context = browser.new_context()
        page = _open(context.new_page(), base, address)
        times.append(
            page.evaluate(
                "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
            )
        )
        context.close()
    return times


def _look(page: Page) -> Sample:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    found = {
        metric["name"]: metric["value"]
        for metric in session.send("Performance.getMetrics")["metrics"]
    }
    session.detach()
    return Sample(found["JSHeapUsedSize"], found["Nodes"], found["JSEventListeners"])


def _memory_of_browser() -> float:
    """Private bytes of all processes of the browser."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if process.name().startswith("chrom"):
                total += process.memory_full_info().uss
    return total


def _flat(name: str, samples: Sequence[float], unit: str, goal: float) -> Figure:
    quarter = len(samples) // 4
    quarters = [
        statistics.median(samples[first : first + quarter])
        for first in range(0, quarter * 4, quarter)
    ]
    detail = ", ".join(f"{median:,.4g}" for median in quarters) + f" {unit} in the four quarters"
    return Figure(name, quarters[-1] / quarters[1], "x", goal, False, 0.0, detail)
