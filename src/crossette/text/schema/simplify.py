"""Keywords that other keywords can replace exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crossette.text.schema.part import Part

Target = Callable[[Part], Part | None]
"""Resolves the reference of a part."""


def simplified(part: Part, target: Target) -> Part:
    """The same schema with fewer kinds of keywords. Keywords that have no equivalent stay."""
    schema = dict(part.schema)
    _add_null(schema)
    return part if schema == part.schema else Part(schema, part.pointer, part.variant)


def _add_null(schema: dict[str, Any]) -> None:
    """`nullable` of OpenAPI 3.0, which belongs to `type`."""
    if schema.get("nullable") is not True or "type" not in schema:
        return
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    schema["type"] = kinds if "null" in kinds else [*kinds, "null"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
