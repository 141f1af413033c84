"""The notations of reasoning options: an effort, a budget of tokens, or on and off.

Wherever an effort is sent, it means the same: `effort_of` combines them all, those in `chat_template_kwargs` included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from crossette.api.dialect import Dialect
from crossette.api.schema import nested_fields
from crossette.api.schema.common import alias_conflict
from crossette.api.schema.table import Refused, Table, refuse_unsupported
from crossette.errors import InvalidRequest
from crossette.text.reasoning import EFFORTS, Effort

_VARIABLES: Mapping[str, tuple[type, ...]] = {
    "enable_thinking": (bool,),
    "thinking": (bool,),
    "reasoning_effort": (bool, str),
    "reasoning_budget": (int,),
    "low_effort": (bool,),
}
"""Variables of published templates that mean the same for every model, with their types."""
_TYPE_NAMES = {bool: "boolean", str: "string", int: "integer"}


@dataclass(frozen=True, slots=True)
class EffortSent:
    """An effort, and the path of the field that sets it."""

    param: str
    effort: Effort

    @property
    def is_off(self) -> bool:
        return self.effort in ("none", 0)  # and False

    @property
    def is_switch(self) -> bool:
        """Whether it sets no level and no budget."""
        return isinstance(self.effort, bool)


class ThinkingSent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.THINKING

    type: Literal["enabled", "disabled"]
    budget_tokens: int | None = None

    def effort(self) -> EffortSent:
        if self.budget_tokens is None:
            return EffortSent("thinking", self.type == "enabled")
        if self.type == "disabled":
            raise InvalidRequest("thinking is disabled, so it has no budget_tokens.", param="thinking.budget_tokens")
        return EffortSent("thinking.budget_tokens", self.budget_tokens)


class ReasoningSent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.REASONING

    effort: bool | int | str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool | None = None
    # refused
    summary: Refused = None
    generate_summary: Refused = None


class ReasoningFields(Protocol):
    """The fields of a request that may set an effort."""

    reasoning_effort: bool | int | str | None
    thinking: ThinkingSent | bool | None
    reasoning: ReasoningSent | None
    enable_thinking: bool | None
    chat_template_kwargs: dict[str, Any] | None


def effort_of(body: ReasoningFields, dialect: Dialect, template_variables: Collection[str]) -> EffortSent | None:
    """The effort of a request; None if it has none. `template_variables` are those that the model's template uses.

    Raises InvalidRequest for two fields with an effort, and for efforts that contradict each other.
    """
    efforts = list(_efforts(body))
    if len(efforts) > 1:
        raise alias_conflict(efforts[0].param, efforts[1].param, of="thing")
    sent = [*efforts, *_switches(body), *_in_variables(body.chat_template_kwargs or {}, template_variables)]
    sent = [option for option in sent if option.effort not in dialect.default_efforts]
    return _combined(sent) if sent else None


def _efforts(body: ReasoningFields) -> Iterator[EffortSent]:
    if body.reasoning_effort is not None:
        yield EffortSent("reasoning_effort", _level(body.reasoning_effort))
    if isinstance(body.thinking, ThinkingSent):
        yield body.thinking.effort()
    if body.reasoning is not None:
        refuse_unsupported(body.reasoning, body.reasoning.table, "reasoning.")
        if body.reasoning.effort is not None:
            yield EffortSent("reasoning.effort", _level(body.reasoning.effort))
        if body.reasoning.max_tokens is not None:
            yield EffortSent("reasoning.max_tokens", body.reasoning.max_tokens)


def _switches(body: ReasoningFields) -> Iterator[EffortSent]:
    for param, is_on in (
        ("reasoning.enabled", body.reasoning.enabled if body.reasoning is not None else None),
        ("enable_thinking", body.enable_thinking),
        ("thinking", body.thinking),
    ):
        if isinstance(is_on, bool):
            yield EffortSent(param, is_on)


def _in_variables(given: Mapping[str, Any], used: Collection[str]) -> Iterator[EffortSent]:
    """The efforts among the variables of a template. Levels that only the template knows are left to it."""
    for name in _VARIABLES:
        value: Any = given.get(name)
        if not is_effort(name, value):
            continue
        if isinstance(value, float):
            value = int(value)
        if name == "low_effort":
            value = "low" if value else None
        elif name == "reasoning_effort":
            value = None if name in used and isinstance(value, str) and value not in EFFORTS else _level(value)
        if value is not None:
            yield EffortSent(f"chat_template_kwargs.{name}", value)


def is_effort(name: str, value: Any) -> bool:  # Any: JSON
    """Whether a variable of `chat_template_kwargs` is an effort, also for templates that do not use it."""
    kinds = _VARIABLES.get(name, ())
    return type(value) in kinds or (isinstance(value, float) and value.is_integer() and int in kinds)


def expected_types(name: str) -> str:
    """The types of a variable that is an effort, for error messages; "" for another variable."""
    return " or ".join(_TYPE_NAMES[kind] for kind in _VARIABLES.get(name, ()))


def _level(effort: Effort) -> Effort:
    """In an effort, true is a level."""
    return "medium" if effort is True else effort


def _combined(sent: Sequence[EffortSent]) -> EffortSent:
    """The effort that all of them set: one with a level or a budget, if there is any."""
    chosen = next((option for option in sent if not option.is_switch), sent[0])
    for other in sent:
        is_same_level = chosen.is_off or other.is_switch or other.effort == chosen.effort
        if other.is_off != chosen.is_off or not is_same_level:
            raise InvalidRequest(
                f"{chosen.param} and {other.param} contradict each other: send one of them.", param=chosen.param
            )
    return chosen
