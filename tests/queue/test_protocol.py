"""What any engine behind the `Queue` protocol does."""

from __future__ import annotations

import asyncio

import pytest

from supervisor.config import QueueConfig
from supervisor.queue import (
    Books,
    ConnectionSpec,
    DeadLettered,
    DeadLetterFilter,
    Delivered,
    LeaseExpired,
    Outcome,
    Postpone,
    Queue,
    QueueFull,
    QueueUnavailable,
    Release,
    Route,
    Unsupported,
)
from tests.queue.conftest import OpenQueue
from tests.queue.given import (
    SPECS,
    T0,
    TO_A,
    TO_B,
    TO_BOTH,
    SetClock,
    all_of,
    deliver_everything,
    event,
    events,
    ids_in,
    settle_all,
    take,
    taken,
    until,
)

ALL = DeadLetterFilter()


async def test_order(queue: Queue) -> None:
    """Fresh deliveries are leased oldest first, as the bytes that were appended."""
    sent = events(range(10))
    await queue.append("web", sent[:4], T0)
    await queue.append("web", sent[4:], T0 + 1)
    lease = await taken(queue)
    assert [delivery.body for delivery in lease.deliveries] == [one.body for one in sent]
    assert lease.deliveries[0].attempt == 1
    assert lease.deliveries[0].first_attempt_at is None
    assert lease.deliveries[0].received_at == T0


async def test_fan_out(queue: Queue) -> None:
    """An event is pending for each connection of its route, and for no other."""
    await queue.append("web", [event("x", TO_A), event("y", TO_B), event("z", TO_BOTH)], T0)
    assert ids_in(await take(queue, "a")) == ["x", "z"]
    assert ids_in(await take(queue, "b")) == ["y", "z"]


async def test_decided_at_once(queue: Queue) -> None:
    """What is unsupported or filtered is counted when it is appended, and never leased."""
    route = Route(unsupported=("a",), filtered=("b",))
    await queue.append("web", [event("x", route)], T0)
    assert queue.books() == Books(accepted=2, unsupported=1, filtered=1)
    assert await take(queue, "a") is None
    (record,) = await queue.find("x")
    assert {one.connection: one.outcome for one in record.deliveries} == {
        "a": Outcome.UNSUPPORTED,
        "b": Outcome.FILTERED,
    }


async def test_no_destination(queue: Queue) -> None:
    """An event without a connection is accepted, and nothing is pending."""
    assert await queue.append("web", [event("x", Route())], T0) == [True]
    assert queue.books() == Books()


async def test_nothing_to_append(queue: Queue) -> None:
    """Appending nothing answers nothing."""
    assert list(await queue.append("web", [], T0)) == []


async def test_repeats(queue: Queue, open_queue: OpenQueue) -> None:
    """A repeat within one call, of an earlier call, and of a life before is told and not stored."""
    assert await queue.append("web", [event("x"), event("x")], T0) == [True, False]
    assert await queue.append("web", [event("x"), event("y")], T0) == [False, True]
    queue = await open_queue()
    assert await queue.append("web", [event("y")], T0) == [False]
    assert queue.books() == Books(accepted=2, pending=2)
    assert queue.stats().dedupe.ids == 2


async def test_repeats_of_other_sources(queue: Queue) -> None:
    """The same message id of another source is another event, and both are found."""
    await queue.append("web", [event("x")], T0)
    assert await queue.append("app", [event("x", Route(pending=("b",)))], T0) == [True]
    assert {record.source for record in await queue.find("x")} == {"web", "app"}


async def test_concurrent_repeats(queue: Queue) -> None:
    """Of two calls at once that bring the same id, one is accepted."""
    answers = await asyncio.gather(*(queue.append("web", [event("x")], T0) for _ in range(5)))
    assert sorted(answer[0] for answer in answers) == [False] * 4 + [True]


async def test_lease_limits(queue: Queue) -> None:
    """A lease keeps to its number of events and of bytes, but brings at least one."""
    await queue.append("web", events(range(5), size=1000), T0)
    assert ids_in(await take(queue, most=2)) == ["m0", "m1"]
    assert ids_in(await take(queue, max_bytes=2200)) == ["m2", "m3"]
    assert ids_in(await take(queue, max_bytes=1)) == ["m4"]
    assert await take(queue) is None


