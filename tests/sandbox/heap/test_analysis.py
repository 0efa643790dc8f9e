"""Suspects, accumulation points, paths and owners, on small heaps by hand."""

from __future__ import annotations

import pytest

from sandbox.heap.analysis import Heap, report_of, suspects
from sandbox.heap.diff import difference
from sandbox.heap.dominators import dominators
from sandbox.heap.paths import is_library, module_of, path_to
from tests.sandbox.heap.graphs import Edges, heap

ROOTS: Edges = {"": [(1, "(GC roots)")]}


def leaky(items: int) -> Edges:
    """A module with a list in a dict, beside another module."""
    return {
        **ROOTS,
        "(GC roots)": [("leaky", "module leaky"), ("other", "module other")],
        "module leaky": [("__dict__", "namespace")],
        "namespace": [("['CACHE']", "cache")],
        "cache": [("['x']", "list")],
        "list": [(n, f"item {n}") for n in range(items)],
        "module other": [("__dict__", "other namespace")],
        "other namespace": [],
        **{f"item {n}": [("body", f"body {n}")] for n in range(items)},
        **{f"body {n}": [] for n in range(items)},
    }


def leaky_names(items: int) -> dict[str, str]:
    return {
        "namespace": "dict",
        "cache": "dict",
        "other namespace": "dict",
        **{f"item {n}": "leaky.Item" for n in range(items)},
        **{f"body {n}": "bytearray" for n in range(items)},
    }


def test_the_way_goes_down_to_where_things_are_added() -> None:
    """The accumulation point is the object whose parts are many and of like size."""
    sizes = {f"body {n}": 1000 for n in range(50)}
    (suspect,) = suspects(Heap(heap(leaky(50), sizes, leaky_names(50))))
    assert suspect.path == "leaky.CACHE['x']"
    assert suspect.accumulation == "list"
    assert suspect.what == "module leaky"
    assert suspect.module == "leaky"
    assert suspect.share == pytest.approx(1.0, abs=0.01)
    assert [(row.kind, row.objects) for row in suspect.holds[:2]] == [
        ("bytearray", 50),
        ("leaky.Item", 50),
    ]


def test_one_large_object_is_its_own_accumulation_point() -> None:
    """Where a single object has nearly all, the path leads to that object."""
    sizes = {"body 3": 100_000}
    (suspect,) = suspects(Heap(heap(leaky(50), sizes, leaky_names(50))))
    assert suspect.path == "leaky.CACHE['x'][3].body"


def test_many_small_ones_that_nobody_owns_are_suspect_together() -> None:
    """Objects that two others hold are dominated by the root; their class is the suspect."""
    edges = {
        **ROOTS,
        "(GC roots)": [("asyncio", "module asyncio"), ("leaky", "module leaky")],
        "module asyncio": [("__dict__", "loop namespace")],
        "loop namespace": [("['ready']", "ready")],
        "module leaky": [("__dict__", "namespace")],
        "namespace": [("['ALL']", "all")],
        "ready": [(n, f"call {n}") for n in range(100)],
        "all": [(n, f"call {n}") for n in range(100)],
        **{f"call {n}": [] for n in range(100)},
    }
    names = {f"call {n}": "leaky.Call" for n in range(100)}
    found = suspects(Heap(heap(edges, {f"call {n}": 100 for n in range(100)}, names)))
    assert [(each.what, each.objects, each.module) for each in found] == [
        ("leaky.Call", 100, "leaky")
    ]
    assert found[0].path == "asyncio.ready"


def test_the_connection_is_told_by_the_way_through_the_runner() -> None:
    """What a destination's instance holds is charged to the connection that it serves."""
    edges = {
        **ROOTS,
        "(GC roots)": [("sandbox.worker", "module sandbox.worker")],
        "module sandbox.worker": [("runner", "runner")],
        "runner": [("_connections", "connections")],
        "connections": [("['website-leaky']", "connection")],
        "connection": [("destination", "leaky")],
        "leaky": [("seen", "list")],
        "list": [(n, f"item {n}") for n in range(20)],
        **{f"item {n}": [] for n in range(20)},
    }
    names = {"leaky": "leaky.Leaky", "runner": "sandbox.runner.Runner"}
    (suspect,) = suspects(Heap(heap(edges, {f"item {n}": 50 for n in range(20)}, names)))
    assert (suspect.module, suspect.connection) == ("leaky", "website-leaky")


def test_a_heap_without_weight_has_no_suspect() -> None:
    """A heap of nothing at all is reported without an error."""
    report = report_of(Heap(heap({"": []}, {"": 0})))
    assert (report.bytes, report.suspects) == (0, [])


def test_a_long_path_is_cut_in_the_middle() -> None:
    """A path through a long chain tells its begin and its end."""
    edges: dict[str, list[tuple[str | int, str]]] = {
        "": [(1, "(GC roots)")],
        "(GC roots)": [("leaky", "module leaky")],
        "module leaky": [("__dict__", "0")],
    }
    edges |= {str(n): [("next", str(n + 1))] for n in range(200)}
    edges["200"] = []
    snapshot = heap(edges)
    text = path_to(snapshot, dominators(snapshot), len(snapshot) - 1)
    assert text.startswith("leaky.__dict__.next.next")
    assert "...." in text
    assert text.count("next") < 60


def test_a_difference_tells_what_grew_and_where() -> None:
    """Only what is new has weight: the path leads to the list that was added to."""
    names = leaky_names(60)
    ids = {name: 2 * number + 1 for number, name in enumerate(leaky(0))}
    ids |= {f"item {n}": 1001 + 2 * n for n in range(60)}
    ids |= {f"body {n}": 5001 + 2 * n for n in range(60)}
    sizes = {f"body {n}": 1000 for n in range(60)}
    old = heap(leaky(20), sizes, names, ids)
    found = difference(old, heap(leaky(60), {**sizes, "list": 9}, names, ids))
    assert (found.new_objects, found.gone_objects) == (80, 0)
    assert found.new_bytes == 40 * 1001 + 8
    (grew,) = found.grew
    assert grew.path == "leaky.CACHE['x']"
    assert grew.share == pytest.approx(1.0, abs=0.01)
    assert [(change.kind, change.objects) for change in found.by_class[:2]] == [
        ("bytearray", 40),
        ("leaky.Item", 40),
    ]
    assert found.notes == []


def test_snapshots_of_two_processes_are_told() -> None:
    """Where next to no object is in both, a note asks whether they belong together."""
    old = heap(leaky(5), ids={name: 2 * n + 9001 for n, name in enumerate(leaky(5))})
    assert "of one process?" in difference(old, heap(leaky(5))).notes[0]


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("leaky.Client", "leaky"),
        ("leaky.api.Client.Inner", "leaky.api"),
        ("coroutine leaky.poll", "leaky"),
        ("_asyncio.Task leaky.Leaky.deliver", "leaky"),
        ("leaky.make.<locals>.inner", "leaky"),
        ("class leaky.Client", "leaky"),
        ("module leaky.api", "leaky.api"),
        ("code leaky.poll", None),
        ("dict", None),
        ("<str of 12>", None),
        ("", None),
    ],
)
def test_the_module_in_a_name(name: str, module: str | None) -> None:
    """Classes, coroutines, tasks and functions tell the module that they are from."""
    assert module_of(name) == module


def test_libraries_own_no_leak() -> None:
    """What every worker has is not to blame; the destinations are."""
    assert all(map(is_library, ("asyncio.events", "aiohttp.client", "sandbox.runner", "json")))
    assert not any(map(is_library, ("leaky", "destinations.mixpanel", "acme_client.pool")))
