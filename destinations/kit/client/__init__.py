"""HTTP/1.1 as the kit's helpers speak it: little work a request, and answers as they come.

`addresses.py` and `heads.py` make the bytes of a request, `answers.py` and `bodies.py` read those
of an answer, `packed.py` unpacks it, `connection.py` is one connection, `kept.py` keeps those that
may be used again, `lean.py` is the client, and `sessions.py` says which one stands beside an
aiohttp session. Where sockets come from is not its business: somebody gives them (`Sockets`).

What holds for answers: once the code of a status line was read, the status counts. What nobody
needs decides nothing: a body that cannot be read is a `flaw` of the answer, an odd header is no
header. A connection whose answer was odd in any way is not used again.
"""

from destinations.kit.client.addresses import InvalidUrl
from destinations.kit.client.answers import AnswerReader, NotHttp
from destinations.kit.client.connection import ConnectionLost, TooLate
from destinations.kit.client.lean import LeanClient, Sockets, Unconnectable

__all__ = [
    "AnswerReader",
    "ConnectionLost",
    "InvalidUrl",
    "LeanClient",
    "NotHttp",
    "Sockets",
    "TooLate",
    "Unconnectable",
]
