"""Layer `descriptors`: nothing is left open, in the environment or in the arguments.

Of the descriptors that were inherited only the named ones stay. The environment
was scrubbed when the zygote was started with exec: what a process was started
with stays readable in /proc for as long as it lives, so nothing secret may ever
have been in it, and nothing is left to remove here but what names paths.
"""

from __future__ import annotations

import os
from collections.abc import Collection

_STANDARD = (0, 1, 2)


def scrub(keep: Collection[int]) -> str:
    """Close every descriptor but 0, 1, 2 and those to `keep`; "on", or why not."""
    first = len(_STANDARD)
    for descriptor in sorted(keep):
        os.closerange(first, descriptor)
        os.set_inheritable(descriptor, False)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    return "on"
