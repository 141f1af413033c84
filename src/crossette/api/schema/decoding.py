"""JSON as a wire type, and what is wrong with JSON that is not one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from crossette.api.schema.validation_errors import explain
from crossette.errors import InvalidRequest

Body = TypeVar("Body", bound=msgspec.Struct)

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_GZIP = b"\x1f\x8b"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_EXACT = 2**53
"""Below this a float is the integer that was sent."""


def decode(raw: bytes, wire: type[Body]) -> Body:
    """The body as `wire`. A number without a fraction, such as 16.0, is an integer; a BOM is skipped.

    Raises InvalidRequest, naming the invalid field.
    """
    raw = raw.removeprefix(_BOM)
    try:
        try:
            return msgspec.json.decode(raw, type=wire)
        except msgspec.ValidationError as error:
            kind = type_info(wire)
            sent = msgspec.json.decode(raw)
            if "got `float`" not in str(error):
                raise explain(str(error), kind, sent) from error
        sent = with_integers(sent, kind)
        try:
            return msgspec.convert(sent, wire)
        except msgspec.ValidationError as error:
            raise explain(str(error), kind, sent) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid_json(raw, error) from error


def with_model(raw: bytes, model: str) -> bytes:
    """A JSON body with the model that its path names. Raises InvalidRequest if the body names another one."""
    try:
        fields = msgspec.json.decode(raw.removeprefix(_BOM), type=dict[str, msgspec.Raw])
        sent = msgspec.json.decode(fields.get("model", b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw  # `decode` reports what is wrong with it
    if isinstance(sent, str) and sent != model:
        raise InvalidRequest("The path and the body name different models. Send one of the two.", param="model")
    return raw if sent is not None else msgspec.json.encode({**fields, "model": model})


@lru_cache(maxsize=32)
def type_info(wire: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(wire)


def with_integers(value: Any, kind: inspect.Type) -> Any:  # Any: JSON
    """JSON in which 16.0 is 16 wherever `kind` allows an integer but no other number."""
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    if isinstance(value, float):
        return int(value) if _is_integer(value) and _has(kinds, inspect.IntType) else value
    for option in kinds:
        if isinstance(value, list) and isinstance(option, inspect.ListType):
            return [with_integers(item, option.item_type) for item in value]
        if isinstance(value, dict) and isinstance(option, inspect.StructType):
            types = {field.encode_name: field.type for field in option.fields}
            return {name: with_integers(item, types[name]) if name in types else item for name, item in value.items()}
    return value


def _is_integer(value: float) -> bool:
    return value.is_integer() and abs(value) < _MAX_EXACT


def _has(kinds: tuple[inspect.Type, ...], kind: type[inspect.Type]) -> bool:
    return any(isinstance(option, kind) for option in kinds)


def _invalid_json(raw: bytes, error: Exception) -> InvalidRequest:
    """The error of a body that is not JSON."""
    if not raw or raw.isspace():
        return InvalidRequest("The body is empty. Send a JSON object with the fields of the request.")
    if other := _other_encoding(raw):
        return InvalidRequest(f"The body is {other}, and JSON is UTF-8. Encode it as UTF-8.")
    if raw.startswith(_GZIP):
        return InvalidRequest("The body is compressed. Send the header content-encoding: gzip with it.")
    if isinstance(error, UnicodeDecodeError):
        return _invalid_utf_8(raw, error)
    if _SURROGATE_ESCAPE.search(raw) and (found := _lone_surrogate(raw)) is not None:
        path, half = found
        where = f"The text at '{path}'" if path else "A field name"
        return InvalidRequest(
            f"{where} has half of a surrogate pair, \\u{half:04x}, which is not a character: it was cut within a "
            "character such as an emoji. Cut texts between characters.",
            param=path or None,
        )
    return InvalidRequest(f"The body is not valid JSON: {error}")


def _other_encoding(raw: bytes) -> str:
    """UTF-16 or UTF-32, by its byte order mark or the zero bytes of its first characters; "" for neither."""
    zeros = raw[:4].count(0)
    if raw.startswith(_UTF_32) or zeros == 3:
        return "UTF-32"
    return "UTF-16" if raw.startswith(_UTF_16) or zeros == 2 else ""


def _invalid_utf_8(raw: bytes, error: UnicodeDecodeError) -> InvalidRequest:
    try:
        raw.decode()
    except UnicodeDecodeError as whole:  # `error` counts from the start of its string
        error = whole
    byte = error.object[error.start]
    return InvalidRequest(f"The body is not valid UTF-8: byte 0x{byte:02x} at position {error.start}.")


def _lone_surrogate(raw: bytes) -> tuple[str, int] | None:
    """The path of the first text with half of a surrogate pair, and that half; None if the JSON has another fault."""
    try:
        sent = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    for path, text in _texts(sent):
        half = _SURROGATE.search(text)
        if half is not None:
            return path, ord(half[0])
    return None


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text and name in a JSON value, in order, with its path."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, str):
            yield path, item
        elif isinstance(item, list):
            pending += reversed([(f"{path}[{index}]", inner) for index, inner in enumerate(item)])
        elif isinstance(item, dict):
            yield from ((path, name) for name in item)
            pending += reversed([(f"{path}.{name}" if path else name, inner) for name, inner in item.items()])
