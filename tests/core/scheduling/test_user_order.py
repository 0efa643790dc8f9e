"""The order of a user's events, decided without knowing any event."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.scheduling.user_order import Place, UserOrder

ANN, BOB = b"ann", b"bob"


def test_one_of_each_user_at_a_time() -> None:
    """While a first attempt is on its way, the next one of that user waits where it is."""
    order = UserOrder()
    order.began(ANN)
    assert order.place(ANN) is Place.WAIT
    assert order.place(BOB) is Place.SEND
    order.ended(ANN, 1.0)
    assert order.place(ANN) is Place.SEND


def test_retry_holds_back_that_user_alone() -> None:
    """What comes behind a failed event is parked; other users go on."""
    order = UserOrder()
    order.began(ANN)
    order.failed(ANN, 5.0)
    assert order.place(ANN) is Place.PARK
    assert order.place(BOB) is Place.SEND
    assert order.held_since == 5.0


def test_what_is_parked_is_promoted_one_by_one() -> None:
    """When a barrier is done with, the next one is promoted; the user is held back to the last."""
    order = UserOrder()
    order.began(ANN)
    order.failed(ANN, 5.0)
    order.park(ANN, 6.0)
    order.park(ANN, 7.0)
    for left in (1, 0):
        order.barrier_ended(ANN, 8.0)
        assert list(order.promoted) == [ANN]
        order.promotion_ended(ANN, found=True)
        assert order.parked.get(ANN, 0) == left
        assert order.place(ANN) is Place.PARK
    order.barrier_ended(ANN, 9.0)
    assert not order.promoted
    assert order.place(ANN) is Place.SEND


@given(st.data())
def test_nothing_is_reordered_or_forgotten(data: st.DataObject) -> None:
    """Through any history, each user's events go in order, each once, and in the end all."""
    order = UserOrder()
    log: list[tuple[bytes, int]] = []
    parked: list[tuple[bytes, int]] = []
    fresh: list[tuple[bytes, int]] = []  # on their way, first attempt
    barriers: dict[bytes, int] = {}
    done: dict[bytes, list[int]] = {ANN: [], BOB: []}
    made = dict.fromkeys(done, 0)
    steps = ["event", "lease", "deliver", "fail", "release", "retry"]

    def step(kind: str) -> None:
        match kind:
            case "event":
                user = data.draw(st.sampled_from([ANN, BOB]))
                log.append((user, made[user]))
                made[user] += 1
            case "lease":
                for item in list(log):
                    place = order.place(item[0])
                    if place is Place.SEND:
                        log.remove(item)
                        order.began(item[0])
                        fresh.append(item)
                        return
                    if place is Place.PARK:
                        log.remove(item)
                        parked.append(item)
                        order.park(item[0], 0.0)
            case "retry":
                for user, n in list(barriers.items()):
                    if data.draw(st.booleans()):
                        del barriers[user]
                        done[user].append(n)
                        order.barrier_ended(user, 0.0)
            case _ if fresh:
                user, n = fresh.pop(0)
                if kind == "deliver":
                    done[user].append(n)
                    order.ended(user, 0.0)
                elif kind == "fail":
                    barriers[user] = n
                    order.failed(user, 0.0)
                else:
                    log.insert(0, (user, n))
                    order.ended(user, 0.0)
            case _:
                pass  # nothing is on its way
        for user in list(order.promoted):
            first = next((item for item in parked if item[0] == user), None)
            if first is not None:
                parked.remove(first)
                barriers[user] = first[1]
            order.promotion_ended(user, found=first is not None)

    for kind in data.draw(st.lists(st.sampled_from(steps), max_size=60)):
        step(kind)
        for user, numbers in done.items():
            assert numbers == list(range(len(numbers))), user
    while log or fresh or barriers or parked:
        step("lease")
        step("deliver")
        for user, n in list(barriers.items()):
            del barriers[user]
            done[user].append(n)
            order.barrier_ended(user, 0.0)
    assert {user: len(numbers) for user, numbers in done.items()} == made
