"""The second look at JSON that is about to leave, by a validator that shares nothing with the grammar."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from math import copysign, isinf
from typing import Any

import jsonschema_rs


class JsonValidator:
    """Raises ValueError, saying where and why, for what is no JSON schema by its own meta-schema."""

    def __init__(self, schema: Any) -> None:
        try:
            # It matches the patterns that a grammar can keep to without backtracking: none stops the event loop.
            self._validator = jsonschema_rs.validator_for(schema, validate_formats=True, offline=True, mask="the value")
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(_sentence(error)) from None

    def fault(self, text: str) -> str | None:
        """What is wrong with a text, in words; None if it is JSON of the schema."""
        try:
            value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return f"it is not JSON: {error}"
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return _sentence(error)
        return None


def _sentence(error: jsonschema_rs.ValidationError | jsonschema_rs.ReferencingError) -> str:
    place = "".join(f"/{step}" for step in getattr(error, "instance_path", ()))
    message = error.message.splitlines()[0][:300]
    return f"at '{place}': {message}" if place else message


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < sys.int_info.str_digits_check_threshold else Decimal(digits)


def _number(text: str) -> float | Decimal:
    """Exactly, where it has no exponent; the largest number there is for larger ones."""
    if "e" not in text and "E" not in text:
        return Decimal(text)
    number = float(text)
    return copysign(sys.float_info.max, number) if isinf(number) else number


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
