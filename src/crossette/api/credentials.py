"""The key that a request brings: as a bearer token, or as Anthropic's clients send it."""

from __future__ import annotations

from starlette.types import Scope


def key_of(scope: Scope) -> str | None:
    """The key in `Authorization: Bearer` or else in `x-api-key`; None where there is neither."""
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in (b"authorization", b"x-api-key"):
            found.setdefault(name, value.decode("latin-1").strip())
    scheme, _, token = found.get(b"authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or found.get(b"x-api-key") or None
