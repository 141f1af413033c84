"""Lengths of the fields that are logged."""

from __future__ import annotations

import msgspec

from crossette.api.schema import fields
from crossette.api.schema.table import Table
from crossette.errors import InvalidRequest


def check_recorded(body: msgspec.Struct, table: Table) -> None:
    """Raise InvalidRequest for a field that is too long for the log."""
    for name, value in zip(table.recorded, table.recorded_values(body), strict=True):
        if value is None:
            continue
        if name == "metadata":
            _check_metadata(value)
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            _check_length(name, text, fields.MAX_RECORDED, param=name)


def _check_metadata(metadata: dict[str, str]) -> None:
    for key, text in metadata.items():
        _check_length("a key of metadata", key, fields.MAX_METADATA_KEY, param="metadata")
        _check_length("a value of metadata", text, fields.MAX_METADATA_VALUE, param=f"metadata.{key}")


def _check_length(name: str, text: str, maximum: int, *, param: str) -> None:
    if len(text) > maximum:
        raise InvalidRequest(
            f"{name} may have up to {maximum} characters, not {len(text)}: '{text[:20]}…'",
            param=param,
            code="string_above_max_length",
        )
