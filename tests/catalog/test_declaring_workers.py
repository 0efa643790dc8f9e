"""`bulkhead check` with real workers: what a destination declares arrives, and has bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"
CLASSES = ("Full", "TooManyEvents", "TooManyHosts")


def test_a_declaration_crosses_the_wire_and_what_is_too_much_is_named(tmp_path: Path) -> None:
    """One destination is shown as it declares itself; the others are named with the field."""
    config = tmp_path / "bulkhead.toml"
    config.write_text(
        f"[service]\nstate_dir = 'state'\nplugin_paths = ['{PLUGINS}']\n"
        "[sources.site]\nwrite_key = 'key'\n"
        "[pools.default]\ndestinations = ['*']\n"
        + "".join(
            f"[destinations.{name.lower()}]\nclass = 'declaring:{name}'\n"
            f"[connections.site-{name.lower()}]\nsource = 'site'\n"
            f"destination = '{name.lower()}'\n"
            for name in CLASSES
        )
    )
    # Of a volume that is new: no service has run there, and nothing is queued.
    (tmp_path / "state" / "lost+found").mkdir(parents=True)
    ran = subprocess.run(
        [sys.executable, "-m", "supervisor", "check", "--config", str(config), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    by_name = {row["connection"]: row for row in json.loads(ran.stdout)["connections"]}
    assert "there is no queue" not in ran.stderr
    full = by_name["site-full"]
    assert full["problems"] == []
    assert full["types"] == ["track", "page"]
    assert full["hosts"] == ["api.example:443"]
    assert (full["batch_events"], full["batch_bytes"]) == (7, 2048)
    (events,) = by_name["site-toomanyevents"]["problems"]
    assert "<= 100000" in events
    assert "batch_events" in events
    (hosts,) = by_name["site-toomanyhosts"]["problems"]
    assert "<= 256" in hosts
    assert "hosts" in hosts
