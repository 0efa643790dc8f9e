"""Stand-ins for what insight is fed from: books and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add

import msgspec

from supervisor.queue import Books, Counted


class FakeBooks:
    """Books that a test moves by name; `Counting` of `insight.trends`."""

    def __init__(self) -> None:
        self.by_name: dict[str, Counted] = {}

    def move(self, connection: str, *, replayed_failed: int = 0, **counters: int) -> None:
        """Add to counters; what is replayed is taken out of `failed`, and pending again."""
        known = self.counted(connection)
        more = Books(**counters)
        books = Books(
            *map(add, msgspec.structs.astuple(known.books), msgspec.structs.astuple(more))
        )
        books = msgspec.structs.replace(books, failed=books.failed - replayed_failed)
        ended = sum(msgspec.structs.astuple(books)[1:-1])
        self.by_name[connection] = Counted(
            msgspec.structs.replace(books, pending=books.accepted - ended),
            known.replayed_failed + replayed_failed,
        )

    def restarted(self) -> None:
        """The books stay; what was replayed since the start is nothing."""
        self.by_name = {name: Counted(one.books) for name, one in self.by_name.items()}

    def counted_together(self) -> Counted:
        """The sum."""
        total = [0] * len(Books.__struct_fields__)
        for one in self.by_name.values():
            total = list(map(add, total, msgspec.structs.astuple(one.books)))
        return Counted(Books(*total), sum(one.replayed_failed for one in self.by_name.values()))

    def counted_connections(self) -> Sequence[str]:
        """All there are."""
        return list(self.by_name)

    def counted(self, connection: str) -> Counted:
        """One of them."""
        return self.by_name.get(connection) or Counted(Books())


class FakeClock:
    """A clock that a test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
