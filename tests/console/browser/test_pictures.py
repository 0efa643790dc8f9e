"""The README's pictures, of the demonstration while `shop-leaky` leaks.

They are made where `--screenshots FOLDER` says so, and then nothing else is tested.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, ViewportSize, expect

from scripts.demo.__main__ import ROOT, TAPES
from tests.console.browser.tab import Tab
from tests.harness.ports import free_port
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until

#: What the README may weigh, a picture.
MOST_BYTES = 120 * 1024
SIZE = ViewportSize(width=1280, height=800)
#: The demonstration says that a leak is named within a minute; a busy machine takes longer.
NAMED_S, REPLACED_S = 240.0, 480.0
#: Minutes that the trend has.
MINUTES = 4
#: Events a second: more than the demonstration's, so that the leak is there sooner.
RATE = 30


class Demo(RunningService):
    """The demonstration's config, at addresses of its own."""

    def write_config(self) -> None:
        """Take the demonstration's, and put other places into it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        text = (ROOT / "config/demo/bulkhead.toml").read_text()
        for old, new in {
            '"../../state"': f'"{self.directory / "state"}"',
            '["plugins"]': f'["{ROOT / "config/demo/plugins"}"]',
            "127.0.0.1:8190": f"127.0.0.1:{self.api_port}",
            "127.0.0.1:9190": f"127.0.0.1:{self.admin_port}",
            "127.0.0.1:9001": self.environment["PARTNERS"],
            '"../../.cache/replay-ca.pem"': f'"{self.directory / "ca.pem"}"',
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        self.config_path.write_text(text)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demonstration at work: partners from tapes, the service, the shop's visitors."""
    folder = tmp_path_factory.mktemp("demo")
    partners = f"127.0.0.1:{free_port()}"
    bulkhead = (sys.executable, "-m", "supervisor")
    with ExitStack() as stack:

        def started(*command: str, **streams: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(command, cwd=ROOT, **streams)  # type: ignore[call-overload]  # streams by name
            if process.stdout is not None:
                stack.callback(process.stdout.close)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process  # type: ignore[no-any-return]  # see above

        tapes = started(
            *(*bulkhead, "replay", *map(str, TAPES), "--listen", partners),
            *("--ca-file", str(folder / "ca.pem"), "--latency", "5ms..40ms"),
            stdout=subprocess.PIPE,
        )
        assert tapes.stdout is not None
        assert tapes.stdout.readline(), "the tapes are not served"
        service = Demo(folder, {}, environment={"PARTNERS": partners})
        stack.callback(service.kill)
        service.start()
        shop = started(sys.executable, "scripts/demo/shop.py", stdout=subprocess.PIPE)
        started(
            *(*bulkhead, "send", "-", "--write-key", "shop-write-key", "--rate", str(RATE)),
            *("--url", service.url),
            stdin=shop.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield service


@pytest.fixture
def tab(browser: Browser, demo: Demo) -> Iterator[Tab]:
    """A tab in the light, as the README is."""
    context = browser.new_context(
        viewport=SIZE,
        color_scheme="light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    tab = Tab.of(context, f"http://127.0.0.1:{demo.admin_port}/console/")
    yield tab
    context.close()
    assert tab.faults == []


def take(tab: Tab, file: Path) -> None:
    """What is seen now, with as many colours as a palette has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(tab.page.screenshot())) as seen:
        seen.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < MOST_BYTES, file


def test_the_pictures(tab: Tab, demo: Demo, pictures: Path) -> None:
    """Five: Overview with the leak named, Debugger, Isolation, a certificate, an object."""
    wait_until(
        lambda: demo.queue_of("shop-leaky")["leak_bytes_per_event"] is not None,
        NAMED_S,
        "the leak is named",
    )
    wait_until(
        lambda: len(demo.admin("/trends")["times"]) >= MINUTES, REPLACED_S, "there is a trend"
    )
    tab.open("/")
    expect(tab.main.get_by_text("shop-leaky").first).to_be_visible()
    take(tab, pictures / "overview.png")
    tab.open("/sources/shop/debugger?type=track")
    tab.page.locator(".event-row").filter(has_text="Order Completed").first.click()
    tab.page.mouse.move(0, 0)
    take(tab, pictures / "debugger.png")
    wait_until(
        lambda: demo.admin("/debug/exits?connection=shop-leaky")["exits"],
        REPLACED_S,
        "the leaking worker is replaced",
    )
    tab.open("/pools/default")
    expect(tab.page.locator(".batches a").first).to_be_visible()
    take(tab, pictures / "isolation.png")
    newest = demo.admin("/debug/exits?connection=shop-leaky&reason=leak")["exits"][0]
    tab.open(f"/exits/{newest['id']}")
    take(tab, pictures / "certificate.png")
    kept = demo.admin("/debug/snapshots")["snapshots"]
    at_limit = next(each for each in kept if each["reason"] == "soft_limit")
    tab.open(f"/heaps/{at_limit['name']}")
    tab.main.locator(".suspect a.mono").first.click()
    expect(tab.page.locator("code.path")).to_be_visible()
    tree = tab.page.locator(".objects")
    tree.get_by_role("button").first.click()
    expect(tree.locator("li li").first).to_be_visible()
    tab.settled()
    tab.page.locator(".objects").scroll_into_view_if_needed()
    tab.page.evaluate("scrollTo(0, 0)")
    take(tab, pictures / "heap-object.png")
