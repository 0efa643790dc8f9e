"""Which object has which number: one 32-bit slot for every 16 bytes of the heap.

A dict of ids would cost 100 bytes an object, this costs at most a quarter of
the heap. Two objects never share a slot: each is at least 16 bytes large.
"""

from __future__ import annotations

from sandbox.heap.limits import SnapshotFailed
from sandbox.heap.room import Room

#: A region is 256 KiB of addresses, whose slots are one piece of the room: its number is what is
#: above these bits.
REGION_BITS = 18
#: Objects start at most every 16 bytes.
SLOT_BITS = 4
SLOT_MASK = (1 << (REGION_BITS - SLOT_BITS)) - 1
#: In a slot: not an object of the heap that we look at (singletons, what the walk itself made).
HIDDEN = 0xFFFF_FFFF
#: Regions that ids can tell apart. The last one is for nodes that are no objects.
_REGIONS = 1 << 17
_ID_SHIFT = REGION_BITS - SLOT_BITS + 1


class Addresses:
    """Numbers by address; 0 where an address has none yet."""

    def __init__(self, room: Room, *, leave_bytes: int = 0) -> None:
        """They leave so much of the room to others."""
        self._room = room
        self._leave_bytes = leave_bytes
        #: By region; the walk's loop reads and writes these itself.
        self.regions: dict[int, memoryview] = {}
        #: By region, the upper bits of ids. An id is odd, has 32 bits, and is the same in every
        #: snapshot while its object lives: part | slot << 1 | 1.
        self.id_parts: dict[int, int] = {}
        self._taken = {_REGIONS - 1}

    def add_region(self, address: int) -> memoryview:
        """The slots of the region of `address`, made on first use.

        Raises SnapshotFailed; RoomUsedUp where there is no memory for them.
        """
        region = address >> REGION_BITS
        if region in self.regions:
            return self.regions[region]
        if len(self._taken) == _REGIONS:
            raise SnapshotFailed("the heap is spread over more than 32 GiB of addresses")
        # Taken from the machine by the page, as slots are written.
        slots = self._room.take(leave_bytes=self._leave_bytes).cast("I")
        self.regions[region] = slots
        # The same in every snapshot of a process, but for the rare region whose place is taken.
        part = region % (_REGIONS - 1)
        while part in self._taken:
            part = (part + 1) % (_REGIONS - 1)
        self._taken.add(part)
        self.id_parts[region] = part << _ID_SHIFT
        return slots

    def hide(self, *objects: object) -> None:
        """Leave these objects out: no node, and no edge to them."""
        for item in objects:
            address = id(item)
            self.add_region(address)[(address >> SLOT_BITS) & SLOT_MASK] = HIDDEN

    def number(self, item: object) -> int:
        """The number of an object; 0 where it has none yet, or HIDDEN."""
        address = id(item)
        return self.add_region(address)[(address >> SLOT_BITS) & SLOT_MASK]


def synthetic_id(number: int) -> int:
    """The id of a node that is no object; `number` counts from 0."""
    return (_REGIONS - 1) << _ID_SHIFT | number << 1 | 1
