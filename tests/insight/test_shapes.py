"""The inferred schema: what of a source's events is kept, and that it is bounded."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

from supervisor.insight import shapes
from supervisor.insight.shapes import NameShape, PathShape, Shapes


def look(kept: Shapes, event: dict[str, Any], now: float = 0.0, source: str = "web") -> None:
    kept.look(source, str(event.get("type")), json.dumps(event).encode(), now)


def paths(name: NameShape) -> dict[str, PathShape]:
    return {path.path: path for path in name.paths}


def test_paths_have_their_types_how_often_they_are_there_and_shapes_for_examples() -> None:
    kept = Shapes()
    order = {"type": "track", "event": "Order Completed"}
    look(kept, {**order, "properties": {"total": 1.5, "mail": "ann@x.com"}}, 10.0)
    look(kept, {**order, "properties": {"total": 2, "products": [{"sku": "a"}, {"sku": 1}]}}, 20.0)
    look(kept, {"type": "identify", "traits": {}}, 30.0)
    names = list(kept.of("web").names)
    assert kept.of("web").looked_at == 3
    assert [(one.type, one.name, one.seen) for one in names] == [
        ("track", "Order Completed", 2),
        ("identify", None, 1),
    ]
    found = paths(names[0])
    assert found["properties.total"].types == {"number": 0.5, "integer": 0.5}
    assert found["properties.total"].present == 1.0
    assert found["properties.mail"].present == 0.5
    assert found["properties.mail"].examples == ["…@….com"]
    assert (found["properties.mail"].first_seen, found["properties.mail"].last_seen) == (10, 10)
    sku = found["properties.products[].sku"]
    assert (sku.present, sku.types, sku.distinct) == (0.5, {"string": 0.5, "integer": 0.5}, 2)
    assert paths(names[1])["traits"].types == {"object": 1.0}


def test_no_value_is_kept_nor_a_key_that_is_one() -> None:
    kept = Shapes()
    for n in range(5):
        look(kept, {"type": "track", "properties": {"by": {f"ann{n}@x.com": f"Zq7x{n}"}}})
    (name,) = kept.of("web").names
    assert paths(name).keys() == {"type", "properties.by.…@….com"}
    assert "Zq7x" not in repr(name)
    assert paths(name)["properties.by.…@….com"].distinct == 5


def test_names_paths_and_values_are_bounded_and_the_rest_is_counted() -> None:
    kept = Shapes()
    for n in range(shapes.MAX_NAMES + 20):
        look(kept, {"type": "track", "event": f"name {n}"})
    told = kept.of("web")
    assert (len(list(told.names)), told.more_names) == (shapes.MAX_NAMES, 20)
    kept = Shapes()
    for n in range(60):
        look(kept, {"type": "page", "p": {chr(97 + i) * (1 + n): n for i in range(10)}}, n)
    (name,) = kept.of("web").names
    assert len(name.paths) == shapes.MAX_PATHS
    assert name.more_paths == 60 * 10 + 1 - shapes.MAX_PATHS
    assert all(len(path.examples) <= 3 for path in name.paths)


def test_a_name_that_is_not_seen_for_a_day_gives_its_place() -> None:
    kept = Shapes()
    for n in range(shapes.MAX_NAMES):
        look(kept, {"type": "track", "event": f"name {n}"}, float(n))
    look(kept, {"type": "track", "event": "new"}, shapes.STALE_S + 1)
    names = {name.name for name in kept.of("web").names}
    assert "new" in names
    assert "name 0" not in names
    assert kept.of("web").more_names == 0


def test_a_hostile_source_takes_bounded_memory_and_time_and_no_other_sources_room() -> None:
    """Events of hundreds of paths each, deep, wide and long, each with a name of its own."""
    kept = Shapes()
    look(kept, {"type": "track", "event": "Fine", "properties": {"ok": 1}}, source="mine")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    began = time.process_time()
    deep: Any = 1
    for _ in range(60):
        deep = {"d" * 64: [deep]}
    for n in range(200):
        words = {chr(97 + i % 26) * 30 + chr(97 + i // 26) + "z" * (n % 29): n for i in range(500)}
        look(kept, {"type": "track", "event": f"{n}" * 80, "p": words, "q": deep}, float(n))
    took_s = time.process_time() - began
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert size < 16 * 1024 * 1024
    assert took_s < 20.0  # 200 of the worst events, with every allocation traced
    for _ in range(3):
        look(kept, {"type": "track", "event": "Fine", "properties": {"new": 1}}, source="mine")
    assert "properties.new" in paths(next(kept.of("mine").names))


def test_what_is_no_object_is_passed_over_and_a_source_that_is_gone_forgotten() -> None:
    kept = Shapes()
    for body in (b"[1]", b"no", b"[" * 100_000, b"\xff"):
        kept.look("web", "track", body, 0.0)
    assert kept.of("web").looked_at == 0
    look(kept, {"type": "track"})
    kept.forget({"other"})
    assert list(kept.of("web").names) == []
