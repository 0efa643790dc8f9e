"""What pages say is there is there: links, files, modules, classes and names.

A page that names what was renamed is worse than none. Links are looked up on every page; on those
that describe the code every name in backticks, too: a path exists, a class is defined, a method
is that class's, and any other word stands somewhere in the code or in a config.
"""

from __future__ import annotations

import ast
import builtins
import errno
import re
import signal
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scripts.walking.imports import Module, read

ROOT = Path(__file__).parents[2]
PACKAGES = ("supervisor", "sandbox", "destinations", "scripts")
#: Pages of which every name in backticks is looked up.
DESCRIBING = (
    "README.md",
    "config/README.md",
    "scripts/benchmarks/README.md",
    ".github/*.md",
    "supervisor/**/*.md",
)
#: Folders in which a path may begin, beside that of its page.
BASES = (ROOT, ROOT / "supervisor")
#: Packages whose room's page tells of them.
TOLD_OF = frozenset({"delivery/watchdog", "queue/sqlite/dedupe"})
#: Names from outside: of HTTP, of libraries, of the kernel, and placeholders.
FOREIGN = frozenset(
    {
        *(
            "GET",
            "HEAD",
            "POST",
            "DELETE",
            "CONNECT",
            "Host",
            "Origin",
            "Authorization",
            "Retry-After",
        ),
        *("Any", "UnixConnector", "LD_PRELOAD", "Delegate", "CAP_SYS_NICE", "BULKHEAD_NAMESERVERS"),
        *("SECCOMP_RET_KILL", "SECCOMP_RET_TRAP", "SECCOMP_RET_USER_NOTIF", "wal", "shm"),
        *("FILE", "HOST", "ID", "MESSAGE_ID", "NAME", "WORKER", *"AB", *"agipst"),
    }
)

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.M)
_WORD = re.compile(r"[A-Za-z_]\w*")
_EXPORTED = re.compile(r"^export (?:function|class|const) ([A-Z]\w*)", re.M)
_PATH = re.compile(r"(\./)?[\w.-]+(/[\w.-]+)*(/|\.(py|md|toml|yml))|(\./)?[\w.-]+(/[\w.-]+)+")
_FILE = re.compile(r"`([\w/]+\.py)`")
_CLASS = re.compile(r"([A-Z]\w*[a-z]\w*)(?:\.(\w+))?")
_DOTTED = re.compile(r"(?:supervisor|sandbox|destinations)(?:\.\w+)+")


