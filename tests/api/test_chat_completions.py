"""POST /chat/completions over HTTP and with the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, events, fingerprint, say, serving, strictly

USAGE_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}

NO_REFUSAL: dict[str, dict[str, object]] = {"/v1": {"refusal": None, "annotations": []}, "/inference/v1": {}}


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def make_body(*messages: object, **fields: object) -> dict[str, object]:
    return {"model": "fake", "messages": list(messages) or [user(say("Hello"))], **fields}


def ask(api: ApiServer, prefix: str, *messages: object, **fields: object) -> Any:
    answer = api.post(f"{prefix}/chat/completions", make_body(*messages, **fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(api: ApiServer, prefix: str, *messages: object, **fields: object) -> list[Any]:
    answer = api.post(f"{prefix}/chat/completions", make_body(*messages, **fields, stream=True))
    assert answer.status_code == 200, answer.text
    return events(answer.content)


def deltas(chunks: list[Any], index: int = 0) -> list[tuple[Any, str | None]]:
    """The deltas of a choice, in order."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return [(choice["delta"], choice["finish_reason"]) for choice in choices if choice["index"] == index]


# --- fields and chunks ---


def test_an_answer_has_exactly_the_fields_of_the_sdk(api: ApiServer, prefix: str) -> None:
    raw = ask(api, prefix)

    assert strictly(ChatCompletion, raw) == set()
    assert raw == fingerprint(raw, prefix) | {
        "id": raw["id"],
        "object": "chat.completion",
        "created": raw["created"],
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", **NO_REFUSAL[prefix]},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 29, "completion_tokens": 5, "total_tokens": 34, **USAGE_DETAILS},
    }


def test_every_chunk_matches_the_sdk_types(api: ApiServer, prefix: str) -> None:
    chunks = stream(api, prefix, stream_options={"include_usage": True})

    assert set().union(*(strictly(ChatCompletionChunk, chunk) for chunk in chunks)) == set()


@pytest.mark.parametrize(
    ("prefix_", "first"),
    [("/v1", {"role": "assistant", "content": "", "refusal": None}), ("/inference/v1", {"role": "assistant"})],
)
def test_the_role_is_in_the_first_chunk_and_the_finish_reason_in_the_last(
    api: ApiServer, prefix_: str, first: object
) -> None:
    sent = deltas(stream(api, prefix_, user(say("Hi"))))

    assert sent == [(first, None), ({"content": "H"}, None), ({"content": "i"}, None), ({}, "stop")]


def test_an_answer_without_text_has_role_and_finish_reason(api: ApiServer, prefix: str) -> None:
    sent = deltas(stream(api, prefix, user(say(""))))

    assert [(delta.get("role"), reason) for delta, reason in sent] == [("assistant", None), (None, "stop")]
    message = ask(api, prefix, user(say("")))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "", **NO_REFUSAL[prefix]}


def test_each_of_several_choices_has_role_text_and_one_finish_reason(api: ApiServer, prefix: str) -> None:
    chunks = stream(api, prefix, user(say("one", "two", "three")), n=3)

    assert {len(chunk["choices"]) for chunk in chunks} == {1}
    for index, text in enumerate(["one", "two", "three"]):
        sent = deltas(chunks, index)
        assert "".join(delta.get("content", "") for delta, _ in sent) == text
        assert [bool(delta.get("role")) for delta, _ in sent] == [True] + [False] * (len(sent) - 1)
        assert [reason for _, reason in sent] == [None] * (len(sent) - 1) + ["stop"]


def test_several_choices_are_in_order(api: ApiServer, prefix: str) -> None:
    raw = ask(api, prefix, user(say("one", "two", "three")), n=3)

    sent = [(choice["index"], choice["message"]["content"]) for choice in raw["choices"]]
    assert sent == [(0, "one"), (1, "two"), (2, "three")]


def test_multibyte_characters_are_never_split(api: ApiServer, prefix: str) -> None:
    text = "für 日本 🎆"

    sent = deltas(stream(api, prefix, user(say(text))))

    assert [delta["content"] for delta, _ in sent if delta.get("content")] == list(text)


def test_the_sdk_reads_an_answer(api: ApiServer, prefix: str) -> None:
    answer = api.sdk(prefix).chat.completions.create(model="fake", messages=[{"role": "user", "content": say("Hi")}])

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hi", "stop")
    assert answer._request_id == answer.id


def test_the_sdk_reads_a_stream(api: ApiServer, prefix: str) -> None:
    chunks = list(
        api.sdk(prefix).chat.completions.create(
            model="fake", messages=[{"role": "user", "content": say("Hi you")}], stream=True
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hi you"
    assert chunks[-1].choices[0].finish_reason == "stop"


# --- length ---


def test_max_tokens_defaults_to_the_rest_of_the_context_window(prefix: str) -> None:
    with serving(FakeEngine(context_length=100)) as api:
        raw = ask(api, prefix, user("go on"), ignore_eos=True)

    assert raw["usage"]["total_tokens"] == 100
    assert raw["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("prefix_", "status"), [("/v1", 400), ("/inference/v1", 200)], ids=["OpenAI refuses", "Fireworks lowers"]
)
def test_overflow_is_handled_by_the_dialect(prefix_: str, status: int) -> None:
    with serving(FakeEngine(context_length=100)) as api:
        answer = api.post(f"{prefix_}/chat/completions", make_body(user("go on"), max_tokens=500))

    assert answer.status_code == status
    if status == 400:
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
        assert "maximum context length is 100 tokens" in error["message"]


def test_messages_that_fill_the_context_window_are_rejected_in_both_dialects(prefix: str) -> None:
    with serving(FakeEngine(context_length=100)) as api:
        answer = api.post(f"{prefix}/chat/completions", make_body(user("x" * 100)))

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "messages")
    assert error["message"] == "The prompt is too long: 119, model maximum context length: 99"
