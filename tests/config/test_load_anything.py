"""Hostile config files: `load` answers with a config or with its errors, and nothing else."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.config import ConfigError, load
from supervisor.config.sections import SECTIONS

EXAMPLE = Path(__file__).parents[2] / "config/example-production.toml"
BUILTIN = frozenset({"mixpanel", "webhooks"})

WORDS = st.sampled_from(
    ["*", "web", "webhooks", "default", "256MiB", "30s", "1/s", "a:1", "unix:x", "strict", "", "\0",
     "0.0.0.0:1", "10.0.0.0/8", "a:B", "HOME", "../x", "http://p:1", "nul\0"]
)  # fmt: skip
KEYS = st.sampled_from(
    [*SECTIONS, "listen", "token", "destinations", "workers", "memory_limit", "settings", "source",
     "destination", "write_key", "write_keys", "class", "env", "file", "allow", "state_dir",
     "plugin_paths", "ca_file", "proxy", "rate_limit", "web", "a b", "", "é"]
)  # fmt: skip
SCALARS = (
    WORDS
    | st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=8)
    | st.booleans()
    | st.integers()
    | st.floats()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
FILES = st.dictionaries(
    KEYS, st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=5), max_size=5)
)


def toml(value: Any) -> str:  # Any: a tree of strings, numbers, lists and dicts
    """A value in TOML, tables inline; JSON's strings are TOML's."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return (
                "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
            )
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def document(tree: dict[str, Any]) -> bytes:
    """A whole file."""
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in tree.items()).encode()


def places(table: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every place where a value stands, tables included."""
    for key, value in table.items():
        yield table, key
        if isinstance(value, dict):
            yield from places(value)


def load_bytes(content: bytes, folder: Path) -> None:
    path = folder / "b.toml"
    path.write_bytes(content)
    errors: list[str] | None = None
    try:
        config = load(path, environ={"HOME": "x"}, builtin=BUILTIN)
    except ConfigError as error:
        errors = error.errors
    if errors is None:
        assert {config.pool_of(c.destination) for c in config.connections.values()} <= {
            *config.pools
        }
    else:
        assert errors
        assert all(line.startswith(str(path)) and "\n" not in line for line in errors)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=FILES)
def test_any_tree(tree: dict[str, Any], tmp_path: Path) -> None:
    """Whatever stands where, the answer is a config or one line for each error."""
    load_bytes(document(tree), tmp_path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=VALUES)
def test_any_value(data: st.DataObject, value: Any, tmp_path: Path) -> None:
    """Whatever stands in place of one value of a valid file, the same holds."""
    tree = tomllib.loads(EXAMPLE.read_text())
    table, key = data.draw(st.sampled_from(list(places(tree))))
    table[key] = value
    load_bytes(document(tree), tmp_path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(content: bytes, tmp_path: Path) -> None:
    """What is no TOML at all is an error with the file's name."""
    load_bytes(content, tmp_path)


def test_nesting(tmp_path: Path) -> None:
    """No depth of nesting gets past the errors."""
    load_bytes(b"x = " + b"[" * 50_000 + b"]" * 50_000, tmp_path)
    load_bytes(b"x" + b".x" * 2_000 + b" = 1", tmp_path)
    load_bytes(b"[connections.c.settings" + b".x" * 2_000 + b"]", tmp_path)
