"""`return_token_details` and `continue_token_ids`: what is known of each token, and answers that go on from one."""

from __future__ import annotations

from typing import Any

import pytest

from crossette.generation.choice import Choice, Stops
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import TokenOutput
from support.api_server import ApiServer, events, say, serving
from support.reasoning_engine import ReasoningEngine

ENDPOINTS = ("completions", "chat/completions")
HE = list(b"He")


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def make_body(endpoint: str, **sent: object) -> dict[str, object]:
    order = say("llo", "")  # what follows the prompt of a completion is another text
    prompt = {"messages": [{"role": "user", "content": order}]} if endpoint != "completions" else {"prompt": order}
    return {"model": "fake", **prompt, **sent}


def ask(api: ApiServer, path: str, body: dict[str, object]) -> Any:
    answer = api.post(path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(choice: Any) -> Any:
    return choice["text"] if "text" in choice else choice["message"]["content"]


# --- details ---


def test_details_have_the_id_and_the_time_of_each_token(api: ApiServer, prefix: str, endpoint: str) -> None:
    body = make_body(endpoint, return_token_details=True)

    whole = ask(api, f"{prefix}/{endpoint}", body)["choices"][0]["token_details"]
    answer = api.post(f"{prefix}/{endpoint}", body | {"stream": True})
    choices = [chunk["choices"][0] for chunk in events(answer.content)]
    streamed = [detail for choice in choices for detail in choice.get("token_details", [])]

    for details in (whole, streamed):
        assert bytes(detail["id"] for detail in details) == b"llo"
        times = [detail["time"] for detail in details]
        assert times == sorted(times)
        assert times[0] > 0
        assert not any(detail["accepted_draft"] for detail in details)


def test_details_add_ids_to_logprobs_in_each_dialect(api: ApiServer, prefix: str, endpoint: str) -> None:
    body = make_body(endpoint, return_token_details=True, logprobs=True, top_logprobs=2)

    logprobs = ask(api, f"{prefix}/{endpoint}", body)["choices"][0]["logprobs"]

    assert bytes(entry["token_id"] for entry in logprobs["content"]) == b"llo"
    assert [top["token_id"] for top in logprobs["content"][0]["top_logprobs"]] == [ord("l"), ord("m")]
    assert ("refusal" in logprobs) == (prefix == "/v1")


def test_accepted_drafts_are_the_first_tokens_of_an_output() -> None:
    choice = Choice(0, FakeTokenizer(), Stops(), traced=True)

    delta = choice.read(TokenOutput(0, tuple(b"abc"), accepted_tokens=2), 1.5)

    assert delta is not None
    assert [(token.is_accepted_draft, token.time) for token in delta.tokens] == [(True, 1.5), (True, 1.5), (False, 1.5)]


# --- continued answers ---


def test_an_answer_begins_with_the_tokens_of_the_request(api: ApiServer, prefix: str, endpoint: str) -> None:
    path, plain = f"{prefix}/{endpoint}", make_body(endpoint, return_token_ids=True)
    body = plain | {"continue_token_ids": HE, "return_token_details": True}

    before, continued = ask(api, path, plain), ask(api, path, body)

    (choice,) = continued["choices"]
    assert (text_of(choice), bytes(choice["token_ids"])) == ("Hello", b"Hello")
    assert [detail["time"] is None for detail in choice["token_details"]] == [True, True, False, False, False]
    assert continued["usage"]["completion_tokens"] == before["usage"]["completion_tokens"] == 3
    assert continued["usage"]["prompt_tokens"] == before["usage"]["prompt_tokens"] + 2
    prompts = [
        answer.get("prompt_token_ids") or answer["choices"][0]["prompt_token_ids"] for answer in (before, continued)
    ]
    assert prompts[0] == prompts[1]


def test_the_tokens_that_it_begins_with_have_logprobs(api: ApiServer, prefix: str, endpoint: str) -> None:
    body = make_body(endpoint, continue_token_ids=HE, logprobs=True)

    content = ask(api, f"{prefix}/{endpoint}", body)["choices"][0]["logprobs"]["content"]

    assert [(entry["token"], entry["logprob"]) for entry in content] == [
        (chr(token), -(token % 8) / 8) for token in b"Hello"
    ]


def test_a_stream_begins_with_them_too(api: ApiServer, prefix: str, endpoint: str) -> None:
    answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint, continue_token_ids=HE, stream=True))

    choices = [chunk["choices"][0] for chunk in events(answer.content)]
    texts = [choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices]
    assert "".join(texts) == "Hello"


def test_a_stop_string_can_begin_in_them(api: ApiServer, prefix: str) -> None:
    body = make_body("completions", continue_token_ids=HE, stop="ell", include_stop_str_in_output=False)

    (choice,) = ask(api, f"{prefix}/completions", body)["choices"]

    assert (choice["text"], choice["finish_reason"]) == ("H", "stop")


def test_a_stop_string_within_them_ends_the_answer(api: ApiServer, prefix: str) -> None:
    body = make_body("completions", continue_token_ids=HE, stop="e", include_stop_str_in_output=False)

    answer = ask(api, f"{prefix}/completions", body)

    assert (answer["choices"][0]["text"], answer["usage"]["completion_tokens"]) == ("H", 0)


def test_reasoning_that_was_begun_goes_on(prefix: str) -> None:
    reasoning = ReasoningEngine(" so</think>Yes")
    begun = reasoning.engine.tokenizer.encode("<think>Well,", specials=True)
    with serving(reasoning.engine) as server:
        body = make_body("chat/completions", continue_token_ids=begun)
        answer = ask(server, f"{prefix}/chat/completions", body)

    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Well, so", "Yes")
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] <= answer["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("sent", "param", "part"),
    [
        ({"continue_token_ids": [9999]}, "continue_token_ids[0]", "vocabulary"),
        ({"continue_token_ids": [72, IM_END]}, "continue_token_ids[1]", "an end token"),
        ({"continue_token_ids": [72], "echo": True}, "continue_token_ids", "send one of them"),
        ({"continue_token_ids": [72], "guided_choice": ["a"]}, "continue_token_ids", "response format"),
    ],
)
def test_what_cannot_be_continued_is_refused(
    api: ApiServer, prefix: str, endpoint: str, sent: dict[str, object], param: str, part: str
) -> None:
    answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint, **sent))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert part in answer.json()["error"]["message"]


def test_an_end_token_can_be_continued_if_it_does_not_end(prefix: str) -> None:
    with serving(FakeEngine(lambda request, index: b"a")) as server:
        body = make_body("completions", continue_token_ids=[IM_END], ignore_eos=True, max_tokens=1)

        assert ask(server, f"{prefix}/completions", body)["choices"][0]["text"] == "a"
