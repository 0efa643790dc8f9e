"""The inferred schema's look at the tap: what it looks at, and how long it takes."""

from __future__ import annotations

import json
import time

from supervisor.insight.looking import LOOK_S, Looking
from supervisor.insight.shapes import Shapes
from supervisor.insight.tap import Tap
from supervisor.queue import NewEvent, Route


def taken(tap: Tap, source: str, *, at: float, size: int = 1, paths: int = 3) -> None:
    fields = {f"p{chr(97 + n % 26)}{chr(97 + n // 26)}": n for n in range(paths)}
    body = json.dumps({"type": "track", "event": "Order Completed", "properties": fields}).encode()
    events = [NewEvent(f"m{n}", "track", "u", body, Route()) for n in range(size)]
    tap.took(source, events, [True] * size, 0, at)


async def test_what_came_since_the_last_look_is_looked_at_once() -> None:
    tap, shapes = Tap(1 << 20, 0.0), Shapes()
    looking = Looking(tap, shapes)
    taken(tap, "web", at=1.0, size=2)
    taken(tap, "app", at=1.0)
    await looking.look()
    await looking.look()
    assert shapes.of("web").looked_at == 2
    assert shapes.of("app").looked_at == 1
    (name,) = shapes.of("web").names
    assert (name.type, name.name) == ("track", "Order Completed")
    taken(tap, "web", at=2.0)
    await looking.look()
    assert shapes.of("web").looked_at == 3


async def test_a_look_ends_in_time_and_every_source_has_its_turn() -> None:
    """However large the events of one source are, and however many there are."""
    tap, shapes = Tap(64 << 20, 0.0), Shapes()
    looking = Looking(tap, shapes)
    for second in range(8):
        for tenth in range(10):
            taken(tap, "large", at=second + tenth / 10, size=5, paths=400)
        for n in range(5):
            taken(tap, f"small-{n}", at=second)
        began = time.thread_time()
        await looking.look()
        assert time.thread_time() - began < 20 * LOOK_S
    assert all(shapes.of(f"small-{n}").looked_at > 1 for n in range(5))
    assert 1 < shapes.of("large").looked_at < 8 * 50
