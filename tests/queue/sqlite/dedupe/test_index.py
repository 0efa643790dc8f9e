"""What the deduplication index promises, against a model and on a real database."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.queue.sqlite.dedupe.index import DedupeIndex

EPOCH = 1_800_000_000.0
WINDOW_S = 1000.0
BUDGET = 64 * 1024 * 1024


def key(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


def keys(start: int, count: int) -> list[bytes]:
    return [key(number) for number in range(start, start + count)]


def open_database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA page_size = 8192")  # as the engine has it
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")  # no test here loses power
    return db


class Store:
    """An index on a database, used as the queue's writer uses it."""

    def __init__(self, path: Path, window_s: float = WINDOW_S, budget_bytes: int = BUDGET) -> None:
        self.path, self.window_s, self.budget_bytes = path, window_s, budget_bytes
        self.now = EPOCH
        self.open()

    def open(self) -> None:
        self.db = open_database(self.path)
        self.index = DedupeIndex(self.window_s, self.budget_bytes)
        self.db.execute("BEGIN IMMEDIATE")
        self.index.create(self.db)
        self.db.execute("COMMIT")
        self.index.load(self.db, self.now)

    def restart(self) -> None:
        """As after kill -9: nothing is said to the index, what was not committed is lost."""
        self.db.close()
        self.open()

    def offer(self, offered: Sequence[bytes], *, commits: bool = True) -> list[bool]:
        """Stage what is new; which of them were repeats."""
        self.db.execute("BEGIN IMMEDIATE")
        answers = self.index.is_repeat(self.db, offered, self.now)
        new = [one for one, is_repeat in zip(offered, answers, strict=True) if not is_repeat]
        self.index.stage(self.db, new, self.now)
        if commits:
            self.db.execute("COMMIT")
            self.index.committed()
        else:
            self.db.execute("ROLLBACK")
            self.index.rolled_back()
        return answers

    def ask(self, asked: Sequence[bytes]) -> list[bool]:
        return self.index.is_repeat(self.db, asked, self.now)

    def settle(self) -> int:
        """All the maintenance that is due; how many slices it took."""
        slices = 1
        while self.index.maintain(self.db, self.now):
            slices += 1
        return slices

    def fill(self, start: int, count: int, batch: int = 1000) -> None:
        """Accept so many new ids, keeping up with maintenance."""
        for at in range(start, start + count, batch):
            self.offer(keys(at, min(batch, start + count - at)))
            self.settle()

    def rows(self, table: str) -> int:
        (count,) = self.db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - ours
        return int(count)

    def used_bytes(self) -> int:
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        (free,) = self.db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self.db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dedupe.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.db.close()


