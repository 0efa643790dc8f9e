"""Exit codes, and the form of errors."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from supervisor.__main__ import COMMANDS, cli
from tests.commands.conftest import Bulkhead


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help(bulkhead: Bulkhead, command: list[str]) -> None:
    """`--help` is exit 0 and says how to call the command."""
    ran = bulkhead(*command, "--help")
    assert ran.code == 0
    assert "Usage: bulkhead" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["heap"],
        ["frobnicate"],
        ["run"],
        ["status", "--frob"],
        ["status", "--admin", "ftp://x"],
        ["status", "--admin", "http://"],
        ["status", "--admin", "http://h:port"],
        ["status", "--admin", "http://a b/"],
        ["status", "--admin", "http://a..b/"],
        ["status", "--admin", "http://h/\x1b[31m"],
        ["status", "--admin", "unix:/a\nb"],
        ["status", "--token", "a\nb"],
        ["send", "file"],
        ["deadletters", "list", "--limit", "0"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(bulkhead: Bulkhead, arguments: list[str]) -> None:
    """Wrong usage says in one line on standard error what was wrong and where help is."""
    ran = bulkhead(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert len(ran.err) < 200
    assert "--help" in ran.err


def test_nobody_answering_is_exit_1(bulkhead: Bulkhead, tmp_path: Path) -> None:
    """A service that is not there is one line with a hint, for both kinds of address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for address in (f"http://127.0.0.1:{port}", f"unix:{tmp_path}/none.sock"):
        ran = bulkhead("status", "--admin", address)
        assert ran.code == 1
        assert ran.err.startswith(address)
        assert "is the service running?" in ran.err


def test_a_wrong_config_is_exit_2(bulkhead: Bulkhead, tmp_path: Path) -> None:
    """All errors of a config are on standard error, one a line, each naming file and key."""
    config = tmp_path / "bulkhead.toml"
    config.write_text('[service]\nstate_dir = 7\n[api]\nlisten = "nowhere"\n')
    for command in ("run", "check", "status", "audit"):
        ran = bulkhead(command, "--config", str(config))
        assert ran.code == 2
        assert len(ran.err.splitlines()) == 2
        assert all(line.startswith(str(config)) for line in ran.err.splitlines())


def test_a_state_directory_that_is_not_there_is_named(bulkhead: Bulkhead, tmp_path: Path) -> None:
    """`audit` of a directory that does not exist is exit 1 and names it."""
    ran = bulkhead("audit", "--state-dir", str(tmp_path / "none"))
    assert ran.code == 1
    assert str(tmp_path / "none") in ran.err


def test_the_module_is_the_command() -> None:
    """`python -m supervisor` is `bulkhead`, in a process of its own."""
    command = [sys.executable, "-m", "supervisor", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.startswith("bulkhead, version ")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["status", "--help"], ["status", "--admin", "http://127.0.0.1:9"]]
)
def test_command_starts_without_the_libraries_of_the_service(arguments: list[str]) -> None:
    """One that prints a page, or asks a service that is not there, loads none of them."""
    script = (
        f"import sys; from supervisor.__main__ import _run; _run({arguments!r});"
        "print(sorted({'aiohttp', 'uvloop', 'structlog', 'asyncio'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, timeout=30, check=False, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]", ran.stdout + ran.stderr


def test_page_of_all_commands_says_what_each_says_itself() -> None:
    """The table of commands repeats the first sentence of each one's help."""
    context = click.Context(cli)
    said = {name: cli.get_command(context, name) for name in COMMANDS}
    assert {name: one.get_short_help_str(200) for name, one in said.items() if one} == {
        name: help_text for name, (_, help_text) in COMMANDS.items()
    }