async def test_exclude_users(queue: Queue) -> None:
    """Deliveries of excluded users stay where they are."""
    await queue.append("web", [event("x", user="ann"), event("y", user="bob")], T0)
    first = await take(queue, most=1)
    assert first is not None
    ann = first.deliveries[0].user_key
    await settle_all(queue, first, Release())
    assert ids_in(await take(queue, exclude_users=frozenset([ann]))) == ["y"]
    assert ids_in(await take(queue)) == ["x"]


async def test_delivered(queue: Queue) -> None:
    """What was delivered is counted, and never leased again."""
    await queue.append("web", events(range(3)), T0)
    await settle_all(queue, await taken(queue), Delivered())
    await until(lambda: queue.books() == Books(accepted=3, delivered_first_try=3))
    assert queue.depth("a").pending == 0
    assert await take(queue) is None


async def test_partial_settling(queue: Queue) -> None:
    """Deliveries of a lease may be decided in any order and in any number of calls."""
    await queue.append("web", events(range(4)), T0)
    lease = await taken(queue)
    await queue.settle(lease, [(2, Delivered()), (0, Delivered())])
    assert queue.depth("a").leased == 2
    await queue.settle(lease, [(1, Unsupported()), (3, Delivered())])
    await until(lambda: queue.books() == Books(accepted=4, delivered_first_try=3, unsupported=1))


async def test_first_verdict_counts(queue: Queue) -> None:
    """Only the first disposition on a delivery counts, within one call and across calls."""
    await queue.append("web", events(range(2)), T0)
    lease = await taken(queue)
    failed = DeadLettered(Outcome.FAILED, "no")
    await queue.settle(lease, [(0, Delivered()), (0, failed), (0, Delivered())])
    await queue.settle(lease, [(0, failed), (1, Delivered())])
    await until(lambda: queue.books() == Books(accepted=2, delivered_first_try=2))


async def test_lease_that_is_decided(queue: Queue) -> None:
    """A lease of which every delivery is decided is over."""
    await queue.append("web", events(range(2)), T0)
    lease = await taken(queue)
    await settle_all(queue, lease, Delivered())
    with pytest.raises(LeaseExpired):
        await queue.extend(lease, 60.0)


async def test_no_such_delivery(queue: Queue) -> None:
    """A disposition on a delivery that the lease does not have is an error, and decides nothing."""
    await queue.append("web", events(range(2)), T0)
    lease = await taken(queue)
    for index in (2, -1):
        with pytest.raises(IndexError, match="no delivery"):
            await queue.settle(lease, [(0, Delivered()), (index, Delivered())])
    assert queue.depth("a").leased == 2


async def test_retry(queue: Queue, clock: SetClock) -> None:
    """A postponed delivery is leased as a retry when it is due, and counts as such."""
    await queue.append("web", events(range(2)), T0)
    clock.now = T0 + 5
    await settle_all(queue, await taken(queue), Postpone(10.0, "busy"))
    assert queue.depth("a").next_retry_at == T0 + 15
    assert await take(queue) is None
    assert await take(queue, retries=True) is None
    clock.now = T0 + 15
    lease = await taken(queue, retries=True)
    assert ids_in(lease) == ["m0", "m1"]
    assert lease.deliveries[0].attempt == 2
    assert lease.deliveries[0].first_attempt_at == T0 + 5
    await queue.settle(lease, [(0, Delivered()), (1, Postpone(1.0, "busy"))])
    clock.now = T0 + 16
    lease = await taken(queue, retries=True)
    assert lease.deliveries[0].attempt == 3
    assert lease.deliveries[0].first_attempt_at == T0 + 5
    await settle_all(queue, lease, Delivered())
    await until(lambda: queue.books() == Books(accepted=2, delivered_on_retry=2))


async def test_alone(queue: Queue) -> None:
    """A delivery that is to go alone is leased with no other."""
    await queue.append("web", events(range(4)), T0)
    lease = await taken(queue)
    alone, together = Postpone(0.0, "odd", alone=True), Postpone(0.0, "odd")
    await queue.settle(lease, [(0, alone), (1, alone), (2, together), (3, together)])
    sizes = sorted([len(ids_in(await take(queue, retries=True))) for _ in range(3)])
    assert sizes == [1, 1, 2]


