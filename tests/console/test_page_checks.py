"""What tools of npm say of the page: types, habits, form, and what vendor.js is made of."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path

from tests.console import page


def test_types() -> None:
    """The page's types hold, strictly: of the API's answers, of its parts and of vendor.js."""
    page.run(page.npm_tool(".bin/tsc"), "--project", page.VENDORING / "tsconfig.json")


def test_habits() -> None:
    """eslint finds nothing in the page."""
    page.run(
        *("node", page.npm_tool("eslint/bin/eslint.js")),
        *("--config", page.VENDORING / "eslint.config.js", page.STATIC),
    )


def test_form() -> None:
    """The page is as prettier writes it: `npm run form` in scripts/vendoring has it so."""
    page.run(
        *("node", page.npm_tool("prettier/bin/prettier.cjs"), "--check"),
        *("--config", page.VENDORING / "prettier.json"),
        # A link is no file to prettier.
        *(path.resolve() for path in page.own(".js")),
        *(page.STATIC / "types.d.ts", *page.VENDORING.glob("*.js")),
    )


def test_vendored(tmp_path: Path) -> None:
    """vendor-console makes the very files that are there of the packages that are pinned."""
    page.npm_tool("esbuild")
    page.run(page.ROOT / "scripts/vendor-console", tmp_path)
    _, changed, missing = filecmp.cmpfiles(page.STATIC, tmp_path, page.VENDORED, shallow=False)
    assert not changed
    assert not missing


def test_lock_names_no_registry() -> None:
    """The packages are pinned by what is in them, wherever they come from."""
    lock = json.loads((page.VENDORING / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if "integrity" not in package]
