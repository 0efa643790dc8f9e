"""What happens in random histories of a pool, and to whom."""

from __future__ import annotations

from hypothesis import strategies as st

from supervisor.core.effects import ExitReason
from supervisor.core.isolation import facts as told
from tests.core.isolation.world import World

NAMES = ("a", "b", "c", "d")

Step = tuple[str, int, int]
#: What happens, and two numbers that choose to whom, and how.
STEPS: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(
        [
            *["accept"] * 4,
            *["send"] * 8,
            *["work"] * 8,
            *["tick"] * 3,
            "slow",
            "report",
            "refuse",
            "spare",
            "shoot",
            "crash",
            "overdue",
            "ours",
            "idle-death",
            "recycle",
            "kill",
            "exhaust",
            "hog",
            "hog",
            "remove",
            "close",
            "lose-lease",
        ]
    ),
    st.integers(0, 7),
    st.integers(0, 7),
)
#: Short ones that are easy to read where they fail, and long ones that get somewhere.
HISTORIES = st.one_of(st.lists(STEPS, max_size=20), st.lists(STEPS, min_size=40, max_size=100))
WORLDS = st.builds(
    lambda poison, shared, spares, mark: World(
        NAMES[:3], poison, shared=shared, spares=spares, mark=mark
    ),
    st.frozensets(st.integers(1, 40), max_size=6),
    st.integers(1, 3),
    st.integers(0, 6),
    st.sampled_from(["true", "true", "none", "forged"]),
)

REASONS = [
    (ExitReason.CRASH, "exit status 1"),
    (ExitReason.SIGNAL, "SIGABRT"),
    (ExitReason.OOM, "65 of 64 MiB"),
    (ExitReason.LIMIT, "17 processes"),
    (ExitReason.PROTOCOL, "nonsense"),
    (ExitReason.EGRESS, "asked too often"),
    (ExitReason.TIMEOUT, "blocked"),
    (ExitReason.LEAK, "grew"),
]


def step(world: World, one: Step) -> None:
    """One thing happens, where there is somebody to whom it can."""
    what, first, second = one
    names = list(world.open)
    busy = world.busy()
    match what:
        case "accept" if names:
            world.accept(names[first % len(names)], second + 1)
        case "send" if names:
            name = names[first % len(names)]
            if places := world.places(name):
                world.send(name, places[second % len(places)])
        case "tick":
            world.tick([0.1, 0.5, 1.5, 6.0, 40.0, 700.0][first % 6])
        case "spare":
            world.spares += 1
            world.fill()
        case "remove" if len(names) > 1:
            world.remove(names[first % len(names)])
            for name in NAMES[second % 4 :]:
                if name not in world.open:
                    world.add(name)
        case "close" if names:
            world.add(names[first % len(names)], is_closed=second < 3)
        case "exhaust" if names:
            reason = [ExitReason.OOM, ExitReason.LEAK, ExitReason.LIMIT][second % 3]
            name = names[first % len(names)]
            company = frozenset(names[: second % 4]) - {name}
            world.tell(told.ResourcesExhausted(name, reason, "all used", company=company))
        case "hog" if names:
            name = names[first % len(names)]
            others = frozenset(names[: second % 4]) - {name}
            world.tell(told.LoopHogged(name, f"blocked {second}", others))
        case "lose-lease" if world.held:
            lose_lease(world, list(world.held)[first % len(world.held)])
        case "idle-death":
            idle = [number for number, worker in world.workers.items() if not worker.batches]
            if idle:
                number = idle[first % len(idle)]
                reason, detail = [*REASONS, (ExitReason.SIGNAL, "SIGKILL")][second]
                mark = told.RunningMark(names[0], 0) if names and second % 2 else None
                world.die(number, reason, detail, mark)
        case "recycle":
            numbers = list(world.workers)
            world.recycle(numbers[first % len(numbers)])
        case "kill":
            # It is dead, and that is not known yet.
            world.workers[list(world.workers)[first % len(world.workers)]].is_ready = False
        case _ if busy:
            to_busy(world, what, busy[first % len(busy)], second)
        case _:
            pass


def to_busy(world: World, what: str, number: int, second: int) -> None:
    """Something happens to a worker that has batches."""
    worker = world.workers[number]
    batches = list(worker.batches.values())
    batch = batches[second % len(batches)]
    match what:
        case "work":
            world.work(number)
        case "slow":
            world.work(number, seconds=27.0)
        case "report":
            world.report_some(number)
        case "refuse":
            world.refuse(number)
        case "shoot":
            mark = told.RunningMark(batch.connection, batch.id, 0) if second % 2 else None
            world.die(number, ExitReason.SIGNAL, "SIGKILL", mark)
        case "crash":
            reason, detail = REASONS[second]
            mark = told.RunningMark(batch.connection, batch.id, 0) if second % 3 else None
            is_found = reason in (ExitReason.OOM, ExitReason.LIMIT)
            there = {one.connection for one in batches}
            ended = frozenset(NAMES[:second]) - there if is_found else frozenset()
            world.die(number, reason, detail, mark, ended=ended)
        case "overdue":
            worker.overdue = frozenset({batch.id})
            worker.is_leaving = len(batches) > 1
            world.die(number, ExitReason.TIMEOUT, "not ended")
        case "ours":
            world.die(number, is_ours=True)
        case _:
            pass


def lose_lease(world: World, batch: int) -> None:
    """The queue takes back what is suspected: what no probe has is pending again."""
    of = world.held[batch]
    probed = {
        event
        for worker in world.workers.values()
        for one in worker.batches.values()
        if one.part_of is of
        for event in one.events
    }
    left = tuple(index for index in of.unreported if of.events[index] not in probed)
    events = [of.events[index] for index in left]
    of.reported |= set(left)
    world.pending[of.connection][:0] = events
    world.requeued.update(events)
    world.tell(told.LeaseLost(batch))
