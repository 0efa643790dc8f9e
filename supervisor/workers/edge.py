"""The edge between the event loop and what handles one worker.

Owns that nothing which escapes there is lost: an OSError that escapes into the read callback of a
transport is dropped by uvloop without a word. Must not know what is handled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sandbox.protocol import ProtocolError


class AtTheEdge(Protocol):
    """Whose methods the event loop calls."""

    def failed_at(self, step: str, error: Exception) -> None:
        """A method of that name raised: log it, and decide what becomes of this."""


P = ParamSpec("P")
Owner = TypeVar("Owner", bound=AtTheEdge)


def at_the_edge(
    step: Callable[Concatenate[Owner, P], None],
) -> Callable[Concatenate[Owner, P], None]:
    """For a method that the event loop calls: whatever escapes from it is told to `failed_at`.

    But for ProtocolError, which is the other side's fault, and for its caller to decide.
    """

    @wraps(step)
    def guarded(owner: Owner, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(owner, *args, **kwargs)
        except ProtocolError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours, whatever it is
            owner.failed_at(step.__name__, error)

    return guarded
