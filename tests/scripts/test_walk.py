"""`scripts/walk`: what is counted, of synthetic records and sources, and one real walk."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from scripts.walking import figures
from scripts.walking.__main__ import main
from scripts.walking.imports import arrows, cycles, floors, read, shape
from scripts.walking.walks import (
    Function,
    Step,
    busy_steps,
    crossings,
    trace,
    until_quiet,
    walk,
    within,
)


def steps(text: str) -> list[Step]:
    """A record: `a` is a call of a function of module `a`, `a!` its return; `2:a` by thread 2."""
    made = []
    for at, word in enumerate(text.split()):
        thread, _, name = word.rpartition(":")
        function = Function(f"house.{name.rstrip('!')}", name.rstrip("!"))
        made.append(Step(float(at), int(thread or 1), function, not name.endswith("!")))
    return made


def test_walk_that_never_goes_back() -> None:
    """Modules that are passed once each make as many changes, and no way back."""
    found = walk(steps("a b c"))
    assert (len(found.modules), found.changes, found.returns) == (3, 3, 0)


def test_ways_back() -> None:
    """A call to a module that has been left counts as one, calls in the same module do not."""
    found = walk(steps("a a b a! a b b a"))
    assert (len(found.modules), found.changes, found.returns) == (2, 5, 3)


def test_returns_of_functions_are_no_changes() -> None:
    """Where a function returns to is not where the reader has to look for what comes next."""
    assert walk(steps("a b b! c c! d d! a!")).changes == 4


def test_threads_walk_side_by_side() -> None:
    """What two threads do in turns is no swinging between modules."""
    assert walk(steps("a 2:q a 2:q a")).changes == 2


def test_crossings() -> None:
    """Changes between two modules count for the pair, whichever was first, a thread at a time."""
    assert crossings(steps("a b a 2:q b b! c")) == {
        ("house.a", "house.b"): 3,
        ("house.b", "house.c"): 1,
    }


def test_timers_are_left_out() -> None:
    """A function that runs without work is none of the walk, however often it runs in it."""
    idle = {Function("house.timer", "timer")}
    assert walk(busy_steps(steps("a timer timer! b"), idle)).changes == 2


def test_end_of_a_journey() -> None:
    """It ends at the first pause after its sign; a pause before that is waiting."""
    record = steps("a . . . b c . . . d")
    busy = [step for step in record if step.function.name != "."]
    kept = until_quiet(busy, after_s=3.5, gap_s=2.0)
    assert [step.function.name for step in kept] == ["a", "b", "c"]


def test_part_of_a_journey() -> None:
    """Only what runs below one function, in its thread."""
    kept = within(steps("x a b 2:y b! a! x!"), "a")
    assert [step.function.name for step in kept] == ["a", "b", "b", "a"]


def test_trace_is_indented() -> None:
    """Each call stands below who made it, with its time; other threads are named."""
    lines = list(trace(steps("a b b! 2:q c")))
    assert [line.split(" ms ")[1] for line in lines] == [
        "house.a.a",
        "  house.b.b",
        "[1] house.q.q",
        "  house.c.c",
    ]


def write(root: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_imports_in_all_their_forms(tmp_path: Path) -> None:
    """Names, modules, relative ones and those in functions; the type checker's apart."""
    write(
        tmp_path,
        {
            "house/__init__.py": "",
            "house/a.py": "from house import b\nfrom house.c import thing\n",
            "house/b.py": "def f():\n    import house.c\n",
            "house/c.py": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from house.a import Thing\n"
            ),
            "house/d.py": "from . import a\nfrom .b import f\nimport os\n",
        },
    )
    modules = read(tmp_path, ["house"])
    running = arrows(modules, with_typing=False)
    assert running["house.a"] == {"house.b", "house.c"}
    assert running["house.b"] == {"house.c"}
    assert running["house.c"] == frozenset()
    assert running["house.d"] == {"house.a", "house.b"}
    assert cycles(running) == ()
    assert cycles(arrows(modules, with_typing=True)) == (("house.a", "house.b", "house.c"),)
    found = shape(modules, "house")
    assert (found.rooms, found.floors, found.arrows) == (4, 2, 6)


def test_floors() -> None:
    """The longest chain counts, and a circle is one floor."""
    none: frozenset[str] = frozenset()
    assert floors({"a": frozenset("bc"), "b": frozenset("c"), "c": none, "d": none}) == 3
    assert floors({"a": frozenset("b"), "b": frozenset("a"), "c": frozenset("a")}) == 2
    assert floors({}) == 0


def test_arrows_upward(tmp_path: Path) -> None:
    """An import of a higher layer is found, an independent neighbour in the same one is none."""
    write(
        tmp_path,
        {
            "house/top.py": "import house.left.x\n",
            "house/left/x.py": "import house.right\nimport house.low\n",
            "house/right.py": "",
            "house/low.py": "from house.left.x import y\n",
            "pyproject.toml": (
                '[[tool.importlinter.contracts]]\ntype = "layers"\ncontainers = ["house"]\n'
                'layers = ["top", "left | right", "(low)"]\n'
            ),
        },
    )
    modules = read(tmp_path, ["house"])
    assert figures.upward(modules, tmp_path / "pyproject.toml") == ("house.low -> house.left.x",)


def test_structure_command(tmp_path: Path) -> None:
    """The figures of this checkout, as a table and as JSON."""
    path = tmp_path / "structure.json"
    ran = CliRunner().invoke(main, ["structure", "--json", str(path)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    found = json.loads(path.read_text())
    assert found["running_cycles"] == []
    assert {"supervisor", "supervisor.queue.sqlite"} <= {one["package"] for one in found["shapes"]}


def test_one_event(tmp_path: Path) -> None:
    """A real event passes intake, queue and delivery, and the trace shows it in that order."""
    path, traced = tmp_path / "walk.json", tmp_path / "trace.txt"
    arguments = ["--journey", "event", "--idle", "0.5", "--json", str(path), "--trace", str(traced)]
    ran = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    (found,) = json.loads(path.read_text())
    modules = found["modules"]
    assert found["changes"] == len(modules) + found["returns"]
    assert any(name.startswith("supervisor.queue") for name in modules)
    assert any(name.startswith("supervisor.core") for name in modules)
    lines = traced.read_text().splitlines()
    assert lines[0] == "# event, run 1"
    # What else comes round on a busy machine may stand before it.
    assert any("supervisor.ingest" in line for line in lines[1:500])
    assert len(lines) > found["calls"]
