"""What each section of the config file may say, one table of keys a section.

Owns the mapping from TOML keys to the fields of the config's types, with the
range of every value; defaults are the types' own. Knows no relations between
sections: those are `checks.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sandbox.protocol import LAYERS, PROFILES
from supervisor.config import values
from supervisor.config.secrets import KeyPath, Secrets, Unresolved, key_path, plain
from supervisor.config.types import (
    ANY_DESTINATION,
    ENGINES,
    NETWORKS,
    ORDERINGS,
    PAYLOADS,
    Admin,
    Api,
    Connection,
    Console,
    DestinationClass,
    Pool,
    QueueConfig,
    Retry,
    Sandbox,
    Service,
    Source,
)
from supervisor.config.values import Invalid, Parser, did_you_mean, shown

T = TypeVar("T")


class Key(NamedTuple):
    """One key of a section: the field that it fills, and the parser of its value."""

    field: str
    parse: Parser
    is_required: bool = False
    is_table: bool = False
    """Only a table may stand here, so `{ env = ... }` by itself is no secret."""


Keys = Mapping[str, Key]

SECTIONS = (
    "service",
    "api",
    "admin",
    "queue",
    "retry",
    "pools",
    "sources",
    "connections",
    "sandbox",
    "console",
    "destinations",
)
#: Sections of tables that have names of their own, such as `[pools.NAME]`.
_NAMED_SECTIONS = ("pools", "sources", "connections", "destinations")


def _folders(base: Path) -> Parser:
    """Folders that are there, as a tuple of paths."""
    paths = values.list_of(values.text)

    def folders(value: object) -> tuple[Path, ...]:
        found = tuple(base / folder for folder in paths(value))
        missing = [
            (f"[{index}]", f"names no folder: {folder}")
            for index, folder in enumerate(found)
            if "\0" in str(folder) or not folder.is_dir()
        ]
        if missing:
            raise Invalid(*missing)
        return found

    return folders


def _service_keys(base: Path) -> Keys:
    return {
        "state_dir": Key("state_dir", values.path(base)),
        "plugin_paths": Key("plugin_paths", _folders(base)),
        "drain_timeout": Key("drain_timeout_s", values.duration("0s", "1h")),
        "snapshots": Key("snapshots", values.size("1MiB", "100TiB")),
    }


def _api_keys(base: Path) -> Keys:
    return {
        "listen": Key("listen", values.address(base)),
        "max_event": Key("max_event", values.size("1KiB", "8MiB")),
        "max_request": Key("max_request", values.size("1KiB", "32MiB")),
    }


def _admin_keys(base: Path) -> Keys:
    return {
        "listen": Key("listen", values.address(base)),
        "token": Key("token", values.text),
        "view_token": Key("view_token", values.text),
        "hosts": Key("hosts", values.list_of(values.host_name)),
        "user_header": Key("user_header", values.header_name),
    }


_CONSOLE_KEYS: Keys = {
    "enabled": Key("enabled", values.boolean),
    "payloads": Key("payloads", values.one_of(*PAYLOADS)),
    "mask": Key("mask", values.list_of(values.event_path)),
    "trends": Key("trends", values.size("1MiB", "100GiB")),
    "tap": Key("tap", values.size("64KiB", "1GiB")),
}


_QUEUE_KEYS: Keys = {
    "engine": Key("engine", values.one_of(*ENGINES)),
    "max_pending": Key("max_pending", values.size("64KiB", "100TiB")),
    "dedupe_window": Key("dedupe_window_s", values.duration("0s", "365d")),
    "dedupe_budget": Key("dedupe_budget", values.size("64KiB", "100TiB")),
    "dead_letters": Key("dead_letters", values.size("64KiB", "100TiB")),
    "dead_letters_age": Key("dead_letters_age_s", values.duration("1s", "3650d")),
    "history": Key("history", values.size("64KiB", "100TiB")),
}

_RETRY_KEYS: Keys = {
    "window": Key("window_s", values.duration("0s", "365d")),
    "first_delay": Key("first_delay_s", values.duration("1ms", "1d")),
    "max_delay": Key("max_delay_s", values.duration("1ms", "30d")),
}


def _pool_keys(base: Path) -> Keys:
    return {
        "destinations": Key("destinations", values.non_empty(values.list_of(values.text))),
        "workers": Key("workers", values.integer(1, 256)),
        "spares": Key("spares", values.integer(0, 64)),
        "memory_limit": Key("memory_limit", values.size("32MiB", "1TiB")),
        "memory_soft_limit": Key("memory_soft_limit", values.size("16MiB", "1TiB")),
        "batch_timeout": Key("batch_timeout_s", values.duration("10ms", "1h")),
        "block_timeout": Key("block_timeout_s", values.duration("10ms", "1h")),
        # Below 64 a worker's own pipes and libraries leave nothing to connect with.
        "max_open_files": Key("max_open_files", values.integer(64, 1_048_576)),
        "network": Key("network", values.one_of(*NETWORKS)),
        "allow": Key("allow", values.list_of(values.allowed)),
        "profile": Key("profile", values.one_of(*PROFILES)),
        "write_paths": Key("write_paths", _folders(base)),
    }


_SOURCE_KEYS: Keys = {
    "write_key": Key("write_key", values.write_key),
    "write_keys": Key("write_keys", values.non_empty(values.list_of(values.write_key))),
}


def _settings(value: object) -> object:
    if not isinstance(value, dict):
        raise values.wrong(value, 'a table, such as { token = { env = "NAME" } }')
    return plain(value)


_CONNECTION_KEYS: Keys = {
    "source": Key("source", values.text, is_required=True),
    "destination": Key("destination", values.text, is_required=True),
    "settings": Key("settings", _settings, is_table=True),
    "max_concurrency": Key("max_concurrency", values.integer(1, 1024)),
    "rate_limit": Key("rate_limit", values.rate),
    "max_backlog": Key("max_backlog", values.size("64KiB", "100TiB")),
    "ordering": Key("ordering", values.one_of(*ORDERINGS)),
    "weight": Key("weight", values.integer(1, 1000)),
    "linger": Key("linger_s", values.duration("0s", "60s")),
    "batch_events": Key("batch_events", values.integer(1, 10_000)),
    # A frame to a worker is at most 64 MiB, and a batch has to fit into one.
    "batch_bytes": Key("batch_bytes", values.size("1KiB", "32MiB")),
    "enabled": Key("enabled", values.boolean),
}


def _sandbox_keys(base: Path) -> Keys:
    path = values.path(base)

    def existing_file(value: object) -> object:
        file = path(value)
        if not file.is_file():
            raise Invalid(("", f"names no file: {file}"))
        return file

    def certificates(value: object) -> object:
        file = existing_file(value)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(str(file))
        except ssl.SSLError as error:
            raise Invalid(("", f"holds no certificates in PEM form: {file}")) from error
        except OSError as error:
            raise Invalid(("", f"cannot be read: {file}: {error.strerror}")) from error
        return file

    return {
        "profile": Key("profile", values.one_of(*PROFILES)),
        "require": Key("require", values.list_of(values.one_of(*LAYERS))),
        "ca_file": Key("ca_file", certificates),
        "proxy": Key("proxy", values.proxy_url),
    }


_DESTINATION_KEYS: Keys = {"class": Key("class_path", values.class_path, is_required=True)}


def known_keys() -> Mapping[str, Collection[str]]:
    """Every key that a section may have; those of one NAME where it is a section of tables."""
    nowhere = Path()
    return {
        "service": _service_keys(nowhere).keys(),
        "api": _api_keys(nowhere).keys(),
        "admin": _admin_keys(nowhere).keys(),
        "queue": _QUEUE_KEYS.keys(),
        "retry": _RETRY_KEYS.keys(),
        "pools": _pool_keys(nowhere).keys(),
        "sources": _SOURCE_KEYS.keys(),
        "connections": _CONNECTION_KEYS.keys(),
        "sandbox": _sandbox_keys(nowhere).keys(),
        "console": _CONSOLE_KEYS.keys(),
        "destinations": _DESTINATION_KEYS.keys(),
    }


class Reader:
    """Reads the sections of one parsed file; what is wrong goes to `errors`, never raised.

    A section that lacks a required key, or has it wrong, is None.
    """

    def __init__(self, tree: Mapping[str, object], base: Path, environ: Mapping[str, str]) -> None:
        self._tree = tree
        self._base = base
        self.errors: list[str] = []
        self.blamed: set[str] = set()
        self.secrets = Secrets(base, environ, lambda at, text: self.error(key_path(at), text))
        self._known_keys(tree, SECTIONS, ())

    def service(self) -> Service | None:
        return self._build(Service, self._section("service", _service_keys(self._base)))

    def api(self) -> Api | None:
        return self._build(Api, self._section("api", _api_keys(self._base)))

    def admin(self) -> Admin | None:
        return self._build(Admin, self._section("admin", _admin_keys(self._base)))

    def queue(self) -> QueueConfig | None:
        return self._build(QueueConfig, self._section("queue", _QUEUE_KEYS))

    def retry(self) -> Retry | None:
        return self._build(Retry, self._section("retry", _RETRY_KEYS))

    def sandbox(self) -> Sandbox | None:
        return self._build(Sandbox, self._section("sandbox", _sandbox_keys(self._base)))

    def console(self) -> Console | None:
        return self._build(Console, self._section("console", _CONSOLE_KEYS))

    def pools(self) -> Mapping[str, Pool | None]:
        """Every pool that the file names; a pool `default` with "*" where it names none."""
        return self._named("pools", _pool_keys(self._base), self._pool) or {
            "default": Pool(name="default", destinations=(ANY_DESTINATION,))
        }

    def sources(self) -> Mapping[str, Source | None]:
        return self._named("sources", _SOURCE_KEYS, self._source)

    def connections(self) -> Mapping[str, Connection | None]:
        return self._named("connections", _CONNECTION_KEYS, self._connection)

    def destinations(self) -> Mapping[str, DestinationClass | None]:
        return self._named(
            "destinations",
            _DESTINATION_KEYS,
            lambda name, given: DestinationClass(name=name, **given),
        )

    def error(self, path: str, text: str) -> None:
        """Note what is wrong, and where."""
        self.errors.append(f"{path}: {text}")
        self.blamed |= {path, path.partition("[")[0]}

    def is_blamed(self, *path: str) -> bool:
        """Whether a value, or one of its items, is called wrong already."""
        return key_path(path) in self.blamed

    # Any below: keyword arguments of the config's types, each checked by its key's parser.

    def _build(self, section: Callable[..., T], given: dict[str, Any] | None) -> T | None:
        return None if given is None else section(**given)

    def _pool(self, name: str, given: dict[str, Any]) -> Pool | None:
        if "destinations" not in given and name == "default":
            given["destinations"] = (ANY_DESTINATION,)
        if "destinations" not in given:
            if not self.is_blamed("pools", name, "destinations"):
                self._missing(("pools", name, "destinations"), 'destinations = ["mixpanel"]')
            return None
        if "memory_limit" in given and "memory_soft_limit" not in given:
            given["memory_soft_limit"] = given["memory_limit"] // 4 * 3
        return Pool(name=name, **given)

    def _source(self, name: str, given: dict[str, Any]) -> Source | None:
        match given:
            case {"write_key": _, "write_keys": _}:
                self.error(
                    key_path(("sources", name, "write_key")),
                    "stands beside write_keys; use one of them",
                )
                return None
            case {"write_key": key}:
                return Source(name=name, write_keys=(key,))
            case {"write_keys": keys}:
                return Source(name=name, write_keys=keys)
            case _:
                if not any(self.is_blamed("sources", name, key) for key in _SOURCE_KEYS):
                    self._missing(("sources", name, "write_key"), 'write_key = { env = "NAME" }')
                return None

    def _connection(self, name: str, given: dict[str, Any]) -> Connection:
        return Connection(name=name, **given)

    def _missing(self, at: KeyPath, example: str) -> None:
        self.error(key_path(at), f"is missing; write {example}")

    def _named(
        self, section: str, keys: Keys, build: Callable[[str, dict[str, Any]], T | None]
    ) -> dict[str, T | None]:
        """A section of named tables, such as `[pools.NAME]`."""
        tables = self._tree.get(section, {})
        if not isinstance(tables, dict):
            self.error(section, f"is {shown(tables)}; write tables such as [{section}.NAME]")
            return {}
        built: dict[str, T | None] = {}
        for name, table in tables.items():
            at: KeyPath = (section, name)
            built[name] = None
            if not isinstance(table, dict):
                self.error(key_path(at), f"is {shown(table)}; write a table [{key_path(at)}]")
            elif not values.is_name(name):
                self.error(
                    key_path(at),
                    "is no name; use up to 64 letters (a-z), digits, '_', '-' and '.', "
                    "the first a letter, digit or '_'",
                )
            else:
                given = self._table(table, keys, at)
                built[name] = None if given is None else build(name, given)
        return built

    def _section(self, name: str, keys: Keys) -> dict[str, Any] | None:
        table = self._tree.get(name, {})
        if not isinstance(table, dict):
            self.error(name, f"is {shown(table)}; write a table [{name}]")
            return None
        return self._table(table, keys, (name,))

    def _table(self, table: dict[str, Any], keys: Keys, at: KeyPath) -> dict[str, Any] | None:
        """The fields that a table gives, or None where a required one is missing or wrong."""
        self._known_keys(table, keys, at)
        given: dict[str, Any] = {}
        for name, key in keys.items():
            if name not in table:
                if key.is_required:
                    self.error(key_path((*at, name)), "is missing; it has no default")
                continue
            here = (*at, name)
            value = table[name]
            if key.is_table and isinstance(value, dict):
                value = self.secrets.resolve_table(value, here)
            else:
                value = self.secrets.resolve(value, here)
            if _is_unresolved(value):
                continue  # noted by Secrets
            try:
                given[key.field] = key.parse(value)
            except Invalid as error:
                for below, text in error.problems:
                    self.error(key_path(here) + below, text)
        if any(key.is_required and key.field not in given for key in keys.values()):
            return None
        return given

    def _known_keys(self, table: Mapping[str, object], known: Collection[str], at: KeyPath) -> None:
        for name in table:
            if name not in known:
                hint = (
                    did_you_mean(name, known)
                    or _home_of(name)
                    or f"; known here: {', '.join(known)}"
                )
                self.error(key_path((*at, name)), f"is no key of the config{hint}")


def _home_of(key: str) -> str:
    """Where a key belongs that stands in the wrong section, or nothing."""
    homes = [
        f"[{section}.NAME]" if section in _NAMED_SECTIONS else f"[{section}]"
        for section, keys in known_keys().items()
        if key in keys
    ]
    return f" here; it belongs into {' or '.join(homes)}" if homes else ""


def _is_unresolved(value: object) -> bool:
    """Whether a value cannot be judged, since a secret in it could not be resolved."""
    return isinstance(value, Unresolved) or (
        isinstance(value, list) and any(isinstance(item, Unresolved) for item in value)
    )
