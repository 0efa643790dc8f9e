"""Fixtures of the tests that run inside the virtual machine, and only there."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.vm.unit import SINK_PORT, Unit

#: Where scripts/vm mounts the checkout; elsewhere there is no unit to drive.
IS_INSIDE = Path("/mnt/checkout/pytest-arguments").exists()
collect_ignore_glob = [] if IS_INSIDE else ["test_*.py"]


class Sink(ThreadingHTTPServer):
    """Counts message ids; while `gate` is closed it answers nobody."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", SINK_PORT), _Handler)
        self.received: Counter[str] = Counter()
        self.arrived = 0
        self.gate = threading.Event()
        self.gate.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sink

    def do_POST(self) -> None:
        """Take one event."""
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.arrived += 1
        self.server.gate.wait(120)
        self.server.received[event["messageId"]] += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """What is received is counted, not told."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A webhook's receiver on loopback."""
    with Sink() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()


@pytest.fixture
def unit() -> Iterator[Unit]:
    """The unit; stopped afterwards."""
    service = Unit()
    yield service
    service.stop()