@contextmanager
def closing(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        store.db.close()


def test_a_new_id_is_new_once(store: Store) -> None:
    """An id is new the first time, and a repeat from then on."""
    assert store.offer([key(1)]) == [False]
    assert store.offer([key(1)]) == [True]


def test_a_batch_repeats_itself(store: Store) -> None:
    """Of equal ids in one call, only the first is new."""
    assert store.ask([key(1), key(2), key(1), key(1)]) == [False, False, True, True]


def test_staged_ids_count(store: Store) -> None:
    """An id that is staged but not committed is a repeat for the next caller."""
    store.db.execute("BEGIN")
    store.index.stage(store.db, [key(1)], store.now)
    assert store.ask([key(1), key(2)]) == [True, False]
    store.db.execute("ROLLBACK")


def test_a_rollback_forgets_what_it_staged_and_no_more(store: Store) -> None:
    """After ROLLBACK its new ids are new again, and ids known before are still repeats."""
    store.offer([key(1)])
    store.db.execute("BEGIN")
    store.index.stage(store.db, [key(1), key(2)], store.now)  # a careless caller
    store.db.execute("ROLLBACK")
    store.index.rolled_back()
    assert store.ask([key(1), key(2)]) == [True, False]


def test_nothing_is_asked_or_staged(store: Store) -> None:
    """Empty calls do nothing."""
    assert store.offer([]) == []
    assert store.index.stats().ids == 0


def test_stats_count_ids_and_repeats(store: Store) -> None:
    """`ids` is what is held, `dropped` is how many repeats were found."""
    store.offer([key(1), key(2), key(1)])
    store.offer([key(2), key(3)])
    stats = store.index.stats()
    assert (stats.ids, stats.dropped, stats.window_s) == (3, 2, WINDOW_S)


@pytest.mark.parametrize("count", [10, 70_000, 300_000])
def test_ids_survive_a_kill(store: Store, count: int) -> None:
    """After a kill at any size of the index, all that was committed is a repeat, and only that."""
    store.fill(0, count, batch=5000)
    store.offer(keys(count, 10), commits=False)
    store.restart()
    for start in range(0, count, 5000):
        part = min(250, count - start)
        assert store.ask(keys(start, part)) == [True] * part
    assert store.ask(keys(count, 1000)) == [False] * 1000
    assert store.index.stats().ids == count


def test_full_segments_leave_memory(store: Store) -> None:
    """Ids of full segments are in runs on disk, and the log has only what came after."""
    store.fill(0, 400_000, batch=10_000)
    logged = sum(len(blob) for (blob,) in store.db.execute("SELECT keys FROM dedupe_log")) // 16
    assert logged < 100_000
    assert store.rows("dedupe_runs") >= 3
    assert store.ask(keys(0, 10)) == [True] * 10


def test_memory_stays_small(path: Path) -> None:
    """Half a million ids take 40 MB at most, filters included; an idle index next to nothing."""
    tracemalloc.start()
    try:
        with closing(Store(path, budget_bytes=1 << 30)) as store:
            assert tracemalloc.get_traced_memory()[0] < 1_000_000
            store.fill(0, 500_000, batch=10_000)
            filters = sum(one.filter.size_in_bits // 8 for one in store.index._generations)
            assert tracemalloc.get_traced_memory()[0] + filters < 40_000_000
    finally:
        tracemalloc.stop()


def test_ids_are_forgotten_after_the_window(store: Store) -> None:
    """What is older than the window and a half is new, gone from the disk, and the window full."""
    store.fill(0, 250_000, batch=10_000)
    used = store.used_bytes()
    store.now += WINDOW_S * 1.5
    assert store.ask(keys(0, 100)) == [False] * 100  # before any maintenance, too
    store.settle()
    assert store.index.stats().ids == 0
    assert store.index.stats().window_s == WINDOW_S
    assert store.used_bytes() < used / 20
    assert [store.rows(t) for t in ("dedupe_log", "dedupe_rows", "dedupe_runs")] == [0, 0, 0]
    assert [store.rows(t) for t in ("dedupe_filters", "dedupe_generations")] == [0, 0]


def test_an_id_is_known_for_the_whole_window(store: Store) -> None:
    """An id is a repeat until the window is over, however the traffic around it is spread."""
    for step in range(30):
        store.fill(step * 20_000, 20_000, batch=10_000)
        store.now += WINDOW_S / 10
        for age in range(min(step + 1, 10)):
            assert all(store.ask(keys((step - age) * 20_000 + 7 * age, 40))), (step, age)


def test_the_budget_shrinks_the_window(path: Path) -> None:
    """Where the rate outgrows the budget, the disk stays within it and the window in force tells.

    Ids within the window in force are repeats all the same.
    """
    budget = 2 * 1024 * 1024
    with closing(Store(path, budget_bytes=budget)) as store:
        times = {}
        empty = store.used_bytes()
        for step in range(300):
            store.offer(keys(step * 1000, 1000))
            times[step] = store.now
            store.settle()
            assert store.used_bytes() <= budget + empty
            store.now += 1.0
        store.settle()
        window_s = store.index.stats().window_s
        assert 30 < window_s < 110  # 300 steps of 16 kB are offered, some 100 fit
        store.restart()
        assert store.index.stats().window_s == pytest.approx(window_s)
        for step, at in times.items():
            if store.now - at < window_s:
                assert all(store.ask(keys(step * 1000, 1000)))


def test_the_window_grows_back(path: Path) -> None:
    """When the rate falls after the budget was full, the window in force grows to the whole."""
    with closing(Store(path, budget_bytes=1024 * 1024)) as store:
        store.fill(0, 100_000)
        assert store.index.stats().window_s < 1
        store.now += WINDOW_S / 2
        store.offer([key(-1)])
        assert store.index.stats().window_s == pytest.approx(WINDOW_S / 2)
        store.now += WINDOW_S
        store.offer([key(-2)])
        assert store.index.stats().window_s == WINDOW_S


def test_time_that_goes_back_forgets_nothing(store: Store) -> None:
    """With the clock set back, also across a restart, what is known stays known."""
    store.offer([key(1)])
    store.now -= 10 * WINDOW_S
    assert store.offer([key(1), key(2)]) == [True, False]
    store.restart()
    store.settle()
    assert store.ask([key(1), key(2)]) == [True, True]


def test_a_filter_is_saved_at_close(store: Store) -> None:
    """After a checkpoint a start reads filters instead of making them."""
    store.fill(0, 200_000, batch=10_000)
    store.index.checkpoint(store.db)
    assert store.db.execute("SELECT min(in_filter) FROM dedupe_runs").fetchone() == (1,)
    store.restart()
    assert store.ask(keys(0, 5000)) == [True] * 5000
    assert store.settle() <= 3


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM dedupe_filters",
        "UPDATE dedupe_filters SET part = substr(part, 1, 100)",
        "UPDATE dedupe_filters SET part = zeroblob(length(part))",
    ],
)
def test_a_damaged_filter_is_made_anew(store: Store, damage: str) -> None:
    """A saved filter that is missing, short or of another make costs time and no repeats."""
    store.fill(0, 200_000, batch=10_000)
    store.index.checkpoint(store.db)
    store.db.execute(damage)
    store.restart()
    assert store.ask(keys(0, 5000)) == [True] * 5000
    assert store.ask(keys(-5000, 5000)) == [False] * 5000