async def test_release(queue: Queue, clock: SetClock) -> None:
    """A released delivery is back in front, with its attempt uncharged."""
    await queue.append("web", events(range(3)), T0)
    lease = await take(queue, most=2)
    assert lease is not None
    await settle_all(queue, lease, Release())
    lease = await taken(queue)
    assert ids_in(lease) == ["m0", "m1", "m2"]
    assert {delivery.attempt for delivery in lease.deliveries} == {1}
    await settle_all(queue, lease, Postpone(1.0, "busy"))
    clock.now += 1
    await settle_all(queue, await taken(queue, retries=True), Release())
    assert (await taken(queue, retries=True)).deliveries[0].attempt == 2


async def test_expiry(queue: Queue, clock: SetClock, work: list[str]) -> None:
    """What is not settled when its lease expires is pending again, and the holder is told."""
    await queue.append("web", events(range(2)), T0)
    lease = await taken(queue)
    await queue.settle(lease, [(0, Delivered())])
    clock.now += 61
    work.clear()
    assert queue.depth("a").fresh == 1
    assert work == ["a"]
    with pytest.raises(LeaseExpired):
        await queue.settle(lease, [(1, Delivered())])
    assert ids_in(await take(queue)) == ["m1"]


async def test_extend(queue: Queue, clock: SetClock) -> None:
    """A lease that is extended in time is held on; one that is over cannot be."""
    await queue.append("web", events(range(1)), T0)
    lease = await taken(queue)
    clock.now += 50
    await queue.extend(lease, 60.0)
    clock.now += 50
    await queue.settle(lease, [(0, Delivered())])
    await queue.append("web", events(range(1, 2)), T0)
    lease = await taken(queue)
    clock.now += 61
    with pytest.raises(LeaseExpired):
        await queue.extend(lease, 60.0)


async def test_bury(queue: Queue, clock: SetClock) -> None:
    """A delivery that ended so is a dead letter with its reason, its evidence and its event."""
    sent = events(range(2))
    await queue.append("web", sent, T0)
    clock.now = T0 + 7
    dispositions = [
        (0, DeadLettered(Outcome.FAILED, "refused")),
        (1, DeadLettered(Outcome.QUARANTINED, "kills", exit_id="e1")),
    ]
    await queue.settle(await taken(queue), dispositions)
    await until(lambda: queue.books() == Books(accepted=2, failed=1, quarantined=1))
    newest, oldest = await queue.dead_letters(ALL, limit=10, after=None)
    assert (oldest.message_id, oldest.reason, oldest.outcome) == ("m0", "refused", Outcome.FAILED)
    assert (oldest.connection, oldest.attempts, oldest.last_at) == ("a", 1, T0 + 7)
    assert (newest.exit, newest.outcome) == ("e1", Outcome.QUARANTINED)
    assert newest.event is None
    whole = await queue.dead_letter(newest.id)
    assert whole is not None
    assert whole.event == sent[1].body


async def test_dead_letter_pages(queue: Queue) -> None:
    """Dead letters come newest first, page by page; an id that is none ends nothing but itself."""
    await queue.append("web", events(range(5)), T0)
    await settle_all(queue, await taken(queue), DeadLettered(Outcome.FAILED, "no"))
    await until(lambda: queue.books().failed == 5)
    first = await queue.dead_letters(ALL, limit=2, after=None)
    second = await queue.dead_letters(ALL, limit=9, after=first[-1].id)
    assert [one.message_id for one in [*first, *second]] == ["m4", "m3", "m2", "m1", "m0"]
    assert await queue.dead_letters(ALL, limit=9, after="nonsense") == []
    assert await queue.dead_letter("nonsense") is None
    assert await queue.dead_letter("999") is None


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (DeadLetterFilter(connection="a"), {"m0", "m2"}),
        (DeadLetterFilter(connection="nobody"), set()),
        (DeadLetterFilter(outcome=Outcome.QUARANTINED), {"m2"}),
        (DeadLetterFilter(error="ÄRGER_100%"), {"m1"}),
        (DeadLetterFilter(error="100_"), set()),
        (DeadLetterFilter(since=T0 + 20), {"m1", "m2"}),
        (DeadLetterFilter(until=T0 + 20), {"m0", "m1"}),
        (DeadLetterFilter(connection="a", error="timeout"), {"m0"}),
    ],
)
async def test_dead_letter_filters(
    queue: Queue, clock: SetClock, where: DeadLetterFilter, expected: set[str]
) -> None:
    """Filters hold together; the error is a substring in any case, taken literally."""
    for number, (route, disposition) in enumerate(
        [
            (TO_A, DeadLettered(Outcome.FAILED, "Timeout of server")),
            (TO_B, DeadLettered(Outcome.FAILED, "ärger_100% sure")),
            (TO_A, DeadLettered(Outcome.QUARANTINED, "kills")),
        ]
    ):
        clock.now = T0 + 10 * (number + 1)
        await queue.append("web", [event(f"m{number}", route)], T0)
        await settle_all(queue, await taken(queue, route.pending[0]), disposition)
    await until(lambda: queue.books().pending == 0)
    found = await queue.dead_letters(where, limit=10, after=None)
    assert {one.message_id for one in found} == expected
    assert (await queue.replay(where, dry_run=True)).matched == len(expected)


