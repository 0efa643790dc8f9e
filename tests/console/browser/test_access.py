"""Who may see and do what, as a browser meets it; and the page below a proxy's path."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import OPERATOR, VIEWER, House, batch, post, sections, track
from tests.console.browser.tab import Tab
from tests.harness.prefix import PrefixProxy
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess

#: Answers that pages are meant to meet before there is a login.
NOT_YET = frozenset({401})
VIEWERS_PAGES = (
    *("/", "/sources/test/debugger", "/sources/test/settings", "/connections"),
    *("/connections/hook/queue", "/connections/hook/letters", "/connections/hook/tester"),
    *("/deadletters", "/pools/default", "/workers/default-1", "/exits", "/heaps", "/plan"),
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a token for operators and one for viewers."""
    with SinkProcess() as sink:
        config = sections(sink.url, sink.url)
        config["admin"] = {"token": OPERATOR, "view_token": VIEWER}
        config["pools.default"] |= {"workers": 1, "spares": 0}
        service = RunningService(tmp_path_factory.mktemp("guarded"), config)
        try:
            service.start()
            assert post(service, batch([track("seen-1", "A Secret Name", city="Bielefeld")])) == 200
            yield service
            service.stop()
        finally:
            service.kill()


@pytest.fixture
def tab(browser: Browser, guarded: RunningService) -> Iterator[Tab]:
    """A tab that nobody has logged in to."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = Tab.of(context, f"http://127.0.0.1:{guarded.admin_port}/console/", allow=NOT_YET)
    tab.open("/")
    yield tab
    context.close()
    assert tab.faults == []


def log_in(tab: Tab, token: str) -> None:
    """Through the form, by keyboard."""
    tab.page.get_by_label("Token").fill(token)
    tab.page.keyboard.press("Enter")


def test_a_login(tab: Tab) -> None:
    """A wrong token is told; a right one opens the page that was asked for; logout ends it."""
    log_in(tab, "no such token at all")
    expect(tab.page.get_by_role("alert")).to_be_visible()
    log_in(tab, OPERATOR)
    expect(tab.heading).to_have_text("Overview")
    tab.page.reload()
    tab.settled()
    expect(tab.heading).to_have_text("Overview")
    tab.button("Log out").click()
    expect(tab.page.get_by_label("Token")).to_be_visible()


def test_a_viewer_sees_no_button(tab: Tab) -> None:
    """No page has one that does something, and no value of an event stands anywhere."""
    log_in(tab, VIEWER)
    expect(tab.heading).to_have_text("Overview")
    for address in VIEWERS_PAGES:
        tab.go(address)
        acting = tab.main.locator("[aria-haspopup=dialog], button.main, button.danger")
        assert acting.all_inner_texts() == [], address
        assert "Bielefeld" not in tab.page.content(), address


def test_a_viewer_is_refused(tab: Tab, guarded: RunningService) -> None:
    """Every row that acts answers 403, whatever a page of theirs sends."""
    log_in(tab, VIEWER)
    expect(tab.heading).to_have_text("Overview")
    tab.allowed_statuses = frozenset({401, 403})
    rows = acting_rows(guarded)
    assert ("POST", "/jobs") in rows
    answers: dict[str, int] = tab.page.evaluate(
        """async rows => Object.fromEntries(await Promise.all(rows.map(async ([method, path]) =>
        [`${method} ${path}`, (await fetch('api' + path, {method, body: '{}', headers:
          {'X-Bulkhead': '1', 'Content-Type': 'application/json'}})).status])))""",
        [list(row) for row in rows],
    )
    assert set(answers.values()) == {403}, answers


def acting_rows(service: RunningService) -> list[tuple[str, str]]:
    """What is no GET, with a name in each place of one."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.admin_port}/", headers={"Authorization": f"Bearer {OPERATOR}"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - see above
        rows = [row.split(" ", 1) for row in json.load(answer)["requests"]]
    return [
        (method, re.sub(r"\{[^}]*\}", "x", path))
        for method, path in rows
        if method != "GET" and "/console/" not in path
    ]


def test_below_a_path_of_a_proxy(house: House, open_tab: OpenTab, tmp_path: Path) -> None:
    """Everything is asked below that path; the stream streams, and a deep link opens."""
    upstream = f"http://127.0.0.1:{house.service.admin_port}"
    with PrefixProxy("/ops/bulkhead", upstream) as proxy:
        tab = open_tab(
            "/sources/test/debugger?event=hostile", base=f"{proxy.url}ops/bulkhead/console/"
        )
        expect(tab.page.locator(".stream")).to_have_text("Live")
        expect(tab.page.locator("#event-name")).to_contain_text("<img src=x")
        body = json.dumps(track("proxied-1", "Through A Proxy"))
        assert post(house.service, body, path="track") == 200
        expect(tab.page.locator(".event-row").first).to_contain_text("Through A Proxy")
        tab.page.get_by_role("navigation", name="Pages").get_by_role("link", name="Exits").click()
        expect(tab.heading).to_have_text("Exits")
        tab.page.goto("about:blank")
