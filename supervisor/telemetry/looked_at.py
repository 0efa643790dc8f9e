"""Metrics that are not counted but read off `Status` whenever Prometheus asks.

Owns their names and labels. Must not keep anything between two looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from supervisor.telemetry.families import by_connection, head
from supervisor.telemetry.status import QueueState, Status


def sandbox(status: Status) -> Metric:
    """Which layers of the workers' sandbox are in force."""
    family = GaugeMetricFamily(
        "bulkhead_sandbox_layer",
        "1 where a layer of the workers' sandbox is in force; status says why not.",
        labels=("layer",),
    )
    for layer, state in status.sandbox.items():
        family.add_metric((layer,), float(state == "on"))
    return family


def queues(status: Status) -> list[Iterator[str]]:
    """What there may be ten thousand of, as text: a line a connection and family."""
    found = status.queues
    shut = (
        f'bulkhead_queue_shut{{connection="{queue.connection}",state="{queue.state}"}} 1.0\n'
        for queue in found
        if queue.state is not QueueState.OPEN
    )
    return [
        by_connection(
            "bulkhead_queue_depth",
            "Deliveries that are pending.",
            "gauge",
            ((queue.connection, queue.depth) for queue in found),
        ),
        by_connection(
            "bulkhead_queue_oldest_seconds",
            "Age of the oldest pending delivery, 0 where there is none.",
            "gauge",
            ((queue.connection, queue.oldest_s or 0.0) for queue in found),
        ),
        by_connection(
            "bulkhead_connection_leak_bytes_per_event",
            "Bytes that each event leaves behind in its worker, 0 where no leak was found.",
            "gauge",
            ((queue.connection, queue.leak_bytes_per_event or 0.0) for queue in found),
        ),
        by_connection(
            "bulkhead_connection_leaks_together_bytes_per_event",
            "Bytes that each event of a group of connections leaves behind, of which some leak and"
            " nobody can tell yet which; its members are listed.",
            "gauge",
            (
                (queue.connection, queue.leaks_together_bytes_per_event)
                for queue in found
                if queue.leaks_together_bytes_per_event is not None
            ),
        ),
        by_connection(
            "bulkhead_queue_concurrency",
            "Batches that may run at once now: the limit that was found out.",
            "gauge",
            ((queue.connection, queue.concurrency) for queue in found),
        ),
        itertools.chain(
            (
                head(
                    "bulkhead_queue_shut",
                    "1 for a queue that may not send now, by its state; open ones are not listed.",
                    "gauge",
                ),
            ),
            shut,
        ),
        by_connection(
            "bulkhead_queue_held_deliveries",
            "Deliveries that wait behind another event of their user, where there are any.",
            "gauge",
            ((q.connection, q.held_deliveries) for q in found if q.held_s is not None),
        ),
        by_connection(
            "bulkhead_queue_held_seconds",
            "For how long the user that is held back longest is, where there is one.",
            "gauge",
            ((q.connection, q.held_s) for q in found if q.held_s is not None),
        ),
        by_connection(
            "bulkhead_queue_trips_total",
            "How often a connection's circuit breaker has opened, where it has.",
            "counter",
            ((queue.connection, queue.trips) for queue in found if queue.trips),
        ),
        by_connection(
            "bulkhead_connection_credentials_refused",
            "1 while a connection is held since its credentials are refused; others are absent.",
            "gauge",
            ((queue.connection, 1.0) for queue in found if queue.credentials_refused),
        ),
    ]


def workers(status: Status) -> Iterator[Metric]:
    """What is looked at of each worker."""
    rss = GaugeMetricFamily(
        "bulkhead_worker_rss_bytes", "Resident memory of a worker.", labels=("pool", "worker")
    )
    connections = GaugeMetricFamily(
        "bulkhead_worker_connections",
        "Connections to destinations that a worker has open.",
        labels=("pool", "worker"),
    )
    for pool in status.pools:
        for worker in pool.workers:
            rss.add_metric((pool.name, worker.id), worker.rss_bytes)
            connections.add_metric((pool.name, worker.id), worker.open_connections)
    yield rss
    yield connections


def store(status: Status) -> Iterator[Metric]:
    """The queue's disk."""
    disk = status.store
    for name, text, value in (
        ("queue_intake_open", "1 while the queue takes events, else 0.", disk.intake == "open"),
        (
            "queue_files_missing",
            "1 while files of the queue are removed or replaced under the service, else 0.",
            disk.files_missing != "",
        ),
        ("queue_log_bytes", "Bytes of the queue's write-ahead log on disk.", disk.log_bytes),
        (
            "queue_log_held",
            "1 while somebody keeps the write-ahead log from being emptied, else 0.",
            disk.log_held != "",
        ),
        ("queue_bytes", "Bytes of pending events on disk.", disk.live_bytes),
        ("queue_max_bytes", "Bytes past which the tracking API answers 429.", disk.max_bytes),
        ("dead_letter_bytes", "Bytes of dead letters on disk.", disk.dead_letter_bytes),
        ("dedupe_window_seconds", "The dedupe window in force.", status.dedupe.window_s),
        ("dedupe_ids", "Message ids that deduplication remembers.", status.dedupe.ids),
    ):
        yield GaugeMetricFamily(f"bulkhead_{name}", text, value=float(value))
    for name, text, count in (
        (
            "dead_letters_dropped",
            "Dead letters dropped for space or age.",
            disk.dead_letters_dropped,
        ),
        ("queue_evicted", "Deliveries that became dead letters for space.", disk.evicted),
        ("queue_commits", "Commits of the queue's store.", disk.commits),
        ("queue_commit_seconds", "Time spent in commits.", disk.commit_seconds),
    ):
        yield CounterMetricFamily(f"bulkhead_{name}", text, value=float(count))