async def test_replay(queue: Queue, clock: SetClock, work: list[str]) -> None:
    """A replayed dead letter is pending with a new window, and its success is one on retry."""
    await queue.append("web", events(range(2)), T0)
    await settle_all(queue, await taken(queue), DeadLettered(Outcome.FAILED, "no"))
    await until(lambda: queue.books().failed == 2)
    dry = await queue.replay(ALL, dry_run=True)
    assert (dry.matched, dry.done) == (2, 0)
    (letter, _) = await queue.dead_letters(ALL, limit=9, after=None)
    work.clear()
    done = await queue.replay(DeadLetterFilter(ids=(letter.id, "nonsense")), dry_run=False)
    assert (done.matched, done.done) == (1, 1)
    assert work == ["a"]
    assert queue.books() == Books(accepted=2, failed=1, pending=1)
    lease = await taken(queue, retries=True)
    assert ids_in(lease) == [letter.message_id]
    assert lease.deliveries[0].first_attempt_at is None
    await settle_all(queue, lease, Delivered())
    await until(lambda: queue.books() == Books(accepted=2, failed=1, delivered_on_retry=1))


async def test_drop(queue: Queue) -> None:
    """Dropped dead letters are forgotten; the books keep them as what they were."""
    await queue.append("web", events(range(2)), T0)
    await settle_all(queue, await taken(queue), DeadLettered(Outcome.FAILED, "no"))
    await until(lambda: queue.books().failed == 2)
    assert (await queue.drop(ALL, dry_run=True)).done == 0
    done = await queue.drop(ALL, dry_run=False)
    assert (done.matched, done.done) == (2, 2)
    assert await queue.dead_letters(ALL, limit=9, after=None) == []
    assert queue.books() == Books(accepted=2, failed=2)
    (record,) = await queue.find("m0")
    assert record.deliveries[0].state == "finished"
    assert record.deliveries[0].outcome is Outcome.FAILED


async def test_restart(queue: Queue, open_queue: OpenQueue, clock: SetClock) -> None:
    """A restart brings back what was pending and nothing else; leases are void."""
    await queue.append("web", events(range(6), TO_BOTH), T0)
    lease = await taken(queue, "a")
    await queue.settle(
        lease,
        [
            (0, Delivered()),
            (1, Postpone(30.0, "busy")),
            (2, DeadLettered(Outcome.FAILED, "no")),
            (3, Unsupported()),
        ],
    )
    await until(lambda: queue.books().unsupported == 1)
    before = queue.books()
    queue = await open_queue()
    assert queue.books() == before == await queue.audit()
    assert queue.depth("a").fresh == 2
    assert queue.depth("a").retrying == 1
    assert queue.depth("a").next_retry_at == T0 + 30
    assert ids_in(await take(queue, "a")) == ["m4", "m5"]
    assert ids_in(await take(queue, "b")) == ["m0", "m1", "m2", "m3", "m4", "m5"]
    clock.now += 30
    retry = await taken(queue, retries=True)
    assert ids_in(retry) == ["m1"]
    assert retry.deliveries[0].first_attempt_at == T0


