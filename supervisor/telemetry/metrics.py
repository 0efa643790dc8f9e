"""Prometheus metrics: every name, label and bucket, and the cheap ways to count.

Owns the registry. Hot paths call once a batch, on the event loop's thread;
what there may be thousands of is kept and written by `families.py` and `histograms.py`.
Sizes and ages are not kept here but read from `Status` when Prometheus asks.
Label values are names from the config or members of closed sets; never text
from events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from supervisor.telemetry import looked_at
from supervisor.telemetry.families import Counts
from supervisor.telemetry.histograms import Histograms
from supervisor.telemetry.latencies import Latencies
from supervisor.telemetry.status import Status

#: What `Metrics.scrape` returns.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: The supervisor's own name among the values of `process`.
SUPERVISOR = "supervisor"
#: Upper bounds in seconds, up to the longest batch timeouts in use.
BATCH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Upper bounds in seconds: a spare is at hand in milliseconds, imports take seconds.
START_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Buckets of bulkhead_snapshot_seconds.
SNAPSHOT_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)

# The `_created` series double the page and say nothing that a restart does not show. The switch is
# the library's own and global; this registry is the process's only one.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's one untyped function


class _Seconds:
    """A histogram of one label, a few observations a second at most."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        text: str,
        label: str,
        buckets: Sequence[float],
    ) -> None:
        self._histogram = Histogram(name, text, (label,), registry=registry, buckets=buckets)
        self._children: dict[str, Histogram] = {}

    def observe(self, label: str, seconds: float) -> None:
        child = self._children.get(label)
        if child is None:
            child = self._children[label] = self._histogram.labels(label)
        child.observe(seconds)

    def retain(self, kept: Collection[str]) -> None:
        """Drop the children whose label is not in `kept`."""
        for label in [label for label in self._children if label not in kept]:
            del self._children[label]
            self._histogram.remove(label)


