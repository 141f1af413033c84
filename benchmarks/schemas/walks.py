"""Known instances of a schema, walked through the mask of its grammar."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

import llguidance

from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import ConstraintFailed
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import Constraint
from schemas.cases import Case, Instance
from schemas.validators import Validators


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
        text = json.dumps(objects.ordered(data), ensure_ascii=False)
        num_allowed = self._num_allowed(text.encode(), constraint)
        if (
            num_allowed is not None
            and self._num_allowed(json.dumps(data, ensure_ascii=False).encode(), constraint) is None
        ):
            num_allowed = None  # several schemas of an object may disagree about the order
        if num_allowed is None:
            return Walked(Walk.ALLOWED) if instance.is_valid else Walked(Walk.UNCHECKED, text[:300])
        if not instance.is_valid:
            return Walked(Walk.REJECTED)
        before, after = text.encode()[:num_allowed].decode(errors="replace"), text.encode()[num_allowed:]
        detail = f"{before[-80:]} >>> {after[:60].decode(errors='replace')}"
        return Walked(Walk.CLOSED if objects.has_undeclared_keys(data) else Walk.FORBIDDEN, detail)

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


def compiles_alone(case: Case) -> str:
    """llguidance's error for the schema as it is, without crossette; "" if it compiles."""
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(case.schema))
    is_error, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar)
    return messages[0] if is_error else ""
