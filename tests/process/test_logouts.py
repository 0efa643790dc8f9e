"""Sessions of the console over restarts: a logout holds, and nobody else is logged out."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

from tests.conftest import StartService
from tests.harness.service import RunningService
from tests.process.test_reload import logged

TOKEN = "operator-token-4711"  # of no service but this test's


def login(service: RunningService) -> str:
    """The cookie of a new session."""
    status, cookie = ask(service, "POST", "/console/login", body={"token": TOKEN})
    assert status == 204
    return cookie


def ask(
    service: RunningService, method: str, path: str, cookie: str = "", body: object = None
) -> tuple[int, str]:
    """Status of the answer, and the cookie that it sets."""
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=60)
    headers = {"Cookie": cookie, "X-Bulkhead": "1", "Content-Type": "application/json"}
    try:
        connection.request(method, path, json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, (answer.getheader("Set-Cookie") or "").partition(";")[0]
    finally:
        connection.close()


def statuses(service: RunningService, *cookies: str) -> list[int]:
    """What each opens."""
    return [ask(service, "GET", "/console/api/me", cookie)[0] for cookie in cookies]


def test_a_logout_holds_over_a_kill_and_a_restart_logs_nobody_out(
    running_service: StartService, tmp_path: Path
) -> None:
    """From the answer on; where it is not known any more who logged out, all log in again, once."""
    (tmp_path / "token").write_text(TOKEN)
    service = running_service({"admin": {"token": {"file": str(tmp_path / "token")}}})
    ended, goes_on = login(service), login(service)
    assert ask(service, "POST", "/console/logout", ended)[0] == 204
    service.kill()
    service.start()
    assert statuses(service, ended, goes_on) == [401, 200]
    file = service.directory / "state" / "logouts.json"
    assert file.stat().st_mode & 0o777 == 0o600
    nonce = ended.split(".")[1]
    assert nonce in file.read_text()
    assert ended.rpartition(".")[2] not in file.read_text(), "no cookie can be made of it"
    service.kill()
    file.write_text(file.read_text()[:-1])
    service.start()
    assert logged(service, "logouts_not_read")
    assert statuses(service, ended, goes_on) == [401, 401]
    again = login(service)
    service.kill()
    service.start()
    assert len(logged(service, "logouts_not_read")) == 1
    assert statuses(service, ended, goes_on, again) == [401, 401, 200]
