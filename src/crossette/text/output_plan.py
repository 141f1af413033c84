"""How an answer's text is to be read, and what must be in it: form, tools and thoughts of one request, together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from crossette.errors import InvalidRequest
from crossette.text.lark import Marker, json_of, text_without
from crossette.text.output import OutputParser, PlainText
from crossette.text.output_format import OutputFormat
from crossette.text.pieces import Piece, calls_of, content_of
from crossette.text.reasoning import Reasoning, Thinking
from crossette.text.tool_calls.grammar import tool_grammar
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.types import Constraint


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """What is done with the text of every choice of a request. Without arguments: all of it is content."""

    constraint: Constraint | None = None
    """What the engine holds the output to."""
    form: OutputFormat | None = None
    """What content must be, if it ends by itself."""
    offer: ToolSet | None = None
    """Which calls there may be, and must be."""
    reasoning: Reasoning | None = None
    is_thinking: bool = False
    """Whether the prompt ends within thoughts."""
    shown: frozenset[int] = field(default_factory=frozenset)
    """Control tokens that are markup: the parser is shown how they are spelled."""

    def parser(self) -> OutputParser | PlainText:
        """For the text of one choice."""
        if self.reasoning is None and self.offer is None:
            return PlainText()
        form: Literal["json", "text"] | None = None
        if self.form is not None:
            form = "json" if self.form.validator is not None else "text"
        return OutputParser(
            self.reasoning,
            self.offer.format if self.offer is not None else None,
            is_thinking=self.is_thinking,
            only_calls=self.offer is not None and self.offer.choice.mode == "required",
            form=form,
        )

    @property
    def parts(self) -> list[Constraint]:
        """What the constraint is made of, each alone: the form, and each tool's arguments."""
        forms = [*([self.form] if self.form else []), *(self.offer.forms.values() if self.offer else [])]
        return [form.constraint for form in forms]

    @property
    def is_checked(self) -> bool:
        return self.form is not None or self.offer is not None

    def check(self, pieces: Sequence[Piece], *, is_cut: bool) -> None:
        """Look again at an answer that ended before max_tokens; `is_cut` by a stop string or token of the request.

        Raises InvalidRequest or OutputMismatch, as `OutputFormat.check` does.
        """
        calls = calls_of(pieces)
        if self.offer is not None:
            self.offer.check(calls, is_cut=is_cut)
        if self.form is not None and not calls:
            self.form.check(content_of(pieces), is_cut=is_cut)


PLAIN = OutputPlan()


@dataclass(frozen=True, slots=True)
class ReasoningPlan:
    """How a model thinks, and how a request wants it to."""

    reasoning: Reasoning
    thinking: Thinking
    is_open: bool
    """Whether the prompt ends within thoughts."""


def output_plan(
    marker: Marker,
    *,
    form: OutputFormat | None = None,
    offer: ToolSet | None = None,
    thoughts: ReasoningPlan | None = None,
) -> OutputPlan:
    """The plan for what a request asks for.

    Raises InvalidRequest for what cannot be enforced, together or at all.
    """
    reasoning = thoughts.reasoning if thoughts else None
    markers = {*(reasoning.markers if reasoning else ()), *(offer.format.markers if offer else ())}
    return OutputPlan(
        _constraint(marker, form, offer, thoughts),
        form,
        offer,
        reasoning,
        is_thinking=thoughts is not None and thoughts.is_open,
        shown=frozenset(token for mark in markers if (token := marker(mark)) is not None),
    )


def _constraint(
    marker: Marker, form: OutputFormat | None, offer: ToolSet | None, thoughts: ReasoningPlan | None
) -> Constraint | None:
    """One grammar for thoughts, form and calls; None where the model is free."""
    unwanted = (thoughts.reasoning.begin,) if thoughts else ()
    if offer is not None and (form is None or offer.choice.mode != "none"):
        content = _content(form) if form is not None and offer.choice.mode == "auto" else ""
        source = tool_grammar(offer.format, offer.tools, offer.choice, marker, unwanted, content)
        constraint = Constraint("lark", source, param="tools")
    elif form is not None:
        constraint = form.constraint
    elif thoughts is not None and thoughts.thinking.budget is not None:
        source = f"start: TEXT\nTEXT: {text_without(unwanted)}\n"
        constraint = Constraint("lark", source, param=thoughts.thinking.param)
    else:
        return None
    if thoughts is None:
        return constraint
    # The grammar of tools says itself how content begins.
    to_content = constraint.param != "tools"
    preamble = thoughts.reasoning.preamble(marker, thoughts.thinking, is_open=thoughts.is_open, to_content=to_content)
    return replace(constraint, preamble=preamble)


def _content(form: OutputFormat) -> str:
    """A form as an expression, for a grammar in which calls stand beside it."""
    constraint = form.constraint
    if constraint.kind == "json_schema":
        return json_of(json.loads(constraint.source))
    if constraint.kind == "regex":
        return "/{}/".format(constraint.source.replace("/", r"\/"))
    raise InvalidRequest(
        f"{constraint.param} and tools cannot be held to together: a grammar of one's own stands alone. Send "
        'tool_choice "none" or "required", or a JSON schema in its place.',
        param=constraint.param,
    )
