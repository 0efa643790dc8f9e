"""The code that workers are started from: kept by content, as it stood when it was last taken.

Owns `code` in the state directory: a folder for each content that plugin folders had, by its
digest. Workers import from there and never from the plugin folders themselves, so that a file that
is changed, half-written or broken meanwhile is nobody's until the next reload takes it, whole. All
regular files count, data beside the code as well; what no plugin has any business with is left out:
byte code, hidden names, virtual environments, and `secret` files of ours, also where a link leads
there. A link that leads to where workers may write is refused: they could change what the next
reload takes. Must not know what a plugin is; never import anything.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from supervisor.config import Config, ConfigError
from supervisor.config.places import FileTree, Whereabouts
from supervisor.runtime.durable import sync_folder
from supervisor.runtime.files import open_file
from supervisor.workers.resources.removal import remove

_log = structlog.get_logger(__name__)

#: Most files and bytes that plugin folders may hold together, and how deep code may lie.
MAX_FILES, MAX_BYTES, MAX_DEPTH = 20_000, 256 * 1024 * 1024, 32
#: Bytes of the path of a folder that is looked into: the system takes 4096 with a name in it.
MAX_PATH = 3000
#: Contents that are kept: that of now, and of workers that still end what they have.
KEPT = 4
#: Seconds that the removal of one content may take.
REMOVE_S = 10.0
_PIECE_BYTES = 1 << 20
_DRAFT = "draft-"
#: What a folder holds that is a virtual environment.
_VENV = "pyvenv.cfg"


_TOO_LARGE = (
    f"service.plugin_paths: hold more than {MAX_BYTES} bytes together; name folders with nothing "
    "but plugins"
)


class CodeRefused(Exception):
    """Plugin folders that cannot be kept; the text opens with the key path at fault."""


@dataclass(frozen=True, slots=True)
class KeptCode:
    """`roots` are where the plugin folders' content is now, in their order."""

    digest: str
    roots: tuple[Path, ...]
    left_out: tuple[str, ...]
    """Files and folders that no worker sees: ours, and what lies too deep to be code."""

    def running(self, config: Config) -> Config:
        """The config as workers are started with it: with what is kept for the plugin folders."""
        service = msgspec.structs.replace(
            config.service, plugin_paths=self.roots, plugin_origins=config.service.plugin_paths
        )
        return msgspec.structs.replace(config, service=service)


@dataclass(frozen=True, slots=True)
class _File:
    root: int
    name: str
    source: Path


