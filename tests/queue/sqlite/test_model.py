"""The queue against a model that is too simple to be wrong: any calls, in any order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.queue import (
    Bury,
    DeadLetterFilter,
    Delivered,
    Delivery,
    Lease,
    Outcome,
    Postpone,
    Queue,
    Release,
    Route,
    Unsupported,
    Verdict,
)
from supervisor.queue.sqlite import memory, payload_cache, retry_heap
from tests.queue.given import SPECS, T0, SetClock, event, id_of, sqlite_queue, take

ROUTES = [
    Route(pending=("a",)),
    Route(pending=("a", "b")),
    Route(pending=("b",), filtered=("a",)),
    Route(pending=("b",), unsupported=("a",)),
    Route(filtered=("a", "b")),
]
VERDICTS: list[Verdict] = [
    Delivered(),
    Unsupported(),
    Postpone(0.0, "now"),
    Postpone(5.0, "later"),
    Postpone(5.0, "later, alone", alone=True),
    Release(),
    Bury(Outcome.FAILED, "no"),
    Bury(Outcome.QUARANTINED, "kills"),
]

STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(st.tuples(st.integers(0, 40), st.sampled_from(ROUTES)))),
    st.tuples(st.just("lease"), st.sampled_from(["a", "b"]), st.integers(1, 9), st.booleans()),
    st.tuples(
        st.just("settle"),
        st.integers(0, 5),
        st.lists(st.tuples(st.integers(0, 8), st.sampled_from(VERDICTS)), max_size=9),
    ),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 3.0, 70.0])),
    st.tuples(st.just("replay")),
    st.tuples(st.just("drop")),
    st.tuples(st.just("forget")),
    st.tuples(st.just("restart")),
)


@dataclass
class Model:
    """By connection and message id: how often it was attempted, and what became of it."""

    seen: set[str] = field(default_factory=set)
    state: dict[tuple[str, str], str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    retried: set[tuple[str, str]] = field(default_factory=set)
    leases: list[tuple[Lease, dict[int, tuple[str, str]]]] = field(default_factory=list)

    def take_in(self, name: str, route: Route) -> bool:
        if name in self.seen:
            return False
        self.seen.add(name)
        for connection in route.pending:
            self.state[connection, name] = "pending"
        self.counts["accepted"] += sum(
            len(part) for part in (route.pending, route.unsupported, route.filtered)
        )
        self.counts["unsupported"] += len(route.unsupported)
        self.counts["filtered"] += len(route.filtered)
        return True

    def decide(self, which: tuple[str, str], verdict: Verdict) -> None:
        assert self.state[which] == "leased"
        match verdict:
            case Delivered():
                first = which not in self.retried
                self.counts["delivered_first_try" if first else "delivered_on_retry"] += 1
                del self.state[which]
            case Unsupported():
                self.counts["unsupported"] += 1
                del self.state[which]
            case Bury():
                self.counts[verdict.outcome.value] += 1
                self.state[which] = verdict.outcome.value
            case Postpone():
                self.retried.add(which)
                self.state[which] = "pending"
            case Release():
                self.state[which] = "pending"

    def void_leases(self) -> None:
        for _, held in self.leases:
            for which in held.values():
                if self.state.get(which) == "leased":
                    self.state[which] = "pending"
        self.leases.clear()

    def pending(self, connection: str) -> int:
        return sum(
            1
            for (one, _), state in self.state.items()
            if one == connection and state in ("pending", "leased")
        )


def name_of(delivery: Delivery) -> str:
    return id_of(delivery.body)


async def step_through(steps: list[tuple[object, ...]], state_dir: Path) -> None:
    """Do the steps to queue and model, and compare them after each."""
    clock, model = SetClock(), Model()

    async def opened() -> Queue:
        queue = sqlite_queue(state_dir, clock)
        await queue.start(SPECS, lambda connection: None)
        return queue

    queue = await opened()
    try:
        for step in [*steps, ("wait", 100.0), ("restart",)]:
            match step:
                case ("append", list(items)):
                    sent = [event(f"m{n}", route, size=n * 10) for n, route in items]
                    answers = await queue.append("web", sent, clock())
                    assert list(answers) == [model.take_in(e.message_id, e.route) for e in sent]
                case ("lease", str(connection), int(most), bool(retries)):
                    lease = await take(queue, connection, most=most, retries=retries)
                    if lease is not None:
                        held = {
                            index: (connection, name_of(delivery))
                            for index, delivery in enumerate(lease.deliveries)
                        }
                        for index, which in held.items():
                            assert model.state[which] == "pending"
                            attempt = lease.deliveries[index].attempt
                            assert (attempt > 1) == (which in model.retried) == retries
                            model.state[which] = "leased"
                        model.leases.append((lease, held))
                case ("settle", int(number), list(verdicts)) if model.leases:
                    lease, held = model.leases[number % len(model.leases)]
                    known = [(i, v) for i, v in verdicts if i < len(lease.deliveries)]
                    decided = len(held)
                    if decided:
                        await queue.settle(lease, known)
                    for index, verdict in known:
                        if index in held:
                            model.decide(held.pop(index), verdict)
                case ("wait", float(seconds)):
                    clock.now += seconds
                    if seconds > 60:
                        model.void_leases()
                case ("replay",):
                    await queue.audit()
                    await queue.replay(DeadLetterFilter(), dry_run=False)
                    for which, state in model.state.items():
                        if state in ("failed", "quarantined"):
                            model.counts[state] -= 1
                            model.state[which] = "pending"
                            model.retried.add(which)
                case ("drop",):
                    await queue.drop(DeadLetterFilter(), dry_run=False)
                    for which, state in list(model.state.items()):
                        if state in ("failed", "quarantined"):
                            del model.state[which]
                case ("restart",):
                    await queue.close()
                    queue = await opened()
                    model.void_leases()
                case _:
                    pass
            for connection in SPECS:
                assert queue.depth(connection).pending == model.pending(connection)
            assert queue.books().is_balanced
        books = await queue.audit()
        assert books == queue.books()
        assert books.pending == sum(map(model.pending, SPECS))
        for counter, n in model.counts.items():
            assert getattr(books, counter) == n
        letters = await queue.dead_letters(DeadLetterFilter(), limit=999, after=None)
        assert {(one.connection, one.message_id) for one in letters} == {
            which for which, state in model.state.items() if state in ("failed", "quarantined")
        }
        left = []
        for connection in SPECS:
            for retries in (False, True):
                while (lease := await take(queue, connection, retries=retries)) is not None:
                    left += [(connection, name_of(delivery)) for delivery in lease.deliveries]
        assert sorted(left) == sorted(w for w, state in model.state.items() if state == "pending")
    finally:
        await queue.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=30), st.booleans())
def test_against_model(steps: list[tuple[object, ...]], is_tight: bool) -> None:
    """Every delivery is where the calls so far say, also where memory holds next to nothing."""
    state_dir = Path(tempfile.mkdtemp())
    assert T0
    try:
        if is_tight:
            with (
                patch.object(memory, "WINDOW", 1),
                patch.object(retry_heap, "RETRY_WINDOW", 1),
                patch.object(payload_cache, "CACHE_BYTES", 300),
            ):
                asyncio.run(step_through(steps, state_dir))
        else:
            asyncio.run(step_through(steps, state_dir))
    finally:
        shutil.rmtree(state_dir)
