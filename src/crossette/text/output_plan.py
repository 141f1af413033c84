"""Output plan: how the output of a request is constrained and parsed. Combines output format, tools and reasoning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from crossette.errors import InvalidRequest
from crossette.text.lark import MarkerId, json_of, text_without
from crossette.text.output import OutputParser, PlainText
from crossette.text.output_format import OutputFormat
from crossette.text.pieces import Piece, calls_of, content_of
from crossette.text.reasoning import Reasoning, Thinking
from crossette.text.tool_calls.grammar import tool_grammar
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.types import Constraint


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """How the text of every choice of a request is handled. With the defaults all of it is content."""

    constraint: Constraint | None = None
    """The constraint that the engine enforces."""
    output_format: OutputFormat | None = None
    """The format that content must match, unless max_tokens cut it."""
    tool_set: ToolSet | None = None
    """The calls that are allowed, or required."""
    reasoning: Reasoning | None = None
    is_thinking: bool = False
    """Whether the prompt ends within reasoning."""
    markup_token_ids: frozenset[int] = field(default_factory=frozenset)
    """Control tokens that are markup: the parser gets them as text."""

    def parser(self) -> OutputParser | PlainText:
        """Create a parser for the text of one choice."""
        if self.reasoning is None and self.tool_set is None:
            return PlainText()
        content_format: Literal["json", "text"] | None = None
        if self.output_format is not None:
            content_format = "json" if self.output_format.validator is not None else "text"
        return OutputParser(
            self.reasoning,
            self.tool_set.format if self.tool_set is not None else None,
            is_thinking=self.is_thinking,
            only_calls=self.tool_set is not None and self.tool_set.choice.mode == "required",
            content_format=content_format,
        )

    @property
    def parts(self) -> list[Constraint]:
        """The parts of the constraint: the output format, and the arguments of each tool."""
        formats = [self.output_format] if self.output_format else []
        if self.tool_set:
            formats += self.tool_set.argument_formats.values()
        return [part.constraint for part in formats]

    @property
    def checked(self) -> tuple[str, ...]:
        """The keywords that the grammar does not enforce: the field of the request, and the pointer in its schema."""
        one = self.output_format
        own = [f"{one.constraint.param}{pointer}" for pointer in one.checked] if one is not None else []
        return (*own, *(self.tool_set.checked if self.tool_set is not None else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about keywords that may be misspelled."""
        formats = [self.output_format] if self.output_format is not None else []
        formats += self.tool_set.argument_formats.values() if self.tool_set is not None else []
        return tuple(dict.fromkeys(note for one in formats for note in one.notes))

    @property
    def is_checked(self) -> bool:
        """Whether `check` has anything to validate."""
        return self.output_format is not None or self.tool_set is not None

    def check(self, pieces: Sequence[Piece], *, is_cut: bool) -> None:
        """Validate an answer that ended before max_tokens; `is_cut` by a stop string or stop token of the request.

        Raises InvalidRequest or OutputMismatch, as `OutputFormat.check` does.
        """
        calls = calls_of(pieces)
        if self.tool_set is not None:
            self.tool_set.check(calls, is_cut=is_cut)
        if self.output_format is not None and not calls:
            self.output_format.check(content_of(pieces), is_cut=is_cut)


PLAIN = OutputPlan()


@dataclass(frozen=True, slots=True)
class ReasoningPlan:
    """How a model marks its reasoning, and the reasoning options of a request."""

    reasoning: Reasoning
    thinking: Thinking
    is_open: bool
    """Whether the prompt ends within reasoning."""


def output_plan(
    marker_id: MarkerId,
    *,
    output_format: OutputFormat | None = None,
    tool_set: ToolSet | None = None,
    reasoning_plan: ReasoningPlan | None = None,
) -> OutputPlan:
    """Create the plan of a request.

    Raises InvalidRequest for options that cannot be enforced, or not in combination.
    """
    reasoning = reasoning_plan.reasoning if reasoning_plan else None
    markers = {*(reasoning.markers if reasoning else ()), *(tool_set.format.markers if tool_set else ())}
    return OutputPlan(
        _constraint(marker_id, output_format, tool_set, reasoning_plan),
        output_format,
        tool_set,
        reasoning,
        is_thinking=reasoning_plan is not None and reasoning_plan.is_open,
        markup_token_ids=frozenset(token for marker in markers if (token := marker_id(marker)) is not None),
    )


def _constraint(
    marker_id: MarkerId,
    output_format: OutputFormat | None,
    tool_set: ToolSet | None,
    reasoning_plan: ReasoningPlan | None,
) -> Constraint | None:
    """One grammar for reasoning, content and calls; None for unconstrained output."""
    excluded = (reasoning_plan.reasoning.begin,) if reasoning_plan else ()
    if tool_set is not None and (output_format is None or tool_set.choice.mode != "none"):
        content = _content(output_format) if output_format is not None and tool_set.choice.mode == "auto" else ""
        source = tool_grammar(tool_set.format, tool_set.tools, tool_set.choice, marker_id, excluded, content)
        constraint = Constraint("lark", source, param="tools")
    elif output_format is not None:
        constraint = output_format.constraint
    elif reasoning_plan is not None and reasoning_plan.thinking.budget is not None:
        source = f"start: TEXT\nTEXT: {text_without(excluded)}\n"
        constraint = Constraint("lark", source, param=reasoning_plan.thinking.param)
    else:
        return None
    if reasoning_plan is None:
        return constraint
    # The grammar of tools has its own rule for how content begins.
    to_content = constraint.param != "tools"
    preamble = reasoning_plan.reasoning.preamble(
        marker_id, reasoning_plan.thinking, is_open=reasoning_plan.is_open, to_content=to_content
    )
    return replace(constraint, preamble=preamble)


def _content(output_format: OutputFormat) -> str:
    """An output format as a Lark expression, for a grammar that also allows calls."""
    constraint = output_format.constraint
    if constraint.kind == "json_schema":
        return json_of(json.loads(constraint.source))
    if constraint.kind == "regex":
        return "/{}/".format(constraint.source.replace("/", r"\/"))
    raise InvalidRequest(
        f"{constraint.param} and tools cannot be combined: a custom grammar constrains the whole answer. Send "
        'tool_choice "none" or "required", or a JSON schema in place of the grammar.',
        param=constraint.param,
    )