class CodeStore:
    """`folder` holds it; made where it is missing. Of one service, or of one command.

    `is_searched`: as root, it and the folder above let others search them, and no more. Workers
    with users of their own come to their code so, also where nothing can be mounted for them.
    """

    def __init__(self, folder: Path, *, is_searched: bool = False) -> None:
        self._folder = folder
        self._is_searched = is_searched and os.geteuid() == 0

    def keep_of(self, config: Config) -> KeptCode:
        """As `keep`, of a config's plugin folders, without its secrets and state.

        Raises ConfigError.
        """
        try:
            return self.keep(config.service.plugin_paths, *_foreign(config))
        except CodeRefused as error:
            raise ConfigError([f"{config.path}: {error}"]) from error

    @staticmethod
    def digest_of(config: Config) -> str:
        """The digest that `keep_of` would give what the folders hold now, and nothing is kept.

        Not for the event loop's thread. "" where they cannot be read, or would be refused.
        """
        return _looked_at(config, lambda files, names: _digest(files, names, _source))

    @staticmethod
    def stamp_of(config: Config) -> str:
        """Names, sizes and times of these files: as long as it stays, the digest most likely does.

        Not for the event loop's thread.
        """
        return _looked_at(config, _stamp)

    def keep(
        self, roots: Sequence[Path], secret: Collection[Path], written: Collection[Path] = ()
    ) -> KeptCode:
        """Take what the folders hold now. Not for the event loop's thread.

        What is in `secret`, files and folders, is left out wherever it lies; no link may lead to
        `written`, folders that workers may write to. Raises CodeRefused.
        """
        try:
            return self._keep(roots, _NotForPlugins(secret, written))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise CodeRefused(
                f"service.plugin_paths: cannot be kept: {where}{error.strerror or error}"
            ) from error

    def _keep(self, roots: Sequence[Path], foreign: _NotForPlugins) -> KeptCode:
        if not roots:
            return KeptCode("", (), ())
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._is_searched:
            for folder in (self._folder.parent, self._folder):
                folder.chmod(0o711)
        left_out: list[str] = []
        files = sorted(
            _files(roots, foreign, left_out), key=lambda file: (file.root, os.fsencode(file.name))
        )
        names = _names(roots)
        # Most reloads change no code, and reading is cheap beside writing it down.
        digest = _digest(files, names, _source)
        kept = self._folder / digest
        is_kept = digest and all((kept / name).is_dir() for name in names)
        if not is_kept or digest != _digest(
            files, names, lambda file: kept / names[file.root] / file.name
        ):
            digest = self._copied(files, names)
            kept = self._folder / digest
        os.utime(kept)
        self._make_room(digest)
        return KeptCode(digest, tuple(kept / name for name in names), tuple(sorted(left_out)))

    def _copied(self, files: Sequence[_File], names: Sequence[str]) -> str:
        """Keep a copy under its digest, which it gets once it is whole and on disk."""
        draft = self._folder / f"{_DRAFT}{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        try:
            digest = _copy(files, names, draft)
            kept = self._folder / digest
            if kept.exists():
                # Not what its name says: whoever changed it, no further worker is to have it.
                kept.rename(self._folder / f"{_DRAFT}{secrets.token_hex(8)}")
            draft.rename(kept)
            sync_folder(self._folder)
        except BaseException:
            _remove(draft)
            raise
        return digest

    def _make_room(self, current: str) -> None:
        """Forget the oldest, and what a kill has left half-made."""
        entries = [entry for entry in os.scandir(self._folder) if entry.name != current]
        drafts = [entry.path for entry in entries if entry.name.startswith(_DRAFT)]
        kept = [entry for entry in entries if not entry.name.startswith(_DRAFT)]
        kept.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime, reverse=True)
        for path in [*drafts, *(entry.path for entry in kept[KEPT - 1 :])]:
            _remove(Path(path))


def _foreign(config: Config) -> tuple[set[Path], set[Path]]:
    """What no worker may see, and what workers may write to."""
    written = {path for pool in config.pools.values() for path in pool.write_paths}
    return {config.service.state_dir, *config.secret_files}, written


def _names(roots: Sequence[Path]) -> list[str]:
    return [f"{index}-{root.name or 'root'}" for index, root in enumerate(roots)]


def _looked_at(config: Config, digest: Callable[[Sequence[_File], Sequence[str]], str]) -> str:
    roots = config.service.plugin_paths
    try:
        files = list(_files(roots, _NotForPlugins(*_foreign(config)), []))
        files.sort(key=lambda file: (file.root, os.fsencode(file.name)))
        return digest(files, _names(roots)) if roots else ""
    except (OSError, CodeRefused):
        return ""


def _stamp(files: Sequence[_File], names: Sequence[str]) -> str:
    whole = hashlib.sha256()
    for file in files:
        about = file.source.stat()
        stamp = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"
        whole.update(_line(names[file.root], file.name, stamp))
    return whole.hexdigest()[:32]


def _source(file: _File) -> Path:
    return file.source


def _identities(paths: Collection[Path]) -> set[tuple[int, int]]:
    """Device and inode of what is there, so that no other name or link leads to it."""
    found = set()
    for path in paths:
        try:
            about = path.stat()
        except OSError:
            continue  # nothing there to be shown
        found.add((about.st_dev, about.st_ino))
    return found


class _NotForPlugins:
    """What is in `secret` no worker sees, and what is in `written` workers may change."""

    def __init__(self, secret: Collection[Path], written: Collection[Path]) -> None:
        self._tree = FileTree()
        self._identities = _identities(secret)
        self._secret = [self._leads_to(path) for path in secret]
        self._written = {path: self._leads_to(path) for path in written}

    def is_secret(self, path: Path, about: os.stat_result) -> bool:
        """By what it is; of a link also by where it leads. `about` is what is there."""
        if (about.st_dev, about.st_ino) in self._identities:
            return True
        if not path.is_symlink():
            return False
        where = self._leads_to(path)
        return any(where.is_in(secret) for secret in self._secret)

    def require_ours(self, link: Path, at: str) -> None:
        """Raises CodeRefused where workers could change what `link` leads to; `at` is its key."""
        where = self._leads_to(link)
        for folder, written in self._written.items():
            if where.is_in(written) or written.is_in(where) or where.is_decided_in(written):
                raise CodeRefused(
                    f"{at}: {link} leads to {folder} of write_paths, so that workers could change "
                    "what the next reload takes; take the link away, or name another folder there"
                )

    def _leads_to(self, path: Path) -> Whereabouts:
        return self._tree.whereabouts(path.absolute())


