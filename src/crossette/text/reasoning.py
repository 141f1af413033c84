"""Reasoning models: the tags of each family, the options of their templates, and reasoning budgets.

The options of a request become variables of the template, and a grammar that precedes the grammar of the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from crossette.errors import InvalidRequest, Unsupported
from crossette.text.lark import MarkerId, literal, text_without
from crossette.text.template.jinja_environment import variables_of
from crossette.text.template.messages import Message

Effort = bool | int | str
"""A level of `EFFORTS`, or a budget in tokens. True is the model's default effort, False is `none`."""
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
History = Literal["disabled", "interleaved", "preserved"]

_BUDGETS = {"none": 0, "minimal": 1024, "low": 3000}
"""Reasoning tokens for a model without effort levels: Fireworks takes 3000 for `low`. Higher efforts have no limit."""


@dataclass(frozen=True, kw_only=True)
class Reasoning:
    """The reasoning tags of a family of models, and the reasoning options of its template."""

    begin: str
    end: str
    separator: str = ""
    """The text between reasoning and answer, apart from white space."""
    before_content: str = ""
    """The text before the answer's content, if the answer is not a call."""
    layout: tuple[str, ...] = ()
    """Tags that are dropped from the answer."""
    repeats: bool = False
    """Whether reasoning may also follow content."""
    markers: tuple[str, ...]
    """Tags that may be control tokens of the vocabulary. Those have no text, so the parser must get them as text."""
    key: str = "reasoning_content"
    """The field of a message from which the template reads its reasoning."""
    switch: str | None = None
    """The template variable that turns reasoning on and off."""
    efforts: tuple[str, ...] = ()
    """The values of `reasoning_effort` that the template knows."""

    def is_open(self, prompt: str) -> bool:
        """Whether a prompt ends with the opening tag of reasoning."""
        return prompt.rstrip().endswith(self.begin)

    def preamble(self, marker_id: MarkerId, thinking: Thinking, *, is_open: bool, to_content: bool = True) -> str:
        """The grammar of the reasoning before a constrained answer, as `Constraint.preamble`, within its budget.

        `is_open` if the prompt ends within reasoning; else the reasoning is optional. `to_content` unless the
        constraint defines itself how content begins, as that of tools does. Raises Unsupported for a budget if the
        closing tag is not a single token.
        """
        answer = literal(self.before_content, self.markers, marker_id) if to_content and self.before_content else ""
        if thinking.budget == 0 and not is_open:
            return answer
        reasoning, rules = self._reasoning_rules(marker_id, thinking)
        if not is_open:
            reasoning = f"({literal(self.begin, self.markers, marker_id)} {reasoning})?"
        return f"{reasoning} {answer}{rules}"

    def _reasoning_rules(self, marker_id: MarkerId, thinking: Thinking) -> tuple[str, str]:
        """The expression from after the opening tag to the answer, and the rules that it needs."""
        separator = f"{literal(self.separator, self.markers, marker_id)}" if self.separator else r"/\n{0,2}/"
        end, budget = marker_id(self.end), thinking.budget
        if end is None:
            if budget is not None:
                raise Unsupported(
                    f"This model ends its reasoning with {self.end!r}, which is not a single token of its "
                    "vocabulary, so a budget cannot be enforced. Send another reasoning effort.",
                    param=thinking.param,
                )
            return f"reasoning {separator}", f"\nreasoning[lazy]: {text_without([], then=self.end)}"
        if budget == 0:
            return f"<[{end}]> {separator}", ""
        limit = "" if budget is None else f"[max_tokens={budget}]"
        rules = f"\nreasoning{limit}: REASONING\nREASONING: {text_without([self.end])}"
        return f"reasoning <[{end}]> {separator}", rules


@dataclass(frozen=True, slots=True)
class Thinking:
    """The reasoning options of a request."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables for the template."""
    budget: int | None = None
    """The most reasoning tokens; None for no limit."""
    param: str = "reasoning_effort"
    """The field of the request, for errors."""


