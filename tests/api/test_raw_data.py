"""Optional parts of an answer: token ids, raw output, counts and times."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import IM_END, IM_START
from support.api_server import DIALECTS, ApiServer, events, say, serving, strictly

ENDPOINTS = ("completions", "chat/completions")
ALL = {"raw_output": True, "return_token_ids": True, "perf_metrics_in_response": True}
HELLO = list(b"Hello")


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def make_body(endpoint: str, *texts: str, **sent: object) -> dict[str, object]:
    order = say(*texts or ("Hello",))
    prompt: dict[str, object] = (
        {"messages": [{"role": "user", "content": order}]} if endpoint == "chat/completions" else {"prompt": order}
    )
    return {"model": "fake", **prompt, **sent}


def ask(api: ApiServer, path: str, body: dict[str, object]) -> Any:
    answer = api.post(path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(api: ApiServer, path: str, body: dict[str, object]) -> list[Any]:
    answer = api.post(path, body | {"stream": True})
    assert answer.status_code == 200, answer.text
    return events(answer.content)


def chat_prompt(text: str) -> list[int]:
    """The prompt that the fake engine's template renders from a user message."""
    return [IM_START, *f"user\n{text}".encode(), IM_END, ord("\n"), IM_START, *b"assistant\n"]


def prompt_ids(endpoint: str, order: str = say("Hello")) -> list[int]:
    return chat_prompt(order) if endpoint == "chat/completions" else list(order.encode())


# --- absent by default ---


def test_raw_data_is_absent_by_default(api: ApiServer, prefix: str, endpoint: str) -> None:
    raw = ask(api, f"{prefix}/{endpoint}", make_body(endpoint, **dict.fromkeys(ALL, False)))

    beside = {"system_fingerprint"} if DIALECTS[prefix].fingerprints else set()
    text_key = "message" if endpoint == "chat/completions" else "text"
    assert raw.keys() == {"id", "object", "created", "model", "choices", "usage"} | beside
    assert raw["choices"][0].keys() == {"index", text_key, "finish_reason", "logprobs"}


def test_an_answer_with_all_raw_data_matches_the_sdk_types(api: ApiServer, prefix: str, endpoint: str) -> None:
    raw = ask(api, f"{prefix}/{endpoint}", make_body(endpoint, **ALL, service_tier="auto"))

    extras = {"choices.token_ids", "choices.raw_output", "perf_metrics"}
    if endpoint == "completions":
        assert strictly(Completion, raw) == extras | {"choices.prompt_token_ids", "service_tier"}
    else:
        assert strictly(ChatCompletion, raw) == extras | {"prompt_token_ids"}


def test_every_chunk_with_all_raw_data_matches_the_sdk_types(api: ApiServer, prefix: str) -> None:
    chunks = stream(api, f"{prefix}/chat/completions", make_body("chat/completions", **ALL, service_tier="flex"))

    extras = {"choices.token_ids", "choices.raw_output", "perf_metrics", "prompt_token_ids"}
    assert set().union(*(strictly(ChatCompletionChunk, chunk) for chunk in chunks)) == extras
    assert {chunk["service_tier"] for chunk in chunks} == {"flex"}


# --- token ids ---


def test_token_ids_of_completions_are_in_each_choice(api: ApiServer, prefix: str) -> None:
    body = make_body("completions", return_token_ids=True, n=2, prompt=[say("ab", "cd"), say("e")])

    choices = ask(api, f"{prefix}/completions", body)["choices"]

    first, second = list(say("ab", "cd").encode()), list(say("e").encode())
    assert [choice["prompt_token_ids"] for choice in choices] == [first, first, second, second]
    assert [bytes(choice["token_ids"]) for choice in choices] == [b"ab", b"cd", b"e", b"e"]


def test_the_best_choices_have_their_own_tokens(api: ApiServer, prefix: str) -> None:
    body = make_body("completions", "g", "h", "a", return_token_ids=True, best_of=3)

    (best,) = ask(api, f"{prefix}/completions", body)["choices"]

    assert (best["text"], bytes(best["token_ids"])) == ("h", b"h")  # whose number is a multiple of eight: logprob 0


