"""Patterns of JSON Schema as patterns that the compiler enforces together."""

from __future__ import annotations

from crossette.text.schema.ecma_regex import to_rust


def conjuncts_of(pattern: str) -> list[str]:
    """Patterns in Rust's syntax that a string matches all of if it matches this one. Raises ValueError."""
    return [to_rust(pattern)]