def thinking(reasoning: Reasoning | None, effort: Effort | None, param: str = "reasoning_effort") -> Thinking:
    """Translate a reasoning effort for a model.

    Raises Unsupported for an effort that the model does not support, and InvalidRequest for an invalid effort.
    """
    if effort is None:
        return Thinking(param=param)
    name = effort if isinstance(effort, str) else "none" if effort == 0 else None
    budget = _BUDGETS.get(name) if name is not None else None if effort is True else int(effort)
    if (budget is not None and budget < 0) or (name is not None and name not in EFFORTS):
        raise InvalidRequest(
            f"A reasoning effort is one of {', '.join(EFFORTS)}, or a number of tokens, not {effort!r}.",
            param=param,
            code="invalid_value",
        )
    if reasoning is None:
        if name == "none":
            return Thinking(param=param)
        raise Unsupported(f"This model does not reason, so '{param}' can only disable reasoning.", param=param)
    if reasoning.efforts and effort is not True and name not in reasoning.efforts:
        raise Unsupported(
            f"This model supports the reasoning efforts {', '.join(reasoning.efforts)}, not {effort!r}.", param=param
        )
    variables: dict[str, Any] = {reasoning.switch: name != "none"} if reasoning.switch else {}
    if reasoning.efforts:
        return Thinking(variables if name is None else variables | {"reasoning_effort": name}, param=param)
    return Thinking(variables, budget, param)


def with_history(messages: Sequence[Message], history: History, reasoning: Reasoning) -> list[Message]:
    """The messages with earlier reasoning, in the field from which the template reads it.

    `interleaved` keeps the reasoning since the last user message, which a chain of tool calls continues; `preserved`
    keeps all, and `disabled` none. A template may still leave out what it gets.
    """
    user_indices = [index for index, message in enumerate(messages) if message["role"] == "user"]
    first = {"disabled": len(messages), "interleaved": max(user_indices, default=0), "preserved": 0}[history]
    return [_with_reasoning(message, index >= first, reasoning.key) for index, message in enumerate(messages)]


def _with_reasoning(message: Message, is_shown: bool, key: str) -> Message:
    reasoning = message.get("reasoning_content")
    if reasoning is None:
        return message
    rest = {name: value for name, value in message.items() if name not in ("reasoning_content", "reasoning")}
    return {**rest, key: reasoning} if is_shown else rest


THINK = Reasoning(begin="<think>", end="</think>", markers=("<think>", "</think>"))
HARMONY = Reasoning(
    begin="<|channel|>analysis<|message|>",
    end="<|end|>",
    separator="<|start|>assistant",
    before_content="<|channel|>final<|message|>",
    layout=(
        "<|start|>assistant",
        "<|channel|>final<|message|>",
        "<|channel|>final <|constrain|>json<|message|>",
        "<|channel|>commentary<|message|>",
        "<|end|>",
        "<|return|>",
    ),
    repeats=True,
    markers=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|call|>", "<|end|>", "<|return|>"),
    key="thinking",
    efforts=("low", "medium", "high"),
)
COMMAND = Reasoning(
    begin="<|START_THINKING|>",
    end="<|END_THINKING|>",
    before_content="<|START_RESPONSE|>",
    layout=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    markers=("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)

_FAMILIES = (
    ("<|channel|>analysis", HARMONY),
    ("[THINK]", Reasoning(begin="[THINK]", end="[/THINK]", markers=("[THINK]", "[/THINK]"))),
    ("<|START_THINKING|>", COMMAND),
    ("<response>", replace(THINK, layout=("<response>", "</response>"))),  # Granite
    ("</think>", THINK),
    ("<think>", THINK),
)
"""Families by a string in their templates. The first match decides."""


def reasoning_of(template: str) -> Reasoning | None:
    """The reasoning of the model with this chat template; None if it does not reason."""
    found = next((family for tag, family in _FAMILIES if tag in template), None)
    if found is None:
        return None
    variables = variables_of(template)
    efforts = found.efforts or (EFFORTS if "reasoning_effort" in variables else ())
    return replace(found, switch=switch_of(variables), efforts=efforts)


def switch_of(variables: Collection[str]) -> str | None:
    """The variable that turns reasoning on and off, among those of a template."""
    return next((name for name in ("enable_thinking", "thinking") if name in variables), None)
