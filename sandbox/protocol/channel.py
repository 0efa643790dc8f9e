"""Messages on a worker's channel: one datagram each, where descriptors may travel along.

The channel is a SEQPACKET pair. A worker asks there to be connected; the supervisor
answers, and asks for evidence.
"""

from __future__ import annotations

import enum
from typing import Literal

from sandbox.protocol.messages import Message


class ConnectFailure(enum.IntEnum):
    """Why there is no connection, on the wire. A datagram with any other number is malformed."""

    REFUSED = 0
    """The config forbids it."""
    UNRESOLVED = 1
    """There is no such name, or no answer from a name server."""
    UNREACHABLE = 2
    """The network's own error, or the proxy's."""
    TIMED_OUT = 3
    BUSY = 4
    """More is asked for at once than there is room for."""


class Connect(Message, frozen=True, array_like=True, tag=48):
    """Worker: connect me to `host`:`port`, for `connection`. Ids count up.

    Each is answered once, with `Connected` or `Unconnected`.
    """

    id: int
    connection: str
    host: str
    port: int


class Taken(Message, frozen=True, array_like=True, tag=49):
    """Worker: I have read this `Connected`, whether its descriptor was there or lost."""

    id: int


class Abandon(Message, frozen=True, array_like=True, tag=50):
    """Worker: the connection is not waited for any more. The request is answered all the same."""

    id: int


class Connected(Message, frozen=True, array_like=True, tag=56):
    """Supervisor: the connected socket travels with this datagram."""

    id: int


class Unconnected(Message, frozen=True, array_like=True, tag=57):
    """Supervisor: there is no connection. `errno` is 0 where the failure has no number.

    Of an unresolved name it is ENOENT where there is no such name, and 0 where nobody could tell.
    """

    id: int
    kind: ConnectFailure
    errno: int
    text: str


class Collect(Message, frozen=True, array_like=True, tag=58):
    """Supervisor: write evidence of `kind` to the pipe that travels with this datagram.

    `full_strings`: with values that are customers' data. `seconds` is how long to look, for kinds
    that look for a while. Answered on the wire, by `CollectionStarted` where it takes a copy, and
    by `Collected`.
    """

    id: int
    kind: Literal["heapsnapshot", "summary", "hpy", "holdings", "tasks", "speedscope", "collapsed"]
    full_strings: bool
    seconds: float


FromWorkerChannel = Connect | Taken | Abandon
ToWorkerChannel = Connected | Unconnected | Collect
#: Largest datagram on a channel, in bytes.
MAX_CHANNEL_DATAGRAM = 4096
#: Requests that a worker may have unanswered, for one connection and in all. An
#: honest worker keeps to that by itself.
MAX_ASKED_PER_CONNECTION = 64
MAX_ASKED = 1024
