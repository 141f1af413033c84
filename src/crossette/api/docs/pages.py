"""GET /openapi.json and /docs: the OpenAPI document, and a page that shows it."""

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
from crossette.api.docs.openapi import document
from crossette.api.docs.values import Json
from crossette.api.http import json_response
from crossette.api.models import ServedModels

_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""The page needs only inline styles. Nothing else may load, even if a model's name contains markup."""


class Docs:
    """The documentation endpoints. Document and page are generated at the first request."""

    def __init__(self, models: ServedModels, dialects: tuple[Dialect, ...]) -> None:
        self._models = models
        self._dialects = dialects

    async def json(self, request: Request) -> Response:
        return json_response(self._document)

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=_HEADERS)

    @cached_property
    def _document(self) -> Json:
        return document(self._models.names(), self._dialects)

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
    environment.filters |= {"json": _json, "inline_code": _inline_code}
    return environment.get_template("docs.html").render(description)


def _json(value: Any, *, indent: int = 0) -> str:
    encoded = msgspec.json.encode(value)
    return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()


def _inline_code(text: str) -> Markup:
    """A description as HTML, with text in backticks as code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))