def test_token_ids_of_a_chat_are_in_the_choice_and_prompt_ids_at_the_top(api: ApiServer, prefix: str) -> None:
    raw = ask(api, f"{prefix}/chat/completions", make_body("chat/completions", return_token_ids=True))

    assert raw["prompt_token_ids"] == chat_prompt(say("Hello"))
    assert raw["choices"][0]["token_ids"] == HELLO


def test_a_streams_first_chunk_has_the_prompt_and_each_chunk_its_own_tokens(
    api: ApiServer, prefix: str, endpoint: str
) -> None:
    chunks = stream(api, f"{prefix}/{endpoint}", make_body(endpoint, "Hä!", return_token_ids=True))

    bodies = chunks if endpoint == "chat/completions" else [chunk["choices"][0] for chunk in chunks]
    assert [body.get("prompt_token_ids") for body in bodies] == [
        prompt_ids(endpoint, say("Hä!")),
        *[None] * (len(bodies) - 1),
    ]
    sent = [chunk["choices"][0]["token_ids"] for chunk in chunks if "token_ids" in chunk["choices"][0]]
    assert [bytes(ids) for ids in sent if ids] == [b"H", "ä".encode(), b"!"]


def test_each_choice_of_a_stream_has_its_prompt_once(api: ApiServer, prefix: str) -> None:
    prompts = [say("ab", "cd"), say("e")]
    chunks = stream(api, f"{prefix}/completions", make_body("completions", return_token_ids=True, n=2, prompt=prompts))

    choices = [chunk["choices"][0] for chunk in chunks]
    sent = {c["index"]: bytes(c["prompt_token_ids"]).decode() for c in choices if "prompt_token_ids" in c}
    assert sent == {0: prompts[0], 1: prompts[0], 2: prompts[1], 3: prompts[1]}
    assert sum("prompt_token_ids" in choice for choice in choices) == 4


def test_token_ids_are_those_of_the_text(api: ApiServer, prefix: str, endpoint: str) -> None:
    """As with logprobs: the echo's tokens are included; those after the stop string and end tokens are not."""
    with serving(FakeEngine(lambda request, index: [*b"a--b", IM_END])) as other:
        body = make_body(endpoint, return_token_ids=True)
        path = f"{prefix}/{endpoint}"
        whole = ask(other, path, body)["choices"][0]["token_ids"]
        stopped = ask(other, path, body | {"stop": "--", "include_stop_str_in_output": False})
        echoed = ask(other, path, body | {"echo_last": 2})

    assert bytes(whole) == b"a--b"
    assert bytes(stopped["choices"][0]["token_ids"]) == b"a"
    assert echoed["choices"][0]["token_ids"] == prompt_ids(endpoint)[-2:] + whole


# --- raw output ---


def test_raw_output_is_the_models_input_and_output(api: ApiServer, prefix: str) -> None:
    raw = ask(api, f"{prefix}/chat/completions", make_body("chat/completions", raw_output=True))

    assert raw["choices"][0]["raw_output"] == {
        "prompt_fragments": [IM_START, f"user\n{say('Hello')}", IM_END, "\n", IM_START, "assistant\n"],
        "prompt_token_ids": chat_prompt(say("Hello")),
        "completion": "Hello",
        "completion_token_ids": HELLO,
        "completion_logprobs": None,
        "images": None,
        "videos": None,
        "grammar": None,
    }


@pytest.mark.parametrize("asked", [{"logprobs": 1}, {"logprobs": True, "top_logprobs": 1}])
def test_raw_output_has_a_logprob_for_each_token_in_either_format(
    api: ApiServer, prefix: str, endpoint: str, asked: dict[str, object]
) -> None:
    raw = ask(api, f"{prefix}/{endpoint}", make_body(endpoint, "Hä!", raw_output=True, echo_last=1, **asked))

    output = raw["choices"][0]["raw_output"]
    records = output["completion_logprobs"]["content"]
    assert [record["token_id"] for record in records] == output["completion_token_ids"]
    assert [len(record["top_logprobs"]) for record in records] == [1] * len(records)
    assert output["completion"] == bytes(output["completion_token_ids"]).decode()


