"""Requests to the admin API of a real service, by both roles."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.harness.service import RunningService

#: A busy machine may take so long, in seconds.
SLOW_S = 60.0


def ask(
    service: RunningService,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
) -> tuple[int, Any]:
    """Status and decoded body of the answer, whatever it is. Any: JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=SLOW_S)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def done(service: RunningService, method: str, path: str, body: object = None) -> Any:
    """The body of an answer that says that it went well. Any: JSON."""
    status, told = ask(service, method, path, body)
    assert status in (200, 202), (status, told)
    return told
