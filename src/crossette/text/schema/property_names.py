"""`propertyNames`, as the names and the pattern that it allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from crossette.text.schema.compiles import fault_of_names
from crossette.text.schema.keywords import ANNOTATIONS
from crossette.text.schema.negation import negated
from crossette.text.schema.part import Context, Part
from crossette.text.schema.patterns import conjuncts_of
from crossette.text.schema.values import is_writable


@dataclass(frozen=True, slots=True)
class PropertyNames:
    """The names that an object may have."""

    is_valid: Callable[[str], bool]
    names: list[str] | None = None
    """All of them; None if they are not listed."""
    pattern: str | None = None
    """A pattern of exactly these names, in Rust's syntax; None if no single pattern has them."""

    def restrict(self, out: dict[str, Any]) -> bool:
        """Restrict the names of a rebuilt object. Return whether that is possible for all of its names."""
        properties = out.get("properties", {})
        out["properties"] = {name: one if self.is_valid(name) else False for name, one in properties.items()}
        rest = out.get("additionalProperties", True)
        if "patternProperties" in out:
            return False
        if rest is False:
            return True
        if self.names is not None:
            out["properties"] |= {name: rest for name in self.names if name not in properties}
        elif self.pattern is not None and (rest is True or not properties):
            if fault_of_names(list(properties), [self.pattern]):
                return False
            out["patternProperties"] = {self.pattern: rest}
        else:
            return False
        out["additionalProperties"] = False
        return True


def property_names(part: Part, context: Context) -> PropertyNames | None:
    """The names that `propertyNames` of a schema allows; None if they are too complex."""
    inner: Part | None = part.at("propertyNames")
    while inner is not None and inner.has("$ref"):
        inner = context.target(inner)
    if inner is None or "$ref" in str(inner.schema) or context.ignores(part, "propertyNames"):
        return None
    is_valid = jsonschema_rs.validator_for(inner.schema, validate_formats=True, offline=True).is_valid
    if inner.schema is False:
        return PropertyNames(is_valid, [])
    if inner.has("enum") or inner.has("const"):
        listed = [*inner.schema.get("enum", []), *([inner.schema["const"]] if inner.has("const") else [])]
        names = [name for name in dict.fromkeys(listed) if isinstance(name, str) and is_valid(name)]
        return PropertyNames(is_valid, names) if all(map(is_writable, names)) else None
    return PropertyNames(is_valid, pattern=_pattern(inner, context))


def _pattern(part: Part, context: Context) -> str | None:
    """The pattern of the strings that match a schema, if a single keyword describes them."""
    keywords = part.schema.keys() - ANNOTATIONS - {"type"}
    if "string" not in (part.types() or ["string"]):
        return None
    if keywords and keywords <= {"minLength", "maxLength"}:
        most = part.schema.get("maxLength", "")
        return f"^(?s:.{{{part.schema.get('minLength', 0)},{most}}})$"
    if keywords == {"not"}:
        return _pattern_of_strings(negated(part.at("not"), context))
    return _single(part.schema["pattern"]) if keywords == {"pattern"} else None


def _pattern_of_strings(schema: Any) -> str | None:
    """The pattern of strings in a complement."""
    options = schema.get("anyOf", [schema]) if isinstance(schema, dict) else []
    strings = [one for one in options if isinstance(one, dict) and "string" in one.get("type", [])]
    if len(strings) == 1 and strings[0].keys() == {"type", "pattern"}:
        return _single(strings[0]["pattern"])
    return None


def _single(pattern: str) -> str | None:
    try:
        conjuncts = conjuncts_of(pattern)
    except ValueError:
        return None
    return conjuncts[0] if len(conjuncts) == 1 else None
