"""What Prometheus reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from supervisor.telemetry.latencies import COARSE_BOUNDS_S
from supervisor.telemetry.metrics import SUPERVISOR, Metrics
from supervisor.telemetry.status import Status
from tests.admin.stubs import a_status, queue_status

NAMES = {
    "bulkhead_events_received_total",
    "bulkhead_events_rejected_total",
    "bulkhead_events_duplicate_total",
    "bulkhead_deliveries_total",
    "bulkhead_delivery_seconds_bucket",
    "bulkhead_attempts_total",
    "bulkhead_queue_depth",
    "bulkhead_queue_oldest_seconds",
    "bulkhead_batch_seconds_bucket",
    "bulkhead_worker_rss_bytes",
    "bulkhead_worker_exits_total",
    "bulkhead_worker_start_seconds_bucket",
    "bulkhead_loop_lag_seconds",
}


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The page as Prometheus' own parser reads it, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(asyncio.run(metrics.scrape()).decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def always(status: Status) -> Callable[[], Awaitable[Status]]:
    """A service that stays as it is."""

    async def look() -> Status:
        return status

    return look


@pytest.fixture
def metrics() -> Metrics:
    """Metrics that have seen one of everything."""
    seen = Metrics("1.2.3")
    seen.received("website", "track", 100)
    seen.rejected("website", "invalid", 1)
    seen.duplicate("website", 2)
    seen.attempt("hook", "delivered", 97)
    seen.outcome("hook", "webhooks", "delivered", "first", 97)
    seen.delivery_seconds("hook", [1.0, 1.0, 2.0], 2.03)
    seen.batch_seconds("hook", 0.2)
    seen.worker_exit("default", "signal")
    seen.worker_start_seconds("default", 0.01)
    seen.loop_lag(SUPERVISOR, 0.001)
    seen.follow(always(a_status(queue_status("hook", depth=5, oldest_s=7.5))))
    return seen


def test_every_metric_of_the_contract_is_there(metrics: Metrics) -> None:
    """Names are those of the contract, letter by letter."""
    assert {name for name, _ in samples(metrics)} >= NAMES


def test_counts_carry_their_labels(metrics: Metrics) -> None:
    """Counters add up by the labels of the contract."""
    metrics.outcome("hook", "webhooks", "delivered", "first", 3)
    labels = {"connection": "hook", "destination": "webhooks", "outcome": "delivered"}
    assert value(metrics, "bulkhead_deliveries_total", **labels, attempt="first") == 100
    assert value(metrics, "bulkhead_events_duplicate_total", source="website") == 2


def test_sizes_are_read_when_asked_for(metrics: Metrics) -> None:
    """Depths and ages are those of the snapshot at the moment of the scrape."""
    assert value(metrics, "bulkhead_queue_depth", connection="hook") == 5
    metrics.follow(always(a_status(queue_status("hook", depth=6), intake="disk full")))
    assert value(metrics, "bulkhead_queue_depth", connection="hook") == 6
    assert value(metrics, "bulkhead_queue_oldest_seconds", connection="hook") == 0
    assert value(metrics, "bulkhead_queue_intake_open") == 0


def test_who_is_in_question_for_a_leak_is_there(metrics: Metrics) -> None:
    """Of a group of which some leak each member has a gauge, and nobody else has one."""
    asked = msgspec.structs.replace(queue_status("hook"), leaks_together_bytes_per_event=1024.0)
    metrics.follow(always(a_status(asked, queue_status("other"))))
    name = "bulkhead_connection_leaks_together_bytes_per_event"
    assert value(metrics, name, connection="hook") == 1024.0
    assert value(metrics, name, connection="other") is None


def test_what_left_the_config_leaves_the_page(metrics: Metrics) -> None:
    """Label sets of removed sources, connections and pools are dropped, others kept."""
    metrics.attempt("kept", "delivered", 1)
    metrics.follow(always(a_status(queue_status("kept"))))
    metrics.retain(sources=(), connections=("kept",), pools=())
    left = {dict(labels).get("connection") for _, labels in samples(metrics)}
    assert left - {None} == {"kept"}
    assert value(metrics, "bulkhead_events_duplicate_total", source="website") is None
    metrics.duplicate("website", 1)
    assert value(metrics, "bulkhead_events_duplicate_total", source="website") == 1


def test_lag_of_workers_that_are_gone_is_forgotten(metrics: Metrics) -> None:
    """Only the supervisor and workers of the snapshot have a lag."""
    metrics.loop_lag("default-1", 0.1)
    metrics.loop_lag("default-9", 0.1)
    assert value(metrics, "bulkhead_loop_lag_seconds", process="default-1") == 0.1
    assert value(metrics, "bulkhead_loop_lag_seconds", process="default-9") is None
    assert value(metrics, "bulkhead_loop_lag_seconds", process=SUPERVISOR) == 0.001


@given(st.lists(st.floats(0, 20_000), max_size=50))
def test_delivery_seconds_are_an_honest_histogram(ages: list[float]) -> None:
    """Each bucket holds the deliveries at or below its bound, the last one all of them."""
    metrics = Metrics("1.2.3")
    metrics.delivery_seconds("hook", [-age for age in ages], 0.0)
    page = samples(metrics)
    hook = ("connection", "hook")
    buckets = {
        dict(labels)["le"]: n
        for (name, labels), n in page.items()
        if name == "bulkhead_delivery_seconds_bucket" and hook in labels
    }
    for bound in COARSE_BOUNDS_S:
        assert buckets[f"{bound:.10g}"] == sum(age <= bound for age in ages)
    assert buckets["+Inf"] == len(ages)
    total = page["bulkhead_delivery_seconds_sum", frozenset({hook})]
    assert total == pytest.approx(sum(ages))


def test_a_clock_that_was_set_back_takes_nothing_from_the_sum() -> None:
    """A delivery that seems to precede its receipt counts as immediate."""
    metrics = Metrics("1.2.3")
    metrics.delivery_seconds("hook", [10.0], 5.0)
    assert value(metrics, "bulkhead_delivery_seconds_sum", connection="hook") == 0
