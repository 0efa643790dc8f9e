"""What a destination remembers between events, within bounds.

A destination that remembers without bounds is a leak, and its worker pays for it.
"""

from __future__ import annotations

from collections import OrderedDict


class Memory:
    """The last `most` texts by key: ids that a vendor gave to what was looked up."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[str, str] = OrderedDict()

    def get(self, key: str) -> str | None:
        """What was noted for the key, if it is remembered; asked for, it stays longer."""
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def note(self, key: str, value: str) -> None:
        """Remember; the one that was not asked for longest makes room."""
        self._found[key] = value
        self._found.move_to_end(key)
        if len(self._found) > self._most:
            self._found.popitem(last=False)

    def forget(self, value: str) -> None:
        """Forget all keys of a value that does not hold any more."""
        for key in [key for key, known in self._found.items() if known == value]:
            del self._found[key]
