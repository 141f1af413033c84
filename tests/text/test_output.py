"""Model output to reasoning, content and calls: the same wherever it is cut, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.text.json_reader import JsonScanner
from crossette.text.output import OutputParser
from crossette.text.pieces import Content, Piece, ReasoningText, ToolCallArguments, ToolCallStart, joined
from crossette.text.reasoning import HARMONY, THINK, Reasoning
from crossette.text.tool_calls.families import FORMATS
from support.output_recordings import RECORDINGS, Recording

every_recording = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)


def read(parser: OutputParser, texts: Iterable[str]) -> list[Piece]:
    pieces = [piece for text in texts for piece in parser.push(text)]
    return joined(pieces + parser.flush())


def contents(pieces: Iterable[Piece]) -> tuple[str, str, list[tuple[str, str]]]:
    """Reasoning, content, and the name and arguments of each call."""
    reasoning, content, calls = "", "", list[tuple[str, str]]()
    for piece in pieces:
        match piece:
            case ReasoningText(text):
                reasoning += text
            case Content(text):
                content += text
            case ToolCallStart(index, name):
                assert index == len(calls)
                calls.append((name, ""))
            case ToolCallArguments(index, text):
                assert index == len(calls) - 1
                calls[index] = (calls[index][0], calls[index][1] + text)
    return reasoning, content, calls


@every_recording
def test_a_recorded_output_is_parsed_in_the_format_of_its_family(recording: Recording) -> None:
    reasoning, content, calls = contents(read(recording.parser(), [recording.text]))

    assert (reasoning, content) == (recording.reasoning_text, recording.content)
    assert [[name, json.loads(arguments)] for name, arguments in calls] == recording.calls


@every_recording
def test_the_joined_pieces_do_not_depend_on_where_the_text_is_cut(recording: Recording) -> None:
    text = recording.text
    expected = read(recording.parser(), [text])

    assert read(recording.parser(), text) == expected
    for cut in range(len(text) + 1):
        assert read(recording.parser(), [text[:cut], text[cut:]]) == expected


def test_every_format_has_a_recording() -> None:
    assert {recording.format for recording in RECORDINGS} >= FORMATS.keys()


# --- what is emitted when ---


def test_arguments_are_streamed() -> None:
    parser = OutputParser(None, FORMATS["hermes"])

    assert parser.push('<tool_call>\n{"name": "f", "arguments": ') == []
    assert parser.push('{"a": "on') == [ToolCallStart(0, "f"), ToolCallArguments(0, '{"a": "on')]
    assert parser.push('e"}') == [ToolCallArguments(0, 'e"}')]
    assert parser.push("}\n</tool_call>") == []
    assert parser.flush() == []
    assert parser.num_calls == 1


def test_text_is_held_back_only_while_it_may_be_markup() -> None:
    parser = OutputParser(None, FORMATS["hermes"])

    assert parser.push("one <tool") == [Content("one")]
    assert parser.push("s> two ") == [Content(" <tools> two")]
    assert parser.push("three") == [Content(" three")]


def test_a_call_that_breaks_off_keeps_its_emitted_arguments() -> None:
    parser = OutputParser(None, FORMATS["hermes"])

    pieces = parser.push('<tool_call>\n{"name": "f", "arguments": {"a": "on') + parser.flush()

    assert joined(pieces) == [ToolCallStart(0, "f"), ToolCallArguments(0, '{"a": "on')]


def test_arguments_end_at_the_first_invalid_character_and_the_rest_is_content() -> None:
    parser = OutputParser(None, FORMATS["hermes"])

    pieces = parser.push('<tool_call>{"name": "f", "arguments": {"a": oops}}</tool_call>') + parser.flush()

    assert joined(pieces) == [ToolCallStart(0, "f"), ToolCallArguments(0, '{"a": '), Content("oops}}</tool_call>")]


def test_an_answer_without_markup_is_unchanged() -> None:
    parser = OutputParser(None, None)

    assert [parser.push(text) for text in (" a", " \n", "<think>")] == [[Content(t)] for t in (" a", " \n", "<think>")]


def test_formatted_content_may_contain_call_markup_and_a_call_may_replace_it() -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    text = json.dumps({"a": call})

    def parser(reasoning: Reasoning | None = None) -> OutputParser:
        return OutputParser(reasoning, FORMATS["hermes"], content_format="json")

    assert contents(read(parser(), text)) == ("", text, [])
    assert contents(read(parser(THINK), f"<think>{call}</think> {text}")) == (call, text, [])
    assert contents(read(parser(), call)) == ("", "", [("f", "{}")])


# --- any text at all ---

FRAGMENTS = sorted(
    {tag for known in FORMATS.values() for tag in (*known.openings, *known.layout, *known.markers)}
    | {'{"name": "f", ', '"arguments": {', '{"a": 1}', '"parameters": {}', "}", "]", "[", ",", "f(", "a=1", ")", "`",
       "```", "\n", " ", "word", '"', "function", ":0", "to=functions.f", "<think>", "</think>", "json", "\\", "é"}
)  # fmt: skip
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)
formats = st.sampled_from(sorted(FORMATS))


@given(texts, formats, st.booleans(), st.integers(0, 200))
def test_any_text_gives_the_same_pieces_wherever_it_is_cut(text: str, name: str, is_thinking: bool, cut: int) -> None:
    def parser() -> OutputParser:
        return OutputParser(HARMONY if name == "harmony" else THINK, FORMATS[name], is_thinking=is_thinking)

    expected = read(parser(), [text])

    assert read(parser(), text) == expected
    assert read(parser(), [text[:cut], text[cut:]]) == expected


@given(texts, formats)
def test_text_without_calls_is_returned_unchanged(text: str, name: str) -> None:
    """Except for layout tags and the white space next to them."""
    known = FORMATS[name]
    _, content, calls = contents(read(OutputParser(None, known), [text]))

    if not calls:
        layout = "|".join(map(re.escape, known.layout)) or "(?!)"
        assert re.sub(rf"{layout}|\s", "", content) == re.sub(rf"{layout}|\s", "", text)
        assert known.layout or content == text


@given(texts, formats)
def test_output_is_part_of_the_text_and_arguments_are_json(text: str, name: str) -> None:
    reasoning, content, calls = contents(read(OutputParser(THINK, FORMATS[name]), [text]))

    assert not reasoning or reasoning in text
    assert "".join(content.split()) in _subsequences_of("".join(text.split()))
    for _, arguments in calls:
        scanner = JsonScanner()
        assert scanner.feed(arguments) == len(arguments)


class _subsequences_of:
    def __init__(self, text: str) -> None:
        self._text = text

    def __contains__(self, part: object) -> bool:
        rest = iter(self._text)
        return isinstance(part, str) and all(character in rest for character in part)


# --- JSON, character by character ---

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), values), st.booleans(), st.sampled_from([None, 1]), st.text(max_size=3))
def test_an_object_ends_where_a_json_parser_ends_it(
    value: dict[str, Any], ascii_only: bool, indent: int | None, rest: str
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    scanner = JsonScanner()

    assert scanner.feed(text + rest) == len(text)
    assert scanner.is_done


@given(st.text('{}[]",:\\ue1-0.+tfnarlse \n', max_size=12).map(lambda text: "{" + text))
def test_text_that_is_scanned_to_its_end_is_json_and_no_other_is(text: str) -> None:
    scanner = JsonScanner()
    length = scanner.feed(text)

    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        assert not scanner.is_done
    else:
        assert scanner.is_done
        assert length == end
