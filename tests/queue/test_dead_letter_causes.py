"""Dead letters by what they have in common, and taken step by step."""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.core.causes import cause_of
from supervisor.queue import (
    FIRST_DEAD_LETTER,
    Books,
    DeadLetterCause,
    DeadLettered,
    DeadLetterFilter,
    Outcome,
    Queue,
    Selection,
)
from supervisor.queue.sqlite.dead_letters import LOOKED_AT
from tests.queue.given import T0, TO_BOTH, SetClock, events, taken, until

ALL = DeadLetterFilter()
REFUSED = "400: no user {n} in project 71a0f{n:03}"
TIMED_OUT = "nothing heard for 30 s of order 98{n:05}"


def refused(count: int) -> str:
    """The cause of the one kind."""
    causes = {cause_of(REFUSED.format(n=n)) for n in range(count)}
    assert len(causes) == 1
    return causes.pop()


async def make_letters(queue: Queue, reasons: Mapping[str, str], count: int) -> None:
    """`count` for each of the connections, with a reason of its own for each event."""
    for start in range(0, count, 500):
        numbers = range(start, min(count, start + 500))
        await queue.append("web", events(numbers, TO_BOTH), T0)
        for connection in ("a", "b"):
            lease = await taken(queue, connection)
            failed = [
                (index, DeadLettered(Outcome.FAILED, reasons[connection].format(n=number)))
                for index, number in enumerate(numbers)
            ]
            await queue.settle(lease, failed)
    await until(lambda: queue.books().failed == 2 * count)


async def test_reasons_that_differ_by_event_are_one_cause(queue: Queue, clock: SetClock) -> None:
    """Each connection's are counted under their cause, with the first and the last of them."""
    await make_letters(queue, {"a": REFUSED, "b": TIMED_OUT}, 30)
    clock.now += 5
    await queue.append("web", events([99], TO_BOTH), clock.now)
    lease = await taken(queue, "a")
    await queue.settle(lease, [(0, DeadLettered(Outcome.QUARANTINED, REFUSED.format(n=1)))])
    await until(lambda: queue.books().quarantined == 1)
    found = await queue.dead_letter_causes(ALL, limit=10)
    cause = refused(30)
    assert list(found.causes) == [
        DeadLetterCause("b", Outcome.FAILED, cause_of(TIMED_OUT.format(n=1)), 30, T0, T0),
        DeadLetterCause("a", Outcome.FAILED, cause, 30, T0, T0),
        DeadLetterCause("a", Outcome.QUARANTINED, cause, 1, T0 + 5, T0 + 5),
    ]
    assert (found.total, found.more) == (61, 0)
    narrowed = await queue.dead_letter_causes(DeadLetterFilter(connection="a"), limit=1)
    assert [each.connection for each in narrowed.causes] == ["a"]
    assert (narrowed.total, narrowed.more) == (31, 1)


async def test_a_cause_is_a_filter_like_any(queue: Queue) -> None:
    """Of those that are listed, replayed or dropped under it, each has it, and none is missed."""
    await make_letters(queue, {"a": REFUSED, "b": TIMED_OUT}, 20)
    where = DeadLetterFilter(cause=refused(20))
    listed = await queue.dead_letters(where, limit=100, after=None)
    assert [letter.connection for letter in listed] == ["a"] * 20
    part = DeadLetterFilter(cause=where.cause and where.cause[:-2])
    assert await queue.dead_letters(part, limit=9, after=None) == []
    both = DeadLetterFilter(connection="b", cause=where.cause)
    assert await queue.replay(both, dry_run=True) == Selection(0, 0)
    assert await queue.replay(where, dry_run=True) == Selection(20, 0)
    assert await queue.replay(where, dry_run=False) == Selection(20, 20)
    assert queue.depth("a").pending == 20
    assert (await queue.drop(where, dry_run=False)).matched == 0
    assert (await queue.drop(ALL, dry_run=False)).done == 20


async def test_rare_ones_among_many_are_found_step_by_step(queue: Queue) -> None:
    """No step looks at more than its share, and listing, counting and replay still meet all."""
    count = LOOKED_AT + 300
    await make_letters(queue, {"a": REFUSED, "b": TIMED_OUT}, count)
    rare = DeadLetterFilter(error="9800003", connection="b")
    (letter,) = await queue.dead_letters(rare, limit=5, after=None)
    newest = await queue.dead_letters(DeadLetterFilter(cause=refused(20)), limit=3, after=None)
    oldest = await queue.dead_letters(rare, limit=5, after=newest[-1].id)
    assert oldest == [letter]
    assert (await queue.replay(rare, dry_run=True)).matched == 1
    step = await queue.replay_some(
        rare, after=FIRST_DEAD_LETTER, upto=queue.newest_dead_letter(), most=10
    )
    assert step.done == 1
    assert step.after is not None
    found = await queue.dead_letter_causes(ALL, limit=10)
    assert [each.count for each in found.causes] == [count, count - 1]
    assert (await queue.replay(ALL, dry_run=False)).done == 2 * count - 1


async def test_steps_take_each_once_and_none_that_came_later(queue: Queue, clock: SetClock) -> None:
    """Steps of any size end; what fails anew meanwhile is past their bound."""
    await make_letters(queue, {"a": REFUSED, "b": REFUSED}, 25)
    upto, after = queue.newest_dead_letter(), FIRST_DEAD_LETTER
    done = steps = 0
    next_one: str | None = after
    while next_one is not None:
        swept = await queue.replay_some(ALL, after=next_one, upto=upto, most=7)
        done += swept.done
        next_one = swept.after
        steps += 1
        for connection in ("a", "b"):
            lease = await queue.lease(
                connection, max_events=99, max_bytes=1 << 30, term_s=60.0, retries=True
            )
            if lease is not None:
                again = DeadLettered(Outcome.FAILED, REFUSED.format(n=steps))
                await queue.settle(lease, [(i, again) for i in range(len(lease.deliveries))])
    assert (done, steps) == (50, 9)
    await until(lambda: queue.books().failed == 50)
    assert queue.books() == Books(accepted=50, failed=50)
    dropped = await queue.drop_some(ALL, after=FIRST_DEAD_LETTER, upto=upto, most=500)
    assert dropped.done == 0
