"""From a config file to a Config, or to the list of everything that is wrong with it.

Owns the order of the steps and the prefix of the errors. Must not open
sockets, import destinations or know what a destination's settings mean.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

from supervisor.config import places, values
from supervisor.config.checks import Draft, check
from supervisor.config.secrets import KeyPath, key_path
from supervisor.config.sections import Reader
from supervisor.config.types import Config, ConfigError, DestinationClass
from supervisor.config.values import Invalid
from supervisor.runtime.files import read_file

#: Largest config file, in bytes: room for 10 000 connections and more.
MAX_FILE = 16 * 1024 * 1024

T = TypeVar("T")


#: What a package of its own calls the destinations that it brings: name to "module:Class".
ENTRY_POINTS = "bulkhead.destinations"


def load(
    path: Path,
    *,
    environ: Mapping[str, str],
    builtin: Collection[str] | None = None,
    plugins: Mapping[str, str] | None = None,
) -> Config:
    """Read and check a config file, secrets resolved. Raises ConfigError with all errors.

    `builtin` are the names of the built-in destinations, `plugins` the classes
    of those that installed packages bring, by name; by default what is there.
    """
    tree = _parse(path)
    # Relative paths must survive a later chdir.
    reader = Reader(tree, path.absolute().parent, environ)
    service = reader.service()
    sandbox = reader.sandbox()
    console = reader.console()
    draft = Draft(
        api=reader.api(),
        admin=reader.admin(),
        queue=reader.queue(),
        retry=reader.retry(),
        pools=reader.pools(),
        sources=reader.sources(),
        connections=reader.connections(),
        destinations=reader.destinations(),
    )
    names = builtin_destinations() if builtin is None else builtin
    installed = {
        name: DestinationClass(name=name, class_path=class_path)
        for name, class_path in (installed_plugins() if plugins is None else plugins).items()
        # What the file says, and what ships with Bulkhead, no package replaces by its name.
        if name not in names and name not in draft.destinations
    }
    draft = draft._replace(destinations={**installed, **draft.destinations})

    def note(at: str, text: str) -> None:
        if at not in reader.blamed:  # one value, one error: what is unreadable does not fit either
            reader.error(at, text)

    check(draft, names, note)
    if service is not None:
        for at, text in places.faults(
            config_file=path.absolute(),
            service=service,
            pools=draft.pools,
            ca_file=None if sandbox is None else sandbox.ca_file,
            listens={
                name: section.listen
                for name, section in (("api.listen", draft.api), ("admin.listen", draft.admin))
                if section is not None
            },
            secret_files={path.absolute(), *reader.secrets.files},
        ):
            note(at, text)
    if (
        reader.errors
        or service is None
        or sandbox is None
        or console is None
        or draft.api is None
        or draft.admin is None
        or draft.queue is None
        or draft.retry is None
    ):
        raise ConfigError([f"{path}: {error}" for error in reader.errors])
    return Config(
        path=path,
        service=service,
        api=draft.api,
        admin=draft.admin,
        queue=draft.queue,
        retry=draft.retry,
        pools=_read(draft.pools),
        sources=_read(draft.sources),
        connections=_read(draft.connections),
        sandbox=sandbox,
        console=console,
        destinations=_read(draft.destinations),
        secrets=frozenset(reader.secrets.places.values()),
        secret_settings=_secret_settings(reader.secrets.places),
        secret_files=frozenset({path, *reader.secrets.files}),
    )


def builtin_destinations() -> frozenset[str]:
    """Names of the destinations that ship with Bulkhead, by their folders, without an import."""
    package = importlib.util.find_spec("destinations")
    folders = package.submodule_search_locations if package else None
    return frozenset(
        init.parent.name.replace("_", "-")
        for folder in folders or ()
        for init in Path(folder).glob("*/__init__.py")
        if init.parent.name != "kit"
    )


def installed_plugins() -> dict[str, str]:
    """Destinations of installed packages, name to "module:Class", by their metadata alone.

    Of two packages with a destination of one name, the first by its own name has it.
    """
    found: dict[str, str] = {}
    for point in sorted(
        importlib.metadata.entry_points(group=ENTRY_POINTS),
        key=lambda point: point.dist.name if point.dist is not None else "",
    ):
        try:
            found.setdefault(point.name, values.class_path(f"{point.module}:{point.attr}"))
        except Invalid:
            continue  # a class that could not be named in the config either
    return found


def _parse(path: Path) -> Mapping[str, object]:
    """The file as TOML's tree of values. Raises ConfigError with the line at fault."""
    try:
        content = read_file(path, most_bytes=MAX_FILE)
    except OSError as error:
        raise ConfigError(
            [f"{path}: cannot be read: {error.strerror}; name a config file with --config"]
        ) from error
    if len(content) > MAX_FILE:
        raise ConfigError([f"{path}: is larger than {MAX_FILE} bytes, which is no config file"])
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8; save it as UTF-8"]) from error
    except ValueError as error:  # TOMLDecodeError, and numbers of absurd length
        raise ConfigError([_syntax_error(path, content, str(error))]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}: is nested too deeply; flatten it"]) from error


def _syntax_error(path: Path, content: bytes, said: str) -> str:
    """tomllib puts the place last, as `(at line 3, column 7)`; editors and people want it first."""
    found = re.fullmatch(
        r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", said, re.DOTALL
    )
    if found is None:
        return f"{path}: is not TOML: {said}"
    if found[2] is None:
        last = content.rstrip().count(b"\n") + 1
        return f"{path}:{last}: is not TOML: {found[1]}, at the end of the file"
    return f"{path}:{found[2]}:{found[3]}: is not TOML: {found[1]}"


def _read(sections: Mapping[str, T | None]) -> dict[str, T]:
    """Without the None of sections in error, of which there are none once there are no errors."""
    return {name: section for name, section in sections.items() if section is not None}


def _secret_settings(places: Mapping[KeyPath, str]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (str(at[1]), key_path(at[3:]))
        for at in places
        if at[0] == "connections" and at[2] == "settings"
    )
