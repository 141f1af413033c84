"""A subschema with its JSON pointer, and the error of a schema that cannot be enforced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

Schema = Any
"""A JSON schema: an object, true or false. Any JSON until it is validated. Subschemas may be of type Part."""

OPEN: Final = "~open"
"""Marks a derived schema whose properties do not close the object."""


class Unenforceable(ValueError):
    """A schema that cannot be enforced. Each fault is a sentence that names the keyword and its JSON pointer."""

    def __init__(self, *faults: str) -> None:
        super().__init__(" ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Part:
    """A subschema and its JSON pointer."""

    schema: Schema
    pointer: str
    variant: str = ""
    """Distinguishes schemas that are derived from the one at `pointer`; "" for the schema as sent."""

    @property
    def key(self) -> str:
        """Identifies the part within its schema."""
        return self.pointer + self.variant

    def at(self, *steps: str | int) -> Part:
        """The subschema at these keys and indices."""
        part = self
        for step in steps:
            found = part.schema[step]
            if isinstance(found, Part):
                part = found
            elif part.variant:
                part = Part(found, part.pointer, f"{part.variant}/{escaped(step)}")
            else:
                part = Part(found, f"{part.pointer}/{escaped(step)}")
        return part

    def derived(self, schema: Schema, name: str) -> Part:
        """A schema that follows from this one."""
        return Part(schema, self.pointer, f"{self.variant}~{name}")

    def has(self, keyword: str) -> bool:
        return isinstance(self.schema, dict) and keyword in self.schema

    def members(self, keyword: str) -> list[Part]:
        """The subschemas of a keyword whose value is a list or an object of schemas."""
        if not self.has(keyword):
            return []
        value = self.schema[keyword]
        return [self.at(keyword, step) for step in (value if isinstance(value, dict) else range(len(value)))]

    def types(self) -> list[str]:
        """The types of `type`; empty if it has none."""
        kinds = self.schema.get("type", []) if isinstance(self.schema, dict) else []
        return [kinds] if isinstance(kinds, str) else kinds

    def pointer_of(self, keyword: str) -> str:
        """The pointer of a keyword; of the schema as sent, where the keyword is not from it."""
        return self.pointer if self.variant else f"{self.pointer}/{escaped(keyword)}"

    def error(self, keyword: str, reason: str) -> Unenforceable:
        return Unenforceable(f"'{keyword}' at '{self.pointer_of(keyword)}': {reason}")


class Context(Protocol):
    """The root schema that a part belongs to."""

    @property
    def has_unevaluated(self) -> bool:
        """Whether a schema restricts unevaluated properties. Then it matters which schemas evaluate a property."""

    def target(self, part: Part) -> Part | None:
        """The schema that its `$ref` refers to; None if the root schema does not contain it."""

    def ignores(self, part: Part, keyword: str) -> bool:
        """Whether a keyword has no meaning in the draft of `$schema`."""

    def may_branch(self, part: Part, num_alternatives: int = 2) -> bool:
        """Whether the value of a part may have so many more alternatives; if so, they are counted."""

    def may_complement(self) -> bool:
        """Whether one more pattern may be complemented; if so, it is counted."""


def escaped(step: str | int) -> str:
    """A step of a JSON pointer."""
    return str(step).replace("~", "~0").replace("/", "~1")


def uses_draft(part: Part, drafts: Sequence[str]) -> bool:
    """Whether its `$schema` is one of these drafts."""
    return part.has("$schema") and any(draft in str(part.schema["$schema"]) for draft in drafts)
