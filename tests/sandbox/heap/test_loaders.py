"""Snapshots open in memlab and in the heap loader of Chrome DevTools, and mean the same there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.heap import file
from sandbox.heap.analysis import Heap, report_of
from sandbox.heap.page import report_page
from tests.sandbox.heap.reading import Plain
from tests.sandbox.heap.taking import take

LOADERS = Path(__file__).parent / "loaders"
#: Both take two seconds when nothing else runs.
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot with one object whose place, size and content are known."""
    path = tmp_path_factory.mktemp("known") / "known.heapsnapshot"
    assert take("known", path) == ""
    return path


@pytest.fixture(scope="module")
def heap(path: Path) -> Heap:
    """The same, as our own reports see it."""
    with path.open("rb") as stream:
        return Heap(file.read(stream))


def held(heap: Heap) -> int:
    """The node of that object."""
    snapshot = heap.snapshot
    return next(node for node in range(len(snapshot)) if snapshot.name(node) == "known.Held")


def opened(loader: str, package: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What a loader says of a file. Any: its JSON."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (LOADERS / "node_modules" / package).exists():
        pytest.skip(f"{package} is not installed; ./scripts/test setup does it")
    done = subprocess.run(
        ["node", str(LOADERS / loader), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_chrome_devtools_agrees(path: Path, heap: Heap, tmp_path: Path) -> None:
    """Its loader finds as many nodes, the same sizes, kept alive and in all, and the retainer."""
    bundle = tmp_path / "devtools.mjs"
    found = opened("devtools.mjs", "chrome-devtools-frontend", [str(path), str(bundle)])
    _assert_agreed(found, heap)


def test_the_devtools_of_an_installed_chromium_agree(path: Path, heap: Heap) -> None:
    """So does the loader that Debian's Chromium has in it, run in that browser."""
    _assert_agreed(in_chromium("snapshot", path), heap)


def test_a_page_works_in_a_browser(path: Path, heap: Heap, tmp_path: Path) -> None:
    """It draws suspects, picture and classes, is gone into and out of by clicks, asks nothing."""
    page = tmp_path / "heap.html"
    report = report_of(heap)
    page.write_text(report_page(heap, report, "known"))
    found = in_chromium("page", page)
    assert found["errors"] == []
    assert set(found["requests"]) == {"file:"}
    assert found["paths"] == [suspect.path for suspect in report.suspects]
    assert found["cells"] > 20
    assert found["classes"] > 20
    assert len(found["inside"]) == 2
    assert found["inside"][1] in found["detail"]
    assert found["outside"] == ["heap"]


def in_chromium(what: str, path: Path) -> dict[str, Any]:
    """What is seen of a file there. Any: its JSON."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    return opened("chromium.mjs", "puppeteer-core", [what, str(path)])


def _assert_agreed(found: dict[str, Any], heap: Heap) -> None:
    assert found["nodes"] == len(heap.snapshot)
    assert found["total"] == heap.total
    node = held(heap)
    (object_there,) = found["held"]
    assert object_there["id"] == heap.snapshot.ids[node]
    assert object_there["self"] == heap.snapshot.sizes[node]
    assert object_there["retained"] == heap.kept[node]
    assert object_there["retainers"] == [["1", "list"]]


def test_memlab_agrees(path: Path, heap: Heap) -> None:
    """It finds as many nodes and edges, the same sizes, and the same path from the root."""
    found = opened("memlab.mjs", "@memlab/heap-analysis", [str(path)])
    assert found["nodes"] == len(heap.snapshot)
    assert found["edges"] == len(heap.snapshot.targets)
    node = held(heap)
    (object_there,) = found["held"]
    assert object_there["id"] == heap.snapshot.ids[node]
    assert object_there["self"] == heap.snapshot.sizes[node]
    assert object_there["retained"] == heap.kept[node]
    assert object_there["dominator"] == "list"
    assert object_there["path"] == ["known", "__dict__", "['PLACE']", "['x']", "1"]


def test_python_itself_agrees(path: Path, heap: Heap) -> None:
    """What the object keeps alive is what its parts take by `sys.getsizeof`."""
    plain = Plain(path)
    node = plain.follow("known", "__dict__", "['PLACE']", "['x']", 1)
    body = plain.follow("body", start=node)
    parts = [edge.to for edge in plain.edges[body]]
    assert len(parts) == 100
    assert {plain.sizes[part] for part in parts} == {bytearray(1_000).__sizeof__()}
    own = [node, body, *parts]
    text = plain.follow("name", start=node)
    kept = sum(plain.sizes[each] for each in own)
    # The text is a constant of the function that assigned it, and so not kept by the object.
    assert plain.names[text] == "<str of 33>"
    assert heap.kept[held(heap)] == kept
