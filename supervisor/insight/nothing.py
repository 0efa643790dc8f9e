"""What rooms tell of events where nobody keeps it: the console is turned off."""

from __future__ import annotations


class Nothing:
    """Hears everything and keeps nothing, in place of `Insight`."""

    def took(self, source: str, events: object, accepted: object, repeats: int) -> None:
        """Events of one request are on disk."""

    def rejected(self, source: str, rejected: object, items: object) -> None:
        """Events of one request were not taken."""

    def refused(self, source: str, code: str, reason: str, n: int, text: object = b"") -> None:
        """A request was not taken."""

    def retried(self, connection: str, n: int) -> None:
        """Deliveries wait for another attempt."""

    def troubled(
        self,
        connection: str,
        kind: object,
        reason: str,
        n: int,
        one: object = None,
        deliveries: object = (),
    ) -> None:
        """Deliveries met with something."""

    def tried(
        self,
        connection: str,
        outcome: object,
        reason: str,
        worker: str,
        deliveries: object,
        exit_id: object,
    ) -> None:
        """A worker has died with deliveries."""

    @property
    def wants_samples(self) -> bool:
        """Whether workers are to tell what was sent in attempts that failed."""
        return False


NOTHING = Nothing()
