"""The counts of a connection add up, whatever its verbs are called with, in any order."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.scheduling.user_order import UserOrder
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunk_progress import Chunk, ChunkProgress
from supervisor.queue.sqlite.chunks import bits_of, full_mask
from supervisor.queue.sqlite.retry_heap import RetryBudget, RetryEntry

CONNECTION = 1
#: More than a window may hold here, so that some of the log is left unread.
WINDOW = 3

#: A verb, and a number that chooses what it is done to.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "arrive",
                "read on",
                "lease fresh",
                "return fresh",
                "settle fresh",
                "postpone fresh",
                "park",
                "promote",
                "lease retries",
                "return retry",
                "settle retry",
                "postpone retry",
                "replay",
                "evict fresh",
                "evict retry",
            ]
        ),
        st.integers(0, 1000),
    ),
    max_size=120,
)


class Driver:
    """Calls the verbs as the engine does, and counts by itself what they should have come to."""

    def __init__(self) -> None:
        self.budget = RetryBudget()
        self.backlog = ConnectionBacklog(CONNECTION, "a", 1, self.budget)
        self.backlog.order_began(UserOrder(), 0)
        self.chunks: dict[int, Chunk] = {}
        self.unread: list[ChunkProgress] = []
        self.leased: list[tuple[ChunkProgress, int]] = []
        self.leased_retries: list[RetryEntry] = []
        self.retries: dict[int, RetryEntry] = {}
        self.counts: Counter[str] = Counter()
        self.ids = count(1)
        self.now = 1000.0

    def step(self, verb: str, n: int) -> None:
        """Do it, where there is something to do it to."""
        match verb:
            case "arrive":
                self._arrive(1 + n % 5)
            case "read on" if self.unread:
                progress = self.unread.pop(0)
                if progress.unsettled:
                    self.backlog.window.take_in(progress)
                self.backlog.window.looked_through(progress.chunk.id)
            case "lease fresh" if self.backlog.window.listed:
                progress = self.backlog.window.listed[0]
                bits = bits_of(progress.unleased)[: 1 + n % 3]
                mask = sum(1 << bit for bit in bits)
                self.backlog.lease_fresh([(progress, mask)], len(bits))
                self.leased += [(progress, 1 << bit) for bit in bits]
                self._move("fresh", "leased", len(bits))
            case "return fresh" if self.leased:
                self.backlog.return_fresh(*self.leased.pop(n % len(self.leased)))
                self._move("leased", "fresh")
            case "settle fresh" if self.leased:
                progress, bit = self.leased.pop(n % len(self.leased))
                progress.settle(bit)
                self.backlog.settled(1)
                self._move("leased", "ended")
            case "postpone fresh" if self.leased:
                progress, bit = self.leased.pop(n % len(self.leased))
                progress.settle(bit, moved=bit)
                self.backlog.retry_planned(self._entry(n))
                self._move("leased", "retrying")
            case "park" if self.backlog.window.listed:
                progress = self.backlog.window.listed[0]
                bit = 1 << bits_of(progress.unleased)[0]
                self.backlog.park_fresh(progress, bit)
                progress.settle(bit, moved=bit)
                self._move("fresh", "parked")
            case "promote" if self.counts["parked"]:
                self.backlog.promoted(self._entry(0), is_known=False)
                self._move("parked", "retrying")
            case "lease retries":
                self.now += n % 7
                taken = self.backlog.lease_retries(self.now, 1 + n % 4)
                assert all(entry[0] <= self.now for entry in taken)
                for entry in taken:
                    del self.retries[entry[1]]
                self.leased_retries += taken
                self._move("retrying", "leased", len(taken))
            case "return retry" if self.leased_retries:
                entry = self.leased_retries.pop(n % len(self.leased_retries))
                self.backlog.return_retry(entry)
                self.retries[entry[1]] = entry
                self._move("leased", "retrying")
            case "settle retry" if self.leased_retries:
                entry = self.leased_retries.pop(n % len(self.leased_retries))
                self.backlog.retry_settled(entry[1])
                self._move("leased", "ended")
            case "postpone retry" if self.leased_retries:
                entry = self.leased_retries.pop(n % len(self.leased_retries))
                self.backlog.retry_planned(self._entry(n, entry[1]))
                self._move("leased", "retrying")
            case "replay":
                self.backlog.retry_replayed(self._entry(n), is_known=False)
                self._move("ended", "retrying")
            case "evict fresh" if self.backlog.window.listed:
                progress = self.backlog.window.listed[-1]
                gone = progress.unleased
                progress.settle(gone, moved=gone)
                self.backlog.evicted(fresh=gone.bit_count(), retries=[], parked=0)
                self.backlog.window.unlist_if_empty(progress)
                self._move("fresh", "ended", gone.bit_count())
            case "evict retry" if self.retries:
                row_id = sorted(self.retries)[n % len(self.retries)]
                del self.retries[row_id]
                self.backlog.evicted(fresh=0, retries=[row_id], parked=0)
                self._move("retrying", "ended")

    def _arrive(self, n: int) -> None:
        chunk = Chunk(next(self.ids), n, self.now, 10 * n)
        progress = chunk.add(CONNECTION, full_mask(n))
        self.chunks[chunk.id] = chunk
        if not self.backlog.fresh:
            self.unread.clear()  # nothing of what was not read is pending any more
        self.backlog.arrived(progress, WINDOW)
        if not progress.is_listed:
            self.unread.append(progress)
        self.counts["fresh"] += n

    def _entry(self, n: int, row_id: int | None = None) -> RetryEntry:
        entry = (self.now + n % 5, next(self.ids) if row_id is None else row_id, n % 3 == 0, 1.0)
        self.retries[entry[1]] = entry
        return entry

    def _move(self, old: str, new: str, n: int = 1) -> None:
        self.counts[old] -= n
        self.counts[new] += n

    def check(self) -> None:
        """Every count is what the steps came to."""
        backlog = self.backlog
        for name in ("fresh", "retrying", "leased", "parked"):
            assert getattr(backlog, name) == self.counts[name], name
        assert (
            backlog.pending
            == sum(self.counts[n] for n in ("fresh", "retrying", "parked"))
            + (self.counts["leased"])
        )
        assert self.budget.loaded == len(self.retries)
        assert set(backlog.leased_retries) == {entry[1] for entry in self.leased_retries}
        for chunk in self.chunks.values():
            chunk.check()
        parts = {chunk.id: chunk.progress[CONNECTION] for chunk in self.chunks.values()}
        backlog.check(parts, len(self.leased) + len(self.leased_retries))


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_counts_add_up_after_any_verbs(steps: list[tuple[str, int]]) -> None:
    """Fresh, retrying, leased and parked are what was done, and so is what follows from them."""
    driver = Driver()
    for verb, n in steps:
        driver.step(verb, n)
        driver.check()


def test_connection_that_caught_up_reads_the_next_chunk_at_once() -> None:
    """Chunks that came while the window was full are read; once all is leased, the next is not."""
    driver = Driver()
    for _ in range(WINDOW + 1):
        driver.step("arrive", 0)
    backlog = driver.backlog
    assert backlog.window.is_behind
    for _ in range(WINDOW):
        driver.step("lease fresh", 0)
    driver.step("read on", 0)
    assert not backlog.window.is_behind
    driver.step("lease fresh", 0)
    assert backlog.fresh == 0
    driver.step("arrive", 4)
    assert [one.unleased.bit_count() for one in backlog.window.listed] == [5]


def test_order_that_begins_or_ends_moves_retries_and_reads_them_again() -> None:
    """What is parked for it is not retrying meanwhile; memory knows none of them any more."""
    budget = RetryBudget()
    backlog = ConnectionBacklog(CONNECTION, "a", 1, budget, retrying=3)
    backlog.retries.refill([(5.0, n, False, 1.0) for n in range(3)], is_all=True, elsewhere=())
    epoch = backlog.epoch
    backlog.order_began(UserOrder(), 2)
    assert (backlog.retrying, backlog.parked, backlog.pending) == (1, 2, 3)
    assert backlog.has_unread_retries
    assert backlog.epoch > epoch
    backlog.order_ended(2)
    assert (backlog.retrying, backlog.parked, backlog.pending) == (3, 0, 3)
    assert budget.loaded == 0


def test_oldest_is_looked_for_once_a_second() -> None:
    """The time of the oldest delivery may be a second old, and is None where nothing is pending."""
    backlog = ConnectionBacklog(CONNECTION, "a", 1, RetryBudget())
    assert backlog.oldest_at(100.0) is None
    backlog.arrived(Chunk(1, 1, 90.0, 10).add(CONNECTION, 1), WINDOW)
    assert backlog.oldest_at(100.0) == 90.0
    backlog.retry_replayed((200.0, 1, False, 80.0), is_known=False)
    assert backlog.oldest_at(100.5) == 90.0
    assert backlog.oldest_at(101.0) == 80.0
