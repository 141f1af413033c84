"""The pages for a browser, the playground and administration: files that are built from frontend/."""

from __future__ import annotations

import gzip
import mimetypes
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BUILT = Path(__file__).parent / "built"
DOCUMENT = "index.html"
"""The document of all pages: its script shows the one of the path."""
PAGES = ("/playground", "/admin")
FILES = "/pages/"

HEADERS: Mapping[str, str] = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types dompurify",
        )
    ),
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""No other origin is asked for anything, and none can frame a page or read its files."""


class File:
    """A built file, which does not change while the server runs."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._tag = f'W/"{sha256(self._content).hexdigest()[:16]}"'  # weak: the same for each content coding

    async def respond(self, request: Request) -> Response:
        """The file, compressed for a client that accepts it, or 304 for one that has it."""
        headers = {**HEADERS, "etag": self._tag, "vary": "accept-encoding"}
        if self._tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(self._content, headers=headers, media_type=self._type)
        return Response(self._compressed, headers={**headers, "content-encoding": "gzip"}, media_type=self._type)

    @cached_property
    def _compressed(self) -> bytes:
        return gzip.compress(self._content, mtime=0)


class Site:
    """The pages and the files that they load. None of them has a secret, so none needs a key."""

    def __init__(self, folder: Path = BUILT) -> None:
        self.document = File(folder / DOCUMENT)
        self._files = {path.name: File(path) for path in sorted((folder / "pages").iterdir())}

    def pages(self) -> list[Route]:
        return [Route(path, self.document.respond) for path in PAGES]

    def files(self) -> list[Route]:
        return [Route(FILES + name, file.respond) for name, file in self._files.items()]
