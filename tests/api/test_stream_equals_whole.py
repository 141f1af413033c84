"""An accumulated stream equals the complete answer, for any output and any request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.api_server import DIALECTS, PREFIXES, ApiServer, events, serving
from support.played_engine import PlayedEngine
from support.token_streams import TABLE, ChoiceTokens, choice_tokens, interleaved_steps, stops_in

pytestmark = pytest.mark.slow

ENDPOINTS = ("completions", "chat/completions")
OBJECTS = {"completions": "text_completion", "chat/completions": "chat.completion.chunk"}


@pytest.fixture(scope="module")
def engine() -> PlayedEngine:
    return PlayedEngine(TABLE)


@pytest.fixture(scope="module")
def played(engine: PlayedEngine) -> Iterator[ApiServer]:
    with serving(engine) as api:
        yield api


@st.composite
def bodies(draw: st.DrawFn, endpoint: str, choices: list[ChoiceTokens]) -> dict[str, Any]:
    """A request for these choices, with fields that change its answer. Completions may have two prompts."""
    prompts = [[*draw(choice_tokens()).tokens, 97] for _ in range(draw(st.integers(1, 2)))]
    messages = [{"role": "user", "content": "é"}]
    body: dict[str, Any] = {
        **({"prompt": prompts} if endpoint == "completions" else {"messages": messages}),
        "model": "played",
        "max_tokens": 1000,
        "n": len(choices),
        "stop": draw(stops_in(choices[0].text)),
        "include_stop_str_in_output": draw(st.sampled_from([None, False, True])),
        "logprobs": draw(st.sampled_from([None, False, True, 0, 2])),
        "echo": draw(st.booleans()),
        "echo_last": draw(st.sampled_from([None, 0, 1, 2])),
    }
    if body["logprobs"] is True:
        body["top_logprobs"] = draw(st.sampled_from([None, 0, 2]))
    return body


STREAM_OPTIONS = (None, {}, *({"include_usage": requested} for requested in (None, False, True)))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("prefix", PREFIXES)
@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(choice_tokens(), min_size=1, max_size=3), st.sampled_from(STREAM_OPTIONS))
def test_the_accumulated_stream_equals_the_complete_answer(
    played: ApiServer,
    engine: PlayedEngine,
    prefix: str,
    endpoint: str,
    data: st.DataObject,
    choices: list[ChoiceTokens],
    options: dict[str, bool | None] | None,
) -> None:
    body = data.draw(bodies(endpoint, choices))
    num_prompts = len(body.get("prompt", "1"))

    engine.play(*(data.draw(interleaved_steps(choices)) for _ in range(num_prompts)))
    answer = played.post(f"{prefix}/{endpoint}", {**body, "stream": True, "stream_options": options})
    assert answer.status_code == 200, answer.text
    chunks = events(answer.content)
    engine.play(*(data.draw(interleaved_steps(choices)) for _ in range(num_prompts)))  # chunk boundaries differ
    whole = played.post(f"{prefix}/{endpoint}", body).json()

    requested = bool(options and options.get("include_usage"))
    usage_chunk = chunks.pop() if requested else None
    check_frames(chunks, endpoint, has_content=DIALECTS[prefix].first_delta_has_content)
    assert accumulate(chunks) == [fields_of(choice) for choice in whole["choices"]]
    assert [choice["index"] for choice in whole["choices"]] == list(range(len(choices) * num_prompts))
    for choice in whole["choices"]:
        check_offsets(choice, echoed=bool(body["echo"]))
    if usage_chunk is not None:
        assert (usage_chunk["choices"], usage_chunk["usage"]) == ([], whole["usage"])
    at_finish = prefix == "/inference/v1" and (options or {}).get("include_usage") is None
    null = {"usage": None} if requested or prefix == "/inference/v1" else {}
    usages = [{"usage": chunk["usage"]} if "usage" in chunk else {} for chunk in chunks]
    assert usages == [null] * (len(chunks) - 1) + [{"usage": whole["usage"]} if at_finish else null]


def check_frames(chunks: list[Any], endpoint: str, *, has_content: bool) -> None:
    """Check each chunk: one choice, which starts with its role in a chat, and nothing after its finish reason."""
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    begun: set[int] = set()
    ended: set[int] = set()
    for chunk in chunks:
        assert (chunk["object"], chunk["model"]) == (OBJECTS[endpoint], "played")
        assert "error" not in chunk
        (choice,) = chunk["choices"]
        index = choice["index"]
        assert index not in ended
        if endpoint == "chat/completions":
            delta = choice["delta"]
            first = ("assistant", "" if has_content else None)
            assert (delta.get("role"), delta.get("content")) == first if index not in begun else "role" not in delta
        begun.add(index)
        if choice["finish_reason"] is not None:
            ended.add(index)
    assert begun == ended


def accumulate(chunks: list[Any]) -> list[tuple[str, str | None, list[Any]]]:
    """Accumulate as clients do: text and lists are concatenated, and the finish reason ends a choice."""
    accumulated: dict[int, tuple[str, str | None, list[Any]]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            text, reason, records = accumulated.get(choice["index"], ("", None, []))
            new_text, new_reason, new_records = fields_of(choice)
            accumulated[choice["index"]] = (text + new_text, new_reason or reason, records + new_records)
    return [accumulated[index] for index in sorted(accumulated)]


def fields_of(choice: Any) -> tuple[str, str | None, list[Any]]:
    """Text, finish reason and logprobs of a chunk's choice or a complete one, in either format of logprobs."""
    text = choice["text"] if "text" in choice else choice.get("message", choice.get("delta")).get("content") or ""
    logprobs = choice["logprobs"]
    if logprobs is None:
        return text, choice["finish_reason"], []
    if "content" in logprobs:
        return text, choice["finish_reason"], logprobs["content"]
    names = [name for name, column in logprobs.items() if column is not None]
    rows = zip(*(logprobs[name] for name in names), strict=True)
    return text, choice["finish_reason"], [dict(zip(names, row, strict=True)) for row in rows]


def check_offsets(choice: Any, *, echoed: bool) -> None:
    """Check that the text at a token's offset starts with the token, unless a stop string cut it."""
    text, _, records = fields_of(choice)
    if not records or "text_offset" not in records[0]:
        return
    offsets = [record["text_offset"] for record in records]
    assert offsets == sorted(offsets)
    assert offsets[0] == 0 or not echoed
    for record, offset in zip(records, offsets, strict=True):
        token, rest = record.get("tokens", record.get("token")), text[offset:]
        is_text = not token.startswith(("bytes:", "\\x", TABLE.eos_token))
        assert not is_text or rest.startswith(token) or token.startswith(rest)
