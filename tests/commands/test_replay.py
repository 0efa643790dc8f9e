"""`bulkhead replay`."""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands.conftest import Bulkhead

TAPES = Path(__file__).parent.parent / "destinations"
MIXPANEL = str(TAPES / "mixpanel" / "tapes" / "accepted-doc.yaml")


@contextmanager
def replaying(*arguments: str) -> Iterator[tuple[str, Path, subprocess.Popen[str]]]:
    """A running `bulkhead replay`: its address, its authority's certificate and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "replay", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        address = re.search(r"on +(http://[0-9.:]+) ", "".join(lines))
        ca_file = re.search(r'ca_file = "(.*)"', "".join(lines))
        assert address is not None, process.communicate()
        assert ca_file is not None
        yield address[1], Path(ca_file[1]), process
    finally:
        process.kill()
        process.communicate()


def test_a_partner_on_this_machine() -> None:
    """With its address as proxy and its certificate, any client reaches the partners on tape."""
    with replaying(MIXPANEL, "-v") as (address, ca_file, process):
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": address}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file))),
        )
        request = urllib.request.Request(
            "https://api-eu.mixpanel.com/import?strict=1",
            data=json.dumps([{"event": "New", "properties": {}}]).encode(),
            headers={"Content-Type": "application/json"},
        )
        with opener.open(request, timeout=30) as answer:
            assert json.load(answer)["status"] == "OK"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "1 answered from tapes, 0 that no tape has" in out
        assert err == "200 POST api-eu.mixpanel.com/import\n"
        assert not ca_file.exists()


def test_where_the_certificate_is_written(tmp_path: Path) -> None:
    """`--ca-file` names the certificate's file, which stays."""
    with replaying(str(TAPES), "--ca-file", str(tmp_path / "ca.pem")) as (_, ca_file, process):
        assert ca_file == tmp_path / "ca.pem"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert "BEGIN CERTIFICATE" in ca_file.read_text()
    assert "PRIVATE" not in ca_file.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "418=1%"], "'418=1%' is no fault"),
        (["--latency", "fast"], "fast: "),
        (["--latency", "2s..1s"], "the first duration is the least"),
        (["--listen", "unix:/x"], "partners are reached by TCP"),
        (["--retry-after", "-1"], "retry-after"),
    ],
)
def test_wrong_usage(bulkhead: Bulkhead, arguments: list[str], said: str) -> None:
    """What makes no sense is refused in one line that says what does."""
    ran = bulkhead("replay", MIXPANEL, *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_no_tapes(bulkhead: Bulkhead, tmp_path: Path) -> None:
    """A file that is no tape, a folder without one, and a port that is taken are named."""
    (tmp_path / "x.yaml").write_text("a: 1")
    for path in (tmp_path / "x.yaml", tmp_path / "none.yaml", tmp_path.parent / "nothing-here"):
        ran = bulkhead("replay", str(path))
        assert ran.code == 1
        assert str(path) in ran.err
    with replaying(MIXPANEL) as (address, _, _):
        ran = bulkhead("replay", MIXPANEL, "--listen", address.removeprefix("http://"))
        assert ran.code == 1
        assert "in use" in ran.err
