"""The garbage collector, kept away from what lives as long as the config does.

A full collection visits every object there is. With ten thousand connections that stops the
event loop for longer than many a delivery takes, and finds nothing.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Collect once, and leave alone from now on whatever is there. After a reload, again."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
