"""Known instances of a schema, walked through the mask of its grammar."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import llguidance

from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import ConstraintFailed
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import Constraint
from schemas.cases import Case, Instance
from schemas.validators import Objects, Validators


class Walk(StrEnum):
    """What became of an instance."""

    ALLOWED = "valid, allowed"
    CLOSED = "valid, closed by design"
    FORBIDDEN = "valid, forbidden"
    REJECTED = "invalid, forbidden"
    UNCHECKED = "invalid, allowed"
    DISPUTED = "disputed"


@dataclass(frozen=True)
class Walked:
    """An instance's end, and the text up to the first byte that the mask forbids, and from it on."""

    walk: Walk
    detail: str = ""


class Instances:
    """Walks the instances of cases. One compiler serves all."""

    def __init__(self) -> None:
        tokenizer = FakeTokenizer()
        self._compiler = GrammarCompiler(tokenizer, 256 + len(tokenizer.specials), {IM_END})

    def walked(self, case: Case, constraint: Constraint | None) -> list[Walked]:
        """The instances of a case that was answered with this constraint; none if it was refused."""
        if constraint is None:
            return []
        validators = Validators(case.schema)
        return [self._walked(instance, validators, constraint) for instance in case.instances]

    def _walked(self, instance: Instance, validators: Validators, constraint: Constraint) -> Walked:
        data = instance.data
        if validators.is_valid(data) != instance.is_valid:
            return Walked(Walk.DISPUTED)
        objects = validators.objects(data)
        text, num_allowed = self._tried(data, objects, constraint)
        if num_allowed is None:
            return Walked(Walk.ALLOWED) if instance.is_valid else Walked(Walk.UNCHECKED, text[:300])
        if not instance.is_valid:
            return Walked(Walk.REJECTED)
        before, after = text.encode()[:num_allowed].decode(errors="replace"), text.encode()[num_allowed:]
        detail = f"{before[-80:]} >>> {after[:60].decode(errors='replace')}"
        return Walked(Walk.CLOSED if objects.has_undeclared_keys(data) else Walk.FORBIDDEN, detail)

    def _tried(self, data: Any, objects: Objects, constraint: Constraint) -> tuple[str, int | None]:
        """The text of an instance, and how many of its bytes the mask allows; None if it allows all.

        An object gets its own order of keys if the mask forbids that of the schema: several schemas may disagree.
        """
        own_order: set[int] = set()
        while True:
            notation = Notation(objects, own_order)
            notation.write(data)
            num_allowed = self._num_allowed(notation.text, constraint)
            reordered = None if num_allowed is None else notation.innermost(num_allowed)
            if reordered is None:
                return notation.text.decode(), num_allowed
            own_order.add(reordered)

    def _num_allowed(self, text: bytes, constraint: Constraint) -> int | None:
        """How many bytes the mask allows; None if it allows all, and an end after them."""
        matcher = self._compiler.matcher(constraint)
        try:
            for index, byte in enumerate(text):
                if not matcher.allowed()[byte]:
                    return index
                matcher.accept_token(byte)
            return None if matcher.is_accepting else len(text)
        except ConstraintFailed:
            return index


class Notation:
    """An instance in the server's notation: integers without `.0`, and keys in the order of the schema or their own."""

    def __init__(self, objects: Objects, own_order: Set[int]) -> None:
        self.text = b""
        self._objects = objects
        self._own_order = own_order
        self._spans: list[tuple[int, int, int]] = []
        """The first and the last byte of each object that has another order, and its `id`; inner ones first."""

    def write(self, data: Any) -> None:
        if isinstance(data, dict):
            begin, own = len(self.text), list(data)
            keys = own if id(data) in self._own_order else self._objects.keys(data)
            items = [(f"{json.dumps(key, ensure_ascii=False)}: ", data[key]) for key in keys]
            self._write_all("{}", items)
            self._spans += [(begin, len(self.text), id(data))] if keys != own else []
        elif isinstance(data, list):
            self._write_all("[]", [("", item) for item in data])
        else:
            is_integer = isinstance(data, float) and data.is_integer() and abs(data) < 2**53
            self.text += json.dumps(int(data) if is_integer else data, ensure_ascii=False).encode()

    def _write_all(self, brackets: str, items: Sequence[tuple[str, Any]]) -> None:
        for index, (before, item) in enumerate(items):
            self.text += ((", " if index else brackets[0]) + before).encode()
            self.write(item)
        self.text += (brackets[1] if items else brackets).encode()

    def innermost(self, position: int) -> int | None:
        """The `id` of the innermost object around a byte whose keys are not in their own order."""
        return next((key for begin, end, key in self._spans if begin <= position < end), None)


def compiles_alone(case: Case) -> str:
    """llguidance's error for the schema as it is, without crossette; "" if it compiles."""
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(case.schema))
    is_error, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar)
    return messages[0] if is_error else ""
