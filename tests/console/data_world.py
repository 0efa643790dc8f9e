"""The admin API with the rows on what is kept, over books that a test moves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from aiohttp import web

from supervisor.admin.access import Access
from supervisor.admin.routes import AdminApi
from supervisor.config import Config, load
from supervisor.console import data_rows
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.telemetry.latencies import Latencies
from tests.admin.stubs import StubControl
from tests.harness.waiting import until
from tests.insight.fakes import FakeBooks

_CONFIG = """
[service]
state_dir = "{state_dir}"
[sources.website]
write_key = "write-key-of-website"
[pools.default]
destinations = ["*"]
[connections.hook]
source = "website"
destination = "webhooks"
settings = {{ url = "http://127.0.0.1:9/" }}
"""


class DataWorld:
    """What the rows are of: a config, books and insight. `payloads` as in `[console]`."""

    def __init__(self, directory: Path, payloads: str = "masked") -> None:
        path = directory / "bulkhead.toml"
        path.write_text(_CONFIG.format(state_dir=directory))
        environ: Mapping[str, str] = {}
        self.config: Config = load(path, environ=environ)
        self.books = FakeBooks()
        self.latencies = Latencies("seconds", "text")
        self.masking = Masking(payloads, (), b"k" * 16)
        self.insight: Insight
        self._directory = directory

    def app(self, control: StubControl, access: Access) -> web.Application:
        """Made on the loop that it runs on."""
        self.insight = Insight(
            self._directory,
            queue=self.books,
            ages=self.latencies,
            clock=time.time,
            tap_budget=1 << 20,
            trends_budget=1 << 26,
            masking=self.masking,
            redact=str,
        )
        control.insight, control.masking = self.insight, self.masking
        rows = data_rows.rows(self, self.insight, lambda: self.masking)
        app = AdminApi(control, access, rows).app
        app.cleanup_ctx.append(self._life)
        return app

    async def _life(self, app: web.Application) -> AsyncIterator[None]:
        self.insight.start()
        await until(lambda: self.insight.trends.is_loaded, 30, "it is loaded")
        yield
        await self.insight.close()
