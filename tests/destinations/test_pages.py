"""Every destination has a page of the common form, whose examples are settings that it takes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from destinations.kit.loading import load, settings_errors
from tests.harness.destinations import NAMES
from tests.harness.pages import SECTIONS, headings, links, settings_examples

DESTINATIONS = Path(__file__).parents[2] / "destinations"
#: Destinations whose page is still to be written; nothing may be added.
NOT_YET: frozenset[str] = frozenset()


def page(name: str) -> Path:
    return DESTINATIONS / name.replace("-", "_") / "README.md"


WRITTEN = tuple(name for name in NAMES if page(name).exists())


def test_each_has_a_page() -> None:
    """There is a page for each destination."""
    assert set(NAMES) - set(WRITTEN) <= NOT_YET


@pytest.mark.parametrize("name", WRITTEN)
def test_sections(name: str) -> None:
    """A page has all sections, in the common order."""
    assert [one for one in headings(page(name)) if one in SECTIONS] == list(SECTIONS)


@pytest.mark.parametrize("name", WRITTEN)
def test_examples(name: str) -> None:
    """The config that a page shows is one that the destination takes.

    The first example is whole; what further ones show is changed in it.
    """
    settings: dict[str, Any] = {}  # Any: settings of any type
    for example in settings_examples(page(name)):
        for connection in tomllib.loads(example).get("connections", {}).values():
            settings |= filled_in(connection.get("settings", {}))
            assert settings_errors(load(name, None), settings) == []
    assert settings


def filled_in(value: Any) -> Any:  # Any: TOML
    """Settings with values for those that come from the environment or a file."""
    if isinstance(value, dict):
        if len(value) == 1 and value.keys() <= {"env", "file"}:
            return "secret"
        return {key: filled_in(below) for key, below in value.items()}
    return value


@pytest.mark.parametrize("name", WRITTEN)
def test_links(name: str) -> None:
    """Links to files lead to files."""
    for link in links(page(name)):
        if not link.startswith(("https://", "#")):
            assert (page(name).parent / link.partition("#")[0]).exists(), link