async def test_clock_set_back(queue: Queue, open_queue: OpenQueue, clock: SetClock) -> None:
    """A retry that lies further ahead than any delay after a restart is brought near."""
    await queue.append("web", events(range(1)), T0)
    await settle_all(queue, await taken(queue), Postpone(30.0, "busy"))
    clock.now = T0 - 86400
    queue = await open_queue()
    next_at = queue.depth("a").next_retry_at
    assert next_at is not None
    assert next_at <= clock.now + 600


async def test_removed_connection(queue: Queue, clock: SetClock) -> None:
    """What is pending of a connection that left the config becomes dead letters that say so."""
    await queue.append("web", events(range(5), TO_BOTH), T0)
    lease = await take(queue, "a", most=1)
    assert lease is not None
    await settle_all(queue, lease, Postpone(60.0, "busy"))
    held = await take(queue, "a", most=1)
    assert held is not None
    assert await queue.set_connections({"b": SPECS["b"]}) == {"a": 4}
    await settle_all(queue, held, Release())
    await until(lambda: queue.books() == Books(accepted=10, failed=5, pending=5))
    found = await queue.dead_letters(ALL, limit=9, after=None)
    assert {one.connection for one in found} == {"a"}
    assert all("no longer in the config" in one.reason for one in found)
    done = await queue.replay(ALL, dry_run=False)
    assert (done.matched, done.done) == (5, 0)
    await queue.set_connections(SPECS)
    assert (await queue.replay(ALL, dry_run=False)).done == 5
    assert len(await deliver_everything(queue)) == 10
    await until(lambda: queue.books().pending == 0)
    assert queue.books().is_balanced


async def test_removed_while_down(queue: Queue, open_queue: OpenQueue) -> None:
    """A connection that left the config while the service was down is treated alike."""
    await queue.append("web", events(range(3), TO_BOTH), T0)
    queue = await open_queue(connections={"b": SPECS["b"]})
    assert queue.books() == Books(accepted=6, failed=3, pending=3)


async def test_moved_source(queue: Queue) -> None:
    """A connection that gets another source buries what the old one had, and starts anew."""
    await queue.append("web", events(range(3)), T0)
    assert await queue.set_connections({**SPECS, "a": ConnectionSpec("app")}) == {"a": 3}
    await queue.append("app", [event("n")], T0)
    assert ids_in(await take(queue, "a")) == ["n"]
    assert queue.books_by_connection()["a"] == Books(accepted=4, failed=3, pending=1)
    assert (await queue.audit()).is_balanced


async def test_find(queue: Queue, clock: SetClock) -> None:
    """An event is found wherever its deliveries are, with what each waits for."""
    await queue.append("web", [event("x", TO_BOTH)], T0)
    lease = await taken(queue, "a")
    (record,) = await queue.find("x")
    assert (record.source, record.received_at, record.message_id) == ("web", T0, "x")
    assert {one.connection: one.is_leased for one in record.deliveries} == {"a": True, "b": False}
    await settle_all(queue, lease, Postpone(9.0, "busy"))
    await settle_all(queue, await taken(queue, "b"), Delivered())
    await until(lambda: queue.books().pending == 1)
    (record,) = await queue.find("x")
    by_name = {one.connection: one for one in record.deliveries}
    assert (by_name["a"].state, by_name["a"].attempts) == ("pending", 1)
    assert (by_name["a"].last_error, by_name["a"].next_attempt_at) == ("busy", T0 + 9)
    assert (by_name["b"].state, by_name["b"].outcome) == ("finished", Outcome.DELIVERED)
    clock.now += 9
    await settle_all(queue, await taken(queue, retries=True), Delivered())
    await until(lambda: queue.books().pending == 0)
    (record,) = await queue.find("x")
    assert {one.outcome for one in record.deliveries} == {Outcome.DELIVERED}
    assert {one.connection: one.attempts for one in record.deliveries} == {"a": 2, "b": 1}
    assert await queue.find("unheard-of") == []


