"""Which connection is taken again, on a clock of the test's own."""

from __future__ import annotations

from destinations.kit.client.addresses import ServerAddress
from destinations.kit.client.kept import (
    IDLE_S,
    LEAST_LIFE_S,
    MOST_LIFE_S,
    KeptConnections,
    lifetime_s,
)

HERE, THERE = ServerAddress("here", 443, True), ServerAddress("there", 80, False)


class Kept:
    """A connection that does nothing."""

    def __init__(self, address: ServerAddress = HERE, until: float = 100.0) -> None:
        self.address = address
        self.until = until
        self.is_open = True

    def close(self) -> None:
        """End it."""
        self.is_open = False


def test_the_last_one_used_is_the_next() -> None:
    """Connections are taken newest first, each to its own server only."""
    kept: KeptConnections[Kept] = KeptConnections()
    one, two, other = Kept(), Kept(), Kept(THERE)
    for connection in (one, two, other):
        kept.keep(connection, 0.0)
    assert kept.take(HERE, 1.0) is two
    assert kept.take(HERE, 1.0) is one
    assert kept.take(HERE, 1.0) is None
    assert kept.take(THERE, 1.0) is other
    assert len(kept) == 0


def test_steady_traffic_ends_a_connection_too() -> None:
    """One that is used without a pause is given up when its life is over."""
    kept: KeptConnections[Kept] = KeptConnections()
    connection = Kept(until=90.0)
    now = 0.0
    kept.keep(connection, now)
    while (taken := kept.take(HERE, now)) is not None:
        assert taken is connection
        assert now < 90.0
        now += 1.0
        kept.keep(connection, now)
    assert now == 90.0
    assert not connection.is_open


def test_lives_are_jittered() -> None:
    """A life is 60 to 120 seconds, and not the same for all."""
    lives = {lifetime_s() for _ in range(100)}
    assert len(lives) > 90
    assert all(LEAST_LIFE_S <= life <= MOST_LIFE_S for life in lives)
    assert (LEAST_LIFE_S, MOST_LIFE_S) == (60.0, 120.0)


def test_what_its_server_has_closed_is_not_taken() -> None:
    """A connection that has ended meanwhile is passed over."""
    kept: KeptConnections[Kept] = KeptConnections()
    one, two = Kept(), Kept()
    kept.keep(one, 0.0)
    kept.keep(two, 0.0)
    two.is_open = False
    assert kept.take(HERE, 1.0) is one
    assert len(kept) == 0


def test_sweeping() -> None:
    """Those that are idle too long, too old or over are closed; the rest stays in its order."""
    kept: KeptConnections[Kept] = KeptConnections()
    idle, old, over, good = Kept(), Kept(until=IDLE_S + 1), Kept(), Kept(THERE)
    kept.keep(idle, 0.0)
    for connection in (old, over, good):
        kept.keep(connection, 5.0)
    over.close()
    kept.sweep(IDLE_S + 2)
    assert [one.is_open for one in (idle, old, over, good)] == [False, False, False, True]
    assert len(kept) == 1
    kept.drop_oldest()
    assert len(kept) == 0
    assert not good.is_open
    kept.drop_oldest()
    kept.keep(Kept(), 0.0)
    kept.close()
    assert len(kept) == 0
