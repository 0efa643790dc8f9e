"""What strangers wrote, through every command: a terminal obeys none of it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sandbox.protocol import printable, printable_json, printable_lines
from tests.admin.stubs import StubControl, an_exit
from tests.commands.conftest import Bulkhead
from tests.commands.servers import admin_app, serving

ROOT = Path(__file__).parents[2]
#: Escape sequences of C0 and C1, a title that is set, a bell, lines that are overwritten, writing
#: that is turned round and never turned back, a separator that some take for an end of line.
HOSTILE = "\x1b[2J\x9b31m\x1b]0;pwned\x07\r\x08\u202e\u2066\u2028\x85\x7f"
#: Text that is read as a time, or as one of a few words, and refused where it is none.
READ = {"at", "first_at", "last_at", "received_at", "next_attempt_at", "state", "outcome"}


def poisoned(value: Any, key: str = "") -> Any:  # Any: JSON
    """A document in which every free text ends in HOSTILE."""
    match value:
        case str() if key not in READ and not key.endswith("_at"):
            return value + HOSTILE
        case list():
            return [poisoned(item, key) for item in value]
        case dict():
            return {name: poisoned(item, name) for name, item in value.items()}
        case _:
            return value


def strings(value: Any) -> Iterator[str]:  # Any: JSON
    """Every text in a document."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from strings(item)
        case dict():
            for item in value.values():
                yield from strings(item)
        case _:
            pass  # a number, true, false or null


@web.middleware
async def _poison(
    request: web.Request, handler: Callable[[web.Request], Any]
) -> web.StreamResponse:
    answer = await handler(request)
    if not isinstance(answer, web.Response):
        return web.Response(status=404)
    body = answer.body
    assert isinstance(body, bytes)
    if answer.content_type == "application/json":
        poison = poisoned(json.loads(body))
        return web.Response(
            body=json.dumps(poison, ensure_ascii=False).encode(),
            status=answer.status,
            content_type="application/json",
        )
    return web.Response(body=body + HOSTILE.encode(), content_type=answer.content_type)


@pytest.fixture
def hostile(control: StubControl) -> Iterator[str]:
    """A service in which every name, reason and event is a stranger's."""

    def make() -> web.Application:
        app = admin_app(control)()
        app.middlewares.insert(0, _poison)
        return app

    with serving(make) as address:
        yield address


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "--all"],
        ["status", "--json"],
        ["status", "--exits"],
        ["status", "--exits", "--json"],
        ["explain", "m1"],
        ["explain", "m1", "--json"],
        ["explain", "none"],
        ["audit"],
        ["audit", "--json"],
        ["deadletters", "list"],
        ["deadletters", "list", "--json"],
        ["deadletters", "show", "7"],
        ["deadletters", "show", "7", "--json"],
        ["deadletters", "show", "none"],
        ["deadletters", "replay", "--id", "7"],
        ["deadletters", "drop", "--yes"],
        ["pause", "a\x1b[31m"],
        ["resume", "a\x9b"],
        ["probe", "a\u202e"],
        ["recycle", "a\x07"],
        ["stacks", "default-1"],
        ["heap", "default-1", "-o", "-"],
    ],
    ids=" ".join,
)
def test_no_command_lets_it_through(
    bulkhead: Bulkhead, hostile: str, control: StubControl, arguments: list[str]
) -> None:
    """Neither standard output nor standard error has a character that a terminal obeys."""
    control.exits.add(an_exit(1, detail="blocked"), "File x in f")
    ran = bulkhead(*arguments, "--admin", hostile)
    for line in (ran.out + ran.err).split("\n"):
        assert line.isprintable(), line
    if "--json" in arguments and ran.code == 0 and arguments[0] != "audit":
        assert HOSTILE in "".join(strings(json.loads(ran.out)))


def test_commands_print_in_one_way() -> None:
    """No command writes past `say` and the console of `context`, which make text harmless."""
    files = [*(ROOT / "supervisor/commands").glob("*.py"), ROOT / "supervisor/__main__.py"]
    past = [
        f"{file.name}:{node.lineno}: {ast.unparse(node.func)}"
        for file in files
        if file.name not in ("terminal.py", "context.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and re.fullmatch(
            r"click\.(echo|secho|style)|print|(rich\.console\.)?Console|sys\.std\w+\.(buffer\.)?write.*",
            ast.unparse(node.func),
        )
    ]
    assert not past, f"print by say, say_lines or console(): {past}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 漢字, 🙂", "plain, ünïcode, 漢字, 🙂"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("back\\slash", "back\\slash"),
        (7, "7"),
    ],
)
def test_printable(text: object, shown: str) -> None:
    """One line; what is printable stays as it is."""
    assert printable(text) == shown


def test_lines_end_at_ends_of_lines_alone() -> None:
    """A carriage return of Windows goes with its end of line; any other is shown."""
    assert printable_lines("a\r\nb\rc\u2028d\n") == "a\nb\\rc\\u2028d\n"


@pytest.mark.parametrize("text", [HOSTILE, "\U000e0041", "\ue000", "\u00a0", 'quote"\\', "\x00"])
def test_json_keeps_its_value(text: str) -> None:
    """A document says the same before and after."""
    document = json.dumps({text: [text]}, ensure_ascii=False, indent=2)
    shown = printable_json(document)
    assert json.loads(shown) == {text: [text]}
    assert shown.replace("\n", "").isprintable()
