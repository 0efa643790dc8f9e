"""Servers that answer 200 in careless HTTP, and the real service: each event is sent once."""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import StartService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = Path(__file__).parent / "plugins"
EVENTS = 5
TWO = b"Content-Length: 2\r\n"
#: What is answered, by path.
ANSWERS = {
    "long-line": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000 + b"\r\n" + TWO + b"\r\nok",
    "many": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 160 + TWO + b"\r\nok",
    "no-gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + TWO + b"\r\nok",
    "unknown-packing": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n" + TWO + b"\r\nok",
    "204-with-a-body": b"HTTP/1.1 204 No\r\n" + TWO + b"\r\nok",
    "no-header": b"HTTP/1.1 200 OK\r\nwhat is this\r\n" + TWO + b"\r\nok",
    "controls": b"HTTP/1.1 200 \x1b[31m\xff\r\nX: \x00\x1b\r\n" + TWO + b"\r\nok",
    "cut-off": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nok",
}
#: A signed URL, whose very bytes count.
SIGNED = "a%2Fb%2B?sig=x%2By%40z&d=a+b"


@contextmanager
def careless() -> Iterator[tuple[int, Counter[str]]]:
    """A server of all these, a path each; its port, and how often each path was asked for."""
    asked: Counter[str] = Counter()

    class Careless(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path = self.rfile.readline().split(b" ")[1].decode()
            size = 0
            while line := self.rfile.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            self.rfile.read(size)
            asked[path] += 1
            self.wfile.write(ANSWERS[path.split("/")[2]])

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Careless) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def test_each_event_is_sent_once(running_service: StartService) -> None:
    """A success in careless HTTP is one, by the kit's helpers and by `self.http`; URLs are kept."""
    with careless() as (port, asked):
        connections: dict[str, dict[str, object]] = {
            f"connections.{destination}-{kind}": {
                "source": "test",
                "destination": destination,
                "settings": {"url": f"http://127.0.0.1:{port}/{destination}/{kind}/{SIGNED}"},
            }
            for destination in ("webhooks", "own")
            for kind in ANSWERS
        }
        service = running_service(
            {
                "service": {"plugin_paths": [str(PLUGINS)]},
                "destinations.own": {"class": "own_http:Own"},
                "pools.default": {"destinations": ["*"], "allow": [f"127.0.0.1:{port}"]},
                **connections,
            }
        )
        post(service.url, [track(f"m{number}") for number in range(EVENTS)])
        deliveries = EVENTS * len(connections)

        def all_delivered() -> bool:
            books = service.admin("/status")["books"]
            assert not books["failed"]
            return bool(books["delivered_first_try"] + books["delivered_on_retry"] == deliveries)

        wait_until(all_delivered, 60, "all are delivered")
        # The server closes without a word, so that a request may meet the end: it is not counted.
        assert asked == {
            f"/{destination}/{kind}/{SIGNED}": EVENTS
            for destination in ("webhooks", "own")
            for kind in ANSWERS
        }
