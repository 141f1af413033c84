"""The API key in a request's headers: a bearer token, or `x-api-key` as Anthropic's clients send it."""

from __future__ import annotations

from starlette.datastructures import Headers


def key_of(headers: Headers) -> str | None:
    """The key in `Authorization: Bearer`, else in `x-api-key`; None without either."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get("x-api-key", "").strip() or None
