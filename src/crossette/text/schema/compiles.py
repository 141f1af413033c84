"""Whether the grammar compiler accepts a schema, the keywords of a string, or the names of an object's properties."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import llguidance

from crossette.compiler_limits import LIMITS, on_deep_stack

GUIDANCE: Final = {
    # Fixed white space: else models generate pages of it, and almost no token of an object is forced.
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Fixed escapes: else a key with a schema can be written as another one, "\\u0061" for "a".
    "json_allowed_escapes": '"\\nrtbf',
}
"""The notation of generated JSON, as `x-guidance` of the compiler."""

_UNSATISFIABLE: Final = "Unsatisfiable schema"


@dataclass(frozen=True, slots=True)
class CompilerFault:
    """Why the compiler rejects a schema."""

    message: str
    """In the compiler's words."""

    @property
    def is_unsatisfiable(self) -> bool:
        """Whether no value matches the schema."""
        return self.message.startswith(_UNSATISFIABLE)

    @property
    def is_circular(self) -> bool:
        """Whether a schema refers back to itself next to other schemas of the same value."""
        return "circular references" in self.message

    @property
    def reason(self) -> str:
        """The reason, as the end of a sentence."""
        for pattern, reason in _REASONS:
            if found := re.search(pattern, self.message):
                return reason.format(*found.groups())
        lines = [line.strip() for line in self.message.splitlines() if line.strip().startswith("error: ")]
        if lines:  # of a regular expression
            return f"{lines[0].removeprefix('error: ')[:300].rstrip('.')}."
        return "it is too complex to combine with the other keywords of the value."


_REASONS: Final = (
    (r"required property '(.*)' is unsatisfiable", "no value matches its required property '{}'."),
    (r"minimum \((.*?)\) is greater than maximum \((.*?)\)", "its minimum of {} exceeds its maximum of {}."),
    (r"(min\w+) \((.*?)\) is greater than (max\w+) \((.*?)\)", "its {} of {} exceeds its {} of {}."),
    (_UNSATISFIABLE, "no value matches it."),
    (r"not disjoint", "a name may match two of its patterns, which must be disjoint."),
    (r"circular references", "it refers back to itself next to other keywords of the same value."),
    (r"intersection stack level", "too many schemas of the same value are nested in each other."),
    (r"too (?:big|large)", "it is too large for the grammar compiler."),
    (r"is empty", "it is too complex to combine with the other keywords of the string."),
)


def fault_of_schema(schema: dict[str, Any]) -> CompilerFault | None:
    """Why the compiler rejects a rebuilt schema; None if it accepts it. May take a second for a large one."""
    return _schema_fault(json.dumps(schema))


@lru_cache(maxsize=256)
def _schema_fault(schema: str) -> CompilerFault | None:
    message = on_deep_stack(lambda: _message(json.loads(schema)))
    return None if message is None else CompilerFault(message)


def fault_of(conjuncts: Sequence[dict[str, Any]]) -> str | None:
    """Why the compiler rejects a string that matches all of these schemas; None if it accepts it.

    A schema that no string matches is accepted: an alternative may be one, or a property that is never generated.
    """
    return _fault(json.dumps({"type": "string", "allOf": list(conjuncts)}))


def fault_of_names(properties: Sequence[str], patterns: Sequence[str]) -> str | None:
    """Why the compiler rejects an object with these properties and patterns of further properties."""
    named, matched = dict.fromkeys(properties, True), dict.fromkeys(patterns, True)
    return _fault(json.dumps({"type": "object", "properties": named, "patternProperties": matched}))


@lru_cache(maxsize=1000)
def _fault(schema: str) -> str | None:
    message = _message(json.loads(schema) | {"x-guidance": GUIDANCE})
    if message is None or message.startswith(_UNSATISFIABLE):
        return None
    return CompilerFault(message).reason


def _message(schema: dict[str, Any]) -> str | None:
    grammar = json.dumps({"grammars": [{"json_schema": schema}]})
    is_rejected, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar, limits=LIMITS)
    return messages[0] if is_rejected else None
