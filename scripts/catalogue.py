"""The catalogue: every built-in destination on one page, by what its code says of itself.

Owns the page's form. What is on it stands in the classes: their declarations,
their settings' types and defaults, and their docstrings.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # for `python scripts/catalogue.py`, which begins below it
    sys.path.insert(0, str(ROOT))

from destinations.kit import Destination  # noqa: E402 - found by the line above
from destinations.kit.loading import load  # noqa: E402

PAGE = ROOT / "destinations" / "CATALOGUE.md"
EVENT_TYPES = ("identify", "track", "page", "screen", "group", "alias")
HEAD = """\
# Catalogue of destinations

Written by `./scripts/catalogue` from the code. A type that is marked may still be `unsupported`
with some settings, and an event that a destination refuses is a dead letter that says why.
"""


def page() -> str:
    """The whole page."""
    classes = [load(name, None) for name in names()]
    parts = [HEAD, *_overview(classes)]
    for destination in classes:
        parts += ["", *_section(destination)]
    return "\n".join(parts) + "\n"


def names() -> list[str]:
    """Names of the built-in destinations, sorted."""
    return sorted(
        init.parent.name.replace("_", "-")
        for init in (ROOT / "destinations").glob("*/__init__.py")
        if init.parent.name != "kit"
    )


def _overview(classes: Sequence[type[Destination]]) -> list[str]:
    return [
        f"| destination | {' | '.join(EVENT_TYPES)} | events a batch |",
        f"| --- | {' | '.join('---' for _ in EVENT_TYPES)} | --- |",
        *(
            f"| [{one.name}](#{one.name}) | "
            + " | ".join("✓" if kind in one.types else "" for kind in EVENT_TYPES)
            + f" | {one.batch_events} |"
            for one in classes
        ),
    ]


def _section(destination: type[Destination]) -> list[str]:
    facts = {
        "hosts": ", ".join(f"`{host}`" for host in destination.hosts),
        "events a batch": f"{destination.batch_events}, at most {_size(destination.batch_bytes)}",
        "requests at once": getattr(destination, "concurrency", None),
        "an answer may take": _seconds(getattr(destination, "timeout_s", None)),
        "in `integrations`": ", ".join(f"`{name}`" for name in _called(destination)),
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value]
    lines = [f"## {destination.name}", "", _text(destination)]
    lines += ["", "| | |", "| --- | --- |", *rows]
    fields = list(_fields(destination.Settings, ""))
    if not fields:
        return [*lines, "", "It has no settings."]
    lines += ["", "| setting | type | default |", "| --- | --- | --- |", *fields]
    for struct, at in _structs(destination.Settings, ""):
        if text := _text(struct):
            lines += ["", f"{f'`{at}`: ' if at else ''}{text}"]
    return lines


def _called(destination: type[Destination]) -> list[str]:
    return [destination.name, *destination.aliases]


def _fields(struct: type[msgspec.Struct], at: str) -> Iterator[str]:
    for field in msgspec.structs.fields(struct):
        name = f"{at}{field.encode_name}"
        yield f"| `{name}` | {_type(field.type)} | {_default(field)} |"
        for nested, where in _nested(field.type, name):
            yield from _fields(nested, f"{where}.")


def _structs(struct: type[msgspec.Struct], at: str) -> Iterator[tuple[type[msgspec.Struct], str]]:
    """The struct and those below it, each with the path that leads there."""
    yield struct, at
    for field in msgspec.structs.fields(struct):
        for nested, where in _nested(field.type, f"{at}.{field.encode_name}".lstrip(".")):
            yield from _structs(nested, where)


def _nested(kind: Any, at: str) -> Iterator[tuple[type[msgspec.Struct], str]]:  # Any: a type form
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind, at
    elif get_origin(kind) is dict:
        yield from _nested(get_args(kind)[1], f"{at}.NAME")
    else:
        for arm in get_args(kind):
            yield from _nested(arm, at)


def _type(kind: Any) -> str:  # Any: a type form
    origin, arms = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f'`"{arm}"`' for arm in arms)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(arm) for arm in arms if arm is not type(None))
    if origin is dict:
        return f"table of {_type(arms[1])}"
    if origin in (list, tuple):
        return f"list of {_type(arms[0])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "table"
    known = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return known.get(kind) or str(getattr(kind, "__name__", kind))


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "**required**"
    made = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    match made:
        case None:
            return "none"
        case bool():
            return f"`{str(made).lower()}`"
        case str():
            return f'`"{made}"`'
        case _:
            return f"`{made}`" if made else "empty"


def _size(count: int) -> str:
    mib, kib = divmod(count, 1024 * 1024), divmod(count, 1024)
    if mib[0] and not mib[1]:
        return f"{mib[0]} MiB"
    return f"{kib[0]} KiB" if kib[0] and not kib[1] else f"{count} bytes"


def _seconds(count: float | None) -> str | None:
    return None if count is None else f"{count:g} s"


def _text(thing: type) -> str:
    # Not inherited: a class without one would speak of its base.
    return inspect.cleandoc(thing.__doc__ or "") if "__doc__" in vars(thing) else ""


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/catalogue [--check]", file=sys.stderr)
        return 2
    wanted = page()
    if not arguments:
        PAGE.write_text(wanted)
        print(f"wrote {PAGE.relative_to(ROOT)}")
        return 0
    if not PAGE.exists() or PAGE.read_text() != wanted:
        print(
            f"{PAGE.relative_to(ROOT)} is not what the code says: run ./scripts/catalogue",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
