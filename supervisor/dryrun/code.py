"""Plugin folders for the workers of one command, as the service would keep them.

Owns that these workers see the same of them as a service's: a copy, without what holds secrets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from supervisor.config import Config
from supervisor.workers.code import CodeStore, KeptCode
from supervisor.workers.resources.removal import temporary_folder


@contextmanager
def kept_for_command(config: Config) -> Iterator[KeptCode]:
    """What the folders hold now, for as long as this lasts. Raises ConfigError, and OSError."""
    with temporary_folder("bulkhead-code-") as folder:
        # Workers may have users of their own; what they may search for they are told.
        os.chmod(folder, 0o711)  # noqa: S103 - see above
        yield CodeStore(Path(folder)).keep_of(config)
