"""The key that a request brings: as a bearer token, or as Anthropic's clients send it."""

from __future__ import annotations

from starlette.datastructures import Headers


def key_of(headers: Headers) -> str | None:
    """The key in `Authorization: Bearer` or else in `x-api-key`; None where there is neither."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get("x-api-key", "").strip() or None
