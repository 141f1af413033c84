"""Two independent validators, and what the schemas of an instance declare of its objects."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import jsonschema
import jsonschema_rs
from jsonschema.validators import extend, validator_for
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

Schema = Any
Errors = Iterator[jsonschema.ValidationError]


_OF_OBJECTS = ("properties", "required", "patternProperties", "additionalProperties")
_CONDITIONAL = ("dependencies", "dependentSchemas", "if")
"""Keywords whose schemas apply to some objects only: their names come last."""


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
        if message := self._fault_in_python(data, is_ascii=text.isascii()):
            return f"jsonschema: {message[:200]}"
        return ""

    def objects(self, data: Any) -> Objects:
        """What the schema declares of the objects in an instance, which must stay alive as long as the result."""
        return Objects(self._python, self._schema, data)

    def _fault_in_python(self, data: Any, *, is_ascii: bool) -> str:
        """Empty also where jsonschema cannot tell.

        These are references that it does not resolve, and patterns: Python's syntax is not JavaScript's, and beyond
        ASCII its classes are not either.
        """
        checker = self._python.FORMAT_CHECKER
        validator = self._python(self._schema, format_checker=checker, registry=REGISTRY)
        try:
            error = next(validator.iter_errors(data), None)
        except (re.error, Unresolvable, RecursionError):
            return ""
        if error is None or (error.validator == "pattern" and not is_ascii):
            return ""
        return f"{error.json_path}: {error.message}"


class Objects:
    """The names that schemas declare for each object of one instance, in the order of the schema."""

    def __init__(self, base: Any, schema: Schema, data: Any) -> None:
        self._base = base
        self._notes: list[tuple[str, int, Any]] = []
        """Keywords with the objects that they apply to, by `id`, and their values."""
        self._conditional_notes: list[tuple[str, int, Any]] = []
        hooks = {name: self._noting(name) for name in _OF_OBJECTS} | {"anyOf": self._any_of, "oneOf": self._any_of}
        hooks |= {name: self._noting_last(name) for name in _CONDITIONAL}
        validator = extend(base, {name: hook for name, hook in hooks.items() if name in base.VALIDATORS})
        with suppress(re.error, Unresolvable, RecursionError):  # what was declared until there is known
            deque(validator(_without_drafts(schema), registry=REGISTRY).iter_errors(data), maxlen=0)
        self._notes += self._conditional_notes

    def keys(self, data: dict[str, Any]) -> list[str]:
        """The keys of an object in the order in which a grammar generates them."""
        declared = [name for keyword in ("properties", "required") for name in self._names(keyword, data)]
        rank = {name: index for index, name in reversed(list(enumerate(declared)))}
        return sorted(data, key=lambda name: rank.get(name, len(declared)))

    def has_undeclared_keys(self, data: Any) -> bool:
        """Whether an object has a key that no schema with `properties` declares, without a rule for such keys."""
        if isinstance(data, list):
            return any(map(self.has_undeclared_keys, data))
        return isinstance(data, dict) and (
            self._is_closed_to(data) or any(map(self.has_undeclared_keys, data.values()))
        )

    def _is_closed_to(self, data: dict[str, Any]) -> bool:
        keywords = {keyword for keyword, key, _ in self._notes if key == id(data)}
        if "additionalProperties" in keywords or keywords.isdisjoint(("properties", "patternProperties")):
            return False
        declared, patterns = self._names("properties", data), self._names("patternProperties", data)
        return any(name not in declared and not any(re.search(one, name) for one in patterns) for name in data)

    def _names(self, keyword: str, data: dict[str, Any]) -> list[str]:
        values = [value for one, key, value in self._notes if (one, key) == (keyword, id(data))]
        return [name for value in values if isinstance(value, dict | list) for name in value]

    def _noting(self, keyword: str) -> Callable[..., Errors]:
        check = self._base.VALIDATORS.get(keyword)

        def hook(validator: Any, value: Any, data: Any, schema: Schema) -> Errors:
            if isinstance(data, dict):
                self._notes.append((keyword, id(data), value))
            yield from check(validator, value, data, schema) or ()

        return hook

    def _noting_last(self, keyword: str) -> Callable[..., Errors]:
        check = self._base.VALIDATORS.get(keyword)

        def hook(validator: Any, value: Any, data: Any, schema: Schema) -> Errors:
            begin = len(self._notes)
            yield from check(validator, value, data, schema) or ()
            self._conditional_notes += self._notes[begin:]
            del self._notes[begin:]

        return hook

    def _any_of(self, validator: Any, branches: list[Schema], data: Any, schema: Schema) -> Errors:
        """Forget what a branch that does not apply has declared."""
        num_valid = 0
        for branch in branches:
            begin = len(self._notes)
            if next(iter(validator.descend(data, branch)), None) is None:
                num_valid += 1
            else:
                del self._notes[begin:]
        if num_valid == 0:
            yield jsonschema.ValidationError("no branch applies")


def _without_drafts(schema: Schema) -> Schema:
    """The schema without `$schema`, at which jsonschema would go on with a validator of its own."""
    if isinstance(schema, list):
        return [_without_drafts(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _without_drafts(one) for name, one in schema.items() if name != "$schema" or not isinstance(one, str)}
