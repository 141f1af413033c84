"""Models that think before they answer: the marks of their thoughts, the switches of their templates, the budget.

What a request asks becomes variables for the template, and a grammar that stands before the answer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from crossette.errors import InvalidRequest, Unsupported
from crossette.text.lark import Marker, spelled, text_without
from crossette.text.template.jinja_environment import variables_of
from crossette.text.template.messages import Message

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
History = Literal["disabled", "interleaved", "preserved"]

_BUDGETS = {"none": 0, "minimal": 1024, "low": 3000}
"""Tokens of thought for a model that knows no efforts: Fireworks takes 3000 for `low`. Above it there is no cap."""


@dataclass(frozen=True, kw_only=True)
class Reasoning:
    """How a family of models marks its thoughts, and what its template is told about them."""

    begin: str
    end: str
    behind: str = ""
    """What stands between thoughts and answer, white space apart."""
    before_content: str = ""
    """What the answer itself begins with, where that is not a call."""
    layout: tuple[str, ...] = ()
    """Markers that say nothing, and are left out of the answer."""
    repeats: bool = False
    """Whether thoughts may also follow upon content."""
    markers: tuple[str, ...]
    """What of all this may be control tokens of the vocabulary, which have no text: the parser must see them."""
    key: str = "reasoning_content"
    """Where the template looks for a message's thoughts."""
    switch: str | None = None
    """The template's variable that turns thoughts on and off."""
    efforts: tuple[str, ...] = ()
    """Those that the template knows by name, as `reasoning_effort`."""

    def is_open(self, prompt: str) -> bool:
        """Whether a prompt ends where thoughts have begun."""
        return prompt.rstrip().endswith(self.begin)

    def preamble(self, marker: Marker, thinking: Thinking, *, is_open: bool, to_content: bool = True) -> str:
        """What stands before a constrained answer, as `Constraint.preamble`: thoughts within their budget.

        `is_open` where the prompt ends within them; else the model may leave them out. `to_content` unless the
        constraint itself says how content begins, as that of tools does. Raises Unsupported for a budget if the end
        of thoughts is no single token.
        """
        answer = spelled(self.before_content, self.markers, marker) if to_content and self.before_content else ""
        if thinking.budget == 0 and not is_open:
            return answer
        thoughts, rules = self._thoughts(marker, thinking)
        if not is_open:
            thoughts = f"({spelled(self.begin, self.markers, marker)} {thoughts})?"
        return f"{thoughts} {answer}{rules}"

    def _thoughts(self, marker: Marker, thinking: Thinking) -> tuple[str, str]:
        """The expression from behind the beginning to the answer, and the rules that it needs."""
        behind = f"{spelled(self.behind, self.markers, marker)}" if self.behind else r"/\n{0,2}/"
        end, budget = marker(self.end), thinking.budget
        if end is None:
            if budget is not None:
                raise Unsupported(
                    f"This model ends its thoughts with {self.end!r}, which is not one of its tokens, so they cannot "
                    "be held to a number of tokens. Ask for another reasoning effort.",
                    param=thinking.param,
                )
            return f"thoughts {behind}", f"\nthoughts[lazy]: {text_without([], then=self.end)}"
        if budget == 0:
            return f"<[{end}]> {behind}", ""
        limit = "" if budget is None else f"[max_tokens={budget}]"
        return f"thoughts <[{end}]> {behind}", f"\nthoughts{limit}: THOUGHTS\nTHOUGHTS: {text_without([self.end])}"


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a request wants its model to think."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    """For the template."""
    budget: int | None = None
    """At most so many tokens of thoughts; None for no bound."""
    param: str = "reasoning_effort"
    """The field that says so, for errors."""


def thinking(reasoning: Reasoning | None, effort: bool | int | str | None, param: str = "reasoning_effort") -> Thinking:
    """What an effort means for a model. A number is a budget in tokens; True is `medium`, False is `none`.

    Raises Unsupported for what the model cannot do, and InvalidRequest for what is no effort.
    """
    if effort is None:
        return Thinking(param=param)
    if isinstance(effort, bool):
        effort = "medium" if effort else "none"
    name = effort if isinstance(effort, str) else "none" if effort == 0 else None
    budget = _BUDGETS.get(effort) if isinstance(effort, str) else effort
    if (budget is not None and budget < 0) or (name is not None and name not in EFFORTS):
        raise InvalidRequest(
            f"A reasoning effort is one of {', '.join(EFFORTS)}, or a number of tokens: {effort!r}", param=param
        )
    if reasoning is None:
        if name == "none":
            return Thinking(param=param)
        raise Unsupported(f"This model does not reason, so '{param}' can only be 'none': {effort!r}", param=param)
    if reasoning.efforts and name not in reasoning.efforts:
        raise Unsupported(
            f"This model knows the reasoning efforts {', '.join(reasoning.efforts)}: {effort!r}", param=param
        )
    variables: dict[str, Any] = {reasoning.switch: name != "none"} if reasoning.switch else {}
    if reasoning.efforts:
        return Thinking(variables | {"reasoning_effort": name}, param=param)
    return Thinking(variables, budget, param)


def with_history(messages: Sequence[Message], history: History, reasoning: Reasoning) -> list[Message]:
    """The messages with the thoughts that the model is shown again, where its template looks for them.

    `interleaved` shows those since the user's last words, which a chain of tool calls goes on from; `preserved` all,
    and `disabled` none. A template may still leave out what it is given.
    """
    users = [place for place, message in enumerate(messages) if message["role"] == "user"]
    first = {"disabled": len(messages), "interleaved": max(users, default=0), "preserved": 0}[history]
    return [_with_thoughts(message, place >= first, reasoning.key) for place, message in enumerate(messages)]


def _with_thoughts(message: Message, is_shown: bool, key: str) -> Message:
    thoughts = message.get("reasoning_content")
    if thoughts is None:
        return message
    rest = {name: value for name, value in message.items() if name not in ("reasoning_content", "reasoning")}
    return {**rest, key: thoughts} if is_shown else rest


THINK = Reasoning(begin="<think>", end="</think>", markers=("<think>", "</think>"))
HARMONY = Reasoning(
    begin="<|channel|>analysis<|message|>",
    end="<|end|>",
    behind="<|start|>assistant",
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
"""Each with what its templates write. The first that is found decides."""


def reasoning_of(template: str) -> Reasoning | None:
    """How the model of a chat template thinks; None for one that does not."""
    found = next((family for written, family in _FAMILIES if written in template), None)
    if found is None:
        return None
    variables = variables_of(template)
    switch = next((name for name in ("enable_thinking", "thinking") if name in variables), None)
    efforts = found.efforts or (EFFORTS if "reasoning_effort" in variables else ())
    return replace(found, switch=switch, efforts=efforts)
