"""Output formats: a constraint for the engine, and a validator for the finished answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossette.errors import InvalidRequest, OutputMismatch
from crossette.text.schema.drafts import of_known_draft
from crossette.text.schema.part import Unenforceable
from crossette.text.schema.rebuild import enforceable
from crossette.text.schema.validator import JsonValidator
from crossette.types import Constraint


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The constraint on an answer, and its validator."""

    constraint: Constraint
    validator: JsonValidator | None = None
    checked: tuple[str, ...] = ()
    """JSON pointers of keywords that the grammar does not enforce, and only `check` validates."""
    notes: tuple[str, ...] = ()
    """Sentences about keywords of the schema that may be misspelled."""

    def check(self, text: str, *, is_cut: bool) -> None:
        """Validate an answer that ended before max_tokens; `is_cut` by a stop string or stop token of the request.

        Raises InvalidRequest if it was cut within its JSON, and OutputMismatch if the grammar allowed a text that the
        schema does not: it violates a keyword of `checked`.
        """
        fault = self.validator.fault(text) if self.validator is not None else None
        if fault is None:
            return
        if is_cut:
            raise InvalidRequest(
                f"'stop' ended the answer before its JSON was complete: {fault}. Leave stop out: JSON ends by itself.",
                param="stop",
            )
        raise OutputMismatch(f"The answer does not match {self.constraint.param}: {fault}. Retry the request.")


class UnusableSchema(InvalidRequest):
    """A schema that is not valid, or cannot be enforced. Each fault is a sentence about a keyword and its pointer."""

    def __init__(self, message: str, faults: Sequence[str], param: str) -> None:
        super().__init__(message, param=param)
        self.faults = tuple(faults)


def json_schema(schema: Any, param: str, *, strict: bool = False) -> OutputFormat:
    """JSON of a schema. Keywords that a grammar cannot enforce are only checked, or refused if it is `strict`.

    In a schema that is not strict, booleans as `required` have their meaning of draft 3, and an unknown `$schema` is
    ignored.

    Raises UnusableSchema, with `param`, for a schema that is not valid, or cannot be enforced.
    """
    notes: list[str] = []
    if not strict:
        schema, notes = of_known_draft(schema)
    try:
        validator = JsonValidator(schema)
    except ValueError as error:
        fault = f"it is not a valid JSON schema: {error}."
        raise UnusableSchema(f"{param} is not a valid JSON schema: {error}", [fault], param) from None
    try:
        enforced = enforceable(schema, strict=strict)
        source = json.dumps(enforced.schema, ensure_ascii=False, allow_nan=False)
    except Unenforceable as error:
        message = f"The JSON schema cannot be enforced: {' '.join(error.faults)}"
        raise UnusableSchema(message, error.faults, param) from None
    except ValueError:
        fault = "it contains a number that is not finite."
        raise UnusableSchema(f"{param} contains a number that is not finite.", [fault], param) from None
    constraint = Constraint("json_schema", source, param=param)
    return OutputFormat(constraint, validator, enforced.checked, (*notes, *enforced.notes))


def json_object(param: str) -> OutputFormat:
    """Any JSON object."""
    return json_schema({"type": "object"}, param)


def regex(pattern: str, param: str) -> OutputFormat:
    """A text that matches the whole pattern."""
    return OutputFormat(Constraint("regex", pattern, param=param))


def choice(texts: Sequence[str], param: str) -> OutputFormat:
    """One of several strings. Raises InvalidRequest if there are none."""
    if not texts:
        raise InvalidRequest(f"{param} is empty. List at least one choice.", param=param)
    return regex("|".join(f"(?:{_literal(text)})" for text in texts), param)


def _literal(text: str) -> str:
    return "".join(char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):x}}}" for char in text)


def grammar(source: str, param: str) -> OutputFormat:
    """A text of a grammar: GBNF with the rule `root` if it contains `::=`, else Lark with the rule `start`."""
    return gbnf(source, param) if re.search(r"^[^#\"\n]*::=", source, re.MULTILINE) else _lark(source, param)


def gbnf(source: str, param: str) -> OutputFormat:
    """A text of a GBNF grammar's rule `root`."""
    return OutputFormat(Constraint("gbnf", source, param=param))


def _lark(source: str, param: str) -> OutputFormat:
    return OutputFormat(Constraint("lark", source, param=param))