async def test_an_event_is_shown_while_it_is_stored(queue: Queue, clock: SetClock) -> None:
    """Byte for byte, of whatever size its neighbours are; in the log, set apart, or dead."""
    some = [event(f"m{n}", size=n * 50) for n in range(5)]
    await queue.append("web", some, T0)
    for one in some:
        (record,) = await queue.find(one.message_id)
        assert record.body == one.body
    lease = await taken(queue)
    await queue.settle(lease, [(n, Postpone(9.0, "busy")) for n in range(5)])
    await until(lambda: queue.depth("a").retrying == 5)
    (record,) = await queue.find("m3")
    assert record.body == some[3].body
    clock.now += 9
    lease = await taken(queue, retries=True)
    ended = DeadLettered(Outcome.FAILED, "400")
    await queue.settle(lease, [(n, ended if n == 3 else Delivered()) for n in range(5)])
    await until(lambda: queue.books().pending == 0)
    (record,) = await queue.find("m3")
    assert record.body == some[3].body
    (record,) = await queue.find("m2")
    assert record.body is None


async def test_history_budget(open_queue: OpenQueue) -> None:
    """What is finished is forgotten oldest first, when the history is full."""
    queue = await open_queue(QueueConfig(history=2000))
    for number in range(40):
        await queue.append("web", [event(f"m{number}")], T0)
        await settle_all(queue, await taken(queue), Delivered())
    await until(lambda: queue.books().pending == 0)
    assert await queue.find("m0") == []
    assert len(await queue.find("m39")) == 1


async def test_full(open_queue: OpenQueue) -> None:
    """Past the whole budget nothing is taken, with a time to wait; delivering makes room."""
    queue = await open_queue(QueueConfig(max_pending=20_000), {"a": ConnectionSpec("web", 20_000)})
    await queue.append("web", events(range(15), size=1000), T0)
    with pytest.raises(QueueFull, match=r"queue\.max_pending") as caught:
        await queue.append("web", events(range(20, 30), size=1000), T0)
    assert caught.value.retry_after_s > 0
    await deliver_everything(queue)
    await until(lambda: queue.books().pending == 0)
    assert all(await queue.append("web", events(range(20, 30), size=1000), T0))


async def test_max_backlog(open_queue: OpenQueue, evicted: list[tuple[str, str, int]]) -> None:
    """Past its own limit a connection's oldest deliveries become dead letters, and no other's.

    Each is told once.
    """
    specs = {"a": ConnectionSpec("web", 5_000), "b": ConnectionSpec("web")}
    queue = await open_queue(connections=specs)
    await queue.append("web", events(range(10), TO_BOTH, size=1000), T0)
    await until(lambda: queue.books_by_connection()["a"].failed >= 6)
    assert queue.books_by_connection()["b"].pending == 10
    letters = await queue.dead_letters(ALL, limit=99, after=None)
    assert "m0" in {one.message_id for one in letters}
    assert all("max_backlog" in one.reason for one in letters)
    left = ids_in(await take(queue, "a"))
    assert left == [f"m{n}" for n in range(10 - len(left), 10)]
    assert queue.stats().evicted == len(letters) == sum(n for _, _, n in evicted)
    assert {told[:2] for told in evicted} == {("a", letters[0].reason)}
    assert (await queue.audit()).is_balanced


async def test_lent_space(open_queue: OpenQueue) -> None:
    """A connection may fill the disk, until another needs room: then its oldest make way."""
    queue = await open_queue(QueueConfig(max_pending=40_000))
    await queue.append("web", events(range(30), TO_A, size=1000), T0)
    for number in range(100, 112):
        assert await queue.append("web", [event(f"b{number}", TO_B, size=1000)], T0) == [True]
    books = queue.books_by_connection()
    assert books["b"] == Books(accepted=12, pending=12)
    assert 0 < books["a"].failed < 30
    assert (await queue.audit()).is_balanced


async def test_sparse_backlog(open_queue: OpenQueue) -> None:
    """A slow connection pins its own events and not those that they came in with."""
    queue = await open_queue(QueueConfig(max_pending=100_000))
    for number in range(12):
        ids = range(number * 20, number * 20 + 20)
        sent = [event(f"m{n}", TO_BOTH if n == ids[0] else TO_A, size=1000) for n in ids]
        assert all(await queue.append("web", sent, T0))
        await deliver_everything(queue, ["a"])
    assert queue.depth("b").fresh == 12
    assert queue.stats().evicted == 0
    assert await deliver_everything(queue, ["b"]) == [f"m{n * 20}" for n in range(12)]
    await until(lambda: queue.books().delivered_first_try == 252)
    assert queue.stats().live_bytes == 0


