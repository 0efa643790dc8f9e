"""Each module opens by saying what it is, and none grows past what one thing takes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.walking.figures import GRADE_A, PRODUCTION, unmaintainable
from scripts.walking.imports import Module, read

ROOT = Path(__file__).parents[2]
#: Lines that a module may have.
MOST_LINES = 500
#: What is larger today, and how large. May only shrink: a module that is split leaves the table.
LARGER: Mapping[str, int] = {}
#: What is harder to maintain than grade A, by radon's index. May only shrink.
HARD: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    """All of production and of the scripts."""
    return read(ROOT, [*PRODUCTION, "scripts"])


def test_openings(modules: Mapping[str, Module]) -> None:
    """A module's docstring says what it owns, and where that is not plain, what it must not do."""
    silent = [name for name, module in modules.items() if not ast.get_docstring(module.tree)]
    assert not silent, f"say in a docstring what the module owns and must not do: {silent}"


def test_sizes(modules: Mapping[str, Module]) -> None:
    """No module is over 500 lines, and those that were before there was this test do not grow."""
    over = {
        name: module.lines
        for name, module in modules.items()
        if module.lines > LARGER.get(name, MOST_LINES)
    }
    assert not over, f"does one thing take so many lines? split by what is owned: {over}"


def test_sizes_ceiling_is_no_higher_than_it_must_be(modules: Mapping[str, Module]) -> None:
    """A module that has become smaller keeps its size: its line in LARGER is lowered, or goes."""
    slack = {
        name: most
        for name, most in LARGER.items()
        if name not in modules or modules[name].lines < most
    }
    assert not slack, f"lower these in LARGER, or take them out where they are gone: {slack}"


def test_maintainability(modules: Mapping[str, Module]) -> None:
    """Every module of production has grade A (over 19 of 100) of radon's maintainability index."""
    found = unmaintainable(
        module for name, module in modules.items() if name.split(".")[0] in PRODUCTION
    )
    worse = {name: index for name, index in found.items() if name not in HARD}
    assert not worse, f"simplify or split what is not over {GRADE_A:g}: {worse}"
    assert found.keys() >= HARD, f"take these out of HARD: {sorted(HARD - found.keys())}"
