"""What a worker's memory is held by, as its copy counts it: the evidence of who leaks.

Owns the form of that answer alone. It comes from destinations' own process: what it says is a hint.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

#: Holders of less are left out, in bytes.
LEAST_HELD_BYTES = 64 * 1024
#: Largest answer, in bytes.
MAX_HOLDINGS = 1024 * 1024
#: More than any memory, so that sums of it are still numbers.
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


class Holdings(msgspec.Struct, frozen=True):
    """Bytes of objects by who holds them; what nobody of these holds is not told.

    connections: what the instance of a connection, its tasks and its timers alone hold.
    destinations: what the modules of destinations alone hold: globals, attributes of classes,
        caches of functions. By the names of all destinations whose class is in the same module.
    shared: what no connection can be told from: by a module of plugins that several destinations
        use, by libraries ("libraries"), by more than one holder at once ("several").
    """

    connections: dict[str, Bytes]
    destinations: list[tuple[list[str], Bytes]]
    shared: dict[str, Bytes]