async def test_dead_letter_budget(open_queue: OpenQueue) -> None:
    """Dead letters over their budget go, oldest first, from the connection that has the most."""
    queue = await open_queue(QueueConfig(dead_letters=20_000))
    await queue.append("web", [event("b0", TO_B, size=1000)], T0)
    await queue.append("web", events(range(30), size=1000), T0)
    for connection in ("b", "a"):
        await settle_all(queue, await taken(queue, connection), DeadLettered(Outcome.FAILED, "no"))
    await until(lambda: 0 < queue.stats().dead_letter_bytes <= 20_000)
    kept = [one.message_id for one in await queue.dead_letters(ALL, limit=99, after=None)]
    assert kept[-1] == "b0"
    assert kept[:-1] == [f"m{n}" for n in range(29, 29 - len(kept) + 1, -1)]
    assert queue.stats().dead_letters_dropped == 31 - len(kept)
    assert queue.books() == Books(accepted=31, failed=31)


async def test_dead_letter_age(open_queue: OpenQueue, clock: SetClock) -> None:
    """Dead letters past their age are dropped and counted."""
    config = QueueConfig(dead_letters_age_s=100.0)
    queue = await open_queue(config)
    await queue.append("web", events(range(3)), T0)
    await settle_all(queue, await taken(queue), DeadLettered(Outcome.FAILED, "no"))
    await until(lambda: queue.books().failed == 3)
    clock.now += 101
    queue = await open_queue(config)
    await until(lambda: queue.stats().dead_letters_dropped == 3)
    assert queue.stats().dead_letter_bytes == 0


async def test_told_of_work(queue: Queue, work: list[str]) -> None:
    """`on_work` tells of new events, and of a retry that falls due."""
    await queue.append("web", events(range(1), TO_BOTH), T0)
    assert sorted(work) == ["a", "b"]


async def test_told_of_retry(open_queue: OpenQueue, clock: SetClock, work: list[str]) -> None:
    """A retry that falls due while nothing else happens is told of."""
    queue = await open_queue()
    await queue.append("web", events(range(1)), T0)
    await settle_all(queue, await taken(queue), Postpone(0.02, "busy"))
    work.clear()
    clock.now += 1
    await until(lambda: "a" in work)


async def test_depth(queue: Queue) -> None:
    """Depth tells fresh, leased and retrying apart, and since when the oldest waits."""
    await queue.append("web", events(range(5)), T0 - 30)
    lease = await take(queue, most=3)
    assert lease is not None
    await queue.settle(lease, [(0, Postpone(5.0, "busy"))])
    depth = queue.depth("a")
    assert (depth.fresh, depth.retrying, depth.leased, depth.pending) == (2, 1, 2, 5)
    assert depth.oldest_at == T0 - 30
    assert depth.next_retry_at == T0 + 5
    assert queue.depth("unknown").pending == 0


async def test_closing(queue: Queue) -> None:
    """Events for a queue that is closed are refused, not lost."""
    await queue.close()
    with pytest.raises(QueueUnavailable):
        await queue.append("web", events(range(1)), T0)


async def test_cancelled_caller(queue: Queue) -> None:
    """A caller that goes away leaves the queue as it should be."""
    task = asyncio.create_task(queue.append("web", events(range(3)), T0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await queue.append("web", events(range(3, 6)), T0)
    assert queue.books().is_balanced
    assert queue.books() == await queue.audit()


async def test_many_at_once(queue: Queue) -> None:
    """However calls interleave, every event is delivered once."""
    sent = [f"m{n}" for n in range(400)]
    got: list[str] = []

    async def produce(part: int) -> None:
        for n in range(part, 400, 8):
            await queue.append("web", events([n], TO_BOTH), T0)

    async def consume() -> None:
        while len(got) < 400:
            lease = await take(queue, most=7)
            if lease is None:
                await asyncio.sleep(0)
                continue
            got.extend(ids_in(lease))
            await queue.settle(lease, all_of(lease, Delivered()))

    async with asyncio.timeout(20):
        await asyncio.gather(*(produce(part) for part in range(8)), consume(), consume())
    assert sorted(got) == sorted(sent)
    await until(lambda: queue.books().delivered_first_try == 400)
    assert queue.depth("b").fresh == 400
    assert queue.books() == await queue.audit()
