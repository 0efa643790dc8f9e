"""Which sessions of the console were logged out, kept across restarts.

Owns one small file in the state directory. Sessions are kept nowhere: their cookies prove them,
over a restart too, so that one that was ended has to be remembered until its cookie expires. What
stands here opens nothing. Must not know what a cookie is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta

from supervisor.runtime.durable import write_durably
from supervisor.runtime.files import read_file

_log = structlog.get_logger(__name__)

#: Its name in the state directory.
FILE: Final = "logouts.json"
#: Largest file that is read, in bytes.
MOST_BYTES: Final = 2 * 1024 * 1024

_Moment = Annotated[int, Meta(ge=0, lt=2**53)]
_Nonce = Annotated[str, Meta(min_length=1, max_length=200)]


class LoggedOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one role: by nonce when a session would expire, and until when all that expire are over.

    Times are epoch seconds.
    """

    expiry_of: dict[_Nonce, _Moment] = {}
    void_until: _Moment = 0


class LogoutStore:
    """The file in `state_dir`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def read(self) -> Mapping[str, LoggedOut] | None:
        """What an earlier run has left, by role; None where it cannot be known."""
        try:
            return _decode(read_file(self._path, most_bytes=MOST_BYTES))
        except FileNotFoundError:
            return {}  # nobody ever did
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.warning(
                "logouts_not_read",
                path=str(self._path),
                error=str(error),
                consequence="everybody has to log in again",
            )
            return None

    def write(self, logged_out: Mapping[str, LoggedOut]) -> None:
        """Replace it; on disk when this returns. One call at a time. Raises OSError."""
        write_durably(self._path, msgspec.json.encode(logged_out))


_decode = msgspec.json.Decoder(dict[str, LoggedOut]).decode
