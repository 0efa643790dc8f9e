"""Which uid a worker gets."""

from __future__ import annotations

from pathlib import Path

from sandbox.protocol import Withheld
from supervisor.workers.resources.uids import BLOCK_SIZE, choose

ALL = (1 << 41) - 1
WHOLE = "         0          0 4294967295\n"


def test_workers_of_a_root_service_have_uids_of_their_own() -> None:
    """Two children that live at a time never share one, and none is 0."""
    chosen = choose(Path("/var/lib/a"), uid=0, capabilities=ALL, uid_map=WHOLE)
    uids = [chosen.of(child) for child in range(1, BLOCK_SIZE)]
    assert len(set(map(str, uids))) == len(uids)
    assert all(isinstance(uid, int) and uid >= 1_900_000_000 for uid in uids)


def test_two_services_on_a_machine_share_no_uid() -> None:
    """The block follows from the place of the state."""
    first, second = (
        choose(Path(f"/var/lib/{name}"), uid=0, capabilities=ALL, uid_map=WHOLE)
        for name in ("a", "b")
    )
    assert abs(first.first - second.first) >= BLOCK_SIZE


def test_small_user_namespace_is_made_do_with() -> None:
    """Where only 65536 uids are mapped, workers get some of those."""
    chosen = choose(Path("/x"), uid=0, capabilities=ALL, uid_map="0 100000 65536\n")
    assert chosen.of(1) == 61_185


def test_no_uid_is_given_by_who_may_not() -> None:
    """An ordinary user, root without the capabilities, and a tiny namespace say why."""
    for uid, capabilities, uid_map, reason in (
        (1000, 0, WHOLE, "not started as root"),
        (0, ALL & ~(1 << 5), WHOLE, "CAP_KILL"),
        (0, ALL, "0 1000 1\n", "maps no uids"),
    ):
        given = choose(Path("/x"), uid=uid, capabilities=capabilities, uid_map=uid_map).of(1)
        assert isinstance(given, Withheld)
        assert reason in given.reason
