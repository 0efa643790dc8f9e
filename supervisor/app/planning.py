"""What the config file on disk would change in the running service, and whether it is another one.

Owns the comparison as operators see it: names of keys, never a value, a secret, or a line of a file
that is no config; and the digest of the files that a config was read from. Must not change
anything.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from supervisor.admin.plan import (
    ChangedKeys,
    GoneConnection,
    PlannedChanges,
    PlannedConnections,
    PlannedPools,
    PlannedSources,
)
from supervisor.app.reload import changes
from supervisor.config import Config
from supervisor.config.loader import MAX_FILE
from supervisor.runtime.files import read_file

#: Most errors that are told, and longest, in characters.
MAX_ERRORS, MAX_ERROR = 200, 500
#: Shortest value that is sought in an error: "1" stands in too many places.
_LEAST_VALUE = 4
#: Names of keys whose values are nobody's to see, wherever they stand.
_SECRET_KEY = re.compile(r"token|secret|passw|key|credential|auth|dsn|proxy", re.IGNORECASE)
_NO_TOML = re.compile(r"(.*?: is not TOML)(?::|$)", re.DOTALL)
#: Fields of `Config` that are compared by name, or say nothing of the file.
_NOT_SECTIONS = frozenset(
    ("path", "pools", "sources", "connections", "destinations", "secrets")
) | frozenset(("secret_settings", "secret_files"))


def planned_changes(
    old: Config, new: Config, *, changed_code: Collection[str] = ()
) -> PlannedChanges:
    """What following `new` changes where `old` runs; how much is pending is for `with_pending`.

    `changed_code` are the destinations whose code is another than that which the workers imported.
    Pure.
    """
    found = changes(old, new, changed_code=changed_code)
    return PlannedChanges(
        pools=PlannedPools(
            replaced=list(found.pools_replaced),
            new=list(found.pools_added),
            gone=list(found.pools_removed),
            retuned=list(found.pools_retuned),
        ),
        connections=PlannedConnections(
            new=list(found.connections_added),
            changed=_changed(old.connections, new.connections),
            gone=[GoneConnection(name, 0) for name in found.connections_removed],
        ),
        sources=PlannedSources(
            new=sorted(new.sources.keys() - old.sources.keys()),
            changed=_changed(old.sources, new.sources),
            gone=sorted(old.sources.keys() - new.sources.keys()),
        ),
        sections=[
            ChangedKeys(section, keys)
            for section in old.__struct_fields__
            if section not in _NOT_SECTIONS
            and (keys := _keys(getattr(old, section), getattr(found.config, section)))
        ]
        + _changed(old.destinations, new.destinations, "destinations."),
        needs_restart=list(found.needs_restart),
        is_code_changed=bool(changed_code),
    )


def with_pending(planned: PlannedChanges, pending: Callable[[str], int]) -> PlannedChanges:
    """The same, with what is pending of each connection that goes."""
    replace = msgspec.structs.replace
    gone = [replace(one, pending=pending(one.name)) for one in planned.connections.gone]
    return replace(planned, connections=replace(planned.connections, gone=gone))


def _changed(
    old: Mapping[str, msgspec.Struct], new: Mapping[str, msgspec.Struct], prefix: str = ""
) -> list[ChangedKeys]:
    return [
        ChangedKeys(f"{prefix}{name}", keys)
        for name in sorted(old.keys() & new.keys())
        if (keys := _keys(old[name], new[name]))
    ]


def _keys(old: msgspec.Struct, new: msgspec.Struct) -> list[str]:
    """Keys, as the file writes them, of which the values are others; of `settings` one by one."""
    keys: list[str] = []
    for name in old.__struct_fields__:
        before, now = getattr(old, name), getattr(new, name)
        if before == now:
            continue
        # Any: the destination's schema decides what settings are.
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            settings: set[Any] = {
                key for key in before.keys() | now.keys() if before.get(key) != now.get(key)
            }
            keys += sorted(f"{name}.{str(key)[:100]}" for key in settings)
        else:
            keys.append(name.removesuffix("_s"))
    return keys


def shown_errors(errors: Iterable[str], config_file: Path) -> list[str]:
    """Errors of a config as a request may see them, whatever the file holds. Not for the loop.

    Of a file that is no TOML the place alone: what stands there may be anything. Of one that is,
    without the values of keys that are named like a secret and of settings.
    """
    hidden = sorted(_hidden(config_file), key=len, reverse=True)
    return [_shown(error, hidden) for error in list(errors)[:MAX_ERRORS]]


def _shown(error: str, hidden: Collection[str]) -> str:
    no_toml = _NO_TOML.match(error)
    if no_toml is not None:
        return no_toml[1][:MAX_ERROR]
    for value in hidden:
        error = error.replace(value, "(hidden)")
    return error[:MAX_ERROR]


def _hidden(config_file: Path) -> set[str]:
    try:
        tree = tomllib.loads(read_file(config_file, most_bytes=MAX_FILE).decode())
    except (OSError, ValueError, RecursionError):
        return set()  # its errors name places alone
    found: set[str] = set()
    to_do: list[tuple[object, bool]] = [(tree, False)]
    while to_do:
        value, is_secret = to_do.pop()
        match value:
            # A reference is no secret: an error has to say which variable or file is missing.
            case {"env": str(), **rest} | {"file": str(), **rest} if not rest:
                pass
            case dict():
                to_do += [
                    (below, is_secret or key == "settings" or bool(_SECRET_KEY.search(key)))
                    for key, below in value.items()
                ]
            case list():
                to_do += [(below, is_secret) for below in value]
            case _ if is_secret and len(str(value)) >= _LEAST_VALUE:
                found.add(str(value))
    return found


def digest_of(config: Config, code: str) -> str:
    """The files that a config was read from, as they are now: itself and those of its secrets.

    `code` is the digest of the plugin folders. Not for the loop.
    """
    whole = hashlib.sha256(code.encode())
    for path in sorted(config.secret_files):
        whole.update(os.fsencode(path) + b"\0")
        try:
            whole.update(hashlib.sha256(read_file(path, most_bytes=MAX_FILE)).digest())
        except OSError as error:
            whole.update(f"{error.errno}".encode())
    return whole.hexdigest()
