"""A contact of a vendor that knows people by an id of the sender's or an address. Pure.

For conversations that look a contact up, and make or change it.
"""

from __future__ import annotations

import msgspec


class Person(msgspec.Struct, frozen=True):
    """A contact to find, make or change: by `external_id`, else by `email`; one of them is there.

    `body` is what of the contact is to be set, as JSON: what cannot be sent is
    known before the first call.
    """

    external_id: str | None
    email: str | None
    body: bytes

    @property
    def key(self) -> str:
        """What tells people apart."""
        return f"id:{self.external_id}" if self.external_id else f"email:{self.email}".casefold()
