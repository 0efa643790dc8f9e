"""What needs somebody: the list at the head of the console, worst first.

Owns which facts of a status are on it, how bad each is, and the words and the action of each. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal
from urllib.parse import quote

import msgspec

from supervisor.runtime.units import size
from supervisor.telemetry.status import PoolState, PoolStatus, QueueState, QueueStatus, Status

Severity = Literal["page", "ticket", "notice"]
_RANK = {"page": 0, "ticket": 1, "notice": 2}

#: Age of the oldest pending delivery past which a connection is behind, in seconds.
BEHIND_S = 300.0
#: The same past which it is the worst there is.
FAR_BEHIND_S = 3600.0
#: Items of the list; how many more there are is told.
MOST_ITEMS = 50
#: Share of a source's events that are not taken, past which it is told, and least events a second.
REJECTED_SHARE, LEAST_PER_S = 0.05, 0.1


class NeedSubject(msgspec.Struct, frozen=True):
    """What an item is about."""

    type: Literal["connection", "pool", "source", "service"]
    name: str


class NeedAction(msgspec.Struct, frozen=True):
    """What to do about it at once: a row of the admin API."""

    label: str
    method: Literal["POST"]
    path: str


class Need(msgspec.Struct, frozen=True):
    """One thing that needs somebody. `reason` is text of strangers; `size` orders within a rank."""

    kind: str
    severity: Severity
    subject: NeedSubject
    text: str
    link: str
    reason: str = ""
    action: NeedAction | None = None
    size: float = 0.0


class SourceRate(msgspec.Struct, frozen=True):
    """What a source sends, events a second of late."""

    name: str
    received_per_s: float
    rejected_per_s: float

    @property
    def rejected_share(self) -> float:
        """Of all that it sends, what is not taken."""
        together = self.received_per_s + self.rejected_per_s
        return self.rejected_per_s / together if together else 0.0


def order(item: Need) -> tuple[int, float, str]:
    """Worst first."""
    return _RANK[item.severity], -item.size, item.subject.name


def items(
    status: Status,
    pools: Sequence[PoolStatus],
    of_many: Sequence[Need],
    *,
    dedupe_window_s: float,
    plan_differs: bool,
) -> list[Need]:
    """All of them, worst first; `of_many` are those of connections and sources.

    `dedupe_window_s` is what the config asks for.
    """
    found = [
        *_of_service(status, dedupe_window_s, plan_differs),
        *(item for one in pools for item in _of_pool(one)),
        *of_many,
    ]
    return sorted(found, key=order)


def _of_service(status: Status, dedupe_window_s: float, plan_differs: bool) -> Iterator[Need]:
    store, subject = status.store, NeedSubject("service", "bulkhead")

    def item(kind: str, severity: Severity, text: str, link: str = "#/", size: float = 0.0) -> Need:
        return Need(kind, severity, subject, text, link, size=size)

    if store.intake != "open":
        yield item("intake", "page", f"No events are taken: {store.intake}", size=1e12)
    if store.files_missing:
        yield item("files_missing", "page", f"Files of the queue: {store.files_missing}", size=1e11)
    if store.dead_letters_dropped:
        yield item(
            "dead_letters_dropped",
            "ticket",
            f"{store.dead_letters_dropped} dead letters were dropped for space or age",
            "#/deadletters",
        )
    if status.dedupe.window_s < dedupe_window_s * 0.999:
        yield item(
            "dedupe_window",
            "ticket",
            f"Repeats are found within {status.dedupe.window_s / 3600:.1f} h alone: "
            "queue.dedupe_budget is full",
        )
    for layer, state in status.sandbox.items():
        if state != "on":
            yield item("sandbox", "notice", f"Sandbox layer {layer} is off: {state}", "#/pools")
    if store.log_held:
        yield item("log_held", "notice", f"The queue's log is held: {store.log_held}")
    if plan_differs:
        yield item("plan", "notice", "The config file differs from what runs", "#/plan")


def _of_pool(pool: PoolStatus) -> Iterator[Need]:
    subject, link = NeedSubject("pool", pool.name), f"#/pools/{quote(pool.name, safe='')}"
    if pool.state is PoolState.FAILED:
        yield Need(
            "pool_failed", "page", subject, "No worker starts", link, pool.state_reason, size=1e10
        )
    elif pool.state is PoolState.DEGRADED:
        yield Need(
            "pool_degraded", "ticket", subject, "Fewer workers serve than asked for", link,
            pool.state_reason, size=1e9,
        )  # fmt: skip
    for group in pool.leaks_together:
        names = ", ".join(group.connections[:5])
        yield Need(
            "leaks_together", "ticket", subject,
            f"One of {len(group.connections)} connections leaks "
            f"{size(group.bytes_per_event)} an event: {names}",
            link, size=group.bytes_per_event,
        )  # fmt: skip


def of_queue(queue: QueueStatus) -> Need | None:
    """The worst that there is of a connection, None where all is well; asked of each."""
    is_well = queue.state is QueueState.OPEN and (queue.oldest_s or 0.0) <= BEHIND_S
    if is_well and not (
        queue.leak_bytes_per_event is not None
        or queue.egress_refused
        or queue.blame.quarantined
        or queue.blame.hogged
    ):
        return None
    name = queue.connection
    subject, at = NeedSubject("connection", name), quote(name, safe="")
    link = f"#/connections/{at}/queue"
    probe = NeedAction("Probe", "POST", f"connections/{at}/probe")
    oldest_s = queue.oldest_s or 0.0
    waits = f"{queue.depth} wait"
    if queue.credentials_refused:
        return Need(
            "credentials", "page", subject, f"Its credentials are refused, {waits}", link,
            queue.state_reason, probe, oldest_s,
        )  # fmt: skip
    if queue.state is QueueState.TRIPPED:
        return Need(
            "tripped", "page", subject, f"It is tripped, {waits}", link, queue.state_reason,
            NeedAction("Resume", "POST", f"connections/{at}/resume"), oldest_s,
        )  # fmt: skip
    if oldest_s > BEHIND_S and queue.state is not QueueState.PAUSED:
        is_far = oldest_s > FAR_BEHIND_S
        return Need(
            "behind", "page" if is_far else "ticket", subject,
            f"It is {oldest_s / 60:.0f} min behind, {waits}", link, queue.state_reason,
            probe if queue.state is QueueState.BACKING_OFF else None, oldest_s,
        )  # fmt: skip
    if queue.leak_bytes_per_event is not None:
        return Need(
            "leak", "ticket", subject,
            f"It leaks {size(queue.leak_bytes_per_event)} an event",
            f"#/pools/{quote(queue.pool, safe='')}", size=queue.leak_bytes_per_event,
        )  # fmt: skip
    if queue.blame.quarantined:
        return Need(
            "quarantined", "ticket", subject,
            f"{queue.blame.quarantined} events killed their workers and are quarantined",
            f"#/deadletters?connection={at}&outcome=quarantined", size=queue.blame.quarantined,
        )  # fmt: skip
    if queue.blame.hogged:
        return Need(
            "hogged", "notice", subject, "It kept event loops from others and runs apart",
            f"#/pools/{quote(queue.pool, safe='')}", queue.blame.hogs,
        )  # fmt: skip
    if queue.egress_refused:
        return Need(
            "egress", "notice", subject,
            f"{queue.egress_refused} connects were refused by the config", link,
            queue.last_egress_refusal or "",
        )  # fmt: skip
    if queue.state is QueueState.PAUSED:
        return Need(
            "paused", "notice", subject, f"It was paused by hand, {waits}", link,
            action=NeedAction("Resume", "POST", f"connections/{at}/resume"), size=oldest_s,
        )  # fmt: skip
    return None


def of_source(source: SourceRate) -> Need | None:
    """What of a source needs somebody."""
    share = source.rejected_share
    if share <= REJECTED_SHARE or source.rejected_per_s < LEAST_PER_S:
        return None
    at = quote(source.name, safe="")
    return Need(
        "rejected", "ticket", NeedSubject("source", source.name),
        f"{share:.0%} of what it sends is not taken", f"#/sources/{at}/debugger?ring=rejected",
        size=source.rejected_per_s,
    )  # fmt: skip
