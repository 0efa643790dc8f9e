"""Where the pending deliveries of an event are: what only memory knows of them.

Owns the addition of leases, places in line and waits behind a user's earlier event to what
`find.py` has found in the store. Changes nothing.
"""

from __future__ import annotations

import msgspec

from supervisor.queue import DeliveryRecord, EventRecord
from supervisor.queue.sqlite.find import retry_id
from supervisor.queue.sqlite.memory import QueueMemory


def with_locations(record: EventRecord, memory: QueueMemory, now: float) -> EventRecord:
    """What the store knows of an event, and what only memory knows; `now` in epoch seconds."""
    leased: set[str] = set()
    for one in record.deliveries:
        backlog = memory.by_name.get(one.connection)
        if one.state == "pending" and backlog is not None and backlog.leased:
            leased.update(retry_id(row_id) for row_id in backlog.leased_retries)
            chunk, _, index = one.id.partition(".")
            mask = memory.leased_of(backlog).get(int(chunk), 0) if index else 0
            if index and mask >> int(index.partition(".")[0]) & 1:
                leased.add(one.id)
    return msgspec.structs.replace(
        record,
        deliveries=[
            msgspec.structs.replace(
                one,
                is_leased=one.id in leased,
                held_since=_held_since(one, leased, memory, now),
                ahead=_ahead(one, memory),
            )
            for one in record.deliveries
        ],
    )


def _ahead(record: DeliveryRecord, memory: QueueMemory) -> int | None:
    """How many of its connection go before it, where it was never attempted."""
    chunk, dot, index = record.id.partition(".")
    backlog = memory.by_name.get(record.connection)
    if record.state != "pending" or not dot or backlog is None:
        return None
    return backlog.window.ahead_of(int(chunk), int(index.partition(".")[0]))


def _held_since(
    record: DeliveryRecord, leased: set[str], memory: QueueMemory, now: float
) -> float | None:
    """Since when an event waits behind another one of its user."""
    backlog = memory.by_name.get(record.connection)
    if backlog is None or backlog.order is None or record.id in leased or record.attempts:
        return None
    if record.state != "pending" or record.next_attempt_at is not None:
        return None
    if record.user in backlog.order.running:
        return now
    return backlog.order.heads.get(record.user)
