"""A certificate authority that lives as long as the process: for servers that stand in.

Owns its keys, which are never written anywhere, and the certificates of the
hosts that are asked for. Who is to trust it is given its own certificate.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from pathlib import Path

import trustme

#: Certificates that are kept; a client may ask for any number of hosts.
_KEPT = 1000


class Authority:
    """Issues a certificate for each host when it is first asked for."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="Bulkhead replay, not to be trusted")
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._unnamed = self._issue("localhost")
        self._unnamed.sni_callback = self._named

    def write_certificate(self, path: Path) -> None:
        """Write the authority's certificate, in PEM; there is nothing secret in it."""
        path.write_bytes(self._ca.cert_pem.bytes())

    def trust(self, context: ssl.SSLContext) -> None:
        """Have a client's context trust all that this authority issues."""
        self._ca.configure_trust(context)

    def context(self, host: str | None) -> ssl.SSLContext:
        """The server's side of TLS for a host; None where only the client's hello will name it."""
        if host is None:
            return self._unnamed
        if host not in self._contexts:
            self._contexts[host] = self._issue(host)
            if len(self._contexts) > _KEPT:
                self._contexts.popitem(last=False)
        return self._contexts[host]

    def _issue(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host).configure_cert(context)
        return context

    def _named(
        self, connection: ssl.SSLSocket | ssl.SSLObject, host: str | None, _: ssl.SSLContext
    ) -> int | None:
        try:
            if host is not None:
                connection.context = self.context(host)
        except ValueError:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME  # a name that no certificate can have
        return None
