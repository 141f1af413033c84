"""Outputs that max_tokens cuts at any token: no markup is left in content, and the steps do not change the result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.generation.accumulator import ChoiceResult
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
as_tokens_or_text = pytest.mark.parametrize("are_tokens", [False, True], ids=["text", "tokens"])
CALLS = [("find", {"a": "ü\\n", "b": [-2.5, "<tool_call>"]}), ("now", {})]
TABLE = TokenTable()
ONLY_CALLS = "\0"
"""A suffix of texts after which only calls can follow."""
TOOLS = tuple(Tool(name, parameters={"additionalProperties": True}) for name, _ in CALLS)
TEXT = "Let me see: 1 < 2."


def tags_of(reasoning: Reasoning | None, tools: ToolFormat | None) -> set[str]:
    """All strings that are always markup."""
    of_reasoning = {reasoning.begin, reasoning.end, *reasoning.layout, *reasoning.markers} if reasoning else set()
    return of_reasoning | ({*tools.openings, *tools.layout, *tools.markers} if tools else set())


def tokens_of(text: str, tags: Iterable[str] = ()) -> list[bytes]:
    """The bytes of a text as tokens, except for tags, which are one token each."""
    pattern = "|".join(map(re.escape, sorted(tags, key=len, reverse=True))) or "(?!)"
    tokens: list[bytes] = []
    for piece in re.split(f"({pattern})", text):
        is_tag = bool(re.fullmatch(pattern, piece))
        tokens += [piece.encode()] if is_tag else [bytes((byte,)) for byte in piece.encode()]
    return [token for token in tokens if token]


def plan_of(
    tools: ToolFormat | None,
    mode: Mode,
    reasoning: Reasoning | None = None,
    *,
    content_format: str = "",
    is_thinking: bool = False,
) -> OutputPlan:
    tool_set = ToolSet.of(tools, TOOLS, ToolChoice(mode)) if tools is not None else None
    formats = {"json": output_format.json_object("p"), "text": output_format.choice(["<a>", "[b]"], "p")}
    return OutputPlan(
        output_format=formats.get(content_format), tool_set=tool_set, reasoning=reasoning, is_thinking=is_thinking
    )


def read(
    plan: OutputPlan, tokens: Sequence[bytes], steps: Iterable[int], reason: FinishReason = FinishReason.LENGTH
) -> ChoiceResult:
    """The result of tokens that come in steps of these sizes."""
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
    """Yield the text up to each cut and its result, which must not depend on the steps."""
    for length in range(1, len(tokens)):
        result = read(plan, tokens[:length], ())
        assert read(plan, tokens[:length], [1] * length) == result
        yield b"".join(tokens[:length]), result


def check_calls(calls: Sequence[ToolCall], expected: Sequence[tuple[str, object]]) -> None:
    """Check that the calls are the expected ones, the last of them possibly cut."""
    assert [call.name for call in calls] == [name for name, _ in expected[: len(calls)]]
    for index, call in enumerate(calls):
        if index < len(calls) - 1:
            assert json.loads(call.arguments) == expected[index][1]


# --- calls ---


@pytest.mark.slow
@every_format
@as_tokens_or_text
@pytest.mark.parametrize(
    "reasoning_output", ["", "<think>\nHm, 1 < 2.\n</think>\n\n"], ids=["at once", "after reasoning"]
)
def test_required_calls_leave_no_content_at_any_cut(
    tool_format: ToolFormat, are_tokens: bool, reasoning_output: str
) -> None:
    expected = CALLS[: 1 if tool_format.one_call else 2]
    text = reasoning_output + tool_format.render([(name, json.dumps(arguments)) for name, arguments in expected])
    reasoning = THINK if reasoning_output else None
    tokens = tokens_of(text, tags_of(reasoning, tool_format) if are_tokens else ())
    seen = set()

    for _, result in cut_everywhere(plan_of(tool_format, "required", reasoning), tokens):
        assert content_of(result.pieces) == ""
        assert result.text.endswith(ONLY_CALLS)
        check_calls(result.calls, expected)
        seen.add(len(result.calls))

    assert seen == set(range(len(expected) + 1))


@pytest.mark.slow
@every_format
@as_tokens_or_text
def test_content_before_calls_ends_where_they_begin(tool_format: ToolFormat, are_tokens: bool) -> None:
    """Half a tag of ordinary characters is content until the tag is complete."""
    expected = CALLS[: 1 if tool_format.one_call else 2]
    calls = tool_format.render([(name, json.dumps(arguments)) for name, arguments in expected])
    text_before = "" if tool_format.bare or tool_format.before_text else f"{TEXT}\n"
    tokens = tokens_of(text_before + calls, tags_of(None, tool_format) if are_tokens else ())
    call_start = re.compile(tool_format.bare_pattern if tool_format.bare else re.escape(tool_format.trigger))

    for output, result in cut_everywhere(plan_of(tool_format, "auto"), tokens):
        text = output.decode(errors="ignore")
        content = content_of(result.pieces)
        check_calls(result.calls, expected)
        assert content == text_before.strip() or content in (text, text.rstrip())
        assert not any(tag in content for tag in tags_of(None, tool_format))
        if call_start.match(text[len(text_before) :]):
            assert content == text_before.strip()
            assert result.text.endswith(ONLY_CALLS)


@every_reasoning
@as_tokens_or_text
def test_reasoning_tags_are_never_content_at_any_cut(reasoning: Reasoning, are_tokens: bool) -> None:
    between = reasoning.end + reasoning.separator
    text = f"{reasoning.begin}Hm, 1 < 2.{between}{reasoning.before_content}Four."
    tags = tags_of(reasoning, None)
    tokens = tokens_of(text, reasoning.markers if are_tokens else ())

    for output, result in cut_everywhere(plan_of(None, "auto", reasoning), tokens):
        content, reasoning_output = content_of(result.pieces), reasoning_text(result.pieces)
        assert not any(tag in content + reasoning_output for tag in tags)
        if are_tokens:
            assert "Four.".startswith(content)
            assert "Hm, 1 < 2.".startswith(reasoning_output)
        else:
            assert output.decode().endswith(content)


@given(st.sampled_from(RECORDINGS), st.integers(1, 1000), st.lists(st.integers(0, 9), max_size=40), st.booleans())
def test_a_recorded_output_that_is_cut_has_its_content_and_no_markup(
    recording: Recording, length: int, steps: list[int], are_tokens: bool
) -> None:
    tools = FORMATS[recording.format] if recording.format else None
    reasoning = REASONING[recording.reasoning] if recording.reasoning else None
    plan = plan_of(tools, "auto", reasoning, is_thinking=recording.is_thinking)
    tags = tags_of(reasoning, tools)
    tokens = tokens_of(recording.text, tags if are_tokens else ())[:length]

    result = read(plan, tokens, steps)

    assert read(plan, tokens, ()) == result
    content = content_of(result.pieces)
    prefixes = {tag[:size] for tag in tags for size in range(1, len(tag))} if not are_tokens else set()
    candidates = {content.removesuffix(prefix).rstrip() for prefix in prefixes if content.endswith(prefix)}
    is_bare = tools is not None and bool(tools.bare) and content == recording.text[: len(content)]
    assert is_bare or any(recording.content.startswith(one) for one in (content.rstrip(), *candidates)), content
    assert not any(tag in content for tag in tags if tag not in recording.content)


# --- output formats, and other finish reasons ---


@pytest.mark.parametrize(
    ("output", "content_format", "content"),
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
def test_formatted_content_is_kept_and_text_that_cannot_begin_it_is_markup(
    output: str, content_format: str, content: str
) -> None:
    plan = plan_of(FORMATS["hermes"], "auto", THINK, content_format=content_format)

    assert content_of(read(plan, tokens_of(output), ()).pieces) == content


def test_an_output_that_ends_by_itself_is_complete() -> None:
    """Also from an engine that enforces no grammar: no text is lost."""
    output = '<tool_call>{"name": "get'
    plan = plan_of(FORMATS["hermes"], "auto")

    assert read(plan, tokens_of(output), (), FinishReason.STOP).content == output
