"""A destination that an installed package brings: found by name, imported in the worker alone."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "pager-for-bulkhead"
version = "1"
[project.entry-points."bulkhead.destinations"]
pager = "pager_for_bulkhead:Pager"
mixpanel = "pager_for_bulkhead:Impostor"
broken = "pager_for_bulkhead"
"""
MODULE = """
from destinations.kit import Delivered, Destination

class Pager(Destination):
    name = "pager"
    hosts = ("api.pager.example",)
    types = frozenset({"track"})
    async def deliver(self, events):
        return [Delivered() for _ in events]
"""
CONFIG = """
[service]
state_dir = "state"
[sources.site]
write_key = "key"
[connections.site-pager]
source = "site"
destination = "pager"
[connections.site-mixpanel]
source = "site"
destination = "mixpanel"
settings = { token = "t" }
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An environment of its own that has all of ours, and the package."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    ours = sysconfig.get_path("purelib")
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    python = folder / "bin" / "python"
    source = tmp_path / "package"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "pager_for_bulkhead.py").write_text(MODULE)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"),
            *("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", str(source)),
        ],
        check=True,
        timeout=120,
    )
    return python


def test_installed(python: Path, tmp_path: Path) -> None:
    """The config names it like a built-in one, and no package takes the name of one of those."""
    config = tmp_path / "bulkhead.toml"
    config.write_text(CONFIG)
    ran = subprocess.run(
        [str(python), "-m", "supervisor", "check", "--config", str(config), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    planned = {one["connection"]: one for one in json.loads(ran.stdout)["connections"]}
    assert planned["site-pager"]["types"] == ["track"]
    assert planned["site-pager"]["hosts"] == ["api.pager.example"]
    assert planned["site-mixpanel"]["hosts"][0] == "api.mixpanel.com"
