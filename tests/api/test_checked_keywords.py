"""Keywords that no grammar enforces: the answer is checked, sampled again, held until it is valid, and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import ApiServer, serving

UNIQUE = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}},
    "required": ["a"],
}
VALID, INVALID = '{"a": [1, 2]}', '{"a": [1, 1]}'
POINTER = "/properties/a/uniqueItems"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": UNIQUE}}]


class Attempts(FakeEngine):
    """Generates one text for each attempt at an answer; the last one again and again."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        super().__init__(self._of_attempt)

    def _of_attempt(self, request: GenerationRequest, index: int) -> bytes:
        _, _, _, *attempt = request.id.split("-")  # of the first attempt: chatcmpl-…-0
        number = int(attempt[1]) if attempt else 1
        return self._texts[min(number, len(self._texts)) - 1].encode()


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    with serving(Attempts(request.param)) as server:
        yield server


def body(**sent: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "temperature": 1, "seed": 5, **sent}


def as_format(**wrapper: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": UNIQUE, **wrapper}}}


def chunks_of(content: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in content.split(b"\n\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("api", [(INVALID, INVALID, VALID)], indirect=True)
def test_an_invalid_answer_is_sampled_again_and_its_tokens_count(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/chat/completions", body(**as_format()))

    told = answer.json()
    assert (answer.status_code, told["choices"][0]["message"]["content"]) == (200, VALID)
    assert answer.headers["x-crossette-checked"] == "response_format.json_schema.schema" + POINTER
    details = told["usage"]["completion_tokens_details"]
    assert details["retried_tokens"] * 3 == told["usage"]["completion_tokens"] * 2


@pytest.mark.parametrize("api", [(INVALID, VALID)], indirect=True)
def test_a_streamed_answer_is_held_until_it_is_valid(api: ApiServer, prefix: str) -> None:
    streamed = api.post(f"{prefix}/chat/completions", body(stream=True, **as_format()))

    texts = [
        choice["delta"].get("content") or "" for chunk in chunks_of(streamed.content) for choice in chunk["choices"]
    ]
    assert "".join(texts) == VALID


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", [(INVALID,)], indirect=True)
def test_an_answer_that_stays_invalid_is_a_500_with_pointer_and_keyword(
    api: ApiServer, prefix: str, stream: bool
) -> None:
    answer = api.post(f"{prefix}/chat/completions", body(stream=stream, **as_format()))

    assert b"constraint_failed" in answer.content.lower()
    assert POINTER.encode() in answer.content
    assert answer.status_code == 500


@pytest.mark.parametrize("api", [(INVALID, VALID)], indirect=True)
def test_at_temperature_0_the_request_ends_at_once(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/chat/completions", body(**as_format()) | {"temperature": 0})

    assert answer.status_code == 500


@pytest.mark.parametrize("api", [(VALID,)], indirect=True)
def test_strict_refuses_what_no_grammar_enforces(api: ApiServer, prefix: str) -> None:
    strict_tool = [{"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}]  # type: ignore[dict-item]
    for sent in (as_format(strict=True), {"tools": strict_tool}):
        answer = api.post(f"{prefix}/chat/completions", body(**sent))

        assert answer.status_code == 400
        assert POINTER in answer.json()["error"]["message"]


CALLS = tuple(f'<tool_call>\n{{"name": "f", "arguments": {text}}}\n</tool_call>' for text in (INVALID, VALID))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", [CALLS], indirect=True)
def test_an_invalid_call_is_sampled_again(api: ApiServer, prefix: str, stream: bool) -> None:
    answer = api.post(f"{prefix}/chat/completions", body(tools=TOOLS, stream=stream))

    assert answer.headers["x-crossette-checked"] == "tools[0].function.parameters" + POINTER
    if stream:
        pieces = [
            call["function"].get("arguments") or ""
            for chunk in chunks_of(answer.content)
            for choice in chunk["choices"]
            for call in choice["delta"].get("tool_calls") or ()
        ]
        assert json.loads("".join(pieces)) == json.loads(VALID)
    else:
        (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == json.loads(VALID)


@pytest.mark.parametrize("api", [("Well: ", "Well: ")], indirect=True)
def test_text_without_a_call_streams_as_it_comes(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/chat/completions", body(tools=TOOLS, stream=True))

    texts = [choice["delta"].get("content") for chunk in chunks_of(answer.content) for choice in chunk["choices"]]
    assert len([text for text in texts if text]) > 1


@pytest.mark.parametrize("api", [(VALID,)], indirect=True)
def test_a_misspelled_keyword_is_an_annotation_and_is_reported(api: ApiServer, prefix: str) -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additonalProperties": True}
    answer = api.post(f"{prefix}/chat/completions", body(guided_json=schema))

    assert "additonalProperties" in answer.headers["x-crossette-schema-notes"]


# --- the real model ---

DRAWS = {
    "type": "object",
    "properties": {
        "draws": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 30},
            "minItems": 5,
            "maxItems": 5,
            "uniqueItems": True,
        }
    },
    "required": ["draws"],
}
"""A small model repeats a number in about every second answer."""


def test_a_retried_answer_is_the_same_alone_and_among_eight(real_engine: OpenVINOEngine, prefix: str) -> None:
    with serving(real_engine) as api:

        def ask(seed: int) -> tuple[int, str, int]:
            """The status, the text and the tokens of the failed attempts."""
            answer = api.post(
                f"{prefix}/chat/completions",
                {
                    "model": real_engine.info.name,
                    "messages": [{"role": "user", "content": f"Draw five numbers, please. ({seed})"}],
                    "temperature": 1,
                    "seed": seed,
                    "max_tokens": 60,
                    "guided_json": DRAWS,
                },
            )
            told = answer.json()
            if answer.status_code != 200:
                return answer.status_code, told["error"]["message"], 0
            details = told["usage"]["completion_tokens_details"]
            return 200, told["choices"][0]["message"]["content"], details.get("retried_tokens", 0)

        seeds = range(8)
        with ThreadPoolExecutor(len(seeds)) as threads:
            together = list(threads.map(ask, seeds))
        alone = [ask(seed) for seed in seeds]

    assert alone == together
    assert sum(retried > 0 for _, _, retried in alone) >= 1
    for status, text, _ in alone:
        assert status == 500 or len(set(json.loads(text)["draws"])) == 5