def test_a_stream_has_the_complete_raw_output_with_each_finish_reason(
    api: ApiServer, prefix: str, endpoint: str
) -> None:
    body = make_body(endpoint, "one", "two", raw_output=True, n=2, logprobs=0)

    chunks = stream(api, f"{prefix}/{endpoint}", body)
    whole = ask(api, f"{prefix}/{endpoint}", body)

    ends = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    with_raw = [chunk["choices"][0] for chunk in chunks if "raw_output" in chunk["choices"][0]]
    assert with_raw == ends
    sent = {choice["index"]: choice["raw_output"] for choice in with_raw}
    assert sent == {choice["index"]: choice["raw_output"] for choice in whole["choices"]}


# --- counts and times ---

COUNTS = {
    *("prompt-tokens", "cached-prompt-tokens"),
    *("prefill-queue-duration", "server-time-to-first-token", "server-processing-time"),
}


def test_perf_metrics_are_numbers_that_agree_with_usage(api: ApiServer, prefix: str, endpoint: str) -> None:
    raw = ask(api, f"{prefix}/{endpoint}", make_body(endpoint, perf_metrics_in_response=True))

    metrics = raw["perf_metrics"]
    assert metrics.keys() == COUNTS
    assert metrics["prompt-tokens"] == raw["usage"]["prompt_tokens"]
    assert metrics["cached-prompt-tokens"] == raw["usage"]["prompt_tokens_details"]["cached_tokens"]
    queued, first = metrics["prefill-queue-duration"], metrics["server-time-to-first-token"]
    assert 0 <= queued <= first <= metrics["server-processing-time"]


def test_perf_metrics_have_the_counts_of_a_prediction(api: ApiServer, prefix: str, endpoint: str) -> None:
    raw = ask(api, f"{prefix}/{endpoint}", make_body(endpoint, perf_metrics_in_response=True, prediction="Help"))

    accepted = raw["usage"]["completion_tokens_details"]["accepted_prediction_tokens"]
    assert raw["perf_metrics"]["speculation-prompt-tokens"] == 4
    assert raw["perf_metrics"]["speculation-prompt-matched-tokens"] == accepted


@pytest.mark.parametrize("options", [None, {"include_usage": True}])
def test_a_stream_has_perf_metrics_on_the_chunk_that_ends_the_last_choice(
    api: ApiServer, prefix: str, endpoint: str, options: object
) -> None:
    body = make_body(endpoint, "one", "longer", n=2, perf_metrics_in_response=True, stream_options=options)

    chunks = stream(api, f"{prefix}/{endpoint}", body)

    (index,) = (index for index, chunk in enumerate(chunks) if "perf_metrics" in chunk)
    assert index == max(
        i for i, chunk in enumerate(chunks) if chunk["choices"] and chunk["choices"][0]["finish_reason"]
    )
    assert chunks[index]["perf_metrics"].keys() == COUNTS


# --- the fingerprint ---


def test_the_fingerprint_is_openai_only_and_depends_on_the_model(api: ApiServer, endpoint: str) -> None:
    with serving(FakeEngine(name="other")) as other:
        there = ask(other, f"/v1/{endpoint}", make_body(endpoint) | {"model": "other"})
    here = ask(api, f"/v1/{endpoint}", make_body(endpoint))
    chunks = stream(api, f"/v1/{endpoint}", make_body(endpoint))
    fireworks = ask(api, f"/inference/v1/{endpoint}", make_body(endpoint))

    assert {chunk["system_fingerprint"] for chunk in chunks} == {here["system_fingerprint"]}
    assert here["system_fingerprint"].startswith("fp_")
    assert here["system_fingerprint"] != there["system_fingerprint"]
    assert "system_fingerprint" not in fireworks
