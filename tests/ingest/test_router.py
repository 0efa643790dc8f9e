"""The router: which connections an event goes to."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.catalog.declaration import Declaration
from supervisor.config import Connection
from supervisor.ingest.router import EVENT_TYPES, Router
from supervisor.queue import Route

ALL_TYPES = frozenset(EVENT_TYPES)


def connection(name: str, destination: str, *, enabled: bool = True) -> Connection:
    return Connection(name=name, source="web", destination=destination, enabled=enabled)


def router(
    *connections: Connection,
    types: Mapping[str, frozenset[str]] | None = None,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
) -> Router:
    """A router whose destinations are all declared, by default for all event types."""
    return Router(
        {c.name: c for c in connections},
        {
            c.destination: Declaration(
                destination=c.destination,
                types=(types or {}).get(c.destination, ALL_TYPES),
                aliases=(aliases or {}).get(c.destination, ()),
            )
            for c in connections
        },
        ["web"],
    )


TWO = router(connection("web-mixpanel", "mixpanel"), connection("web-hook", "webhooks"))
BOTH = Route(pending=("web-mixpanel", "web-hook"))
ONLY_HOOK = Route(pending=("web-hook",), filtered=("web-mixpanel",))
ONLY_MIXPANEL = Route(pending=("web-mixpanel",), filtered=("web-hook",))
NONE = Route(filtered=("web-mixpanel", "web-hook"))


@pytest.mark.parametrize(
    ("integrations", "route"),
    [
        (None, BOTH),
        ({}, BOTH),
        ({"All": True}, BOTH),
        ({"All": False}, NONE),
        ({"all": False}, NONE),
        ({"All": False, "Mixpanel": True}, ONLY_MIXPANEL),
        ({"All": False, "Mixpanel": {"sessionId": 1}}, ONLY_MIXPANEL),
        ({"All": False, "Mixpanel": {}}, ONLY_MIXPANEL),
        ({"Mixpanel": False}, ONLY_HOOK),
        ({"All": True, "MIXPANEL": False}, ONLY_HOOK),
        ({"mix panel": False}, ONLY_HOOK),
        ({"web-mixpanel": False}, ONLY_HOOK),
        ({"WebMixpanel": False}, ONLY_HOOK),
        ({"Mixpanel": False, "web_mixpanel": True}, BOTH),
        ({"Mixpanel": True, "mixpanel": False}, ONLY_HOOK),
        ({"Segment.io": False, "Salesforce": True}, BOTH),
        ({"All": False, "Segment.io": True}, NONE),
    ],
)
def test_integrations(integrations: object, route: Route) -> None:
    """`All`, destinations and connections are named in any spelling; the nearest name decides."""
    assert TWO.route("web", "track", integrations) == route


@pytest.mark.parametrize(
    "integrations",
    ["all", 1, True, [], ["Mixpanel"], {"Mixpanel": None}, {"Mixpanel": 0}, {"Mixpanel": "no"},
     {"All": None}, {"All": "false"}, {"All": 0}, {"Mixpanel": []}, {"x" * 100_000: False}],
)  # fmt: skip
def test_odd_integrations(integrations: object) -> None:
    """What is no object, or neither true, false nor an object within one, is as if not there."""
    assert TWO.route("web", "track", integrations) == BOTH


def test_aliases() -> None:
    """A destination goes by its aliases too."""
    one = router(
        connection("c", "google_analytics"), aliases={"google_analytics": ("GA4", "Google A.")}
    )
    for name in ("Google Analytics", "google-analytics", "ga4", "googlea."):
        assert one.route("web", "page", {name: False}) == Route(filtered=("c",))


def test_unsupported_types() -> None:
    """A type that the destination does not handle is unsupported, unless it is filtered anyway."""
    one = router(connection("c", "mixpanel"), types={"mixpanel": frozenset({"track"})})
    assert one.route("web", "track", None) == Route(pending=("c",))
    assert one.route("web", "screen", None) == Route(unsupported=("c",))
    assert one.route("web", "screen", {"All": False}) == Route(filtered=("c",))


def test_disabled() -> None:
    """A disabled connection gets nothing, whatever the event says."""
    one = router(connection("c", "mixpanel", enabled=False))
    assert one.route("web", "track", {"c": True}) == Route(filtered=("c",))


def test_undeclared() -> None:
    """What a destination handles that could not be asked yet is pending."""
    undeclared = Router({"c": connection("c", "mixpanel")}, {})
    assert undeclared.route("web", "alias", None) == Route(pending=("c",))
    assert undeclared.route("web", "alias", {"Mixpanel": False}) == Route(filtered=("c",))


def test_source_without_connections() -> None:
    """A source that feeds nothing has empty routes; one that is not in the config is an error."""
    assert TWO.route("web", "track", None) is not None
    assert Router({}, {}, ["web"]).route("web", "track", None) == Route()
    with pytest.raises(KeyError):
        TWO.route("app", "track", None)


def test_destination_called_all() -> None:
    """`All` means all, even where a connection is called so."""
    one = Router({"all": connection("all", "all")}, {})
    assert one.route("web", "track", {"All": False}) == Route(filtered=("all",))


def test_interned() -> None:
    """Events that go the same way share one route."""
    assert TWO.route("web", "track", None) is TWO.route("web", "page", {"Mixpanel": True})
    assert TWO.route("web", "track", {"mixpanel": False}) is TWO.route(
        "web", "page", {"All": True, "Mixpanel": False}
    )


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["All", "Mixpanel", "web-hook", "x"]) | st.text(max_size=8), inner
        ),
        max_leaves=10,
    )
)
def test_every_connection_is_somewhere_once(integrations: object) -> None:
    """Whatever an event says, each connection of its source is in its route exactly once."""
    route = TWO.route("web", "track", integrations)
    assert sorted(route.pending + route.unsupported + route.filtered) == [
        "web-hook",
        "web-mixpanel",
    ]


def test_bounded() -> None:
    """Hostile spellings and combinations do not make the router grow without end."""
    many = router(*(connection(f"c{n}", "webhooks") for n in range(20)))
    for n in range(20_000):
        wishes: dict[str, object] = {f"c{bit}": False for bit in range(20) if n >> bit & 1}
        many.route("web", "track", {**wishes, f"never seen {n}": True})
    caches = [value for value in vars(many).values() if isinstance(value, dict)]
    assert max(map(len, caches)) <= 4096
