"""Dead letters can be sent again whatever became of their connection in between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from supervisor.queue import (
    ConnectionSpec,
    DeadLettered,
    DeadLetterFilter,
    Outcome,
    Queue,
)
from tests.queue.conftest import OpenQueue
from tests.queue.given import T0, TO_A, deliver_everything, events, settle_all, taken, until

Specs = Mapping[str, ConnectionSpec]

WEB, APP = ConnectionSpec("web"), ConnectionSpec("app")
WEB_ORDERED, APP_ORDERED = (ConnectionSpec(name, ordered=True) for name in ("web", "app"))
LETTERS = 20

#: What the config said one after the other: when the letters were made, until they are replayed.
CHANGES: Mapping[str, Sequence[Specs]] = {
    "nothing": [{"a": WEB}],
    "source changed": [{"a": WEB}, {"a": APP}],
    "source changed and back": [{"a": WEB}, {"a": APP}, {"a": WEB}],
    "source changed and back, twice": [{"a": WEB}, {"a": APP}, {"a": WEB}, {"a": APP}, {"a": WEB}],
    "renamed and back": [{"a": WEB}, {"z": WEB}, {"a": WEB}],
    "renamed and back with another source between": [
        {"a": WEB},
        {"z": APP},
        {"a": APP},
        {"a": WEB},
    ],
    "removed and added again": [{"a": WEB}, {}, {"a": WEB}],
    "removed and added with another source": [{"a": WEB}, {}, {"a": APP}],
    "names exchanged and back": [{"a": WEB, "b": APP}, {"b": WEB, "a": APP}, {"a": WEB, "b": APP}],
    "order of users turned on": [
        {"a": WEB},
        {"a": APP},
        {"a": ConnectionSpec("web", ordered=True)},
    ],
    "order of users turned on under another source": [
        {"a": WEB},
        {"a": ConnectionSpec("app", ordered=True)},
    ],
}


async def make_letters(queue: Queue) -> None:
    """All that came for `a` failed."""
    await queue.append("web", events(range(LETTERS), TO_A), T0)
    await settle_all(queue, await taken(queue, "a"), DeadLettered(Outcome.FAILED, "gone"))
    await until(lambda: queue.books().failed == LETTERS)


@pytest.mark.parametrize("restarts", [False, True], ids=["reloads", "restarts"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
async def test_replayed_and_delivered(
    open_queue: OpenQueue, changes: Sequence[Specs], restarts: bool
) -> None:
    """What `list` shows under a name that the config has is sent by `replay` under that name."""
    queue = await open_queue(connections=changes[0])
    await make_letters(queue)
    for specs in changes[1:]:
        if restarts:
            queue = await open_queue(connections=specs)
        else:
            await queue.set_connections(specs)
    where = DeadLetterFilter(connection="a")
    assert len(await queue.dead_letters(where, limit=99, after=None)) == LETTERS
    found = await queue.replay(where, dry_run=True)
    assert (found.matched, found.done) == (LETTERS, 0)
    done = await queue.replay(where, dry_run=False)
    assert (done.matched, done.done) == (LETTERS, LETTERS)
    assert queue.books() == await queue.audit()
    assert queue.depth("a").pending == LETTERS
    assert all(books.is_balanced for books in queue.books_by_connection().values())
    delivered: list[str] = []
    async with asyncio.timeout(20):
        while len(delivered) < LETTERS:
            delivered += await deliver_everything(queue, ["a"])
            await asyncio.sleep(0.001)  # in the order of users whose turn it is comes with a commit
    assert sorted(delivered) == sorted(f"m{number}" for number in range(LETTERS))
    queue = await open_queue(connections=changes[-1])
    assert queue.books().delivered_on_retry == LETTERS
    assert queue.books() == await queue.audit()
    (record,) = await queue.find("m3")
    assert record.source == "web"


async def test_events_go_on_under_a_source_that_came_back(open_queue: OpenQueue) -> None:
    """What is taken after the source was changed back is delivered as before it was changed."""
    queue = await open_queue(connections={"a": WEB})
    await make_letters(queue)
    for specs in ({"a": APP}, {"a": WEB}):
        await queue.set_connections(specs)
    await queue.append("web", events(range(100, 110), TO_A), T0)
    assert len(await deliver_everything(queue, ["a"])) == 10
    queue = await open_queue(connections={"a": WEB})
    await queue.append("web", events(range(110, 120), TO_A), T0)
    assert len(await deliver_everything(queue, ["a"])) == 10
    assert queue.books() == await queue.audit()


async def test_of_a_connection_that_the_config_does_not_have(open_queue: OpenQueue) -> None:
    """They are matched and kept, and count as what they were."""
    queue = await open_queue(connections={"a": WEB})
    await make_letters(queue)
    await queue.set_connections({"z": WEB})
    done = await queue.replay(DeadLetterFilter(), dry_run=False)
    assert (done.matched, done.done) == (LETTERS, 0)
    assert queue.books().failed == LETTERS
