"""The page's own files: read once from the package, served packed, never written.

Owns what of the package a browser may have and for how long it may keep it. A file's address holds
the hash of all files, so that a browser never mixes two versions. Nothing is put into a page but
that hash.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from aiohttp import web

from supervisor.admin.table import Right, Route
from supervisor.errors import NotFound

#: What browsers are told that a file is, by the end of its name. What ends otherwise (notes of
#: types for the check) no browser asks for.
_MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".txt": "text/plain",
    ".svg": "image/svg+xml",
}
#: In `index.html` it stands where the hash comes.
_PLACE = b"BUILD"
#: Of files whose address changes with them.
_FOR_EVER = "public, max-age=31536000, immutable"


class StaticFile(NamedTuple):
    """One file as it is sent: as it is, or packed with gzip."""

    media_type: str
    plain: bytes
    packed: bytes

    @classmethod
    def of(cls, name: str, content: bytes) -> StaticFile | None:
        """None for a file that is not for browsers."""
        media_type = _MEDIA_TYPES.get(name[name.rfind(".") :])
        if media_type is None:
            return None
        # The time of packing is left out, so that the same file is always the same bytes.
        return cls(media_type, content, gzip.compress(content, compresslevel=9, mtime=0))


class Site:
    """All files of the page. `build` is the hash that stands in their addresses."""

    def __init__(self) -> None:
        found = dict(sorted(_read(files("supervisor.console") / "static", "")))
        digest = hashlib.sha256()
        for name, content in found.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.build = digest.hexdigest()[:16]
        index = found["index.html"].replace(_PLACE, self.build.encode())
        page = StaticFile.of("index.html", index)
        assert page is not None
        self._index = page
        self.files = {
            name: file
            for name, content in found.items()
            if name != "index.html" and (file := StaticFile.of(name, content)) is not None
        }

    def rows(self) -> tuple[Route, ...]:
        """The page and its files, which say nothing of the service."""
        return (
            Route("GET", "/console", self.to_page, Right.PUBLIC),
            Route("GET", "/console/", self.page, Right.PUBLIC),
            Route("GET", "/console/static/{build}/{path:.+}", self.file, Right.PUBLIC),
        )

    async def to_page(self, request: web.Request) -> web.StreamResponse:
        """To where the page's relative addresses hold, below whatever a proxy puts in front."""
        return web.Response(status=308, headers={"Location": "console/"})

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The page."""
        return _sent(request, self._index)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file of it. Raises NotFound for one of another version, too."""
        file = self.files.get(request.match_info["path"])
        if file is None or request.match_info["build"] != self.build:
            raise NotFound("the page has no such file now; load it anew: the service was replaced")
        answer = _sent(request, file)
        answer.headers["Cache-Control"] = _FOR_EVER
        return answer


def _read(folder: Traversable, above: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{above}{entry.name}/")
        else:
            yield f"{above}{entry.name}", entry.read_bytes()


def _sent(request: web.Request, file: StaticFile) -> web.Response:
    takes_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
    answer = web.Response(
        body=file.packed if takes_gzip else file.plain,
        content_type=file.media_type,
        charset="utf-8",
        headers={"Vary": "Accept-Encoding"},
    )
    if takes_gzip:
        answer.headers["Content-Encoding"] = "gzip"
    return answer
