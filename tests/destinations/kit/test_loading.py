"""Destinations are found, checked and described, and whatever is wrong is told in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from destinations.kit import Destination, Event, Outcome
from destinations.kit.loading import LoadError, declaration, load, settings_errors

GOOD = """
from destinations.kit import Delivered, Destination
class Good(Destination):
    name = "good"
    async def deliver(self, events):
        return [Delivered() for _ in events]
class Bad(Good):
    name = "Bad Name"
    types = frozenset({"track", "click"})
    hosts = ("https://x/",)
    batch_events = 0
    aliases = "one"
    Settings = dict
class Unfinished(Destination):
    name = "unfinished"
not_one = 3
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["webhooks", "mixpanel"])
def test_built_in_by_name(name: str) -> None:
    """A built-in destination is found by its name, and declares itself."""
    cls = load(name, None)
    assert cls.name == name
    said = declaration(cls)
    assert said.types == cls.types
    assert said.settings_schema


def test_plugin_by_class_path(plugins: Path) -> None:
    """A destination of one's own is found by module and class."""
    (plugins / "mine.py").write_text(GOOD)
    assert load("good", "mine:Good").name == "good"


@pytest.mark.parametrize(
    ("name", "class_path", "text"),
    [
        ("nope", None, r"no built-in destination nope \(.*mixpanel, .*webhooks are\)"),
        ("kit", None, "no built-in destination kit"),
        ("../x", None, "no built-in destination"),
        ("x", "mine", '"module:Class"'),
        ("x", "absent:X", "there is no module absent on plugin_paths"),
        ("x", "mine:Absent", "module mine has no class Absent"),
        ("x", "mine:not_one", "not a subclass"),
        ("x", "mine:Unfinished", "does not define deliver"),
        ("x", "raises:X", r"importing raises raised ValueError: no at raises.py:1"),
        ("x", "exits:X", "importing exits raised SystemExit"),
        ("x", "needs:X", "importing needs: ModuleNotFoundError.*absent_library"),
    ],
)
def test_load_errors(plugins: Path, name: str, class_path: str | None, text: str) -> None:
    """Whatever keeps a destination from being loaded is one clear error."""
    (plugins / "mine.py").write_text(GOOD)
    (plugins / "raises.py").write_text("raise ValueError('no')")
    (plugins / "exits.py").write_text("import sys; sys.exit(3)")
    (plugins / "needs.py").write_text("import absent_library")
    with pytest.raises(LoadError, match=text):
        load(name, class_path)


def test_all_errors_of_a_declaration(plugins: Path) -> None:
    """Every mistake in a declaration is told at once."""
    (plugins / "mine.py").write_text(GOOD)
    with pytest.raises(LoadError) as error:
        load("bad", "mine:Bad")
    for part in ("name = 'Bad Name'", "click", "https://x/", "batch_events = 0", "aliases", "Sett"):
        assert part in str(error.value)


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """A table within the settings."""

    port: int


class Strict(Destination):
    """Has settings of every shape."""

    name = "strict"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Two required ones, a table, a table of anything, a list."""

        token: str
        inner: Inner
        headers: dict[str, str] = {}
        tags: list[str] = []

        def __post_init__(self) -> None:
            if not self.token:
                raise ValueError("token: is empty\ntoken: is really empty")

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return []


def test_settings_errors_all_at_once() -> None:
    """Every wrong setting is named by its key path, in one run."""
    wrong = {
        "inner": {"port": "x", "y": 1},
        "headers": {"A": 1, "B": "b"},
        "tags": ["a", 2],
        "z": 1,
    }
    assert settings_errors(Strict, wrong) == [
        "token: is required",
        "inner.port: expected `int`, got `str`",
        "inner.y: unknown; known are port",
        "headers.A: expected `str`, got `int`",
        "tags[1]: expected `str`, got `int`",
        "z: unknown; known are token, inner, headers, tags",
    ]


def test_settings_errors_of_the_whole() -> None:
    """What only the whole struct can say comes line by line."""
    assert settings_errors(Strict, {"token": "", "inner": {"port": 1}}) == [
        "token: is empty",
        "token: is really empty",
    ]
    assert settings_errors(Strict, {"token": "t", "inner": {"port": 1}}) == []
