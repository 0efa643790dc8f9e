"""What a heap snapshot holds: every shape of object by its name, and no customer's values."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox.heap.reading import Plain
from tests.sandbox.heap.taking import take

TEXT = "a customer's own words"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of `programs/shapes.py`."""
    path = tmp_path_factory.mktemp("shapes") / "shapes.heapsnapshot"
    assert take("shapes", path) == ""
    return path


@pytest.fixture(scope="module")
def shapes(path: Path) -> Plain:
    """The same, read."""
    return Plain(path)


@pytest.fixture(scope="module")
def module(shapes: Plain) -> int:
    """The namespace of the module."""
    return shapes.follow("shapes", "__dict__")


@pytest.mark.parametrize(
    "names",
    [
        ("['CACHE']", "['x']", 3),
        ("['PEOPLE']", "['plan']"),
        ("['PEOPLE']", "[7]"),
        ("['SLOTTED']", "value"),
        ("['FROZEN']", "value"),
        ("['NAMED']", "['inner']"),
        ("['FACTORY']", "['rows']", 0),
        ("['RING']", 0),
        ("['SEEN']", "<item>"),
        ("['CLOSURE']", "__closure__['kept']", "cell_contents"),
        ("['ERROR']", "args", 0),
        ("['ERROR']", "__traceback__", "tb_next", "tb_frame", "f_locals['trapped']"),
        ("['WATCH']", "<referent>"),
        ("['TASKS']", "<item>", "_coro", "cr_frame.f_locals['held']"),
        ("['TASKS']", "<item>", "_coro", "cr_await", "cr_frame.f_locals['held']"),
    ],
    ids=str,
)
def test_a_path_in_the_terms_of_python(
    shapes: Plain, module: int, names: tuple[str | int, ...]
) -> None:
    """Attributes, keys, indexes, slots, cells, locals and await chains are named edges."""
    assert shapes.names[shapes.follow(*names, start=module)] == "shapes.Box"


def test_an_lru_cache_shows_what_it_keeps(shapes: Plain, module: int) -> None:
    """The results in an lru_cache hang from the cached function."""
    cache = shapes.follow("['lookup']", start=module)
    assert "shapes.Box" in [shapes.names[edge.to] for edge in shapes.edges[cache]]


def test_tasks_are_named_by_their_coroutine(shapes: Plain, module: int) -> None:
    """A task, and each coroutine in its await chain, tells the function that it runs."""
    task = shapes.follow("['TASKS']", "<item>", start=module)
    assert shapes.names[task] == "_asyncio.Task shapes.waits"
    assert shapes.names[shapes.follow("_coro", start=task)] == "coroutine shapes.waits"
    inner = shapes.follow("_coro", "cr_await", start=task)
    assert shapes.names[inner] == "coroutine shapes.forever"


def test_tasks_are_all_in_one_place(shapes: Plain) -> None:
    """A task that something holds is shown among the tasks by a weak edge, which holds nothing."""
    tasks = shapes.edges[shapes.follow("(tasks)")]
    waits = [edge for edge in tasks if shapes.names[edge.to] == "_asyncio.Task shapes.waits"]
    assert [edge.type for edge in waits] == ["weak"]


def test_stacks_and_thread_locals_of_other_threads_are_roots(shapes: Plain) -> None:
    """What another thread holds on its stack and in thread-locals survives the fork."""
    threads = shapes.follow("(threads)")
    on_stack = shapes.child(threads, "<thread Thread-1 (other_thread): shapes.other_thread>.f_loca")
    names = {edge.name: edge.to for edge in shapes.edges[threads]}
    held = [to for name, to in names.items() if str(name).endswith(".f_locals['on_stack']")]
    assert on_stack.type == "context"
    assert [shapes.names[to] for to in held] == ["shapes.Box"]
    interpreter = shapes.follow("(interpreter)")
    assert any("thread-locals of Thread-1" in str(e.name) for e in shapes.edges[interpreter])


def test_the_context_of_the_caller_is_a_root(shapes: Plain) -> None:
    """A value in a ContextVar hangs from the context of whoever took the snapshot."""
    found = shapes.follow("(threads)", "<context>[shapes.VARIABLE]")
    assert shapes.names[found] == "shapes.Box"


def test_garbage_is_shown_as_unreached(shapes: Plain) -> None:
    """A cycle that nothing leads to is there, below (unreached)."""
    unreached = shapes.edges[shapes.follow("(unreached)")]
    assert "shapes.Garbage" in [shapes.names[edge.to] for edge in unreached]


def test_the_walk_does_not_see_itself(shapes: Plain) -> None:
    """Nothing that taking the snapshot needs is in it."""
    own = ("sandbox.heap.walk.Walk", "sandbox.heap.plans.Plan", "sandbox.heap.spool.Spool")
    assert not set(own) & set(shapes.names)
    assert not [name for name in shapes.names if name.startswith("frame _write")]


def test_no_code_of_the_program_runs(shapes: Plain, module: int) -> None:
    """Objects and classes that raise SystemExit from every method are named like all others."""
    assert shapes.names[shapes.follow("['EVIL']", start=module)] == "shapes.Evil"
    assert shapes.names[shapes.follow("['ODD']", start=module)] == "shapes.Odd"


