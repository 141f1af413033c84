"""A folded stream of /messages equals the complete answer, wherever the output is cut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.api.anthropic.block_writer import BlockWriter
from crossette.api.anthropic.partial_json import complete_values
from crossette.text.pieces import Content, Piece, ReasoningText, ToolCallArguments, ToolCallStart
from support.anthropic_messages import folded, named_events, without_ids
from support.api_server import PREFIXES, ApiServer, serving
from support.played_engine import PlayedEngine
from support.token_streams import TABLE, ChoiceTokens, choice_tokens, interleaved_steps, stops_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> PlayedEngine:
    return PlayedEngine(TABLE)


@pytest.fixture(scope="module")
def played(engine: PlayedEngine) -> Iterator[ApiServer]:
    with serving(engine) as api:
        yield api


@pytest.mark.parametrize("prefix", PREFIXES)
@settings(max_examples=60, deadline=None)
@given(st.data(), choice_tokens(), st.booleans())
def test_the_folded_stream_equals_the_complete_answer(
    played: ApiServer, engine: PlayedEngine, prefix: str, data: st.DataObject, choice: ChoiceTokens, raw: bool
) -> None:
    body = {
        "model": "played",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "é"}],
        "stop_sequences": data.draw(stops_in(choice.text)),
        "raw_output": raw,
    }
    engine.play(data.draw(interleaved_steps([choice])))
    streamed = played.post(f"{prefix}/messages", {**body, "stream": True})
    assert streamed.status_code == 200, streamed.text
    engine.play(data.draw(interleaved_steps([choice])))  # the pieces differ
    whole = played.post(f"{prefix}/messages", body).json()

    assert without_ids(folded(named_events(streamed.content))) == without_ids(whole)
    assert (whole["stop_sequence"] is not None) == (whole["stop_reason"] == "stop_sequence")


# --- the blocks ---

PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("content"), st.text("aé\n🎆", max_size=5)),
        st.tuples(st.just("reasoning"), st.text("aé\n🎆", min_size=1, max_size=5)),
        st.tuples(st.just("call"), st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers())),
    ),
    max_size=6,
)
"""An output: texts, reasoning and calls in any order."""


@st.composite
def pieces_of(draw: st.DrawFn, parts: list[tuple[str, Any]]) -> list[Piece]:
    """The parts as pieces, cut anywhere."""
    pieces: list[Piece] = []
    num_calls = 0
    for kind, value in parts:
        text = json.dumps(value) if kind == "call" else value
        edges = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=3))})
        texts = [text[begin:end] for begin, end in pairwise(edges)]
        if kind == "call":
            pieces.append(ToolCallStart(num_calls, f"f{num_calls}"))
            pieces += [ToolCallArguments(num_calls, part) for part in texts]
            num_calls += 1
        else:
            pieces += [Content(part) if kind == "content" else ReasoningText(part) for part in texts]
    return pieces


@given(st.data(), PARTS, st.booleans())
def test_blocks_do_not_depend_on_where_an_output_is_cut(
    data: st.DataObject, parts: list[tuple[str, Any]], omits: bool
) -> None:
    def decoded(value: Any) -> Any:
        return json.loads(msgspec.json.encode(value))

    writer = BlockWriter(omits_thinking=omits)
    events = [*writer.events(data.draw(pieces_of(parts))), *writer.end()]
    start = {
        "type": "message_start",
        "message": {"content": [], "stop_reason": None, "stop_sequence": None, "usage": {}},
    }
    end: list[dict[str, Any]] = [{"type": "message_delta", "delta": {}, "usage": {}}, {"type": "message_stop"}]
    streamed = folded([start, *(decoded(event) for event in events), *end])["content"]
    whole = decoded(BlockWriter(omits_thinking=omits).all_blocks(data.draw(pieces_of(parts))))

    for block in (*streamed, *whole):
        assert block["type"] != "tool_use" or block.pop("id")
    assert (
        streamed
        == whole
        == [
            block | ({"thinking": ""} if omits and block["type"] == "thinking" else {})
            for block in expected(parts, whole)
        ]
    )


def expected(parts: list[tuple[str, Any]], whole: list[Any]) -> list[Any]:
    """The blocks that the parts make; signatures are taken from `whole`."""
    blocks: list[dict[str, Any]] = []
    for kind, value in parts:
        name = {"content": "text", "reasoning": "thinking", "call": "tool_use"}[kind]
        if kind == "call":
            num_calls = sum(block["type"] == "tool_use" for block in blocks)
            blocks.append({"type": name, "name": f"f{num_calls}", "input": value})
        elif blocks and blocks[-1]["type"] == name:
            blocks[-1][name] += value
        elif value:
            blocks.append({"type": name, name: value})
    for block, made in zip(blocks, whole, strict=True):
        block |= {"citations": None} if block["type"] == "text" else {}
        block |= {"signature": made["signature"]} if block["type"] == "thinking" else {}
    return blocks


# --- objects that were cut off ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text('a"\\{}[],:é🎆', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\,}', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text('a"\\,}', max_size=3), JSON, max_size=3), st.data(), st.sampled_from([None, 1]))
def test_an_object_that_was_cut_has_the_values_that_are_complete(
    value: dict[str, Any], data: st.DataObject, indent: int | None
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    cut = data.draw(st.integers(0, len(text)))
    kept = json.loads(complete_values(text[:cut]))

    assert is_beginning(kept, value)
    assert json.loads(complete_values(text)) == value
    assert cut == 0 or is_beginning(json.loads(complete_values(text[: cut - 1])), kept)


def is_beginning(part: Any, whole: Any) -> bool:
    """Whether a value has the first entries of another, the last of which may be a beginning too."""
    if isinstance(whole, list) and isinstance(part, list):
        return len(part) <= len(whole) and are_beginnings(list(zip(part, whole, strict=False)))
    if isinstance(whole, dict) and isinstance(part, dict):
        keys = list(whole)[: len(part)]
        entries = [(part[key], whole[key]) for key in keys if key in part]
        return len(entries) == len(part) and are_beginnings(entries)
    return bool(part == whole)


def are_beginnings(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether all pairs but the last are equal, and that one has a beginning and its whole."""
    return all(part == whole for part, whole in pairs[:-1]) and all(is_beginning(*pair) for pair in pairs[-1:])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", {}),
        ("{", {}),
        ('{"a', {}),
        ('{"a": 12', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": "x', {}),
        ('{"a": "x"', {"a": "x"}),
        ('{"a": [1, 2', {"a": [1]}),
        ('{"a": {"b": "c"}, "d', {"a": {"b": "c"}}),
        ('{"a": "}", "b": [{"c": tru', {"a": "}", "b": [{}]}),
        ("[1, 2]", {}),
        ("}", {}),
        ('{"a": NaN}', {}),
    ],
)
def test_what_is_complete(text: str, kept: dict[str, Any]) -> None:
    assert json.loads(complete_values(text)) == kept


