"""What `try` and `record` share: events, settings and the destination that they name.

Owns how a file becomes events as the tracking API would store them, and how a
settings file, or a config, becomes a connection. Sends nothing.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from supervisor.commands.context import load_config
from supervisor.commands.endpoint import CommandError, ConfigFailed
from supervisor.commands.event_files import NOT_GZIP, EventFileError, items_of, unpacked
from supervisor.config import (
    Admin,
    Api,
    Config,
    Connection,
    DestinationClass,
    Pool,
    QueueConfig,
    Retry,
    Sandbox,
    Service,
    builtin_destinations,
    installed_plugins,
)
from supervisor.config.secrets import KeyPath, Secrets, key_path, plain
from supervisor.config.types import MIB
from supervisor.config.values import Invalid, did_you_mean
from supervisor.ingest.validation import BadBody, EventReader, read_batch
from supervisor.queue import NewEvent, Route
from supervisor.runtime.files import read_file

#: Largest file of events, and of settings, in bytes.
MAX_FILE = 4 * MIB
_SOURCE = "try"
_NOWHERE = Route(pending=(), unsupported=(), filtered=())


@dataclass(frozen=True, slots=True)
class Subject:
    """What is run: a connection in its config, and which of its settings are secrets, by name."""

    config: Config
    connection: Connection
    secrets: Mapping[str, str]


def subject(name: str, settings: Path | None, config_path: Path | None) -> Subject:
    """The destination or, in a config, the connection of this name.

    Raises ConfigFailed where there is none, or its settings cannot be read.
    """
    config = _defaults() if config_path is None else load_config(config_path)
    known = {*builtin_destinations(), *config.destinations}
    connection = config.connections.get(name) if config_path is not None else None
    if connection is None and name not in known:
        hint = did_you_mean(name, known | config.connections.keys())
        where = "" if config_path is None else f", and {config_path} has no connection"
        raise ConfigFailed(
            f"there is no destination {name!r}{where} of that name{hint}; known are "
            f"{', '.join(sorted(known))}; one of your own is named by --config FILE"
        )
    if connection is None:
        connection = Connection(name=_SOURCE, source=_SOURCE, destination=name)
    secrets = {
        setting: str(_at(connection.settings, setting))
        for at, setting in config.secret_settings
        if at == connection.name
    }
    if settings is not None:
        values, secrets = _settings(settings)
        connection = msgspec.structs.replace(connection, settings=values)
    try:
        config.pool_of(connection.destination)
    except LookupError:
        alone = Pool(name=_SOURCE, destinations=(connection.destination,))
        config = msgspec.structs.replace(config, pools={**config.pools, _SOURCE: alone})
    # A disabled connection would filter everything, and is run for a reason.
    return Subject(config, msgspec.structs.replace(connection, enabled=True), secrets)


def events_of(file: Path) -> list[NewEvent]:
    """The events in a file, as the tracking API would store them: what `event_files` reads.

    Raises CommandError with all that is wrong.
    """
    try:
        items = items_of(_unpacked(file))
    except EventFileError as error:
        raise CommandError(f"{file}: {error}") from error
    body = msgspec.json.encode({"batch": items})
    try:
        envelope = read_batch(body)
    except BadBody as error:
        raise CommandError(f"{file}: {error}") from error
    reader = EventReader(
        envelope,
        source=_SOURCE,
        route=lambda source, kind, integrations: _NOWHERE,
        received_at=time.time(),
        max_event=MAX_FILE,
        max_request=MAX_FILE,
    )
    reader.read(0, len(items))
    if reader.rejected:
        lines = [f"{file}: event {one.index + 1}: {one.message}" for one in reader.rejected]
        raise CommandError("\n".join(lines))
    return reader.events


def _settings(file: Path) -> tuple[dict[str, Any], dict[str, str]]:  # Any: the schema decides
    """Settings in TOML or JSON, with `{ env }` and `{ file }` resolved, and the secrets by name."""
    content = _read(file)
    try:
        tree = json.loads(content) if file.suffix == ".json" else tomllib.loads(content.decode())
    except ValueError as error:
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise ConfigFailed(f"{file}: is not {kind}: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigFailed(f"{file}: must be a table of settings")
    errors: list[str] = []

    def note(at: KeyPath, text: str) -> None:
        errors.append(f"{file}: {key_path(at)}: {text}")

    secrets = Secrets(file.absolute().parent, os.environ, note)
    resolved = secrets.resolve_table(tree, ())
    try:
        values = plain(resolved)
    except Invalid as error:
        errors += [f"{file}: {at.lstrip('.')}: {text}" for at, text in error.problems]
    if errors:
        raise ConfigFailed("\n".join(errors))
    return values, {key_path(at): value for at, value in secrets.places.items()}


def _unpacked(file: Path) -> bytes:
    content = _read(file)
    try:
        with unpacked(io.BytesIO(content)) as stream:
            found = stream.read(MAX_FILE + 1)
    except NOT_GZIP as error:
        raise EventFileError(f"cannot be unpacked: {error}") from error
    if len(found) > MAX_FILE:
        raise EventFileError(f"is larger than {MAX_FILE} bytes when it is unpacked")
    return found


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            content = read_file(file, most_bytes=MAX_FILE, may_be_pipe=True)
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE:
        raise CommandError(f"{file}: is larger than {MAX_FILE} bytes")
    return content


def _defaults() -> Config:
    """What holds where no config is named: everything by default, and installed plugins."""
    return Config(
        path=Path("-"),
        service=Service(),
        api=Api(),
        admin=Admin(),
        queue=QueueConfig(),
        retry=Retry(),
        pools={"default": Pool(name="default", destinations=("*",))},
        sources={},
        connections={},
        sandbox=Sandbox(),
        destinations={
            name: DestinationClass(name=name, class_path=class_path)
            for name, class_path in installed_plugins().items()
            if name not in builtin_destinations()
        },
    )


def _at(settings: Mapping[str, Any], path: str) -> Any:  # Any: the schema decides
    value: Any = settings
    for step in path.split("."):
        value = value.get(step, "") if isinstance(value, Mapping) else ""
    return value
