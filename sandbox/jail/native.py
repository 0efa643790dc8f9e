"""Native code in a worker: what is loaded ahead of need, and what a plugin hears that is too late.

Owns what the zygote loads for all workers, since one of profile `strict` loads no more once its
destinations are imported (`seccomp.seal`), and the words for whoever tries. Must not restrict
anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import logging
import os
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType

#: The rule's name, in errors and in the log.
RULE = "no-new-code"
#: Extension modules of the standard library, which pure modules of it import when they are first
#: used: encodings, hashes, time zones, readers of formats. Not those for terminals and windows.
_STANDARD = (
    "_asyncio _bisect _blake2 _bz2 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr "
    "_codecs_tw _contextvars _csv _ctypes _datetime _decimal _elementtree _hashlib _heapq _json "
    "_lsprof _lzma _md5 _multibytecodec _multiprocessing _opcode _pickle _posixshmem "
    "_posixsubprocess _queue _random _sha1 _sha2 _sha256 _sha3 _sha512 _socket _sqlite3 _ssl "
    "_statistics _struct _typing _uuid _zoneinfo array binascii cmath fcntl grp math mmap pyexpat "
    "resource select syslog termios unicodedata zlib"
)
#: What glibc loads by itself, when a thread is ended or unwound.
_LIBRARIES = ("libgcc_s.so.1",)
#: Callbacks that ctypes can make without new code, and how many share a page of it, at least.
_CALLBACKS, _CALLBACKS_A_PAGE = 512, 32

_log = logging.getLogger(__name__)
#: One callback of each page, which keeps the page.
_kept: list[object] = []


def load_ahead() -> None:
    """Load what Python and libc would load later; what this machine lacks is left out."""
    for name in _STANDARD.split():
        with contextlib.suppress(ImportError):  # built in under another name, or left out
            importlib.import_module(name)
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):  # not glibc
            ctypes.CDLL(name)
    kind = ctypes.CFUNCTYPE(ctypes.c_int)
    _kept.extend([kind(int) for _ in range(_CALLBACKS)][::_CALLBACKS_A_PAGE])


def explain_refusals() -> None:
    """From now on, an import or `ctypes.CDLL` that is refused new code says so, and what to do."""
    create_module = ExtensionFileLoader.create_module
    dlopen: Callable[[str | None, int], int] = vars(ctypes)["_dlopen"]

    def create_or_explain(loader: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        try:
            return create_module(loader, spec)
        except ImportError as error:
            if not _is_refusal(error):
                raise
            raise ImportError(_told(spec.name, error), name=spec.name, path=spec.origin) from error

    def dlopen_or_explain(name: str | None, mode: int) -> int:
        try:
            return dlopen(name, mode)
        except OSError as error:
            if not _is_refusal(error):
                raise
            raise OSError(_told(str(name), error)) from error

    vars(ctypes)["_dlopen"] = dlopen_or_explain
    # By name: to a type checker a function is no method, and a method is not to be replaced.
    setattr(ExtensionFileLoader, "create_module", create_or_explain)  # noqa: B010


def _is_refusal(error: Exception) -> bool:
    """By the words of the loader: glibc's, and those of others, which name the errno."""
    text = str(error)
    return "failed to map segment" in text or os.strerror(errno.EPERM) in text


def _told(what: str, error: Exception) -> str:
    text = (
        f"{what} is native code, and a worker that serves loads no more of it (rule {RULE}): "
        "import it at the top of the destination's module, "
        f'or set profile = "relaxed" for its pool ({error})'
    )
    _log.warning("%s", text)
    return text
