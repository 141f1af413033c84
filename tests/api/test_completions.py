"""POST /completions over HTTP and with the SDK."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai import BadRequestError
from openai.types import Completion

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import END_OF_TEXT, FakeTokenizer
from support.api_server import ApiServer, events, fingerprint, say, serving, strictly

USAGE_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def make_body(prompt: object = say("Hello"), **fields: object) -> dict[str, object]:
    return {"model": "fake", "prompt": prompt, "max_tokens": 50, **fields}


def ask(api: ApiServer, prefix: str, prompt: object = say("Hello"), **fields: object) -> Any:
    answer = api.post(f"{prefix}/completions", make_body(prompt, **fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(api: ApiServer, prefix: str, prompt: object = say("Hello"), **fields: object) -> list[Any]:
    answer = api.post(f"{prefix}/completions", make_body(prompt, **fields, stream=True))
    assert answer.status_code == 200, answer.text
    return events(answer.content)


def ended(raw: Any) -> list[tuple[str, str]]:
    """Text and finish reason of each choice, in order."""
    assert [choice["index"] for choice in raw["choices"]] == list(range(len(raw["choices"])))
    return [(choice["text"], choice["finish_reason"]) for choice in raw["choices"]]


def error_of(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["param"]


# --- fields and chunks ---


def test_an_answer_has_exactly_the_fields_of_the_sdk(api: ApiServer, prefix: str) -> None:
    raw = ask(api, prefix)

    assert strictly(Completion, raw) == set()
    assert raw == fingerprint(raw, prefix) | {
        "id": raw["id"],
        "object": "text_completion",
        "created": raw["created"],
        "model": "fake",
        "choices": [{"index": 0, "text": "Hello", "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, **USAGE_DETAILS},
    }


def test_every_chunk_matches_the_sdk_types(api: ApiServer, prefix: str) -> None:
    chunks = stream(api, prefix)

    for chunk in chunks:
        for choice in chunk["choices"]:
            # The SDK has one type for both, whose finish reason is never null; a chunk's is, until the last.
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        assert strictly(Completion, chunk) == set()


def test_chunks_share_id_created_and_model(api: ApiServer, prefix: str) -> None:
    chunks = stream(api, prefix)

    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["id"].startswith("cmpl-")


def test_the_sdk_reads_an_answer(api: ApiServer, prefix: str) -> None:
    answer = api.sdk(prefix).completions.create(model="fake", prompt=say("Hi"))

    assert [(choice.text, choice.finish_reason) for choice in answer.choices] == [("Hi", "stop")]
    assert answer.usage is not None and answer.usage.total_tokens == 9


def test_the_sdk_reads_a_stream(api: ApiServer, prefix: str) -> None:
    chunks = list(api.sdk(prefix).completions.create(model="fake", prompt=say("Hi you"), stream=True))

    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hi you"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"


# --- prompts ---


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        (say("one"), ["one"]),
        ([say("one")], ["one"]),
        ([say("one"), say("two"), say("three")], ["one", "two", "three"]),
        (list(say("ids").encode()), ["ids"]),
        ([list(say("ids").encode())], ["ids"]),
        ([list(say("ids").encode()), list(say("more").encode())], ["ids", "more"]),
    ],
)
def test_a_prompt_is_text_or_token_ids_one_or_several(
    api: ApiServer, prefix: str, prompt: object, texts: list[str]
) -> None:
    assert ended(ask(api, prefix, prompt)) == [(text, "stop") for text in texts]


def test_index_is_prompt_times_n_plus_choice(api: ApiServer, prefix: str) -> None:
    raw = ask(api, prefix, [say("a", "b"), say("c", "d"), say("e", "f")], n=2)

    assert ended(raw) == [(text, "stop") for text in "abcdef"]
    assert raw["usage"]["prompt_tokens"] == 3 * len(say("a", "b"))  # each prompt once, not once per choice
    assert raw["usage"]["completion_tokens"] == 6


def test_a_stream_has_one_choice_per_chunk_and_every_index(api: ApiServer, prefix: str) -> None:
    chunks = stream(api, prefix, [say("ab", "cd"), say("ef", "gh")], n=2)

    assert {len(chunk["choices"]) for chunk in chunks} == {1}
    choices = [chunk["choices"][0] for chunk in chunks]
    texts = ["".join(c["text"] for c in choices if c["index"] == index) for index in range(4)]
    assert texts == ["ab", "cd", "ef", "gh"]
    reasons = [[c["finish_reason"] for c in choices if c["index"] == index] for index in range(4)]
    assert all(seen[-1] == "stop" and set(seen[:-1]) <= {None} for seen in reasons)


def test_token_ids_are_unchanged_and_text_gets_one_bos() -> None:
    with serving(
        FakeEngine(lambda request, index: str(request.prompt[0]).encode(), tokenizer=FakeTokenizer(add_bos=True))
    ) as api:
        assert [ended(ask(api, "/v1", prompt)) for prompt in ("A", [65])] == [[("258", "stop")], [("65", "stop")]]


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"),
        ([[]], "prompt[0]"),
        ([[1], []], "prompt[1]"),
        ("", "prompt"),
        (["a", 1], "prompt[1]"),
        ([1, "a"], "prompt[1]"),
        ([[1], 2], "prompt[1]"),
        ([[1], [2, "x"]], "prompt[1][1]"),
        ([[[1]]], "prompt[0][0]"),
        (None, "prompt"),
        (["a", ""], "prompt[1]"),
        (5, "prompt"),
        ({"text": "a"}, "prompt"),
        ([1.5], "prompt[0]"),
        ([True], "prompt[0]"),
        ([-1], "prompt[0]"),
        ([1, 10**6], "prompt[1]"),
        ([[1], [2, 10**6]], "prompt[1][1]"),
        ([10**30], "prompt[0]"),
        (["a"] * 1025, "prompt"),
    ],
)
def test_an_invalid_prompt_is_rejected_with_its_path(api: ApiServer, prefix: str, prompt: object, param: str) -> None:
    assert error_of(api.post(f"{prefix}/completions", make_body(prompt))) == (400, param)


def test_one_invalid_prompt_rejects_all_and_leaves_nothing_running(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/completions", make_body([say("fine"), ""], stream=True))

    assert error_of(answer) == (400, "prompt[1]")


@pytest.mark.parametrize("prompt", [None, ""])
def test_an_empty_prompt_begins_from_the_bos_token(prefix: str, prompt: str | None) -> None:
    engine = FakeEngine(lambda request, index: str(request.prompt).encode(), tokenizer=FakeTokenizer(add_bos=True))
    with serving(engine) as api:
        assert ended(ask(api, prefix, prompt)) == [(str((END_OF_TEXT,)), "stop")]
        assert len(ended(ask(api, prefix, ["", "a"]))) == 2
        assert error_of(api.post(f"{prefix}/completions", make_body([[]]))) == (400, "prompt[0]")


@pytest.mark.parametrize("prompt", [None, ""])
def test_a_model_without_a_bos_token_rejects_an_empty_prompt(api: ApiServer, prefix: str, prompt: str | None) -> None:
    answer = api.post(f"{prefix}/completions", make_body(prompt))

    assert error_of(answer) == (400, "prompt")
    assert "this model has no BOS token" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("add_bos", "kept"), [(False, "cde"), (True, "<|endoftext|>de")])
def test_the_first_tokens_of_a_long_prompt_are_dropped_only_on_request(prefix: str, add_bos: bool, kept: str) -> None:
    tokenizer = FakeTokenizer(add_bos=add_bos)
    engine = FakeEngine(lambda request, index: b"".join(map(tokenizer.token_text, request.prompt)), tokenizer=tokenizer)
    with serving(engine) as api:
        raw = ask(api, prefix, ["abcde", "a"], truncate_prompt_tokens=3)
        whole = ask(api, prefix, "abcde", truncate_prompt_tokens=0)

    assert ended(raw)[0] == (kept, "stop")
    assert raw["usage"]["prompt_tokens"] == 3 + 1 + add_bos
    assert whole["usage"]["prompt_tokens"] == 5 + add_bos
    assert ended(whole)[0][0].endswith("abcde")


def test_truncation_and_suffix_at_once_are_rejected(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/completions", make_body(suffix="b", truncate_prompt_tokens=3))

    assert error_of(answer) == (400, "truncate_prompt_tokens")


# --- length ---


@pytest.mark.parametrize(("prefix_", "expected"), [("/v1", 16), ("/inference/v1", 2048)])
def test_the_default_of_max_tokens_depends_on_the_dialect(api: ApiServer, prefix_: str, expected: int) -> None:
    raw = ask(api, prefix_, "go on", max_tokens=None, ignore_eos=True)

    assert (raw["usage"]["completion_tokens"], raw["choices"][0]["finish_reason"]) == (expected, "length")


def test_the_default_of_max_tokens_is_lowered_to_the_rest_of_the_window(prefix: str) -> None:
    with serving(FakeEngine(context_length=20)) as api:
        raw = ask(api, prefix, "x" * 15, max_tokens=None, ignore_eos=True)

    assert raw["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_has_two_names(api: ApiServer, prefix: str, name: str) -> None:
    raw = ask(api, prefix, say("Hello"), **{"max_tokens": None, name: 3})

    assert ended(raw) == [("Hel", "length")]


def test_both_names_of_max_tokens_at_once_are_rejected(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/completions", make_body(max_completion_tokens=3))

    assert error_of(answer) == (400, "max_completion_tokens")


def test_the_sdk_raises_what_openai_would_for_an_overflow(api: ApiServer) -> None:
    with pytest.raises(BadRequestError) as raised:
        api.sdk("/v1").completions.create(model="fake", prompt="hello", max_tokens=5000)

    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("prefix_", "behavior", "status"),
    [
        ("/v1", None, 400),
        ("/v1", "error", 400),
        ("/v1", "truncate", 200),
        ("/inference/v1", None, 200),
        ("/inference/v1", "truncate", 200),
        ("/inference/v1", "error", 400),
    ],
)
def test_overflow_is_an_error_for_openai_and_lowers_max_tokens_for_fireworks_by_default(
    prefix_: str, behavior: str | None, status: int, streamed: bool
) -> None:
    body = make_body("x" * 60, max_tokens=10, ignore_eos=True, stream=streamed)
    with serving(FakeEngine(context_length=64)) as api:
        answer = api.post(f"{prefix_}/completions", body | {"context_length_exceeded_behavior": behavior})

    assert answer.status_code == status
    if status == 200 and not streamed:
        assert answer.json()["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("behavior", [None, "truncate"])
def test_a_prompt_that_fills_the_context_window_is_rejected_in_both_dialects(prefix: str, behavior: str | None) -> None:
    with serving(FakeEngine(context_length=64)) as api:
        answer = api.post(
            f"{prefix}/completions", make_body("x" * 64, max_tokens=None, context_length_exceeded_behavior=behavior)
        )

    assert error_of(answer) == (400, "prompt")
    assert answer.json()["error"]["message"] == "The prompt is too long: 64, model maximum context length: 63"


# --- stop ---


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("prefix_", "include", "text"),
    [
        ("/v1", None, "one, "),
        ("/v1", True, "one, two"),
        ("/v1", False, "one, "),
        ("/inference/v1", None, "one, two"),
        ("/inference/v1", True, "one, two"),
        ("/inference/v1", False, "one, "),
    ],
)
def test_text_includes_the_stop_string_for_fireworks_only_by_default(
    api: ApiServer, prefix_: str, include: bool | None, text: str, streamed: bool
) -> None:
    fields = {"stop": ["two", "never"], "include_stop_str_in_output": include}
    if streamed:
        text_sent = "".join(
            chunk["choices"][0]["text"] for chunk in stream(api, prefix_, say("one, two, three"), **fields)
        )
    else:
        raw = ask(api, prefix_, say("one, two, three"), **fields)
        text_sent = raw["choices"][0]["text"]
        # Counted up to the token that completed the stop string, whether its text is included or not.
        assert (raw["choices"][0]["finish_reason"], raw["usage"]["completion_tokens"]) == ("stop", 8)

    assert text_sent == text


@pytest.mark.parametrize("stop", [None, "", [], [""], ["", ""]])
def test_an_empty_stop_has_no_effect(api: ApiServer, prefix: str, stop: object) -> None:
    assert ended(ask(api, prefix, say("Hello"), stop=stop)) == [("Hello", "stop")]


def test_each_choice_stops_independently(api: ApiServer, prefix: str) -> None:
    raw = ask(api, prefix, say("aXbb", "ccccc"), n=2, stop="X", include_stop_str_in_output=False)

    assert ended(raw) == [("a", "stop"), ("ccccc", "stop")]
    assert raw["usage"]["completion_tokens"] == 2 + 5


# --- sampling reaches the engine ---


def test_choice_j_with_a_seed_equals_the_answer_with_seed_plus_j(prefix: str) -> None:
    with serving(FakeEngine()) as api:
        many = ask(api, prefix, "go", n=3, seed=5)
        alone = [ask(api, prefix, "go", seed=seed)["choices"][0]["text"] for seed in (5, 6, 7)]

    assert [choice["text"] for choice in many["choices"]] == alone


def test_the_models_sampling_defaults_apply_if_the_request_has_none() -> None:
    engine = FakeEngine(lambda request, index: repr(request.sampling).encode())
    object.__setattr__(engine.info, "sampling_defaults", {"temperature": 0.25, "top_k": 7})
    with serving(engine) as api:
        text_sent = ask(api, "/v1", "x", max_tokens=200, top_p=0.5)["choices"][0]["text"]
        overridden = ask(api, "/v1", "x", max_tokens=200, temperature=1, top_k=0)["choices"][0]["text"]

    assert "temperature=0.25, top_k=7, top_p=0.5, min_p=0.0" in text_sent
    assert "temperature=1.0, top_k=0, top_p=1.0, min_p=0.0" in overridden


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", -1),
        ("top_p", 1.5),
        ("top_k", -2),
        ("min_p", 2),
        ("n", 0),
        ("n", 129),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_completion_tokens", 0),
        ("seed", 2**64),
    ],
)
def test_a_value_out_of_range_is_rejected_by_name(api: ApiServer, prefix: str, field: str, value: object) -> None:
    body = make_body(max_tokens=None) | {field: value}

    assert error_of(api.post(f"{prefix}/completions", body)) == (400, field)
