"""The zygote of `unjailed.py`: no worker of it enters a jail, and each makes its own sockets.

Owns these two replacements and nothing else. Must not be importable from an installation: it is
beside the product, and no option of it leads here.
"""

from __future__ import annotations

from functools import partial
from unittest import mock

import aiohttp

from sandbox import jail, tls, worker, zygote
from sandbox.jail.egress import HTTP_CONNECTIONS, Egress


class NoEgress(Egress):
    """aiohttp's own connector, of the size and with the certificates that the broker's has."""

    def connector(self, connection: str) -> aiohttp.TCPConnector:
        """One that resolves and connects by itself."""
        return aiohttp.TCPConnector(limit=HTTP_CONNECTIONS, ssl=tls.context(None))


if __name__ == "__main__":
    with (
        mock.patch.object(jail, "enter", partial(jail.enter, layers=())),
        mock.patch.object(worker, "Egress", NoEgress),
    ):
        zygote.main()
