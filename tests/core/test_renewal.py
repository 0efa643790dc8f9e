"""Who may renew what a partner takes once: one at a time, and for a limited time."""

from __future__ import annotations

from supervisor.core.renewal import GRANT_S, MOST_GRANTS, WITHIN_S, RenewalRight, Turn


def test_one_at_a_time() -> None:
    """While one worker has the right the others wait; once it is done the next one gets it."""
    right = RenewalRight()
    assert right.ask(1, 0.0) is Turn.GRANTED
    assert right.ask(2, 1.0) is Turn.WAITS
    assert right.may_keep(1, right.grant)
    assert not right.may_keep(2, right.grant)
    assert right.ended(1, right.grant)
    assert right.ask(2, 2.0) is Turn.GRANTED


def test_a_right_is_used_once() -> None:
    """Who has kept or given up has nothing to say by the same right."""
    right = RenewalRight()
    right.ask(1, 0.0)
    assert right.ended(1, right.grant)
    assert not right.may_keep(1, right.grant)
    assert not right.ended(1, right.grant)


def test_who_hangs_loses_it() -> None:
    """After the limit the next one gets it, and the late one has none."""
    right = RenewalRight()
    right.ask(1, 0.0)
    late = right.grant
    assert not right.lapsed(GRANT_S - 1)
    assert right.lapsed(GRANT_S)
    assert not right.lapsed(GRANT_S + 1)
    assert right.ask(2, GRANT_S) is Turn.GRANTED
    assert not right.may_keep(1, late)


def test_who_is_late_is_heard_where_nobody_came_after() -> None:
    """The partner has taken the refresh token: what it gave is the only one that is good."""
    right = RenewalRight()
    right.ask(1, 0.0)
    right.lapsed(GRANT_S)
    assert right.may_keep(1, right.grant)
    assert not right.may_keep(2, right.grant)
    assert right.ended(1, right.grant)


def test_who_dies_loses_it() -> None:
    """That of others is not touched."""
    right = RenewalRight()
    right.ask(1, 0.0)
    assert not right.gone(2)
    assert right.gone(1)
    assert right.ask(2, 0.0) is Turn.GRANTED


def test_a_void_right_counts_no_more() -> None:
    """What stems from settings that are no more is not kept."""
    right = RenewalRight()
    right.ask(1, 0.0)
    right.void()
    assert not right.may_keep(1, right.grant)


def test_rights_are_rationed() -> None:
    """Each is a write and a request to the partner; time brings new ones."""
    right = RenewalRight()
    for n in range(MOST_GRANTS):
        assert right.ask(1, float(n)) is Turn.GRANTED
        right.ended(1, right.grant)
    assert right.ask(1, 20.0) is Turn.REFUSED
    assert right.ask(1, WITHIN_S) is Turn.GRANTED
