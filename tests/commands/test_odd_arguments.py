"""Arguments and files of any bytes and kinds: one line of error, in time, and no traceback.

In processes of their own, since what an operating system hands over is decoded before any
of our code runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from supervisor.runtime.files import open_file, read_file

#: Seconds for a command that takes a second on a quiet machine.
PATIENCE_S = 60.0

ODD = (b"\xff", b"\xff\xfe\x80", b"caf\xe9", b"\xed\xa0\x80", b"a\x1b[31m\xff")
NAMED: tuple[Sequence[str], ...] = (
    ["explain"],
    ["pause"],
    ["resume"],
    ["probe"],
    ["recycle"],
    ["stacks"],
    ["heap"],
    ["deadletters", "show"],
    ["deadletters", "list", "--connection"],
    ["deadletters", "list", "--error"],
    ["deadletters", "replay", "--id"],
    ["status", "--token"],
    ["status", "--admin"],
    ["send", "/dev/null", "--write-key"],
    ["try"],
    ["frobnicate"],
    ["status", "--config"],
    ["check", "--config"],
    ["heap", "report"],
    ["replay"],
)


def ran(*arguments: str | bytes, **environment: bytes) -> subprocess.CompletedProcess[bytes]:
    """One command, with nobody behind the admin API."""
    env = {**os.environb, **{name.encode(): value for name, value in environment.items()}}
    return subprocess.run(
        [sys.executable.encode(), b"-m", b"supervisor", *map(os.fsencode, arguments)],
        env=env,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


def assert_one_line(done: subprocess.CompletedProcess[bytes], *codes: int) -> None:
    """What went wrong is said in one line that a terminal shows as it is."""
    said = done.stderr.decode()
    assert done.returncode in codes, said
    assert b"Traceback" not in done.stderr
    assert len(said.splitlines()) == 1, said
    assert said.rstrip("\n").isprintable()


@pytest.mark.parametrize("command", NAMED, ids=" ".join)
def test_an_argument_that_is_no_text(command: Sequence[str]) -> None:
    """It is refused before anything is done, wherever it stands."""
    for odd in ODD[:2]:
        assert_one_line(ran(*command, odd), 2)


@pytest.mark.parametrize("odd", ODD)
def test_every_kind_of_odd_bytes(odd: bytes) -> None:
    """Bytes that begin, end or are no UTF-8."""
    assert_one_line(ran("explain", odd), 2)


def test_a_file_may_have_a_name_of_any_bytes(tmp_path: Path) -> None:
    """A name is what the file system says it is, also behind `--option=`."""
    config = os.fsencode(tmp_path) + b"/caf\xe9.toml"
    Path(os.fsdecode(config)).write_text("[api]\nlisten = 5\n")
    for arguments in (["--config", config], [b"--config=" + config]):
        done = ran("check", *arguments)
        assert_one_line(done, 2)
        assert b"caf\\udce9.toml: api.listen" in done.stderr


@pytest.mark.parametrize("token", [b"\xff", b"a\nb", b"a\x1b[31m"])
def test_a_token_that_no_header_holds(token: bytes) -> None:
    """From the environment, too."""
    assert_one_line(ran("status", BULKHEAD_ADMIN_TOKEN=token), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--config", "FILE"],
        ["run", "--config", "FILE"],
        ["status", "--config", "FILE"],
        ["audit", "--config", "FILE"],
        ["heap", "report", "FILE"],
        ["heap", "diff", "FILE", "FILE"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "zero", "socket"])
def test_a_file_that_is_none(arguments: Sequence[str], kind: str, tmp_path: Path) -> None:
    """A pipe that nobody writes into does not hang, and a device without end is not read."""
    path = special(kind, tmp_path)
    done = ran(*(str(path) if part == "FILE" else part for part in arguments))
    assert_one_line(done, 1, 2)


def special(kind: str, folder: Path) -> Path:
    """Something with a name that is no regular file."""
    path = folder / "special"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "zero":
            return Path("/dev/zero")
        case _:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
    return path


@pytest.mark.parametrize("kind", ["pipe", "folder", "zero", "socket"])
def test_no_regular_file_is_read(kind: str, tmp_path: Path) -> None:
    """What it is stands in the error."""
    path = special(kind, tmp_path)
    with pytest.raises(OSError, match=r"and no regular file|No such device"):
        open_file(path)
    with pytest.raises(OSError, match=r"and no regular file|No such device"):
        read_file(path, most_bytes=10)


def test_a_pipe_is_read_to_its_end_where_it_may_be_one(tmp_path: Path) -> None:
    """As a shell's `<(command)` is; and no more of it than was asked for."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(
        [sys.executable, "-c", f"open({str(path)!r}, 'wb').write(b'abc' * 1000)"]
    ) as writer:
        # Opened for both, so that the writer does not have to be first.
        keeper = os.open(path, os.O_RDWR)
        assert writer.wait(PATIENCE_S) == 0
        reader = os.open(path, os.O_RDONLY)
        os.close(keeper)
        assert read_file(Path(f"/proc/self/fd/{reader}"), most_bytes=10, may_be_pipe=True)[:3] == (
            b"abc"
        )
        os.close(reader)


def test_a_file_is_read_whole_or_one_byte_too_far(tmp_path: Path) -> None:
    """The caller sees that it is too large, and no more of it than that."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    assert read_file(path, most_bytes=5000) == b"x" * 5000
    assert len(read_file(path, most_bytes=10)) == 11
    with pytest.raises(OSError, match=r"there is no such name"):
        read_file(Path("a\0b"), most_bytes=1)
