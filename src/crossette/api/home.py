"""GET / and GET /version: what this server is, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from markupsafe import escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from crossette import __version__
from crossette.api.dialect import Dialect
from crossette.api.http import json_response

_SUMMARY = "The OpenAI API and the Fireworks API for open models."
_VARY = {"vary": "accept"}
_PAGE_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'", **_VARY}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ font: 16px/1.55 system-ui, sans-serif; margin: 3rem auto;
max-width: 48rem; padding: 0 1.25rem; }}</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<p>{bases}</p>
<p><a href="docs">Documentation</a>, and <a href="openapi.json">the same for programs</a>.</p>
</body>
</html>
"""


class Version(msgspec.Struct):
    version: str


class HomeDocument(msgspec.Struct):
    """The paths of a server. It names no model: a key may be needed to list them."""

    name: str
    version: str
    summary: str
    base_paths: dict[str, str]
    """The base path of each dialect."""
    paths: list[str]
    """Every other path, with its methods."""


class Home:
    """GET /: a page for a browser, text for a client that accepts text only, JSON for all others."""

    def __init__(self, dialects: Sequence[Dialect], paths: Sequence[str]) -> None:
        bases = {dialect.name: dialect.prefix for dialect in dialects}
        self._document = HomeDocument("crossette", __version__, _SUMMARY, bases, list(paths))
        self._title = f"crossette {__version__}"
        self._bases = "; ".join(f"{dialect.title}: base URL …{dialect.prefix}" for dialect in dialects)

    async def respond(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if "text/html" in accept:
            return HTMLResponse(self._page(), headers=_PAGE_HEADERS)
        if "text/plain" in accept and "json" not in accept:
            return PlainTextResponse(self._text(), headers=_VARY)
        return json_response(self._document, headers=dict(_VARY))

    def _page(self) -> str:
        return _PAGE.format(title=escape(self._title), summary=escape(_SUMMARY), bases=escape(self._bases))

    def _text(self) -> str:
        lines = [self._title, _SUMMARY, self._bases, "Documentation: /docs", "For programs: /openapi.json"]
        return "\n".join([*lines, ""])


async def version(request: Request) -> Response:
    return json_response(Version(__version__))
