"""Which certificates a worker trusts: read ahead of its jail, shared by all workers.

Parsing a hundred and fifty authorities takes longer than starting a worker, so
the zygote does it once, and each fork has them.
"""

from __future__ import annotations

import os
import ssl

import certifi

from sandbox.jail import openings


class NoCertificates(Exception):
    """The file of `sandbox.ca_file` is of no use; the text says why."""


_contexts: dict[str | None, tuple[object, ssl.SSLContext]] = {}


def prepare(ca_file: str | None) -> None:
    """Have `context` at hand in this process and its forks; reads the files where they changed.

    Raises NoCertificates where `ca_file` cannot be read, or holds none.
    """
    try:
        version: object = None
        if ca_file is not None:
            # In a zygote whose code lies beside it in a closed folder, its path shows nothing.
            stat = os.stat(openings.outside(ca_file))
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = _contexts.get(ca_file)
        if known is None or known[0] != version:
            loaded = _load(ca_file)
            _contexts.clear()  # the config has one file; those of earlier ones are of no use
            _contexts[ca_file] = version, loaded
    except OSError as error:  # ssl.SSLError too
        reason = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise NoCertificates(f"sandbox.ca_file: {ca_file}: {reason}") from error


def context(ca_file: str | None) -> ssl.SSLContext:
    """The client context that `prepare` made: it checks certificates and host names."""
    return _contexts[ca_file][1]


def _load(ca_file: str | None) -> ssl.SSLContext:
    made = ssl.create_default_context()
    # As aiohttp's own contexts: HTTP/2 is not spoken here.
    made.set_alpn_protocols(["http/1.1"])
    if not made.cert_store_stats()["x509_ca"]:
        # A slim image has no bundle. A folder of single certificates does not show here, and is
        # looked into as well.
        made.load_verify_locations(certifi.where())
    if ca_file is not None:
        made.load_verify_locations(openings.outside(ca_file))
    return made
