"""Two independent validators, and what the schemas of an instance declare of its objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import jsonschema_rs
from jsonschema.validators import extend, validator_for
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

Schema = Any
Errors = Iterator[jsonschema.ValidationError]


class Validators:
    """jsonschema-rs and jsonschema for one schema, with formats and without network.

    Raises ValueError for a schema that violates its meta-schema.
    """

    def __init__(self, schema: Schema) -> None:
        try:
            self._rs = jsonschema_rs.validator_for(schema, validate_formats=True, offline=True)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(str(error).splitlines()[0]) from None
        self._schema = schema
        self._python = validator_for(schema, default=jsonschema.Draft202012Validator)

    def is_valid(self, data: Any) -> bool:
        """The verdict of jsonschema-rs."""
        return self._rs.is_valid(data)

    def fault(self, text: str) -> str:
        """Why a text is not JSON of the schema; "" if both validators accept it."""
        try:
            # Any number that a float cannot hold is larger than every bound.
            data = json.loads(text, parse_float=lambda digits: min(float(digits), 1e300))
        except (ValueError, RecursionError) as error:
            return f"not JSON: {error}"
        if not self._rs.is_valid(data):
            return f"jsonschema-rs: {next(self._rs.iter_errors(data)).message[:200]}"
        if message := self._fault_in_python(data):
            return f"jsonschema: {message[:200]}"
        return ""

    def objects(self, data: Any) -> Objects:
        """What the schema declares of the objects in an instance, which must stay alive as long as the result."""
        return Objects(self._python, self._schema, data)

    def _fault_in_python(self, data: Any) -> str:
        """Empty also where jsonschema cannot tell: patterns in another syntax, references that it does not resolve."""
        checker = self._python.FORMAT_CHECKER
        validator = self._python(self._schema, format_checker=checker, registry=REGISTRY)
        try:
            error = next(validator.iter_errors(data), None)
        except (re.error, Unresolvable, RecursionError):
            return ""
        return "" if error is None else f"{error.json_path}: {error.message}"


class Objects:
    """The names that schemas declare for each object of one instance, in the order of the schema."""

    def __init__(self, base: Any, schema: Schema, data: Any) -> None:
        self._base = base
        self._properties: dict[int, dict[str, None]] = {}
        self._required: dict[int, dict[str, None]] = {}
        self._patterns: dict[int, list[str]] = {}
        self._with_rule: set[int] = set()
        """Objects with a schema's own rule for additional properties."""
        hooks = {
            "properties": self._hooked("properties", self._note_properties),
            "required": self._hooked("required", self._note_required),
            "patternProperties": self._hooked("patternProperties", self._note_patterns),
            "additionalProperties": self._hooked("additionalProperties", self._note_rule),
        }
        validator = extend(base, {name: hook for name, hook in hooks.items() if name in base.VALIDATORS})
        try:
            for _ in validator(schema, registry=REGISTRY).iter_errors(data):
                pass
        except (re.error, Unresolvable, RecursionError):
            pass  # what was declared until here is known

    def ordered(self, data: Any) -> Any:
        """The instance with its keys in the order in which a grammar generates them, and integers without `.0`."""
        if isinstance(data, dict):
            declared = self._properties.get(id(data), {}) | self._required.get(id(data), {})
            rank = {name: index for index, name in enumerate(declared)}
            names = sorted(data, key=lambda name: rank.get(name, len(rank)))
            return {name: self.ordered(data[name]) for name in names}
        if isinstance(data, list):
            return [self.ordered(item) for item in data]
        return int(data) if isinstance(data, float) and data.is_integer() and abs(data) < 2**53 else data

    def has_undeclared_keys(self, data: Any) -> bool:
        """Whether an object has a key that no schema with `properties` declares, without a rule for such keys."""
        if isinstance(data, list):
            return any(map(self.has_undeclared_keys, data))
        if not isinstance(data, dict):
            return False
        known = self._properties.get(id(data))
        is_closed = (known is not None or id(data) in self._patterns) and id(data) not in self._with_rule
        if is_closed and any(not self._is_declared(id(data), name) for name in data):
            return True
        return any(map(self.has_undeclared_keys, data.values()))

    def _is_declared(self, key: int, name: str) -> bool:
        patterns = self._patterns.get(key, ())
        return name in self._properties.get(key, {}) or any(re.search(pattern, name) for pattern in patterns)

    def _hooked(self, keyword: str, note: Callable[[int, Any], None]) -> Callable[..., Errors]:
        check = self._base.VALIDATORS.get(keyword)

        def hook(validator: Any, value: Any, data: Any, schema: Schema) -> Errors:
            if isinstance(data, dict):
                note(id(data), value)
            yield from check(validator, value, data, schema) or ()

        return hook

    def _note_properties(self, key: int, value: dict[str, Schema]) -> None:
        self._properties.setdefault(key, {}).update(dict.fromkeys(value))

    def _note_required(self, key: int, value: Any) -> None:
        self._required.setdefault(key, {}).update(dict.fromkeys(value if isinstance(value, list) else ()))

    def _note_patterns(self, key: int, value: dict[str, Schema]) -> None:
        self._patterns.setdefault(key, []).extend(value)

    def _note_rule(self, key: int, value: Schema) -> None:
        self._with_rule.add(key)
