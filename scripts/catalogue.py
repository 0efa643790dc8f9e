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
from supervisor.tapes.tape import dumps  # noqa: E402
from tests.harness import journey  # noqa: E402

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


def parts(destination: type[Destination]) -> dict[str, list[str]]:
    """What of a destination's own page is generated, by the name in its markers."""
    defaults = destination.defaults
    section = _section(destination)
    return {
        # Without the heading and the class's docstring, which the page says in its own words.
        "facts": section[next(i for i, line in enumerate(section) if line == "| | |") :],
        "fields": defaults.markdown() if defaults is not None else ["It has no default fields."],
        "journey": journey.markdown(destination.name),
    }


def own_page(destination: type[Destination], text: str) -> str:
    """A destination's page with its generated parts renewed: what stands between their markers.

    `<!-- NAME -->` opens one and `<!-- /NAME -->` closes it, each on a line of its own.
    """
    for name, lines in parts(destination).items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(opening)
        _, ends, after = rest.partition(closing)
        if not (found and ends):
            raise SystemExit(f"{destination.name}: README.md has no <!-- {name} --> part")
        text = f"{before}{opening}{chr(10).join(lines)}\n{closing}{after}"
    return text


def pages() -> Iterator[tuple[Path, str]]:
    """Every file that is written here, with what it should say: pages, and tapes of journeys."""
    yield PAGE, page()
    for name in names():
        path = ROOT / "destinations" / name.replace("-", "_") / "README.md"
        if path.exists():
            yield path, own_page(load(name, None), path.read_text())
            tapes = ROOT / "tests" / "destinations" / path.parent.name / "tapes"
            yield tapes / "journey-doc.yaml", dumps(journey.tape(name))


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` compare them."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/catalogue [--check]", file=sys.stderr)
        return 2
    stale = [(path, text) for path, text in pages() if not _says(path, text)]
    for path, text in stale:
        if not arguments:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
        else:
            print(
                f"{path.relative_to(ROOT)} is not what the code says; run ./scripts/catalogue",
                file=sys.stderr,
            )
    return 1 if arguments and stale else 0


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
