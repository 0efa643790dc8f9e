"""Which files a worker may use: what is on the list, and nothing else.

Owns the lists. Must not open or restrict anything: `landlock.py` does, and
leaves out what does not exist here.
"""

from __future__ import annotations

import functools
import os
import ssl
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

#: Shared libraries that Python and its packages load, and where the loader finds them.
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_TIME_ZONES = ("/usr/share/zoneinfo", "/etc/localtime", "/etc/timezone")
#: Certificates, never their keys: /etc/ssl/private is in none of them.
_CERTIFICATES = (
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)
#: Not /dev/zero: mapped shared, it is memory that no limit counts.
_DEVICES_READ = ("/dev/urandom", "/dev/random")
_DEVICES_WRITTEN = ("/dev/null",)
#: What glibc reads to resolve a name. Needed only as long as workers resolve names themselves.
_NAMES = (
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/gai.conf",
    "/etc/services",
)
#: Of our own process: its memory's size, its state, and how many threads and descriptors it has.
#: Not `mem`, which can be written to whatever a page's protection is, and not `environ`.
_OWN_PROCESS_FILES = ("/proc/self/statm", "/proc/self/status")
_OWN_PROCESS_LISTS = ("/proc/self/task", "/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Paths:
    """`read` are files and trees; `list_only` are folders whose entries' names may be read.

    `own` are those of this very process, in /proc; `write` are files that may be
    written to, `keep` folders in which files may be made and removed as well.
    """

    read: tuple[str, ...]
    own: tuple[str, ...]
    list_only: tuple[str, ...]
    write: tuple[str, ...]
    keep: tuple[str, ...]


def allowed(
    plugin_paths: list[str], ca_file: str | None, keep: Sequence[str], *, resolves_names: bool
) -> Paths:
    """What a worker with these plugin folders may use; `keep` are those it may write to."""
    more = (*plugin_paths, *((ca_file,) if ca_file is not None else ()))
    return Paths(
        read=(*shared(), *more, *(_NAMES if resolves_names else ())),
        own=_OWN_PROCESS_FILES,
        list_only=_OWN_PROCESS_LISTS,
        write=_DEVICES_WRITTEN,
        keep=tuple(keep),
    )


@functools.cache
def shared() -> tuple[str, ...]:
    """What all workers may read: Python, packages, certificates, time zones, devices."""
    return tuple(
        dict.fromkeys(
            (*code(), *_LIBRARIES, *_TIME_ZONES, *_certificates(), *_DEVICES_READ),
        )
    )


@functools.cache
def code() -> tuple[str, ...]:
    """Folders of Python itself, of its packages, and of ours.

    A checkout's root is not among them, unlike the folder that we are installed
    into: beside our packages lies whatever the operator keeps there, a config with
    secrets for one.
    """
    import destinations
    import sandbox

    ours = [str(Path(folder)) for package in (destinations, sandbox) for folder in package.__path__]
    root = os.path.realpath(Path(ours[0]).parent)
    found = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    is_installed = root == os.path.realpath(Path(msgspec.__file__).parent.parent)
    found += [
        entry for entry in sys.path if entry and (is_installed or os.path.realpath(entry) != root)
    ]
    return tuple(dict.fromkeys((*found, *ours)))


def _certificates() -> tuple[str, ...]:
    defaults = ssl.get_default_verify_paths()
    named = (defaults.cafile, defaults.capath)
    return (*_CERTIFICATES, *(name for name in named if name is not None))
