"""Each layer stands in every place that has to know it."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from sandbox import jail, process
from sandbox.jail import openings
from sandbox.jail.attacks import ATTACKS
from sandbox.protocol import LAYERS
from tests.harness import jailed

PAGE = Path(jail.__file__).parent / "README.md"
#: Layers that need more than the process that enters them: a delegated group, and `seccomp`.
NEED_OTHERS = {"cgroup", "egress"}


def test_every_layer_has_its_row() -> None:
    """What is reported by name is applied, once, and nothing else is."""
    names = [layer.name for layer in jail.TABLE]
    assert sorted(names) == sorted(LAYERS)


def test_the_page_lists_every_layer() -> None:
    """The table of the README has the same rows."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(LAYERS)


def test_attacks_name_layers_that_there_are() -> None:
    """A layer that was renamed does not stay behind as one that stops nothing."""
    named = {layer for attack in ATTACKS for layer in attack.stopped_by}
    named |= {layer for attack in ATTACKS for layer in attack.stopped_together}
    assert named <= set(LAYERS)


def test_each_layer_that_a_process_can_enter_by_itself_is_attacked() -> None:
    """With the layer missing and with it alone: see `jailed.sets`."""
    assert set(jailed.TRIED) == set(LAYERS) - NEED_OTHERS


def test_an_identity_is_dropped_after_what_needs_it() -> None:
    """What the service's user alone may do comes before its identity is gone."""
    order = [layer.name for layer in jail.TABLE]
    assert order.index("cgroup") < order.index("uid")
    assert order.index("rlimits") < order.index("uid")
    assert order.index("uid") < order.index("no_new_privs") < order.index("landlock")
    assert order.index("landlock") < order.index("seccomp") < order.index("egress")


def test_a_claim_that_does_not_hold_is_not_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that says "on" and is found not to be in force is reported with its fault."""

    def unreachable(parent: int) -> None:
        """The process of this test stays what it is."""

    rows = (
        jail.Layer("rlimits", lambda worker: "on", lambda worker: "nothing is set"),
        jail.Layer("landlock", lambda worker: "no kernel", lambda worker: "never asked"),
        jail.Layer("seccomp", lambda worker: "on"),
        jail.Layer("uid", lambda worker: "never applied"),
    )
    monkeypatch.setattr(jail, "TABLE", rows)
    monkeypatch.setattr(process, "die_with_parent", unreachable)
    monkeypatch.setattr(openings, "forget", lambda: None)
    monkeypatch.setattr(tempfile, "tempdir", None)  # and back to what it is now
    report = jail.enter(
        jailed.order_of("user"), (), parent=os.getppid(), layers=("rlimits", "landlock", "seccomp")
    )
    assert report == dict.fromkeys(LAYERS, "left out") | {
        "rlimits": "not in force: nothing is set",
        "landlock": "no kernel",
        "seccomp": "on",
    }
