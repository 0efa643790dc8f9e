"""Messages on a worker's channel: one datagram each, where descriptors may travel along.

The channel is a SEQPACKET pair. A worker asks there to be connected; the supervisor
answers, and asks for evidence.
"""

from __future__ import annotations

from typing import Literal

from sandbox.protocol.messages import Message


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
    """Worker: nobody waits for this any more. It is answered all the same."""

    id: int


class Connected(Message, frozen=True, array_like=True, tag=56):
    """Supervisor: the connected socket travels with this datagram."""

    id: int


class Unconnected(Message, frozen=True, array_like=True, tag=57):
    """Supervisor: there is none. `kind` is one of those below, `errno` 0 where it has no number."""

    id: int
    kind: int
    errno: int
    text: str


class Collect(Message, frozen=True, array_like=True, tag=58):
    """Supervisor: write evidence of `kind` to the pipe that travels with this datagram.

    `full_strings`: with values that are customers' data. `seconds` is how long to look, for kinds
    that look for a while. Answered on the wire, by `Begun` where it takes a copy, and `Collected`.
    """

    id: int
    kind: Literal["heapsnapshot", "summary", "hpy", "tasks", "speedscope", "collapsed"]
    full_strings: bool
    seconds: float


FromWorkerChannel = Connect | Taken | Abandon
ToWorkerChannel = Connected | Unconnected | Collect
# Kinds of `Unconnected`: forbidden by the config, no such name or no answer from a name server,
# the network's or the proxy's own error, too slow, more at once than there is room for.
REFUSED, UNRESOLVED, UNREACHABLE, TIMED_OUT, BUSY = range(5)
#: Largest datagram on a channel, in bytes.
MAX_CHANNEL_DATAGRAM = 4096
#: Requests that a worker may have unanswered, for one connection and in all. It keeps to that by
#: itself; one that does not is no honest worker.
MAX_ASKED_PER_CONNECTION = 64
MAX_ASKED = 1024
