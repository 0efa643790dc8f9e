"""The console's rows over a service that only stands there, reached through a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from supervisor.admin.access import Access
from supervisor.admin.routes import AdminApi
from supervisor.admin.table import Caller, Deed, Route
from supervisor.catalog.probe import Declarations
from supervisor.config import Address, load
from supervisor.console.activity import ActivityLog
from supervisor.console.jobs import Jobs
from supervisor.console.live import Live, TapMaker
from supervisor.console.looks import looks_of
from supervisor.console.overview import Overview
from supervisor.console.pools import Pools
from supervisor.console.queues import Configured, Queues
from supervisor.console.session import LoginSessions
from supervisor.console.site import Site
from supervisor.console.sources import Sources
from supervisor.console.status_watch import StatusWatch
from supervisor.errors import NotFound
from supervisor.state.jobs import JobStore
from supervisor.state.logouts import LogoutStore
from supervisor.telemetry.log import Redactor
from tests.admin.stubs import AT, StubControl

Client = TestClient[Request, Application]

SECRET_TEXT = "a-secret-of-a-partner"  # of no partner
CONFIG = """
[service]
state_dir = "state"
[sources.website]
write_key = "write-key-of-website"
[connections.website-hook]
source = "website"
destination = "webhooks"
rate_limit = "500/s"
[connections.website-hook.settings]
url = "https://hooks.example.com/in"
shared_secret = { env = "HOOK" }
headers = { X-Team = "growth", X-Key = "Bearer a-secret-of-a-partner" }
"""

OPERATOR, VIEWER = "operator-token-123", "viewer-token-12345"
ACCESS = Access(Address(host="127.0.0.1", port=9190), token=OPERATOR, view_token=VIEWER)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[StubControl]:
    control = StubControl(tmp_path)
    yield control
    control.exits.close()


@pytest.fixture(scope="session")
def site() -> Site:
    return Site()


@pytest.fixture
def sessions(tmp_path: Path) -> LoginSessions:
    return LoginSessions(ACCESS, "masked", LogoutStore(tmp_path))


class Ring:
    """A tap of source `website`, of which a test says what is in it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    async def page(self, source: str, after: int | None, is_viewer: bool) -> dict[str, object]:
        if source != "website":
            raise NotFound(f"there is no source {source!r}")
        new = [row for row in self.rows if after is None or cast(int, row["n"]) > after]
        return {"source": source, "rows": new, "next": self.rows[-1]["n"] if self.rows else 0}


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """A config with a secret in its settings, and in a setting's text."""
    (tmp_path / "b.toml").write_text(CONFIG)
    config = load(tmp_path / "b.toml", environ={"HOOK": SECRET_TEXT})
    return cast(Configured, SimpleNamespace(config=config, said=Declarations()))


def rates(source: str) -> tuple[float, float]:
    """What each source sends."""
    return 12.0, 3.0


@pytest.fixture
def watch(control: StubControl, configured: Configured) -> StatusWatch:
    return StatusWatch(control.status, lambda: configured.config.sources, rates)


@pytest.fixture
def live(
    tmp_path: Path, control: StubControl, watch: StatusWatch, configured: Configured, ring: Ring
) -> tuple[Live, tuple[Route, ...]]:
    """The stream, and the rows of all that it looks at."""

    overview = Overview(
        control,
        watch,
        lambda: configured.config,
        last_hour=lambda: (AT, {"received": 7}),
        plan_differs=lambda: False,
    )
    redact = Redactor(configured.config.secrets)
    queues, pools = Queues(configured, control, watch, redact), Pools(control)
    sources = Sources(lambda: configured.config, watch, rates)
    jobs = Jobs(control.queue, JobStore(tmp_path), lambda: AT)
    live = Live(looks_of(overview, queues, pools, jobs), {"tap": TapMaker(ring.page)})
    rows = (*overview.rows(), *queues.rows(), *sources.rows(), *pools.rows(), *live.rows())
    return live, rows


@pytest.fixture
async def console(
    control: StubControl,
    site: Site,
    sessions: LoginSessions,
    live: tuple[Live, tuple[Route, ...]],
    watch: StatusWatch,
) -> AsyncIterator[Client]:
    """All rows of this room over a stand-in, with a token for each role."""
    activity = ActivityLog(lambda: AT)

    def heard(caller: Caller, deed: Deed) -> None:
        activity.heard(caller, deed)
        watch.forget()

    rows = (*site.rows(), *sessions.rows(), *activity.rows(), *live[1])
    api = AdminApi(control, ACCESS, rows, sessions, heard)
    api.app.on_shutdown.append(lambda app: live[0].close())
    async with TestClient(TestServer(api.app), cookie_jar=aiohttp.DummyCookieJar()) as running:
        yield running
    await watch.close()
