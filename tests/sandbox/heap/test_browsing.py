"""One object of a heap at a time: its references, its holders, what it keeps, the way to it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sandbox.heap.analysis import Heap
from sandbox.heap.browsing import HeapBrowser
from sandbox.heap.file import Snapshot
from sandbox.protocol import (
    MAX_BROWSED_BYTES,
    MAX_HEAP_TEXT,
    MAX_LISTED,
    MAX_STEPS,
    FindObjects,
    HeapAnswer,
    HeapAnswered,
    HeapFound,
    HeapPage,
    HeapPath,
    HeapQuestion,
    NoSuchObject,
    ShowObject,
    ShowPath,
)
from tests.sandbox.heap.graphs import Edges, heap

NODES = "rabcdefg"


def answered(snapshot: Snapshot, question: HeapQuestion) -> HeapAnswered:
    """The answer, as who asked decodes it from a line."""
    answer = HeapBrowser(Heap(snapshot)).answer(question)
    line = msgspec.json.encode(answer)
    assert len(line) <= MAX_BROWSED_BYTES
    assert b"\n" not in line
    decoded: HeapAnswer = msgspec.json.decode(line, type=HeapAnswer)
    assert decoded == answer
    assert isinstance(decoded, HeapAnswered)
    return decoded


def page(snapshot: Snapshot, question: ShowObject) -> HeapPage:
    """One object."""
    found = answered(snapshot, question).object
    assert found is not None
    return found


def path(snapshot: Snapshot, number: int) -> HeapPath:
    """The way to an object."""
    found = answered(snapshot, ShowPath(number)).path
    assert found is not None
    return found


def found(snapshot: Snapshot, question: FindObjects) -> HeapFound:
    """What was found."""
    told = answered(snapshot, question).found
    assert told is not None
    return told


def test_an_object_with_all_around_it() -> None:
    """Its edges by name, who refers to it, what it alone keeps, and the way to it."""
    snapshot = heap(
        {
            "r": [("roots", "a"), ("other", "b")],
            "a": [("_agent", "b"), ("req", "c")],
            "b": [("back", "a")],
            "c": [(0, "d")],
            "d": [],
        },
        sizes={"c": 10, "d": 20, "b": 5},
    )
    shown = page(snapshot, ShowObject(3))
    assert (shown.id, shown.type, shown.size_bytes, shown.kept_bytes) == (3, "a", 1, 31)
    assert [(edge.label, edge.to.name) for edge in shown.edges] == [("req", "c"), ("_agent", "b")]
    assert {(each.label, each.holder.name) for each in shown.holders} == {
        ("roots", "r"),
        ("back", "b"),
    }
    assert [each.name for each in shown.dominated] == ["c"]
    assert [(step.label, step.name) for step in shown.path] == [("", "r"), ("roots", "a")]
    assert page(snapshot, ShowObject(None)).id == 1
    assert [step.label for step in path(snapshot, 9).path] == ["", "roots", "req", "[0]"]


def test_an_id_that_is_not_there() -> None:
    """Whatever number is asked for, the answer is that there is none."""
    browser = HeapBrowser(Heap(heap({"r": []})))
    for number in (7, 2**40, 2**63 - 1):
        assert browser.answer(ShowObject(number)) == NoSuchObject()
        assert browser.answer(ShowPath(number)) == NoSuchObject()


def test_what_is_sought_is_found_whatever_its_case() -> None:
    """By a part of the name, what keeps most first, and how many more; or by its id."""
    snapshot = heap(
        {"r": [("x", "a"), ("y", "b"), ("z", "c")], "a": [], "b": [], "c": []},
        sizes={"a": 1, "b": 3, "c": 2},
        names={"a": "app.Cache", "b": "CACHES", "c": "cachet"},
    )
    told = found(snapshot, FindObjects("cAche", 2))
    assert [each.name for each in told.found] == ["CACHES", "cachet"]
    assert told.more == 1
    assert [each.name for each in found(snapshot, FindObjects("@5")).found] == ["CACHES"]
    assert found(snapshot, FindObjects("@999")) == HeapFound([], 0)
    assert found(snapshot, FindObjects("nothing of the kind")) == HeapFound([], 0)


def test_an_answer_is_bounded_whatever_the_heap() -> None:
    """A chain of 5,000, 5,000 references of one object, and texts of 100 kB."""
    wide: Edges = {f"w{n}": [] for n in range(5000)}
    chain: Edges = {f"n{n}": [("next", f"n{n + 1}")] for n in range(5000)} | {"n5000": []}
    long = "\x00\u202e" * 50_000
    snapshot = heap(
        {
            "r": [("chain", "n0"), *((long, name) for name in wide)],
            **chain,
            **wide,
        },
        names=dict.fromkeys(wide, long),
    )
    root = page(snapshot, ShowObject(None, MAX_LISTED, MAX_LISTED, MAX_LISTED))
    assert (root.edges_total, len(root.edges)) == (5001, MAX_LISTED)
    assert (root.dominated_total, len(root.dominated)) == (5001, MAX_LISTED)
    assert len(root.edges[-1].label) == MAX_HEAP_TEXT
    end = path(snapshot, 2 * 5001 + 1)
    assert (len(end.path), end.left_out) == (MAX_STEPS, 5002 - MAX_STEPS)
    assert end.path[-1].id == 2 * 5001 + 1
    told = found(snapshot, FindObjects("\u202e", MAX_LISTED))
    assert (len(told.found), told.more) == (MAX_LISTED, 5000 - MAX_LISTED)


@given(st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=6)))
def test_holders_are_edges_read_backwards(edges: dict[str, list[str]]) -> None:
    """Each reference is told once by the object that has it, and once by the one it leads to."""
    graph = {
        node: [(f"e{n}", target) for n, target in enumerate(edges.get(node, []))] for node in NODES
    }
    snapshot = heap(graph)
    forwards, backwards = set(), set()
    for node in range(len(NODES)):
        shown = page(snapshot, ShowObject(2 * node + 1))
        forwards |= {(shown.name, edge.label, edge.to.name) for edge in shown.edges}
        backwards |= {(each.holder.name, each.label, shown.name) for each in shown.holders}
        assert shown.edges_total == len(shown.edges) == len(graph[NODES[node]])
    assert forwards == backwards
