"""GET / and GET /version: what this server is, for people and for programs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from crossette import __version__
from crossette.api.dialect import Dialect
from crossette.api.http import json_response
from crossette.api.pages.site import File

_SUMMARY = "The OpenAI API and the Fireworks API for open models."
_TYPES = ("text/html", "application/json", "text/plain")
"""The formats of the start page. Of equal preferences the first applies."""
_QUALITY = re.compile("q=([01](?:[.][0-9]{0,3})?)")
_VARY = {"vary": "accept"}


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
    """GET /: the playground for a browser, text for a client that prefers text, JSON for all others."""

    def __init__(self, dialects: Sequence[Dialect], paths: Sequence[str], page: File) -> None:
        bases = {dialect.name: dialect.prefix for dialect in dialects}
        self._document = HomeDocument("crossette", __version__, _SUMMARY, bases, list(paths))
        self._page = page
        self._title = f"crossette {__version__}"
        self._bases = "; ".join(f"{dialect.title}: base URL …{dialect.prefix}" for dialect in dialects)

    async def respond(self, request: Request) -> Response:
        preferred = _preferred(request.headers.get("accept", ""))
        if preferred == "text/html":
            page = await self._page.respond(request)
            page.headers.update({"vary": "accept, accept-encoding"})
            return page
        if preferred == "text/plain":
            return PlainTextResponse(self._text(), headers=_VARY)
        return json_response(self._document, headers=dict(_VARY))

    def _text(self) -> str:
        paths = ("Playground: /playground", "Documentation: /docs", "For programs: /openapi.json")
        return "\n".join([self._title, _SUMMARY, self._bases, *paths, ""])


def _preferred(accept: str) -> str:
    """The media type of `_TYPES` that an Accept header prefers; JSON if it names none of them."""
    qualities = dict.fromkeys(_TYPES, 0.0)
    for entry in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        if media_type in qualities:
            qualities[media_type] = max((_quality(one) for one in parameters if one.startswith("q=")), default=1.0)
    preferred = max(_TYPES, key=qualities.__getitem__)  # the first of equals
    return preferred if qualities[preferred] > 0 else "application/json"


def _quality(parameter: str) -> float:
    """The value of `q=0.5`; 0 for one that is not a number."""
    found = _QUALITY.fullmatch(parameter)
    return float(found[1]) if found else 0.0


async def version(request: Request) -> Response:
    return json_response(Version(__version__))
