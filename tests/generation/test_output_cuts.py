"""Outputs that max_tokens cuts, at every token: no markup is left in content, and what streams is what is folded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.generation.answer import ChoiceResult
from crossette.generation.choice import Choice, Stops
from crossette.text import output_format
from crossette.text.output_plan import OutputPlan
from crossette.text.pieces import Piece, ToolCall, content_of, joined, reasoning_text
from crossette.text.reasoning import COMMAND, HARMONY, THINK, Reasoning
from crossette.text.tool_calls.families import FORMATS
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.text.tool_calls.tools import Tool, ToolChoice
from crossette.types import FinishReason, TokenOutput
from support.output_recordings import REASONING, RECORDINGS, Recording
from support.played_engine import TokenTable

Mode = Literal["auto", "required"]

every_format = pytest.mark.parametrize("tool_format", FORMATS.values(), ids=FORMATS)
every_reasoning = pytest.mark.parametrize("reasoning", [THINK, HARMONY, COMMAND], ids=["think", "harmony", "command"])
as_tokens_or_letters = pytest.mark.parametrize("are_tokens", [False, True], ids=["letters", "tokens"])
MADE = [("find", {"a": "ü\\n", "b": [-2.5, "<tool_call>"]}), ("now", {})]
TABLE = TokenTable()
ONLY_CALLS = "\0"
"""Behind a text here, upon which nothing but calls can follow."""
TOOLS = tuple(Tool(name, parameters={"additionalProperties": True}) for name, _ in MADE)
WORDS = "Let me see: 1 < 2."


def marks_of(reasoning: Reasoning | None, tools: ToolFormat | None) -> set[str]:
    """All that is markup wherever it stands."""
    of_thoughts = {reasoning.begin, reasoning.end, *reasoning.layout, *reasoning.markers} if reasoning else set()
    return of_thoughts | ({*tools.openings, *tools.layout, *tools.markers} if tools else set())


def tokens_of(text: str, marks: Iterable[str] = ()) -> list[bytes]:
    """Its bytes one by one, but for marks that are tokens."""
    pattern = "|".join(map(re.escape, sorted(marks, key=len, reverse=True))) or "(?!)"
    tokens: list[bytes] = []
    for piece in re.split(f"({pattern})", text):
        whole = bool(re.fullmatch(pattern, piece))
        tokens += [piece.encode()] if whole else [bytes((byte,)) for byte in piece.encode()]
    return [token for token in tokens if token]


def plan_of(
    tools: ToolFormat | None,
    mode: Mode,
    reasoning: Reasoning | None = None,
    *,
    form: str = "",
    is_thinking: bool = False,
) -> OutputPlan:
    offer = ToolSet.of(tools, TOOLS, ToolChoice(mode)) if tools is not None else None
    forms = {"json": output_format.json_object("p"), "text": output_format.choice(["<a>", "[b]"], "p")}
    return OutputPlan(output_format=forms.get(form), tool_set=offer, reasoning=reasoning, is_thinking=is_thinking)


def heard(
    plan: OutputPlan, tokens: Sequence[bytes], steps: Iterable[int], reason: FinishReason = FinishReason.LENGTH
) -> ChoiceResult:
    """What a choice says of tokens that come in steps of so many, put together."""
    choice = Choice(0, TABLE, Stops(), plan)
    pieces: list[Piece] = []
    text, begin, ended = "", 0, None
    for step in [*steps, len(tokens)]:
        end = min(len(tokens), begin + step)
        ids = tuple(map(TABLE.id_of, tokens[begin:end]))
        delta = choice.read(TokenOutput(0, ids, reason if end == len(tokens) else None))
        if delta is not None:
            pieces += delta.pieces
            text += delta.text
            ended = delta.finish_reason
        begin = end
        if ended is not None:
            break
    assert ended == reason
    return ChoiceResult(0, text + ONLY_CALLS * choice.only_calls, tuple(joined(pieces)), ended)


def cut_everywhere(plan: OutputPlan, tokens: Sequence[bytes]) -> Iterable[tuple[bytes, ChoiceResult]]:
    """The text up to each cut, and what is said of it, however it came."""
    for length in range(1, len(tokens)):
        whole = heard(plan, tokens[:length], ())
        assert heard(plan, tokens[:length], [1] * length) == whole
        yield b"".join(tokens[:length]), whole


def check_calls(calls: Sequence[ToolCall], made: Sequence[tuple[str, object]]) -> None:
    """Those that were made, the last of them as far as it came."""
    assert [call.name for call in calls] == [name for name, _ in made[: len(calls)]]
    for place, call in enumerate(calls):
        if place < len(calls) - 1:
            assert json.loads(call.arguments) == made[place][1]


# --- where nothing but calls can come ---


@every_format
@as_tokens_or_letters
@pytest.mark.parametrize("thoughts", ["", "<think>\nHm, 1 < 2.\n</think>\n\n"], ids=["at once", "after thoughts"])
def test_required_calls_leave_no_content_wherever_they_are_cut(
    tool_format: ToolFormat, are_tokens: bool, thoughts: str
) -> None:
    made = MADE[: 1 if tool_format.one_call else 2]
    text = thoughts + tool_format.render([(name, json.dumps(arguments)) for name, arguments in made])
    reasoning = THINK if thoughts else None
    tokens = tokens_of(text, marks_of(reasoning, tool_format) if are_tokens else ())
    seen = set()

    for _, whole in cut_everywhere(plan_of(tool_format, "required", reasoning), tokens):
        assert content_of(whole.pieces) == ""
        assert whole.text.endswith(ONLY_CALLS)
        check_calls(whole.calls, made)
        seen.add(len(whole.calls))

    assert seen == set(range(len(made) + 1))


@every_format
@as_tokens_or_letters
def test_content_before_calls_ends_where_they_begin(tool_format: ToolFormat, are_tokens: bool) -> None:
    """Half a mark that is spelled with letters may be a word: it is one, until the mark is whole."""
    made = MADE[: 1 if tool_format.one_call else 2]
    calls = tool_format.render([(name, json.dumps(arguments)) for name, arguments in made])
    words = "" if tool_format.bare or tool_format.before_text else f"{WORDS}\n"
    tokens = tokens_of(words + calls, marks_of(None, tool_format) if are_tokens else ())
    begun = re.compile(tool_format.bare_beginning if tool_format.bare else re.escape(tool_format.trigger))

    for said, whole in cut_everywhere(plan_of(tool_format, "auto"), tokens):
        text = said.decode(errors="ignore")
        content = content_of(whole.pieces)
        check_calls(whole.calls, made)
        assert content == words.strip() or content in (text, text.rstrip())
        assert not any(mark in content for mark in marks_of(None, tool_format))
        if begun.match(text[len(words) :]):
            assert content == words.strip()
            assert whole.text.endswith(ONLY_CALLS)


@every_reasoning
@as_tokens_or_letters
def test_marks_of_thoughts_are_no_content_wherever_they_are_cut(reasoning: Reasoning, are_tokens: bool) -> None:
    between = reasoning.end + reasoning.behind
    text = f"{reasoning.begin}Hm, 1 < 2.{between}{reasoning.before_content}Four."
    marks = marks_of(reasoning, None)
    tokens = tokens_of(text, reasoning.markers if are_tokens else ())

    for said, whole in cut_everywhere(plan_of(None, "auto", reasoning), tokens):
        content, thoughts = content_of(whole.pieces), reasoning_text(whole.pieces)
        assert not any(mark in content + thoughts for mark in marks)
        if are_tokens:
            assert "Four.".startswith(content)
            assert "Hm, 1 < 2.".startswith(thoughts)
        else:
            assert said.decode().endswith(content)


@given(st.sampled_from(RECORDINGS), st.integers(1, 1000), st.lists(st.integers(0, 9), max_size=40), st.booleans())
def test_a_recorded_output_that_is_cut_says_what_came_and_no_markup(
    recording: Recording, length: int, steps: list[int], are_tokens: bool
) -> None:
    tools = FORMATS[recording.format] if recording.format else None
    reasoning = REASONING[recording.reasoning] if recording.reasoning else None
    plan = plan_of(tools, "auto", reasoning, is_thinking=recording.is_thinking)
    marks = marks_of(reasoning, tools)
    tokens = tokens_of(recording.text, marks if are_tokens else ())[:length]

    whole = heard(plan, tokens, steps)

    assert heard(plan, tokens, ()) == whole
    content = content_of(whole.pieces)
    halves = {mark[:size] for mark in marks for size in range(1, len(mark))} if not are_tokens else set()
    kept = {content.removesuffix(half).rstrip() for half in halves if content.endswith(half)}
    is_bare = tools is not None and bool(tools.bare) and content == recording.text[: len(content)]
    assert is_bare or any(recording.content.startswith(one) for one in (content.rstrip(), *kept)), content
    assert not any(mark in content for mark in marks if mark not in recording.content)


# --- forms, and other ends ---


@pytest.mark.parametrize(
    ("said", "form", "content"),
    [
        ("<tool", "json", ""),
        ("<tool", "text", "<tool"),
        ("<tool", "", "<tool"),
        ('<tool_call>\n{"na', "json", ""),
        ('<tool_call>\n{"na', "text", ""),
        ('{"a": "<tool', "json", '{"a": "<tool'),
        ('{"a": "<tool_call>\n', "json", '{"a": "<tool_call>\n'),
        ("<think>Hm.</think>\n\n<too", "json", ""),
        ("<thi", "json", ""),
        ("<thi", "", "<thi"),
    ],
)
def test_a_form_is_left_as_far_as_it_came_and_what_it_cannot_begin_with_is_markup(
    said: str, form: str, content: str
) -> None:
    plan = plan_of(FORMATS["hermes"], "auto", THINK, form=form)

    assert content_of(heard(plan, tokens_of(said), ()).pieces) == content


def test_what_ends_by_itself_is_left_whole() -> None:
    """An engine that kept to no grammar: nothing that it says may vanish."""
    said = '<tool_call>{"name": "get'
    plan = plan_of(FORMATS["hermes"], "auto")

    assert heard(plan, tokens_of(said), (), FinishReason.STOP).content == said
