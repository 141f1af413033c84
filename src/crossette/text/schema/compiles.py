"""Whether the grammar compiler accepts the keywords of a string, or the names of an object's properties."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import llguidance

GUIDANCE: Final = {
    # Fixed white space: else models generate pages of it, and almost no token of an object is forced.
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Fixed escapes: else a key with a schema can be written as another one, "\\u0061" for "a".
    "json_allowed_escapes": '"\\nrtbf',
}
"""The notation of generated JSON, as `x-guidance` of the compiler."""


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
    grammar = {"json_schema": json.loads(schema) | {"x-guidance": GUIDANCE}}
    is_rejected, messages = llguidance.LLMatcher.validate_grammar_with_warnings(json.dumps({"grammars": [grammar]}))
    if not is_rejected or messages[0].startswith("Unsatisfiable schema"):
        return None
    return _reason(messages[0])


def _reason(message: str) -> str:
    if "is empty" in message:
        return "it is too complex to combine with the other keywords of the string."
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return f"{reason[:300].rstrip('.')}."
