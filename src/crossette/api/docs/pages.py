"""GET /openapi.json and /docs: the description of the API, for programs and for people."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crossette.api.dialect import Dialect
from crossette.api.docs.components import Json
from crossette.api.docs.openapi import document
from crossette.api.http import json_response
from crossette.api.models import ServedModels

_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""The page is text and its own style: nothing else may load, whatever is in a model's name."""


class Docs:
    """What a server answers when it is asked about itself. Made when first asked for."""

    def __init__(self, models: ServedModels, dialects: tuple[Dialect, ...]) -> None:
        self._models = models
        self._dialects = dialects

    async def json(self, request: Request) -> Response:
        return json_response(self._document)

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=_HEADERS)

    @cached_property
    def _document(self) -> Json:
        return document([entry.id for entry in self._models.entries()], self._dialects)

    @cached_property
    def _page(self) -> str:
        return render(self._document)


def render(description: Json) -> str:
    """An OpenAPI document as one HTML page that needs no script and no network."""
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"json": _json, "words": _words}
    return environment.get_template("docs.html").render(description)


def _json(value: Any, *, indent: int = 0) -> str:
    encoded = msgspec.json.encode(value)
    return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()


def _words(text: str) -> Markup:
    """A description, with `code` in it as such."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))
