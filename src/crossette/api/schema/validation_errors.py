"""msgspec's validation errors as errors of a request: the path of the field, and the values that it allows."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, TypeVar

from msgspec import inspect

from crossette.errors import InvalidRequest, ServingError, UnknownField, invalid_value, missing

KindT = TypeVar("KindT", bound=inspect.Type)

_MAX_KEY = 64
"""Characters of a key that a path repeats."""
_ERROR = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?P<what>unknown|missing required) field `(?P<name>[^`]*)`")
_WRONG_VALUE = re.compile(r"^Invalid enum value (?P<given>.*)$", re.DOTALL)
_WRONG_TYPE = re.compile(r"^Expected `(?P<wanted>[^`]*)`, got `(?P<given>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>[0-9]+)\]|\[\.\.\.\]")
_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "array": "list",
    "object": "object",
    "null": "null",
}
_TYPES = {str: "str", int: "int", float: "float", bool: "bool", list: "array", dict: "object", type(None): "null"}


def explain(message: str, kind: inspect.Type, sent: Any) -> ServingError:  # Any: JSON
    """The error of a body `sent` that is not of type `kind`, from msgspec's message.

    Its param is the complete path of the field: `messages[2].content`, `metadata.team`.
    """
    matched = _ERROR.match(message)
    what, steps = (matched["what"], matched["path"] or "") if matched else (message, "")
    types = _WRONG_TYPE.match(what)
    path, kind = _follow(steps, kind, sent, types["given"] if types else "")
    if field := _FIELD.search(what):
        return _wrong_name(f"{path}.{field['name']}" if path else field["name"], is_unknown=field["what"] == "unknown")
    allowed = [str(option) for literal in _options(kind, inspect.LiteralType) for option in literal.values]
    if value := _WRONG_VALUE.match(what):
        return invalid_value(path, allowed, value["given"])
    if types:
        return _wrong_type(path, types["wanted"].split(" | "), _NAMES.get(types["given"], types["given"]), allowed)
    return InvalidRequest(f"{what}, field: '{path}'", param=path or None)


def _wrong_name(path: str, *, is_unknown: bool) -> InvalidRequest:
    if is_unknown:
        return UnknownField(f"Extra inputs are not permitted, field: '{path}'", param=path)
    return missing(path)


def _wrong_type(path: str, wanted: list[str], given: str, allowed: list[str]) -> InvalidRequest:
    """`allowed`: the values of the field if it has a list of them."""
    if not path:
        return InvalidRequest(f"The body is a JSON {given}. Send an object with the fields of the request.")
    if allowed:
        return invalid_value(path, allowed, given)
    expected = " or ".join(_NAMES.get(name, name) for name in wanted)
    return InvalidRequest(
        f"Input should be a valid {expected}, not {given}, field: '{path}'", param=path, code="invalid_type"
    )


def _follow(steps: str, kind: inspect.Type, sent: Any, given: str) -> tuple[str, inspect.Type]:
    """The complete path, and the type there, at msgspec's path, in which every key of a map is `[...]`.

    The value there is of JSON type `given`.
    """
    path = ""
    for step in _STEP.finditer(steps):
        if name := step["name"]:
            (struct,) = _options(kind, inspect.StructType)
            kind = next(field.type for field in struct.fields if field.encode_name == name)
            path, sent = f"{path}.{name}" if path else name, sent[name]
        elif step["index"]:
            (items,) = _options(kind, inspect.ListType)
            kind, sent = items.item_type, sent[int(step["index"])]
            path += step[0]
        else:
            (values,) = _options(kind, inspect.DictType)
            kind = values.value_type
            key, sent = _entry_of(sent, given)
            path += f".{key[:_MAX_KEY]}"
    return path, kind


def _entry_of(sent: dict[str, Any], given: str) -> tuple[str, Any]:
    """The first entry of a map whose value is of JSON type `given`.

    msgspec calls an integer beyond 64 bits a float, or a number out of range without a type.
    """
    exact = (item for item in sent.items() if _TYPES[type(item[1])] == given)
    large = (item for item in sent.items() if isinstance(item[1], int | float) and abs(item[1]) >= 2**63)
    return next(chain(exact, large))


def _options(kind: inspect.Type, wanted: type[KindT]) -> list[KindT]:
    """The members of a union, or the type itself, that are of a wanted kind."""
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return [option for option in kinds if isinstance(option, wanted)]
