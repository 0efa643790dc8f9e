"""The ring of attempts that went wrong: what is found in it, and what it forgets first."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.insight.attempts import (
    MOST_A_SECOND,
    MOST_BYTES,
    MOST_OF_CONNECTION_A_SECOND,
    MOST_RECORDS,
    REASON_CHARS,
    AttemptRecord,
    Attempts,
)
from supervisor.queue import Delivery

FAILED = AttemptRecord(1000.0, "failed", 0, "default-1", "400", "400")


def delivery(message_id: str, attempt: int = 1) -> Delivery:
    """One of an event that has only an id."""
    return Delivery(msgspec.json.encode({"messageId": message_id}), attempt, 0.0, b"user")


def at(seconds: float, reason: str = "400") -> AttemptRecord:
    """What was met with then."""
    return msgspec.structs.replace(FAILED, at=1000.0 + seconds, reason=reason)


def reasons(attempts: Attempts, connection: str, message_id: str) -> list[str]:
    """Of one delivery."""
    return [one.reason for one in attempts.of(connection, message_id)]


def test_attempts_of_a_delivery_are_found_in_their_order() -> None:
    """By connection and id; the others of its batch have theirs, each with its own number."""
    attempts = Attempts(0.0)
    attempts.add("a", at(0, "first"), [delivery("m1"), delivery("m2", 3)])
    attempts.add("b", at(1, "of another"), [delivery("m1")])
    attempts.add("a", at(2, "second"), [delivery("m1", 2)])
    assert reasons(attempts, "a", "m1") == ["first", "second"]
    assert [one.attempt for one in attempts.of("a", "m1")] == [1, 2]
    assert [one.attempt for one in attempts.of("a", "m2")] == [3]
    assert reasons(attempts, "b", "m1") == ["of another"]
    assert attempts.of("a", "m3") == attempts.of("c", "m1") == ()
    assert len(attempts) == 4


def test_only_the_one_that_has_a_sample_says_so_and_it_is_always_kept() -> None:
    """Also where a batch has more than is taken in a second."""
    attempts = Attempts(0.0)
    batch = [delivery(f"m{n}") for n in range(MOST_OF_CONNECTION_A_SECOND + 100)]
    met = msgspec.structs.replace(FAILED, issue=7, sample_at=1000.5)
    attempts.add("a", met, batch, batch[-1].body)
    assert [one.sample_at for one in attempts.of("a", f"m{len(batch) - 1}")] == [1000.5]
    assert [one.sample_at for one in attempts.of("a", "m0")] == [None]
    assert (len(attempts), attempts.forgotten) == (MOST_OF_CONNECTION_A_SECOND, 100)


def test_who_fails_most_loses_the_oldest() -> None:
    """And who fails seldom keeps all, however old that is."""
    attempts = Attempts(0.0, most=10)
    attempts.add("seldom", at(0, "old"), [delivery("s1"), delivery("s2")])
    for n in range(30):
        attempts.add("often", at(n), [delivery(f"o{n}")])
    assert reasons(attempts, "seldom", "s1") == ["old"]
    assert [n for n in range(30) if attempts.of("often", f"o{n}")] == list(range(22, 30))
    assert (len(attempts), attempts.forgotten) == (10, 22)


def test_of_a_delivery_the_oldest_attempt_goes_first() -> None:
    """What is left of it is in its order."""
    attempts = Attempts(0.0, most=3)
    for n in range(5):
        attempts.add("a", at(n, f"reason {n}"), [delivery("m1", n + 1)])
    assert reasons(attempts, "a", "m1") == ["reason 2", "reason 3", "reason 4"]


def test_a_storm_of_one_connection_is_cut_short_and_others_are_heard() -> None:
    """In a second so many of one and of all are taken; the next second begins anew."""
    attempts = Attempts(0.0)
    for n in range(MOST_OF_CONNECTION_A_SECOND * 2):
        attempts.add("storm", at(0.1), [delivery(f"m{n}")])
    attempts.add("calm", at(0.2), [delivery("c1")])
    assert len(attempts) == MOST_OF_CONNECTION_A_SECOND + 1
    attempts.add("storm", at(1.0), [delivery("later")])
    assert attempts.of("storm", "later")
    for connection in range(20):
        batch = [delivery(f"m{n}") for n in range(MOST_OF_CONNECTION_A_SECOND)]
        attempts.add(f"c{connection}", at(2.0), batch)
    assert len(attempts) == MOST_OF_CONNECTION_A_SECOND + 2 + MOST_A_SECOND


def test_a_reload_forgets_connections_that_are_gone() -> None:
    """All of theirs, and nothing else; off is none at all."""
    attempts = Attempts(0.0)
    attempts.add("a", at(0), [delivery("m1"), delivery("m2")])
    attempts.add("b", at(0), [delivery("m1")])
    attempts.follow({"b"})
    assert (len(attempts), attempts.of("a", "m1")) == (1, ())
    attempts.follow(())
    assert (len(attempts), attempts.size_bytes) == (0, 0)
    attempts.add("a", at(1), [delivery("m1")])
    assert len(attempts) == 1


def test_what_is_no_event_costs_nobody_else() -> None:
    """It is kept under no id."""
    attempts = Attempts(0.0)
    bodies = [b"", b"\xff", b"[1]", b"[" * 60_000, b'{"messageId":5}', b'{"messageId":"m"']
    attempts.add("a", at(0), [Delivery(body, 1, 0.0, b"u") for body in bodies])
    assert len(attempts.of("a", "")) == len(bodies)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.integers(0, 3)), max_size=60),
    st.integers(1, 12),
)
@settings(max_examples=200)
def test_it_is_what_a_plain_list_would_be(told: list[tuple[str, int, int]], most: int) -> None:
    """Where whoever has most of it loses its oldest, until there is room; whatever is told."""
    attempts = Attempts(0.0, most=most)
    plain: dict[str, list[tuple[str, float]]] = {}
    for second, (name, n, first) in enumerate(told):
        batch = [delivery(f"m{first + k}") for k in range(n)]
        attempts.add(name, at(second), batch)
        plain.setdefault(name, []).extend((f"m{first + k}", at(second).at) for k in range(n))
        assert len(attempts) == min(most, sum(map(len, plain.values())))
        while sum(map(len, plain.values())) > most:
            sizes = {name: len(kept) for name, kept in plain.items()}
            lost = [  # among several that have most it may be any of them
                one
                for one, size in sizes.items()
                if size == max(sizes.values()) and size > len(_all_of(attempts, one))
            ]
            plain[lost[0]].pop(0)
        for one, kept in plain.items():
            assert Counter(_all_of(attempts, one)) == Counter(kept)


def _all_of(attempts: Attempts, connection: str) -> list[tuple[str, float]]:
    return [(f"m{n}", one.at) for n in range(9) for one in attempts.of(connection, f"m{n}")]


def test_the_worst_that_can_be_told_stays_within_its_bytes() -> None:
    """The longest ids and reasons, each another one, in a connection and in many."""
    dice = random.Random(3)
    gc.collect()
    tracemalloc.start()
    attempts = Attempts(0.0)
    for second in range(60):
        for n in range(1_000):
            name = "one" if second % 2 else f"c{dice.randrange(3_000)}"
            reason = f"{second} {n} " + "é\U0001f600" * REASON_CHARS
            event_id = f"{second}-{n}-" + "\U0001f600" * 240
            attempts.add(name, at(second, reason), [delivery(event_id)])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert attempts.size_bytes <= MOST_BYTES
    assert held < MOST_BYTES * 1.1, held


def test_as_many_of_usual_length_fit_into_its_bytes() -> None:
    """Of single events, as of batches that share a reason, and as reckoned."""
    for size, most in ((1, 7_000), (100, 15_000)):
        gc.collect()
        tracemalloc.start()
        attempts = Attempts(0.0)
        for n in range(MOST_RECORDS // size):
            batch = [delivery(f"022bb90c-bbac-11e4-8dfc-{n:06}{k:06}") for k in range(size)]
            reason = f"503 Service Unavailable: {n:06}"
            attempts.add(f"c{n % 50}", at(n * size / 400, reason), batch)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most <= len(attempts) <= MOST_RECORDS, (size, len(attempts))
        assert held < MOST_BYTES * 1.1, (size, held)
