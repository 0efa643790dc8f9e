"""The config of a service that runs rows of the torture list, each in a pool of its own."""

from __future__ import annotations

from collections.abc import Iterable

from tests.torture.rows import PLUGINS, Import, Row


def sections(rows: Iterable[Row]) -> dict[str, dict[str, object]]:
    """Row NAME has source and pool NAME, and connections NAME-bad and NAME-good."""
    made: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(PLUGINS)]},
        "retry": {"first_delay": "100ms", "max_delay": "1s"},
    }
    for row in rows:
        name = row.name
        bad, good = f"{name}-bad", f"{name}-good"
        made |= {
            f"pools.{name}": {
                "destinations": [bad, good],
                "workers": 2,
                "spares": 1,
                "block_timeout": "1s",
                **row.pool,
            },
            f"sources.{name}": {"write_key": f"key-{name}"},
            f"destinations.{bad}": {"class": "torture:Torture"},
            f"destinations.{good}": {"class": "torture:Neighbour"},
            f"connections.{bad}": {
                "source": name,
                "destination": bad,
                "settings": {"habit": row.habit},
                **row.connection,
            },
            f"connections.{good}": {"source": name, "destination": good},
        }
    return made


def import_sections(rows: Iterable[Import]) -> dict[str, dict[str, object]]:
    """The same names; the bad destination's module cannot be imported as it should."""
    made: dict[str, dict[str, object]] = {}
    for row in rows:
        name = row.name
        bad, good = f"{name}-bad", f"{name}-good"
        made |= {
            f"pools.{name}": {"destinations": [bad, good], "workers": 1, "spares": 1},
            f"sources.{name}": {"write_key": f"key-{name}"},
            f"destinations.{bad}": {"class": f"imports.{row.module}:Imported"},
            f"destinations.{good}": {"class": "torture:Neighbour"},
            f"connections.{bad}": {"source": name, "destination": bad},
            f"connections.{good}": {"source": name, "destination": good},
        }
    return made
