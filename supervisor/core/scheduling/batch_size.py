"""How many events of a connection go in one batch: fewer, where batches come to nothing.

A batch whose destination raises, or answers nonsense, is sent again event by event: one bad event
in a hundred costs a hundred rows on disk and a hundred batches of one. With smaller batches less
good goes with the bad. Halved for each batch that is spoiled, one more for each that is
not: where one event in a hundred is bad that ends near fourteen, and a connection with
none is back at its full size after as many batches as it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BatchSizer:
    """`limit` is events, None where nothing bounds a batch but its connection's terms."""

    limit: int | None = None

    def most(self, terms: int) -> int:
        """Events that a batch may have, of those that its terms allow."""
        return terms if self.limit is None else min(terms, self.limit)

    def ended(self, events: int, spoiled: int, terms: int) -> None:
        """A batch is over; so many of it are to be sent again singly, though some are innocent.

        One that had far fewer events than it might have had says nothing for a larger one.
        """
        most = self.most(terms)
        if spoiled > 1:
            self.limit = max(1, most // 2)
        elif self.limit is not None and not spoiled and events >= most // 2:
            self.limit = most + 1 if most + 1 < terms else None
