"""How often anything is sent, through random histories of a pool on a real queue."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervisor.core.effects import ExitReason
from tests.delivery.world import World
from tests.queue.given import SPECS

#: Sends that an innocent event may lose with a worker before it is answered, for the fault of its
#: company: with its batch, and with those that were tried together. A supervisor that starts anew
#: charges nobody for what was before, so that this may happen once more.
LOST_IN_COMPANY = 2

NAMES = [f"m{n}" for n in range(1, 41)]
STEPS = st.one_of(
    st.tuples(
        st.just("accept"),
        st.sampled_from([("a",), ("b",), ("a", "b")]),
        st.integers(1, 12),
    ),
    *[st.tuples(st.just("work"), st.integers(0, 9)) for _ in range(4)],
    st.tuples(st.sampled_from(["ready", "raise", "shoot", "crash-together"]), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 2.0, 70.0])),
    st.tuples(st.sampled_from(["pause", "resume", "probe"]), st.sampled_from(["a", "b"])),
    st.tuples(st.just("recycle"), st.integers(1, 2)),
    st.tuples(st.just("down"), st.booleans()),
    st.tuples(st.just("restart"), st.booleans()),
)
Step = tuple[object, ...]


async def do(world: World, step: Step) -> None:
    """One thing happens."""
    match step:
        case ("accept", tuple(connections), int(n)):
            await world.accept(connections, n)
        case ("ready", int(n)) if starting := world.starting():
            world.ready(starting[n % len(starting)])
        case ("work", int(n)) if busy := world.busy():
            world.work(busy[n % len(busy)])
        case ("raise", int(n)) if busy := world.busy():
            world.raise_error(busy[n % len(busy)])
        case ("shoot", int(n)) if busy := world.busy():
            world.die(busy[n % len(busy)], ExitReason.SIGNAL, "SIGKILL", is_luck=True)
        case ("crash-together", int(n)) if busy := world.busy():
            world.zygote.died_within = lambda _: True
            world.die(busy[n % len(busy)], ExitReason.SIGNAL, "SIGSEGV", is_luck=True)
            world.zygote.died_within = lambda _: False
        case ("wait", float(seconds)):
            world.wait(seconds)
        case ("pause", str(name)):
            world.runner.pause(name)
        case ("resume", str(name)):
            world.runner.resume(name)
        case ("probe", str(name)):
            world.runner.probe(name)
        case ("recycle", int(slot)):
            world.runner.recycle(slot)
        case ("down", bool(is_down)):
            world.is_down = is_down
        case ("restart", bool(finish)):
            await world.stop(finish=finish)
            await world.start()
            world.restarts += 1
        case _:
            pass  # there is nobody to whom it could happen
    world.runner.pump_soon()
    await world.calm()


async def settle(world: World) -> None:
    """Let everything go its way until nothing is pending."""
    world.is_down = False
    for name in SPECS:
        world.runner.resume(name)
    for _ in range(3000):
        for worker in world.starting():
            world.ready(worker)
        await world.calm()
        busy = world.busy()
        if busy:
            world.work(busy[0])
        elif any(world.queue.depth(name).pending for name in SPECS):
            world.wait(7.0)
        else:
            return
    raise AssertionError("it does not end")


async def live(world: World, steps: list[Step]) -> None:
    """A history, and the account of it."""
    await world.start()
    for worker in world.starting():
        world.ready(worker)
    for step in steps:
        await do(world, step)
    await settle(world)
    await world.stop(finish=True)
    await world.start()  # what is told from here on is what is on disk
    attempts = await world.attempts()
    assert attempts.keys() == world.accepted
    for which, n in attempts.items():
        silent = world.silent[which]
        assert world.sent[which] == world.answered[which] + silent
        # What was answered was charged; of what was not, some: a quarantined event's last death.
        assert world.answered[which] <= n <= world.sent[which]
        assert world.sent[which] <= n + silent
        if which[1] not in world.poison:
            rounds = world.answered[which] + world.bad_luck[which] + world.restarts
            assert silent <= LOST_IN_COMPANY * rounds
    assert await world.attempts_counted() == sum(attempts.values())
    books = world.queue.books()
    assert books.is_balanced
    assert books.delivered_first_try + books.delivered_on_retry == len(world.done)
    await world.stop(finish=True)


@example(
    # A worker that was told to leave dies of it each time, which charges nobody.
    steps=[
        ("accept", ("a",), 1),
        ("accept", ("b",), 2),
        ("recycle", 2),
        ("work", 1),
        ("recycle", 2),
    ],
    poison=frozenset(["m2"]),
    fails={},
    reports_early=False,
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(STEPS, max_size=40),
    st.frozensets(st.sampled_from(NAMES), max_size=4),
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4), max_size=10),
    st.booleans(),
)
def test_no_delivery_is_sent_more_often_than_its_attempts_say(
    steps: list[Step], poison: frozenset[str], fails: dict[str, int], reports_early: bool
) -> None:
    """Each send is an attempt in queue and metrics, or was lost with a worker, and that is bounded.

    Through retries, worker deaths, breakers and their probes, pauses, recycling, drains and
    restarts.
    """
    directory = Path(tempfile.mkdtemp())
    world = World(directory, poison, fails)
    world.reports_early = reports_early
    try:
        asyncio.run(live(world, steps))
    finally:
        world.exits.close()
        shutil.rmtree(directory)
