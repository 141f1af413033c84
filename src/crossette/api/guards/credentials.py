"""The API key in a request's headers: a bearer token, or `x-api-key` as Anthropic's clients send it."""

from __future__ import annotations

from collections.abc import Mapping


def key_of(headers: Mapping[str, str]) -> str | None:
    """The key in `Authorization: Bearer`, else in `x-api-key`; None without either."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get("x-api-key", "").strip() or None
