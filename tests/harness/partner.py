"""A partner's server of one's own, in a thread of the test: it says what the test tells it to.

Owns the server and the record of the requests that came. What it answers is for the test: a
function from a request to status and JSON.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `at` is seconds of the monotonic clock."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        return {key: values[-1] for key, values in parse_qs(self.body.decode()).items()}

    def json(self) -> Any:  # Any: whatever was sent
        """The body as JSON."""
        return json.loads(self.body)


#: Status and JSON; None: hang up without an answer.
Answer = tuple[int, object] | None


class Partner:
    """A context manager. `answers` may be replaced at any time; it runs in the server's threads."""

    def __init__(self, answers: Callable[[Asked], Answer]) -> None:
        self.answers = answers
        self.asked: list[Asked] = []
        partner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                asked = Asked(self.command, self.path, dict(self.headers), body)
                partner.asked.append(asked)
                answer = partner.answers(asked)
                if answer is None:
                    self.close_connection = True
                    return
                status, said = answer
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PATCH = do_GET = do_PUT = _answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Its root, with no slash at its end."""
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
