"""All that ties a worker to the supervisor: made before it is forked, both ends of it.

Owns that they are made together or not at all. What goes through them is `process.py`'s.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from supervisor.workers.marker_page import MarkerPage
from supervisor.workers.output import output_pipe


@dataclass(frozen=True, slots=True)
class Ends:
    """Our ends, and `theirs` in the order of `protocol.DESCRIPTORS`."""

    wire: socket.socket
    channel: socket.socket
    marker_page: MarkerPage
    output: int
    theirs: tuple[int, ...]

    @classmethod
    def make(cls, tables_bytes: int) -> Ends:
        """`tables_bytes` is how much memory its heap snapshots may be made with.

        Raises OSError, and leaves nothing open then.
        """
        with ExitStack() as made:
            wire, their_wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            made.callback(wire.close)
            made.callback(their_wire.close)
            channel, their_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            made.callback(channel.close)
            made.callback(their_channel.close)
            marker_page = MarkerPage(tables_bytes)
            made.callback(marker_page.close)
            output, their_output = output_pipe()
            made.callback(os.close, output)
            made.callback(os.close, their_output)
            page, stacks = marker_page.copies()
            made.pop_all()
        theirs = (their_wire.detach(), their_channel.detach(), page, stacks, their_output)
        return cls(wire, channel, marker_page, output, theirs)

    def close(self) -> None:
        """Close them all: there will be no worker."""
        self.wire.close()
        self.channel.close()
        self.marker_page.close()
        os.close(self.output)
        for end in self.theirs:
            os.close(end)
