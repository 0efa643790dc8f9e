"""Batches are smaller where one bad event spoils them, and of full size where none does."""

from __future__ import annotations

import random

from supervisor.core.scheduling.batch_size import BatchSizer


def test_nothing_bounds_it_but_its_terms() -> None:
    """Until a batch is spoiled, whatever becomes of those that are not."""
    batch_sizer = BatchSizer()
    for events in (1, 100):
        batch_sizer.ended(events, 0, 100)
    assert (batch_sizer.most(100), batch_sizer.limit) == (100, None)


def test_spoiled_batches_halve_it_and_good_ones_give_it_back() -> None:
    """Down to one event, and up to what the terms say, one by one."""
    batch_sizer = BatchSizer()
    for most in (50, 25, 12, 6, 3, 1, 1):
        batch_sizer.ended(100, 2, 100)
        assert batch_sizer.most(100) == most
    for good in range(98):
        assert batch_sizer.most(100) == 1 + good
        batch_sizer.ended(1 + good, 0, 100)
    assert batch_sizer.limit == 99
    batch_sizer.ended(99, 0, 100)
    assert batch_sizer.limit is None


def test_small_batches_and_single_events_say_nothing() -> None:
    """One bad event alone has spoiled nothing for others; few good ones would have gone anyway."""
    batch_sizer = BatchSizer(40)
    batch_sizer.ended(1, 1, 100)
    batch_sizer.ended(19, 0, 100)
    assert batch_sizer.most(100) == 40
    batch_sizer.ended(20, 0, 100)
    assert batch_sizer.most(100) == 41


def test_terms_that_shrink_bound_it_at_once() -> None:
    """As after a reload."""
    batch_sizer = BatchSizer(40)
    assert batch_sizer.most(10) == 10
    batch_sizer.ended(10, 0, 10)
    assert batch_sizer.limit is None


def test_one_bad_event_in_a_hundred_ends_at_a_small_batch() -> None:
    """So that about one event in seven goes again, where it would be two in three."""
    chance = random.Random(7)
    batch_sizer = BatchSizer()
    sent = again = 0
    for _ in range(20_000):
        size = batch_sizer.most(100)
        is_spoiled = any(chance.random() < 0.01 for _ in range(size))
        batch_sizer.ended(size, size if is_spoiled else 0, 100)
        sent += size
        again += size if is_spoiled else 0
    assert again / sent < 0.25
