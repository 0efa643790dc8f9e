"""A process like a worker whose imports are done: prints, by name, what it cannot do any more.

It imports what a zygote and a worker with all built-in destinations import, and nothing that only
an attempt needs; everything below `attempts` may import Python, and no native code.
"""

from __future__ import annotations

import asyncio
import codecs
import encodings.aliases
import faulthandler
import json
import os
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import ExtensionFileLoader
from typing import NoReturn, get_args

from destinations.kit.loading import load
from sandbox import jail, profiler, tasks, zygote
from sandbox.heap import snapshot
from sandbox.heap.limits import SnapshotLimits
from sandbox.heap.roots import Roots
from tests.sandbox.heap.tables import tables

LAYERS = ("no_new_privs", "landlock", "seccomp")


#: Of the standard library: each is imported, with all that it imports.
MODULES = (
    "colorsys csv dataclasses decimal difflib email.message fractions hashlib hmac html "
    "http.client imaplib ipaddress json lzma mailbox multiprocessing.pool plistlib random secrets "
    "sqlite3 statistics string tarfile uuid wsgiref xml.etree.ElementTree xmlrpc.client "
    "zipfile zoneinfo"
)


#: The file for tables of snapshots, as a worker is given one.
_kept: list[int] = []


def main() -> None:
    zygote._import_what_workers_share()
    jail.prepare()
    names = load_destinations()
    of_workers = native_modules()
    # What only the attempts need, and what that imports.
    import trustme

    from tests.harness import destinations, jailed, journey

    assert names == list(destinations.NAMES)
    for name in names:
        destinations.vendor(name)
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    found = {
        f"module {name} is not loaded ahead": "the test needs it as well"
        for name in native_modules() - of_workers
        if name.partition(".")[0] in sys.stdlib_module_names
    }
    _kept.append(tables())
    report = jail.enter(jailed.order_of("user"), _kept, parent=os.getppid(), layers=LAYERS)
    jail.seal("strict", report)
    assert all(report[layer] == "on" for layer in LAYERS), report
    tries: dict[str, Callable[[], object]] = dict(attempts())
    tries["TLS"] = partial(shake_hands, client, server)
    for name in names:
        tries[f"destination {name}"] = partial(journey.travelled, name)
    for name, attempt in tries.items():
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - it is what is printed
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


def load_destinations() -> list[str]:
    """Import all that are built in, as a worker of a pool with all of them does."""
    import pkgutil

    import destinations

    names = [found.name for found in pkgutil.iter_modules(destinations.__path__) if found.ispkg]
    names = sorted(name.replace("_", "-") for name in names if name != "kit")
    for name in names:
        load(name, None)
    return names


def native_modules() -> set[str]:
    """Names of all extension modules that are imported."""
    return {
        name
        for name, module in list(sys.modules.items())
        if isinstance(vars(module).get("__loader__"), ExtensionFileLoader)
    }


def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
    """What a worker does later than its imports, by name."""
    for kind in get_args(snapshot.Kind):
        yield f"snapshot {kind}", partial(take, kind)
    for name in sorted({*encodings.aliases.aliases.values(), "idna", "punycode", "utf_8_sig"}):
        if name != "mbcs":  # of Windows
            yield f"encoding {name}", partial(codecs.lookup, name)
    yield "stacks", partial(faulthandler.dump_traceback, sys.stderr, all_threads=True)
    yield "a traceback", partial(traceback.format_exception, ValueError("x"))
    yield "tasks", lambda: asyncio.run(list_tasks())
    for profile in get_args(profiler.Kind):
        yield f"profile {profile}", partial(profiler.profile, profile, 0.05, 0.005)
    yield "a thread", partial(in_thread, time.monotonic)
    yield "an executor", lambda: asyncio.run(asyncio.to_thread(time.monotonic))
    for module in MODULES.split():
        yield f"module {module}", partial(__import__, module)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Both sides, in memory."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(here, there, server_hostname="localhost")
    theirs = server.wrap_bio(there, here, server_side=True)
    for _ in range(8):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.version() == "TLSv1.3"
    ours.write(b"x")
    assert theirs.read(1) == b"x"


def take(kind: snapshot.Kind) -> None:
    """In a copy, as in a worker."""
    roots = snapshot.capture()
    child = os.fork()
    if child == 0:
        _copy(kind, roots)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"its copy ended with {status}"


def _copy(kind: snapshot.Kind, roots: Roots) -> NoReturn:
    code = 1
    try:
        target = os.open("/dev/null", os.O_WRONLY)
        limits = SnapshotLimits()
        snapshot.write(target, kind, tables=_kept[0], roots=roots, limits=limits)
        code = 0
    except BaseException:  # noqa: BLE001 - a copy ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)


async def list_tasks() -> str:
    return tasks.text()


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
