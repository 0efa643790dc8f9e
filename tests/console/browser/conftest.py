"""A real browser, and a real service for it to look at; each is there once for all tests here.

Both end with the last of these tests: Playwright keeps an event loop of its own running in this
thread, beside which no test that has one could run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.console.browser.house import House, sections
from tests.console.browser.tab import AXE, Tab
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess

CHROMIUM = "chromium"
ARGUMENTS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

OpenTab = Callable[..., Tab]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; the tests that need it are skipped where it is not installed."""
    found = shutil.which(CHROMIUM)
    if found is None:
        pytest.skip("chromium is not installed")
    if not AXE.exists():
        pytest.skip("axe-core is not installed; ./scripts/test setup does it")
    with sync_playwright() as playwright:
        # Its own sandbox needs what containers lack; pages here are ours, on loopback.
        browser = playwright.chromium.launch(
            executable_path=found, args=[*ARGUMENTS], chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A service in which all that pages show has happened. Tests that change it put it back."""
    with ExitStack() as stack:
        good, refusing = stack.enter_context(SinkProcess()), stack.enter_context(SinkProcess())
        refusing.answer_with(400)
        folder = tmp_path_factory.mktemp("house")
        service = RunningService(folder, sections(good.url, refusing.url))
        stack.callback(service.kill)
        made = House(service.start(), good, refusing)
        made.happen()
        yield made
        service.stop()


def new_window(browser: Browser) -> BrowserContext:
    """1280 wide, in which nothing moves, and with nothing in its cache."""
    return browser.new_context(
        viewport={"width": 1280, "height": 900},
        color_scheme="light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="Europe/Berlin",
    )


@pytest.fixture(scope="package")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """One for all tests: what each page loads of the site comes from its cache."""
    with closing(new_window(browser)) as window:
        yield window


@pytest.fixture
def context(window: BrowserContext) -> Iterator[BrowserContext]:
    """The window, which has no tab at first, remembers nothing and may nothing."""
    yield window
    for page in window.pages:
        if page.url.startswith("http"):
            page.evaluate("localStorage.clear()")
        page.close()
    window.clear_cookies()
    window.clear_permissions()


@pytest.fixture
def open_tab(context: BrowserContext, house: House) -> Iterator[OpenTab]:
    """Opens a tab of the house's console. At the end none of them may have a fault."""
    tabs: list[Tab] = []

    def opened(
        address: str = "/", *, base: str = house.base, allow: frozenset[int] = frozenset()
    ) -> Tab:
        tab = Tab.of(context, base, allow=allow)
        tabs.append(tab)
        return tab.open(address)

    yield opened
    assert [fault for tab in tabs for fault in tab.faults] == []


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> Path:
    """The folder that pictures go to."""
    return Path(request.config.getoption("--screenshots"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to put the README's pictures; without it none are made."""
    parser.addoption("--screenshots", help="make the README's pictures in this folder")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pictures are made when they are asked for, and then nothing else is done."""
    is_asked = config.getoption("--screenshots", None) is not None
    if collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        return is_asked != (collection_path.name == "test_pictures.py")
    return None