def test_a_slice_that_fails_is_done_again(store: Store) -> None:
    """Where the database refuses a slice, the error is the caller's, and later it goes on."""
    for at in range(0, 150_000, 10_000):
        store.offer(keys(at, 10_000))
    other = open_database(store.path)
    store.db.execute("PRAGMA busy_timeout = 0")
    failures = 0
    is_done = False
    while not is_done:
        other.execute("BEGIN IMMEDIATE")
        try:
            is_done = not store.index.maintain(store.db, store.now)
        except sqlite3.OperationalError:
            failures += 1
        other.execute("ROLLBACK")
        is_done = not store.index.maintain(store.db, store.now)
    other.close()
    assert failures > 1
    assert store.ask(keys(0, 5000)) == [True] * 5000
    store.restart()
    assert store.ask(keys(0, 5000)) == [True] * 5000


def test_a_key_across_two_neighbours_is_no_repeat(store: Store) -> None:
    """Bytes that only straddle two keys on disk are not taken for a key."""
    from supervisor.queue.sqlite.dedupe import disk

    first, second = bytes(range(16)), bytes(range(16, 32))
    assert not disk._is_in((first + second)[8:24], first + second)
    assert disk._is_in(second, first + second)
    assert disk._is_in(first, (first + second)[8:24] + first)


@given(st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_kill_between_any_two_slices_loses_nothing(data: st.DataObject) -> None:
    """Killed after any number of slices of maintenance, again and again, the answers stay right."""
    with (
        TemporaryDirectory() as folder,
        closing(Store(Path(folder) / "d.db", budget_bytes=256 * 1024)) as store,
    ):
        accepted = 0
        for _ in range(data.draw(st.integers(1, 6))):
            count = data.draw(st.integers(1, 1500))
            store.offer(keys(accepted, count))
            accepted += count
            for _ in range(data.draw(st.integers(0, 12))):
                store.index.maintain(store.db, store.now)
            store.restart()
        assert store.index.stats().window_s == WINDOW_S
        assert all(store.ask(keys(0, accepted)))
        assert not any(store.ask(keys(accepted, 1000)))
        store.settle()
        assert all(store.ask(keys(0, accepted)))


class IndexMachine(RuleBasedStateMachine):
    """The index beside a dict of key to time, in any order of events."""

    @initialize(budget=st.sampled_from([48 * 1024, 128 * 1024, BUDGET]))
    def start(self, budget: int) -> None:
        self.folder = TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "d.db", budget_bytes=budget)
        self.accepted: dict[bytes, float] = {}
        self.next = 0

    def check(self, asked: Sequence[bytes], answers: Sequence[bool]) -> None:
        window_s = self.store.index.stats().window_s
        seen: set[bytes] = set()
        for one, is_repeat in zip(asked, answers, strict=True):
            at = self.accepted.get(one)
            if one in seen or (at is not None and self.store.now - at < window_s):
                assert is_repeat, "missed a repeat"
            elif at is None:
                assert not is_repeat, "took a new id for a repeat"
            seen.add(one)

    def offer(self, offered: list[bytes], commits: bool) -> None:
        answers = self.store.offer(offered, commits=commits)
        self.check(offered, answers)
        if commits:
            for one, is_repeat in zip(offered, answers, strict=True):
                if not is_repeat:
                    self.accepted[one] = self.store.now

    @rule(count=st.integers(1, 400), commits=st.booleans())
    def offer_new(self, count: int, commits: bool) -> None:
        self.offer(keys(self.next, count), commits)
        self.next += count

    @rule(numbers=st.lists(st.integers(0, 5000), max_size=30), commits=st.booleans())
    def offer_any(self, numbers: list[int], commits: bool) -> None:
        self.offer([key(number) for number in numbers], commits)

    @rule(by=st.sampled_from([0.1, WINDOW_S / 20, WINDOW_S / 3, WINDOW_S * 1.1]))
    def wait(self, by: float) -> None:
        self.store.now += by

    @rule(slices=st.integers(1, 10))
    def maintain(self, slices: int) -> None:
        for _ in range(slices):
            self.store.index.maintain(self.store.db, self.store.now)

    @rule()
    def settle(self) -> None:
        self.store.settle()
        if self.store.budget_bytes < BUDGET:
            schema = 8 * 8192  # an empty index
            assert self.store.used_bytes() <= self.store.budget_bytes + schema

    @rule(is_clean=st.booleans())
    def restart(self, is_clean: bool) -> None:
        if is_clean:
            self.store.index.checkpoint(self.store.db)
        self.store.restart()

    @precondition(lambda self: self.accepted)
    @rule()
    def ask_all(self) -> None:
        asked = list(self.accepted)
        self.check(asked, self.store.ask(asked))

    @invariant()
    def window_is_within_bounds(self) -> None:
        assert 0 <= self.store.index.stats().window_s <= WINDOW_S

    def teardown(self) -> None:
        self.store.db.close()
        self.folder.cleanup()


IndexMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestIndexAgainstModel: Callable[..., object] = IndexMachine.TestCase