class Metrics(Collector):
    """The service's metrics. Counting is for the event loop's thread only."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.registry = registry = CollectorRegistry()
        self._snapshot: Callable[[], Awaitable[Status]] | None = None
        self._status: Status | None = None
        self._lines_dropped: Callable[[], int] = int
        self.latencies = Latencies("bulkhead_delivery_seconds", "From receipt to delivery.")
        self._loop_lag_s: dict[str, float] = {}
        #: Whether the last reload went well, and when the config in force was followed.
        self._config_followed = (1.0, 0.0)
        self._received = Counts(
            "bulkhead_events_received_total",
            "Events that sources sent and that were valid, repeats included.",
            ("source", "type"),
        )
        self._rejected = Counts(
            "bulkhead_events_rejected_total",
            "Events that were not taken, by reason.",
            ("source", "reason"),
        )
        self._duplicate = Counts(
            "bulkhead_events_duplicate_total",
            "Events that were dropped as repeats within the dedupe window.",
            ("source",),
        )
        self._deliveries = Counts(
            "bulkhead_deliveries_total",
            "Deliveries that ended, by outcome, on the first try or on retry.",
            ("connection", "destination", "outcome", "attempt"),
        )
        self._attempts = Counts(
            "bulkhead_attempts_total",
            "Attempts at a delivery, by what came of them.",
            ("connection", "result"),
        )
        self._batch_seconds = Histograms(
            "bulkhead_batch_seconds",
            "From handing a batch to a worker to its last outcome.",
            BATCH_BUCKETS,
        )
        self._egress = Counts(
            "bulkhead_egress_connects_total",
            "New connections that workers asked for, by what came of them.",
            ("connection", "result"),
        )
        self._output_bytes = Counts(
            "bulkhead_output_bytes_total",
            "Bytes that workers wrote to standard output and error past Python, by whose step ran.",
            ("connection",),
        )
        self._log_lines = Counts(
            "bulkhead_log_lines_total",
            "Lines that destinations logged or printed, by whether they were kept.",
            ("connection", "result"),
        )
        self._stray_exceptions = Counts(
            "bulkhead_stray_exceptions_total",
            "Exceptions raised where nobody catches: in tasks, callbacks, threads, __del__.",
            ("connection",),
        )
        self._worker_exits = Counts(
            "bulkhead_worker_exits_total",
            "Workers that ended, by reason.",
            ("pool", "reason"),
        )
        self._connection_deaths = Counts(
            "bulkhead_connection_worker_deaths_total",
            "Workers that died or had to be killed by the fault of a connection.",
            ("connection",),
        )
        self._connection_used_up = Counts(
            "bulkhead_connection_workers_used_up_total",
            "Workers that a connection left with no memory or files, without their death.",
            ("connection",),
        )
        self._connection_hogged = Counts(
            "bulkhead_connection_hogged_total",
            "How often a connection was found to keep the event loops of workers from others.",
            ("connection",),
        )
        self._credentials_refused = Counts(
            "bulkhead_credentials_refused_total",
            "Attempts at a delivery that were refused for the connection's credentials.",
            ("connection",),
        )
        self._suspect_executions = Counts(
            "bulkhead_suspect_executions_total",
            "Deliveries that were sent again to find out which of them kills its worker.",
            ("connection",),
        )
        self._worker_start_seconds = _Seconds(
            registry,
            "bulkhead_worker_start_seconds",
            "From asking for a worker to its being ready, jail and imports included.",
            "pool",
            START_BUCKETS,
        )
        self._snapshot_seconds = _Seconds(
            registry,
            "bulkhead_snapshot_seconds",
            "From asking for a heap snapshot to its being kept.",
            "kind",
            SNAPSHOT_BUCKETS,
        )
        self._counts = (
            self._received,
            self._rejected,
            self._duplicate,
            self._deliveries,
            self._attempts,
            self._egress,
            self._output_bytes,
            self._log_lines,
            self._stray_exceptions,
            self._worker_exits,
            self._connection_deaths,
            self._connection_used_up,
            self._connection_hogged,
            self._credentials_refused,
            self._suspect_executions,
        )
        registry.register(self)
        ProcessCollector(registry=registry)

    def follow(self, snapshot: Callable[[], Awaitable[Status]]) -> None:
        """Read depths, ages and sizes from `snapshot` whenever metrics are asked for."""
        self._snapshot = snapshot

    def follow_log(self, lines_dropped: Callable[[], int]) -> None:
        """Read from `lines_dropped`, in whatever thread, how many lines of the log were lost."""
        self._lines_dropped = lines_dropped

    def received(self, source: str, type: str, n: int) -> None:
        """`n` valid events of one type came in; repeats count."""
        self._received.add((source, type), n)

    def rejected(self, source: str, reason: str, n: int) -> None:
        """`n` events were not taken; `reason` is the code of the answer, a closed set."""
        self._rejected.add((source, reason), n)

    def duplicate(self, source: str, n: int) -> None:
        """`n` events were dropped as repeats."""
        self._duplicate.add((source,), n)

    def attempt(self, connection: str, result: str, n: int) -> None:
        """`n` attempts ended; `result` is `delivered`, `retry`, `failed` and the like."""
        self._attempts.add((connection, result), n)

    def outcome(
        self,
        connection: str,
        destination: str,
        outcome: str,
        attempt: Literal["first", "retry"],
        n: int,
    ) -> None:
        """`n` deliveries ended with `outcome`."""
        self._deliveries.add((connection, destination, outcome, attempt), n)

    def delivery_seconds(self, connection: str, received_at: Iterable[float], now: float) -> None:
        """Deliveries that were received at these epoch seconds were delivered at `now`."""
        self.latencies.observe_ages(connection, received_at, now)

    def batch_seconds(self, connection: str, seconds: float) -> None:
        """A batch took `seconds` in its worker."""
        self._batch_seconds.observe(connection, seconds)

    def egress(self, connection: str, result: str) -> None:
        """A worker asked for a connection; `result` is one of `egress.broker.Result`."""
        self._egress.add((connection, result), 1)

    def connection_death(self, connection: str) -> None:
        """A worker is gone, and it was this connection."""
        self._connection_deaths.add((connection,), 1)

    def connection_used_up(self, connection: str) -> None:
        """This connection has left a worker with no memory or files, which goes on for now."""
        self._connection_used_up.add((connection,), 1)

    def connection_hogged(self, connection: str) -> None:
        """This connection keeps the event loops of its workers from others."""
        self._connection_hogged.add((connection,), 1)

    def credentials_refused(self, connection: str) -> None:
        """An attempt of this connection was refused for its credentials."""
        self._credentials_refused.add((connection,), 1)

    def suspect_executions(self, connection: str, n: int) -> None:
        """`n` deliveries of a worker that died were sent again."""
        self._suspect_executions.add((connection,), n)

    def output_bytes(self, connection: str, size: int) -> None:
        """A worker wrote `size` bytes past Python; `connection` is "" where it is not known."""
        self._output_bytes.add((connection,), size)

    def log_lines(self, connection: str, result: Literal["logged", "dropped"], n: int) -> None:
        """A destination logged or printed `n` lines."""
        if n:
            self._log_lines.add((connection, result), n)

    def stray_exceptions(self, connection: str, n: int) -> None:
        """`n` exceptions were raised where nobody catches them."""
        self._stray_exceptions.add((connection,), n)

    def worker_exit(self, pool: str, reason: str) -> None:
        """A worker of `pool` ended; `reason` is one of `ExitReason`."""
        self._worker_exits.add((pool, reason), 1)

    def worker_start_seconds(self, pool: str, seconds: float) -> None:
        """A worker of `pool` was ready `seconds` after it was asked for."""
        self._worker_start_seconds.observe(pool, seconds)

    def snapshot_seconds(self, kind: str, seconds: float) -> None:
        """A heap snapshot of `kind` took `seconds`."""
        self._snapshot_seconds.observe(kind, seconds)

    def loop_lag(self, process: str, seconds: float) -> None:
        """`process` (a worker's id, or `SUPERVISOR`) was late by `seconds` at worst of late."""
        self._loop_lag_s[process] = seconds

    def config_followed(self, *, is_success: bool, at: float) -> None:
        """A config was read, `at` epoch seconds; where it was refused, the older one stays."""
        self._config_followed = (1.0, at) if is_success else (0.0, self._config_followed[1])

    def retain(
        self, *, sources: Collection[str], connections: Collection[str], pools: Collection[str]
    ) -> None:
        """Forget what the config does not name any more, so that label sets cannot only grow."""
        for by_source in (self._received, self._rejected, self._duplicate):
            by_source.retain(sources)
        for of_connections in (
            self._deliveries,
            self._attempts,
            self._egress,
            self._connection_deaths,
            self._connection_used_up,
            self._connection_hogged,
            self._credentials_refused,
            self._suspect_executions,
        ):
            of_connections.retain(connections)
        self._batch_seconds.retain(connections)
        self.latencies.retain(connections)
        self._worker_exits.retain(pools)
        self._worker_start_seconds.retain(pools)

    async def scrape(self) -> bytes:
        """The page that Prometheus reads, of type `CONTENT_TYPE`.

        It is written in a thread: with thousands of connections that takes long
        enough to be missed by the event loop. What is looked at is looked at here.
        """
        if self._snapshot is not None:
            self._status = await self._snapshot()
        return await asyncio.to_thread(self._page)

    def _page(self) -> bytes:
        status = self._status
        own = [family.text() for family in self._counts]
        own += [self.latencies.text(), self._batch_seconds.text()]
        if status is not None:
            own += looked_at.queues(status)
        # Family by family: a step that is one to the interpreter keeps everybody waiting.
        return b"".join((generate_latest(self.registry), *("".join(one).encode() for one in own)))

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering must not take a snapshot."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """What is not counted but looked at; called by the registry, in whatever thread.

        Dictionaries are copied, which is one step under the interpreter's lock:
        the event loop goes on counting meanwhile.
        """
        yield InfoMetricFamily("bulkhead", "Version of the service.", {"version": self._version})
        yield CounterMetricFamily(
            "bulkhead_log_lines_dropped",
            "Lines of the service's own log that were lost, since standard error was not read.",
            value=float(self._lines_dropped()),
        )
        is_success, followed_at = self._config_followed
        yield GaugeMetricFamily(
            "bulkhead_config_reload_success",
            "Whether the last reload went well; 1 where there was none.",
            value=is_success,
        )
        yield GaugeMetricFamily(
            "bulkhead_config_reload_timestamp_seconds",
            "When the config in force was followed.",
            value=followed_at,
        )
        status = self._status
        if status is not None:
            yield from looked_at.workers(status)
            yield from looked_at.store(status)
            yield looked_at.sandbox(status)
            yield self._lags({w.id for pool in status.pools for w in pool.workers})

    def _lags(self, workers: Collection[str]) -> Metric:
        """Lags of processes that still are; those of others are forgotten here."""
        family = GaugeMetricFamily(
            "bulkhead_loop_lag_seconds", "How late an event loop was at worst.", labels=("process",)
        )
        for process, seconds in self._loop_lag_s.copy().items():
            if process == SUPERVISOR or process in workers:
                family.add_metric((process,), seconds)
            else:
                self._loop_lag_s.pop(process, None)
        return family
