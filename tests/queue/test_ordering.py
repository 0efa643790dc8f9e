"""`ordering = "user"`: each user's deliveries one after the other, whatever happens in between."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.queue import (
    ConnectionSpec,
    DeadLettered,
    DeadLetterFilter,
    Delivered,
    Delivery,
    Disposition,
    Lease,
    Outcome,
    Postpone,
    Queue,
    Release,
    Unsupported,
)
from tests.queue.conftest import OpenQueue
from tests.queue.given import T0, SetClock, event, id_of, ids_in, sqlite_queue, take, taken, until

SPECS = {"a": ConnectionSpec("web", ordered=True), "b": ConnectionSpec("web")}
UNORDERED = {"a": ConnectionSpec("web"), "b": ConnectionSpec("web")}


async def add(queue: Queue, *names: str) -> None:
    """Events named `user-number`."""
    await queue.append("web", [event(name, user=name.partition("-")[0]) for name in names], T0)


async def decide(queue: Queue, lease: Lease, name: str, disposition: Disposition) -> None:
    """Give one disposition."""
    await queue.settle(lease, [(ids_in(lease).index(name), disposition)])


async def test_a_lease_has_one_of_each_user(open_queue: OpenQueue) -> None:
    """The next one of a user comes when the one before is done with."""
    queue = await open_queue(None, SPECS)
    await add(queue, "ann-1", "ann-2", "bob-1", "ann-3", "bob-2")
    first = await taken(queue)
    assert ids_in(first) == ["ann-1", "bob-1"]
    assert await take(queue) is None
    await decide(queue, first, "bob-1", Delivered())
    second = await taken(queue)
    assert ids_in(second) == ["bob-2"]


async def test_a_retry_holds_back_its_user_alone(open_queue: OpenQueue, clock: SetClock) -> None:
    """The others go on; what was held back follows in order, and counts as a first try."""
    queue = await open_queue(None, SPECS)
    await add(queue, "ann-1", "ann-2", "bob-1", "ann-3", "bob-2")
    lease = await taken(queue)
    await decide(queue, lease, "ann-1", Postpone(30.0, "no"))
    await decide(queue, lease, "bob-1", Delivered())
    lease = await taken(queue)
    assert ids_in(lease) == ["bob-2"]
    await decide(queue, lease, "bob-2", Delivered())
    depth = queue.depth("a")
    assert (depth.parked, depth.held_users, depth.held_since) == (2, 1, T0)
    assert depth.pending == 3
    (record,) = await queue.find("ann-2")
    assert record.deliveries[0].held_since == T0
    clock.now += 30.0
    for name in ("ann-1", "ann-2", "ann-3"):
        await until(lambda: queue.depth("a").next_retry_at is not None)
        lease = await taken(queue, retries=True)
        assert ids_in(lease) == [name]
        await decide(queue, lease, name, Delivered())
    assert queue.depth("a").held_users == 0
    await until(lambda: queue.books().pending == 0)
    books = queue.books()
    assert (books.delivered_first_try, books.delivered_on_retry) == (4, 1)


async def test_order_holds_over_a_restart(open_queue: OpenQueue, clock: SetClock) -> None:
    """What waited behind a retry waits behind it again."""
    queue = await open_queue(None, SPECS)
    await add(queue, "ann-1", "ann-2", "bob-1")
    await decide(queue, await taken(queue), "ann-1", Postpone(30.0, "no"))
    assert await take(queue) is None  # ann-2 is put aside, bob-1 is leased
    queue = await open_queue(None, SPECS)
    assert queue.depth("a").parked == 1
    assert ids_in(await take(queue)) == ["bob-1"]
    clock.now += 30.0
    lease = await taken(queue, retries=True)
    assert ids_in(lease) == ["ann-1"]
    await decide(queue, lease, "ann-1", DeadLettered(Outcome.FAILED, "never"))
    queue = await open_queue(None, SPECS)
    await until(lambda: queue.depth("a").retrying == 1)
    assert ids_in(await take(queue, retries=True)) == ["ann-2"]


async def test_order_can_be_turned_on_and_off(open_queue: OpenQueue, clock: SetClock) -> None:
    """With a reload: what was put aside is free at once, and what was free is put in order."""
    queue = await open_queue(None, SPECS)
    await add(queue, "ann-1", "ann-2")
    await decide(queue, await taken(queue), "ann-1", Postpone(30.0, "no"))
    assert await take(queue) is None
    await queue.set_connections(UNORDERED)
    lease = await taken(queue, retries=True)
    assert ids_in(lease) == ["ann-2"]
    await decide(queue, lease, "ann-2", Postpone(0.0, "no"))
    await queue.set_connections(SPECS)
    clock.now += 60.0
    lease = await taken(queue, retries=True)
    assert len(lease.deliveries) == 1
    assert queue.depth("a").parked == 1


async def test_a_user_with_a_long_queue_lets_others_pass(open_queue: OpenQueue) -> None:
    """Those behind a thousand events of one user need not wait for these."""
    queue = await open_queue(None, SPECS)
    await add(queue, *(f"ann-{n}" for n in range(1000)), "bob-1")
    assert ids_in(await take(queue)) == ["ann-0", "bob-1"]


DISPOSITIONS: list[Disposition] = [
    Delivered(),
    Delivered(),
    Unsupported(),
    Postpone(0.0, "now"),
    Postpone(5.0, "later"),
    Postpone(5.0, "alone", alone=True),
    Release(),
    DeadLettered(Outcome.FAILED, "no"),
]

STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(st.sampled_from(["ann", "bob", "cleo"]), max_size=6)),
    st.tuples(st.just("lease"), st.integers(1, 4), st.booleans()),
    st.tuples(st.just("lease"), st.integers(1, 4), st.booleans()),
    st.tuples(
        st.just("settle"), st.integers(0, 3), st.lists(st.sampled_from(DISPOSITIONS), max_size=4)
    ),
    st.tuples(st.just("wait"), st.sampled_from([3.0, 70.0])),
    st.tuples(st.just("replay")),
    st.tuples(st.just("restart")),
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=40))
def test_no_user_is_ever_reordered(steps: list[tuple[object, ...]]) -> None:
    """Through retries, releases, dead letters, expired leases, replays and restarts."""
    directory = Path(tempfile.mkdtemp(prefix="bulkhead-order-"))
    try:
        asyncio.run(_Check(directory).run(steps))
    finally:
        shutil.rmtree(directory)


class _Check:
    """Names of events are `user-number`; what was replayed has lost its place, and is let be."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._clock = SetClock()
        self._made: Counter[str] = Counter()
        self._open: dict[str, set[int]] = {}
        self._dead: set[str] = set()
        self._replayed: set[str] = set()
        self._leases: list[Lease] = []
        self._queue: Queue

    async def run(self, steps: list[tuple[object, ...]]) -> None:
        await self._start()
        for step in steps:
            await self._step(step)
        async with asyncio.timeout(20):
            while self._queue.depth("a").pending:
                self._clock.now += 100.0
                for retries in (False, True):
                    lease = await self._lease(100, retries)
                    if lease is not None:
                        await self._settle(lease, [Delivered()] * len(lease.deliveries))
                await asyncio.sleep(0.001)  # whoever is called comes with a commit
        await until(lambda: self._queue.books().pending == 0)
        audited = await self._queue.audit()
        assert audited.pending == 0
        assert audited.is_balanced
        await self._queue.close()

    async def _start(self) -> None:
        self._queue = sqlite_queue(self._directory, self._clock)
        await self._queue.start(SPECS, lambda connection: None)

    async def _step(self, step: tuple[object, ...]) -> None:
        match step:
            case ("append", list(users)):
                names = []
                for user in users:
                    names.append(f"{user}-{self._made[user]}")
                    self._open.setdefault(user, set()).add(self._made[user])
                    self._made[user] += 1
                await add(self._queue, *names)
            case ("lease", int(most), bool(retries)):
                lease = await self._lease(most, retries)
                if lease is not None:
                    self._leases.append(lease)
            case ("settle", int(which), list(dispositions)) if which < len(self._leases):
                await self._settle(self._leases.pop(which), dispositions)
            case ("wait", float(seconds)):
                self._clock.now += seconds
                if seconds > 60.0:
                    self._leases.clear()  # they have expired
            case ("replay",):
                self._replayed |= self._dead
                self._dead.clear()
                await self._queue.replay(DeadLetterFilter(), dry_run=False)
            case ("restart",):
                await self._queue.close()
                self._leases.clear()
                await self._start()
            case _:
                pass  # there is no such lease

    async def _lease(self, most: int, retries: bool) -> Lease | None:
        lease = await take(self._queue, most=most, retries=retries)
        if lease is not None:
            users = Counter(name.partition("-")[0] for name in map(_name, lease.deliveries))
            assert set(users.values()) == {1}
            for delivery in lease.deliveries:
                self._check(_name(delivery))
        return lease

    def _check(self, name: str) -> None:
        """Nothing that came before it is still to be done."""
        user, _, number = name.partition("-")
        if name not in self._replayed:
            assert min(self._open[user]) == int(number), name

    async def _settle(self, lease: Lease, dispositions: list[Disposition]) -> None:
        pairs = list(enumerate(dispositions[: len(lease.deliveries)]))
        for index, disposition in pairs:
            name = _name(lease.deliveries[index])
            user, _, number = name.partition("-")
            if isinstance(disposition, Delivered | Unsupported | DeadLettered):
                self._open[user].discard(int(number))
            if isinstance(disposition, DeadLettered):
                self._dead.add(name)
        await self._queue.settle(lease, pairs)
        if len(pairs) < len(lease.deliveries):
            self._leases.append(lease)


def _name(delivery: Delivery) -> str:
    return id_of(delivery.body)