@dataclass
class Code:
    """Names of the code: modules, classes with what is in each, keys of configs, and all words."""

    modules: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    classes: dict[str, set[str]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def code() -> Code:
    """All of it, the words of the configs, and what the console's page is made of."""
    found = Code()
    for name, module in read(ROOT, PACKAGES).items():
        found.modules.add(name)
        found.words.update(_WORD.findall(module.text))
        for kind, names in _classes(module):
            found.classes.setdefault(kind, set()).update(names)
    for path in (*ROOT.glob("config/**/*.*"), *ROOT.glob("scripts/*"), ROOT / "pyproject.toml"):
        if path.is_file():
            found.words.update(_WORD.findall(path.read_text()))
    for path in ROOT.glob("supervisor/console/static/**/*.js"):
        found.words.update(_WORD.findall(path.read_text()))
        found.classes.update((name, set()) for name in _EXPORTED.findall(path.read_text()))
    for path in ROOT.glob("config/*.toml"):
        found.keys.update(re.findall(r"^(?:# *)?(\w+) = ", path.read_text(), re.M))
    return found


def _classes(module: Module) -> Iterator[tuple[str, set[str]]]:
    """Classes, and types that are unions, with the names that each defines."""
    lines = module.text.splitlines()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, set(_WORD.findall("\n".join(lines[node.lineno : node.end_lineno])))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, set()


def pages() -> list[Path]:
    """Every page of ours."""
    return sorted(
        path
        for path in (*ROOT.glob("**/*.md"), *ROOT.glob(".github/*.md"))
        if not {"node_modules", ".venv"} & set(path.parts)
    )


def describing() -> list[Path]:
    """Pages that describe the code. The changelog tells what was."""
    found = {path for pattern in DESCRIBING for path in ROOT.glob(pattern)}
    return sorted(path for path in found if path.name != "CHANGELOG.md")


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def leads_somewhere(link: str, page: Path) -> bool:
    """Whether a relative link of a page has a target."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or anchor in map(slug, _HEADING.findall(target.read_text()))


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every relative link leads to a file or folder, and to a heading where it names one."""
    text = _FENCE.sub("", page.read_text())
    ours = [link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    broken = [link for link in ours if not leads_somewhere(link, page)]
    assert not broken


def is_there(name: str, page: Path, code: Code) -> bool:
    """Whether what a page calls `name` exists, as far as one can tell what it is."""
    name = name.removesuffix("()")
    if name in FOREIGN or hasattr(builtins, name) or hasattr(errno, name) or hasattr(signal, name):
        return True
    if _PATH.fullmatch(name):
        bases = (*BASES, *page.parents)
        return (
            any((base / name).exists() for base in bases)
            # One of several files that are named together, behind their folder.
            or ("/" not in name and any((*page.parent.rglob(name), *ROOT.glob(f"tests/*/{name}"))))
            # Several words in a row, for which a slash stands.
            or ("." not in name and all(word in code.words for word in _WORD.findall(name)))
        )
    if _DOTTED.fullmatch(name):
        return name in code.modules or name.partition(".")[2] in code.keys
    if (found := _CLASS.fullmatch(name)) is not None and found[1] != found[1].upper():
        names = code.classes.get(found[1])
        return names is not None and (found[2] is None or found[2] in names)
    return all(word in code.words or word in FOREIGN for word in _WORD.findall(name))


@pytest.mark.parametrize("page", describing(), ids=lambda path: str(path.relative_to(ROOT)))
def test_names(page: Path, code: Code) -> None:
    """Every name in backticks on a page that describes the code is one of the code's."""
    text = _FENCE.sub("", page.read_text())
    unknown = [name for name in _CODE.findall(text) if not is_there(name, page, code)]
    assert not unknown, "renamed, or gone? say what it is called now"


@pytest.mark.parametrize(
    "name",
    [
        "supervisor/dispatch.py",
        "core/poison.py",
        "Suspects",
        "Settlement.court",
        "no_such_name",
        "sandbox.evidence",
    ],
)
def test_what_is_gone_is_found(name: str, code: Code) -> None:
    """Old names are told from those that are there."""
    assert not is_there(name, ROOT / "supervisor/README.md", code)


def test_modules_that_openings_name() -> None:
    """A module's docstring that names another one by its file names one that is there."""
    gone = {
        f"{module.name}: {name}"
        for module in read(ROOT, ("supervisor", "sandbox", "destinations")).values()
        for name in _FILE.findall(ast.get_docstring(module.tree) or "")
        if not any((base / name).exists() for base in (*BASES, *module.path.parents))
        and not any(module.path.parent.rglob(name))
    }
    assert not gone


def test_every_room_has_a_page() -> None:
    """Each package of the supervisor says in a README what it owns."""
    packages = {path.parent for path in (ROOT / "supervisor").rglob("__init__.py")}
    silent = {
        str(folder.relative_to(ROOT / "supervisor"))
        for folder in packages
        if not (folder / "README.md").exists()
    }
    assert silent == TOLD_OF


def test_rooms_stand_on_the_page_in_the_order_of_their_layers() -> None:
    """The table of rooms is that of the import rules."""
    rules: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())  # Any: TOML
    contracts = rules["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == ["supervisor"])
    page = (ROOT / "supervisor/README.md").read_text()
    table = page[page.index("## Rooms") : page.index("## To change X")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| [")]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [
        set(layer.split(" | ")) for layer in layers if layer != "__main__"
    ]


def test_decisions_are_listed() -> None:
    """Each decision has a number of its own and a row in the list."""
    folder = ROOT / "supervisor/decisions"
    decisions = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:3]) for name in decisions] == list(range(1, len(decisions) + 1))
    assert re.findall(r"\]\((\d[^)]*)\)", (folder / "README.md").read_text()) == decisions