def _files(roots: Sequence[Path], foreign: _NotForPlugins, left_out: list[str]) -> Iterator[_File]:
    """All that counts, in an order that depends on names alone."""
    for index, root in enumerate(roots):
        at = f"service.plugin_paths[{index}]"
        #: Folders to look into, and the identities of those that lead there: a link may lead back.
        to_do: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [(root, "", frozenset())]
        found = 0
        while to_do:
            folder, below, above = to_do.pop()
            about = folder.stat()
            identity = (about.st_dev, about.st_ino)
            if foreign.is_secret(folder, about):
                left_out.append(str(folder))
                continue
            if identity in above or (below and (folder / _VENV).exists()):
                continue
            if len(above) >= MAX_DEPTH or len(os.fsencode(folder)) > MAX_PATH:
                left_out.append(str(folder))
                continue
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__pycache__":
                    continue
                found += 1
                if found > MAX_FILES:
                    raise CodeRefused(
                        f"{at}: {root} holds more than {MAX_FILES} files and folders; name one "
                        "with nothing but plugins"
                    )
                try:
                    about = entry.stat()
                except FileNotFoundError:
                    continue  # a link that leads nowhere, or gone since
                name = f"{below}{entry.name}"
                if entry.is_symlink():
                    foreign.require_ours(Path(entry.path), at)
                if foreign.is_secret(Path(entry.path), about):
                    left_out.append(entry.path)
                elif stat.S_ISDIR(about.st_mode):
                    to_do.append((Path(entry.path), f"{name}/", above | {identity}))
                elif stat.S_ISREG(about.st_mode):
                    yield _File(index, name, Path(entry.path))


def _copy(files: Sequence[_File], names: Sequence[str], draft: Path) -> str:
    """Copy all into `draft`, on disk and for reading only; the digest of what was read."""
    folders = {draft, *(draft / name for name in names)}
    for name in names:
        (draft / name).mkdir()
    total = 0
    whole = hashlib.sha256()
    for file in files:
        target = draft / names[file.root] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        folders.update(parent for parent in target.parents if parent.is_relative_to(draft))
        content = hashlib.sha256()
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open_file(file.source) as source, os.fdopen(fd, "wb") as copy:
            while piece := source.read(_PIECE_BYTES):
                total += len(piece)
                if total > MAX_BYTES:
                    raise CodeRefused(_TOO_LARGE)
                content.update(piece)
                copy.write(piece)
            copy.flush()
            os.fsync(copy.fileno())
        target.chmod(0o444)
        whole.update(_line(names[file.root], file.name, content.hexdigest()))
    for folder in sorted(folders, reverse=True):  # what is inside a folder comes before it
        sync_folder(folder)
        # Open to all: workers may have a user of their own, and the folder above is closed.
        folder.chmod(0o555)
    return whole.hexdigest()[:32]


def _digest(files: Sequence[_File], names: Sequence[str], where: Callable[[_File], Path]) -> str:
    """The digest of what stands where `where` says; "" where something is missing there."""
    whole = hashlib.sha256()
    total = 0
    for file in files:
        content = hashlib.sha256()
        try:
            with open_file(where(file)) as source:
                while piece := source.read(_PIECE_BYTES):
                    total += len(piece)
                    if total > MAX_BYTES:
                        raise CodeRefused(_TOO_LARGE)
                    content.update(piece)
        except FileNotFoundError:
            return ""
        whole.update(_line(names[file.root], file.name, content.hexdigest()))
    return whole.hexdigest()[:32]


def _line(root: str, name: str, content: str) -> bytes:
    return f"{root}\0{name}\0{content}\n".encode("utf-8", "surrogateescape")


def _remove(folder: Path) -> None:
    """Remove what is not needed any more; what cannot be removed is in nobody's way."""
    if why := remove(folder, REMOVE_S):
        _log.warning("code_not_removed", path=str(folder), reason=why)
