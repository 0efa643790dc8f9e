"""What the engine counts is changed by its owner alone: private names stay in their module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import supervisor.queue.sqlite

ENGINE = Path(supervisor.queue.sqlite.__file__).parent
MODULES = sorted(ENGINE.rglob("*.py"))


def _foreign_private_names(source: str) -> list[str]:
    """Private attributes of other objects that a module touches and does not define itself."""
    tree = ast.parse(source)
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _is_self(node.value)
    } | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not _is_self(node.value)
        and node.attr not in own
    ]


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_private_state_is_touched_in_its_own_module_only(path: Path) -> None:
    """Neither read nor written from another module: there are properties and verbs for that."""
    assert not _foreign_private_names(path.read_text())


def test_readme_says_what_each_module_owns() -> None:
    """A new module takes its place in the table."""
    said = (ENGINE / "README.md").read_text()
    assert not [
        path.name for path in MODULES if path.name != "__init__.py" and f"`{path.name}`" not in said
    ]


def test_a_foreign_write_is_found() -> None:
    """Also where it is an addition, or an entry in a collection."""
    assert _foreign_private_names("def f(backlog):\n    backlog._fresh += 1\n")
    assert _foreign_private_names("def f(heap, entry):\n    heap._beyond[1] = entry\n")
    assert not _foreign_private_names("class A:\n    def f(self, b):\n        self._x = b._x\n")


def test_counts_cannot_be_assigned() -> None:
    """What is seen of a backlog is read-only, in the tests as in the engine."""
    from supervisor.queue.sqlite.backlog import ConnectionBacklog
    from supervisor.queue.sqlite.retry_heap import RetryBudget

    backlog = ConnectionBacklog(1, "a", 1, RetryBudget())
    for name in ("fresh", "retrying", "leased", "parked", "pending", "order", "books"):
        with pytest.raises(AttributeError):
            setattr(backlog, name, 0)