def test_an_instance_counts_its_own_dict(shapes: Plain, module: int) -> None:
    """The dict of attributes that only its instance holds is part of the instance's size."""
    box = shapes.follow("['CACHE']", "['x']", 3, start=module)
    assert shapes.sizes[box] > 100
    assert {edge.name for edge in shapes.edges[box]} == {"body", "__class__"}


def test_each_object_is_there_once(shapes: Plain) -> None:
    """Ids are odd, of 32 bits, and different; every node but the first is led to."""
    assert len(set(shapes.ids)) == len(shapes.ids)
    assert all(number % 2 == 1 and number < 1 << 32 for number in shapes.ids)
    reached = {0}
    waiting = [0]
    while waiting:
        for edge in shapes.edges[waiting.pop()]:
            if edge.type != "weak" and edge.to not in reached:
                reached.add(edge.to)
                waiting.append(edge.to)
    assert len(reached) == len(shapes.names)


def test_the_file_is_as_the_loaders_want_it(path: Path, shapes: Plain) -> None:
    """Keys stand in V8's order, without blanks before colons, and the counts are right."""
    text = path.read_text()
    places = [text.index(key) for key in ('{"snapshot":', '"nodes":[', '"edges":[', '"strings":[')]
    assert places == sorted(places)
    assert " :" not in text
    assert shapes.head["node_count"] == len(shapes.names)
    assert shapes.head["edge_count"] == sum(map(len, shapes.edges))
    assert (shapes.types[0], shapes.names[1]) == ("synthetic", "(GC roots)")
    assert shapes.head["bulkhead"] == {"notes": [], "strings": "truncated"}


def test_values_of_customers_are_left_out(path: Path) -> None:
    """By default no text, number or key that is a customer's is in the file."""
    # Not the whole file: an address may hold the digits of any number.
    text = "\n".join(Plain(path).strings)
    for value in (TEXT, "ann@example.com", "1000001", "123456789", "user299"):
        assert value not in text
    assert "['plan']" in text


def test_values_are_told_to_those_who_may(tmp_path: Path) -> None:
    """With strings="full" texts, numbers and keys are told as they are."""
    path = tmp_path / "full.heapsnapshot"
    assert take("shapes", path, strings="full") == ""
    full = Plain(path)
    assert "ann@example.com, a customer's own words" in full.strings
    assert {"1000001", "['ann@example.com']", "[123456789]", "['user299']"} <= set(full.strings)


def test_ids_are_the_same_in_the_next_snapshot(tmp_path: Path) -> None:
    """An object that lives on keeps its id, so that two snapshots can be compared."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert take("twice", first, limits={"total_s": 100.0}) == ""
    second = first.with_suffix(".before")
    before, after = Plain(second), Plain(first)
    kept = ("twice", "__dict__", "['KEPT']", 0)
    new = ("twice", "__dict__", "['KEPT']", 1)
    assert before.ids[before.follow(*kept)] == after.ids[after.follow(*kept)]
    assert after.ids[after.follow(*new)] not in before.ids


def test_a_walk_out_of_time_says_so(tmp_path: Path) -> None:
    """Where the time for the walk is over, the file holds what was found, and a note."""
    path = tmp_path / "short.heapsnapshot"
    assert take("shapes", path, limits={"walk_s": 0.0}) == ""
    (note,) = Plain(path).head["bulkhead"]["notes"]
    assert note == "incomplete: the walk took longer than 0 s"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"total_s": 0.0}, "not finished within 0 s"),
        ({"file_bytes": 1000}, "the file grew beyond 1000 bytes"),
    ],
    ids=["time", "size"],
)
def test_limits_end_it_with_a_reason(tmp_path: Path, limits: dict[str, float], reason: str) -> None:
    """A snapshot that costs more than it may fails, and says what was too much."""
    assert take("shapes", tmp_path / "none", limits=limits) == reason


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """Where the file cannot be written, the reason is one that an operator knows."""
    assert take("shapes", Path("/dev/full")) == "the disk is full"


def test_a_jailed_worker_that_has_no_memory_left_leaves_a_snapshot(tmp_path: Path) -> None:
    """At the memory limit, in the strict jail, a copy's quarter more is enough for the walk."""
    path = tmp_path / "full.heapsnapshot"
    assert take("jailed", path) == ""
    jailed = Plain(path)
    rows = jailed.follow("jailed", "__dict__", "['ROWS']")
    assert len(jailed.edges[rows]) > 30_000
    assert jailed.head["bulkhead"]["notes"] == []


def test_what_has_no_room_is_left_out(tmp_path: Path) -> None:
    """Where the walk's tables are full, the file says so, and is whole."""
    path = tmp_path / "crowded.heapsnapshot"
    assert take("shapes", path, room=6 << 20) == ""
    crowded = Plain(path)
    (note,) = crowded.head["bulkhead"]["notes"]
    assert note == "incomplete: the walk's tables are full at 6 MiB"


def test_no_room_at_all_is_told(tmp_path: Path) -> None:
    """There is no snapshot, and the reason is one that an operator knows."""
    reason = take("shapes", tmp_path / "none.heapsnapshot", room=64 << 10)
    assert reason == "the walk's tables are full at 0.0625 MiB"
