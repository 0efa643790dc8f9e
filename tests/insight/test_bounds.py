"""What insight takes of memory and of a disk, at the worst that there is."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from pathlib import Path

from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.insight.sample_records import MetBy
from supervisor.queue import Delivery, NewEvent, Route
from supervisor.telemetry.latencies import Latencies
from tests.harness.disks import small_disk
from tests.harness.waiting import until
from tests.insight.fakes import FakeBooks, FakeClock

#: Of console.md's budget for console, tap, causes and trends together.
BUDGET_BYTES = 24_000_000
CONNECTIONS = 10_000
START = 1_800_000_000.0


def made(state_dir: Path, books: FakeBooks, clock: FakeClock, latencies: Latencies) -> Insight:
    """With the budgets that a config has by itself."""
    return Insight(
        state_dir,
        queue=books,
        ages=latencies,
        clock=clock,
        tap_budget=8 << 20,
        trends_budget=64 << 20,
        masking=Masking("masked", [], b""),
        redact=str,
        wall=clock,
    )


async def test_ten_thousand_connections_and_a_thousand_causes(tmp_path: Path) -> None:
    """All of it is within the budget, and no step of the minute is long."""
    books, clock, latencies = FakeBooks(), FakeClock(START), Latencies("seconds", "text")
    names = [f"connection-{number}" for number in range(CONNECTIONS)]
    for name in names:
        books.move(name, accepted=3, delivered_first_try=2)
    gc.collect()
    tracemalloc.start()
    try:
        insight = made(tmp_path, books, clock, latencies)
        insight.start()
        await until(lambda: insight.trends.is_loaded, 30, "it is loaded")
        met = MetBy(b'{"messageId":"m"}', 1, "default-1", None)
        ages = [START - 1.3**n for n in range(20)]
        for n, name in enumerate(names):
            latencies.observe_ages(name, ages, START)
            insight.retried(name, 1)
            for cause in ("timeout of step", "refused by rule"):
                reason = f"503: {cause} {'abcdefghij'[n % 10]}"
                failed = Delivery(b'{"messageId":"m%d"}' % n, 1, 0.0, b"u")
                insight.troubled(name, "retry", reason, 1, met, [failed])
            clock.now += 0.001
        for n in range(1000):
            text = "".join("abcdefghij"[n // 10**k % 10] for k in range(3))
            insight.troubled(names[0], "failed", f"400 Bad Request: field {text} is wrong", 1)
        for n in range(3000):
            source = f"source-{n % 40}"
            clock.now += 0.05
            body = b"{" + b" " * 3000 + b"}"
            event = NewEvent(f"id-{n}", "track", f"u{n}", body, Route((names[0],)))
            insight.took(source, [event] * 5, [True] * 5, 0)
            insight.refused(source, "too_large", f"the event has {n} bytes", 1, bytes(body))
        del event, body
        await insight.keep(clock.now)
        await until(lambda: not insight.trends.is_writing, 120, "the minute is written")
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
        assert insight.disk.trouble == ""
    finally:
        tracemalloc.stop()
    for name in names:
        books.move(name, accepted=1)
        latencies.observe_ages(name, ages, START)
        insight.troubled(name, "retry", "503: timeout of step a", 1)
    clock.now += 60
    longest_s = 0.0
    done = asyncio.ensure_future(insight.keep(clock.now))
    while not done.done():
        started = time.thread_time()
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.thread_time() - started)
    await until(lambda: not insight.trends.is_writing, 120, "the minute is written")
    await insight.close()
    assert held < BUDGET_BYTES, (held, peak)
    assert len(list(insight.issues.listed())) == 20_000
    assert longest_s < 0.03, longest_s


async def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    """It is told, counts stay in memory, and once there is room they are on disk."""
    books, clock, latencies = FakeBooks(), FakeClock(START), Latencies("seconds", "text")
    with small_disk(tmp_path / "small", 256 * 1024) as disk:
        insight = made(disk, books, clock, latencies)
        insight.start()
        await until(lambda: insight.trends.is_loaded, 30, "it is loaded")
        books.move("a", accepted=1)
        await insight.keep(clock.now)
        await until(lambda: not insight.trends.is_writing, 30, "it is written")
        (disk / "ballast").write_bytes(b"x" * (disk_free(disk)))
        for n in range(300):
            books.move(f"c{n}", accepted=1, delivered_first_try=1)
        clock.now += 60
        await insight.keep(clock.now)
        await until(lambda: bool(insight.disk.trouble), 30, "it is told")
        await until(lambda: not insight.trends.is_writing, 30, "it was given up")
        (disk / "ballast").unlink()
        clock.now += 60
        await insight.keep(clock.now)
        await until(lambda: not insight.trends.is_writing, 30, "it is written")
        assert insight.disk.trouble == ""
        trend = await insight.trends.read((1, "c7"), int(START) - 60, int(clock.now) + 1, 60)
        assert sum(frame.counts[0] for frame in trend.frames if frame is not None) == 1
        await insight.close()


def disk_free(path: Path) -> int:
    """Bytes that can be written there."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_bsize