@given(st.data(), st.lists(st.dictionaries(st.text(max_size=3), st.integers()), min_size=1, max_size=4))
def test_calls_that_an_upstream_writes_side_by_side_are_whole_blocks(
    data: st.DataObject, calls: list[dict[str, int]]
) -> None:
    """Each call's own pieces are in order, and those of all calls are mixed."""
    texts = [json.dumps(call) for call in calls]
    left: list[list[Piece]] = [
        [ToolCallStart(index, f"f{index}"), *(ToolCallArguments(index, part) for part in text)]
        for index, text in enumerate(texts)
    ]
    pieces: list[Piece] = [left[0].pop(0)]
    while any(left):
        pieces.append(data.draw(st.sampled_from([parts for parts in left if parts])).pop(0))
    writer = BlockWriter(calls_in_turn=False)
    blocks = json.loads(msgspec.json.encode(writer.all_blocks(pieces)))
    events = [json.loads(msgspec.json.encode(event)) for event in chain(*_streamed(pieces))]

    assert sorted((block["name"], block["input"]) for block in blocks) == [
        (f"f{index}", call) for index, call in enumerate(calls)
    ]
    kinds = [event["type"] for event in events if event["type"] != "content_block_delta"]
    assert kinds == ["content_block_start", "content_block_stop"] * len(calls)


def _streamed(pieces: list[Piece]) -> Iterator[Iterable[object]]:
    writer = BlockWriter(calls_in_turn=False)
    for piece in pieces:
        yield writer.events([piece])
    yield writer.end()
