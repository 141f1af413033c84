"""Validation of generated JSON by a JSON Schema validator that is independent of the grammar."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from math import copysign, isinf
from typing import Any

import jsonschema_rs

from crossette.text.schema.drafts import of_one_draft

_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=20_000)
"""Patterns that a grammar enforces need no backtracking. Others fail at this limit, after half a millisecond."""


class JsonValidator:
    """Validates JSON texts. Raises ValueError, with pointer and reason, for a schema that violates its meta-schema."""

    def __init__(self, schema: Any) -> None:
        if not isinstance(schema, dict | bool):
            raise ValueError("a schema is an object, true or false")
        try:
            self._validator = jsonschema_rs.validator_for(
                of_one_draft(schema),
                validate_formats=True,
                offline=True,
                mask="the value",
                pattern_options=_PATTERNS,
            )
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(_message(error)) from None

    def fault(self, text: str) -> str | None:
        """Describe why a text is not JSON of the schema; None if it is."""
        try:
            value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_reject)
        except (ValueError, RecursionError) as error:
            return f"it is not JSON: {error}"
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            keyword = "".join(f"/{step}" for step in error.schema_path)
            return f"{_message(error)} (keyword '{keyword}')"
        return None


def _message(error: jsonschema_rs.ValidationError | jsonschema_rs.ReferencingError) -> str:
    if error.message.startswith("Unknown meta-schema"):
        return "'$schema' is not of draft 4, 6, 7, 2019-09 or 2020-12; send one of them, or omit it"
    pointer = "".join(f"/{step}" for step in getattr(error, "instance_path", ()))
    message = error.message.splitlines()[0][:300]
    return f"at '{pointer}': {message}" if pointer else message


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < sys.int_info.str_digits_check_threshold else Decimal(digits)


def _number(text: str) -> float | Decimal:
    """Parse a number: exactly if it has no exponent, else as a float, at most the largest finite one."""
    if "e" not in text and "E" not in text:
        return Decimal(text)
    number = float(text)
    return copysign(sys.float_info.max, number) if isinf(number) else number


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
