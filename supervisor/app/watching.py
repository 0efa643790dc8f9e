"""What the service keeps for people to look at, or nothing where the console is turned off.

Owns which of the two it is, and that a reload is followed. Must not know what is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from supervisor.config import Config
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.insight.nothing import NOTHING, Nothing
from supervisor.insight.samples import remove_samples
from supervisor.queue import Queue
from supervisor.runtime.clock import Clock
from supervisor.telemetry.metrics import Metrics


class Watching:
    """`told` is what intake and delivery tell; `insight` is None where nothing is kept.

    `masking` says what of it who may see. `redact` replaces every secret that is known in a text.
    """

    def __init__(
        self,
        config: Config,
        queue: Queue,
        metrics: Metrics,
        clock: Clock,
        redact: Callable[[str], str],
    ) -> None:
        self.redact = redact
        self._key = secrets.token_bytes(16)
        self.masking = self._masking(config)
        self.insight: Insight | None = None
        self._state_dir = Path(config.service.state_dir)
        if config.console.enabled:
            self.insight = Insight(
                self._state_dir,
                queue=queue,
                ages=metrics.latencies,
                clock=clock,
                tap_budget=config.console.tap,
                trends_budget=config.console.trends,
                masking=self.masking,
                redact=redact,
            )
        self.told: Insight | Nothing = self.insight or NOTHING

    def start(self) -> None:
        """Begin to count, see `Insight.start`. Raises OSError where what was kept cannot go."""
        if self.insight is not None:
            self.insight.start()
        else:
            remove_samples(self._state_dir)

    def evicted(self, connection: str, reason: str, n: int) -> None:
        """`n` deliveries have become dead letters for want of room; no worker was asked."""
        self.told.troubled(connection, "failed", reason, n)

    def follow(self, config: Config) -> None:
        """A reload: off at once, and what was kept goes; on at the next start."""
        self.masking = self._masking(config)
        if self.insight is not None:
            self.insight.follow(
                is_on=config.console.enabled,
                sources=config.sources.keys(),
                connections=config.connections.keys(),
                tap_budget=config.console.tap,
                trends_budget=config.console.trends,
                masking=self.masking,
            )

    def _masking(self, config: Config) -> Masking:
        return Masking(config.console.payloads, config.console.mask, self._key)

    async def close(self) -> None:
        """After the queue: its last commits are counted, too."""
        if self.insight is not None:
            await self.insight.close()
