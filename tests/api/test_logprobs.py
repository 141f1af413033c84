"""Logprobs, echo and best_of, by the SDK's types and as evaluation harnesses use them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import IM_END, IM_START
from support.api_server import ApiServer, events, say, serving, strictly

PROMPT = say("Hä!")


def completion(api: ApiServer, prefix: str, prompt: object = PROMPT, **fields: object) -> Any:
    body = {"model": api.engine.info.name, "prompt": prompt, "max_tokens": 50, **fields}
    answer = api.post(f"{prefix}/completions", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def chat(api: ApiServer, prefix: str, **fields: object) -> httpx.Response:
    return api.post(
        f"{prefix}/chat/completions",
        {"model": "fake", "messages": [{"role": "user", "content": PROMPT}], **fields},
    )


def refused(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["param"]


def test_an_integer_requests_the_legacy_arrays(api: ApiServer, prefix: str) -> None:
    raw = completion(api, prefix, logprobs=1)

    assert strictly(Completion, raw) <= {"choices.logprobs.token_ids"}
    assert raw["choices"][0]["logprobs"] == {
        "tokens": ["H", "bytes:\\xc3", "bytes:\\xa4", "!"],
        "token_logprobs": [0.0, -0.375, -0.5, -0.125],
        "top_logprobs": [{"H": 0.0}, {"bytes:\\xc3": -0.375}, {"bytes:\\xa4": -0.5}, {"!": -0.125}],
        "text_offset": [0, 1, 1, 2],
        "token_ids": [72, 195, 164, 33],
    }


def test_true_requests_the_list_with_the_keys_of_the_dialect(api: ApiServer) -> None:
    openai, fireworks = (chat(api, prefix, logprobs=True, top_logprobs=2).json() for prefix in ("/v1", "/inference/v1"))

    assert strictly(ChatCompletion, openai) == set()
    assert openai["choices"][0]["logprobs"]["content"][0] == {
        "token": "H",
        "logprob": 0.0,
        "bytes": [72],
        "top_logprobs": [
            {"token": "H", "logprob": 0.0, "bytes": [72]},
            {"token": "I", "logprob": -1.0, "bytes": [73]},
        ],
    }
    assert fireworks["choices"][0]["logprobs"]["content"][1] == {
        "token": "\\xc3",
        "logprob": -0.375,
        "bytes": [195],
        "top_logprobs": [
            {"token": "\\xc3", "logprob": -0.375, "bytes": [195], "token_id": 195},
            {"token": "\\xc4", "logprob": -1.375, "bytes": [196], "token_id": 196},
        ],
        "sampling_logprob": -0.1875,
        "token_id": 195,
        "text_offset": 1,
    }


def test_chunks_of_a_chat_have_the_logprobs_of_their_text(api: ApiServer, prefix: str) -> None:
    chunks = events(chat(api, prefix, logprobs=True, stream=True).content)

    for chunk in chunks[:-1]:
        if prefix == "/v1":
            strictly(ChatCompletionChunk, chunk)
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    sent = [(c["delta"]["content"], [r["token"] for r in c["logprobs"]["content"]]) for c in choices if c["logprobs"]]
    assert sent == [("H", ["H"]), ("ä", ["\\xc3", "\\xa4"]), ("!", ["!"])]


@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
def test_values_out_of_range_are_rejected_by_name(api: ApiServer, prefix: str, endpoint: str) -> None:
    def ask(**fields: object) -> tuple[int, str | None]:
        prompt = {"prompt": "a"} if endpoint == "completions" else {"messages": [{"role": "user", "content": "a"}]}
        return refused(api.post(f"{prefix}/{endpoint}", {"model": "fake", **prompt, **fields}))

    assert ask(logprobs=6) == (400, "logprobs")
    assert ask(logprobs=-1) == (400, "logprobs")
    assert ask(logprobs=True, top_logprobs=21) == (400, "top_logprobs")
    assert ask(top_logprobs=2) == (400, "top_logprobs")
    assert ask(echo_last=-1) == (400, "echo_last")


def test_fireworks_allows_five_alternatives_and_openai_twenty(api: ApiServer) -> None:
    assert chat(api, "/v1", logprobs=True, top_logprobs=20).status_code == 200
    assert refused(chat(api, "/inference/v1", logprobs=True, top_logprobs=6)) == (400, "top_logprobs")


# --- echo ---


@pytest.mark.parametrize("stream", [False, True])
def test_echo_prepends_the_prompt(api: ApiServer, prefix: str, stream: bool) -> None:
    prompt = f"<|im_start|>é {PROMPT}"

    if stream:
        answer = api.post(
            f"{prefix}/completions", {"model": "fake", "prompt": prompt, "echo": True, "stream": True, "max_tokens": 9}
        )
        text = "".join(chunk["choices"][0]["text"] for chunk in events(answer.content)[:-1])
    else:
        text = completion(api, prefix, prompt, echo=True)["choices"][0]["text"]

    assert text == prompt + "Hä!"


def test_echo_has_logprobs_for_all_prompt_tokens_but_the_first(api: ApiServer, prefix: str) -> None:
    choice = completion(api, prefix, "ab", echo=True, logprobs=0, max_tokens=0)["choices"][0]

    assert (choice["text"], choice["finish_reason"]) == ("ab", "length")
    assert choice["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -0.25],
        "top_logprobs": [None, {"b": -0.25}],
        "text_offset": [0, 1],
        "token_ids": [97, 98],
    }


def test_echo_last_prepends_the_end_of_the_prompt(api: ApiServer, prefix: str) -> None:
    choice = completion(api, prefix, PROMPT, echo_last=3, logprobs=True)["choices"][0]

    assert choice["text"] == "ä!" + "Hä!"
    assert [record["token"] for record in choice["logprobs"]["content"][:3]] == ["\\xc3", "\\xa4", "!"]
    assert choice["logprobs"]["content"][0]["logprob"] == -0.375


def test_a_stop_string_in_the_echo_is_ignored(api: ApiServer) -> None:
    choice = completion(api, "/v1", say("no. yes"), echo=True, stop="s")["choices"][0]

    assert choice["text"] == say("no. yes") + "no. ye"


def test_max_tokens_0_is_allowed_only_with_echo(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": "a", "max_tokens": 0})

    assert refused(answer) == (400, "max_tokens")


def test_every_choice_has_the_echo_and_its_logprobs(api: ApiServer, prefix: str) -> None:
    choices = completion(api, prefix, say("A", "B"), echo=True, logprobs=1, n=2)["choices"]

    assert [choice["text"] for choice in choices] == [say("A", "B") + "A", say("A", "B") + "B"]
    assert choices[0]["logprobs"]["token_logprobs"][:-1] == choices[1]["logprobs"]["token_logprobs"][:-1]
    assert None not in choices[1]["logprobs"]["token_logprobs"][1:]


@pytest.mark.parametrize("output", [[IM_END], [*b"x", IM_END], [0xE2, IM_END], []])
@pytest.mark.parametrize("max_tokens", [1, 5])
def test_with_an_echo_every_counted_token_has_an_entry(prefix: str, output: list[int], max_tokens: int) -> None:
    """A harness removes the entry of the one token that it has to request: an end token too must have one."""
    prompts = [[*b"ab"], [*b"c", IM_START, IM_END], [*b"d", 0xC3]]
    with serving(FakeEngine(lambda request, index: output)) as server:
        raw = completion(server, prefix, prompts, echo=True, logprobs=1, max_tokens=max_tokens)

    for prompt, choice in zip(prompts, raw["choices"], strict=True):
        records = choice["logprobs"]
        assert records["token_ids"] == prompt + output[:max_tokens]
        assert {len(entries) for entries in records.values()} == {len(prompt) + len(output[:max_tokens])}
    assert raw["usage"]["completion_tokens"] == len(prompts) * len(output[:max_tokens])


def test_without_an_echo_the_end_token_has_no_entry(prefix: str) -> None:
    with serving(FakeEngine(lambda request, index: [*b"x", IM_END])) as server:
        raw = completion(server, prefix, "a", logprobs=1, max_tokens=5)

    assert raw["choices"][0]["logprobs"]["token_ids"] == [*b"x"]
    assert raw["usage"]["completion_tokens"] == 2


# --- best_of ---


def test_best_of_returns_the_choice_with_the_highest_mean_logprob(api: ApiServer, prefix: str) -> None:
    """An `H` has logprob 0 with the fake engine, a `G` -0.875, an `I` -0.125."""
    raw = completion(api, prefix, [say("GGGG", "HHHH", "IIII")] * 2, best_of=3, n=2)

    assert [(choice["index"], choice["text"]) for choice in raw["choices"]] == [
        (0, "HHHH"),
        (1, "IIII"),
        (2, "HHHH"),
        (3, "IIII"),
    ]
    assert raw["usage"]["completion_tokens"] == 2 * 3 * 4


@pytest.mark.parametrize("fields", [{"best_of": 1, "n": 2}, {"best_of": 21}, {"best_of": 2, "stream": True}])
def test_an_invalid_best_of_is_rejected(api: ApiServer, prefix: str, fields: dict[str, object]) -> None:
    answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": "a", **fields})

    assert refused(answer) == (400, "best_of")


# --- the real model, with the requests of an evaluation harness ---


def test_a_harness_can_score_continuations(real_engine: OpenVINOEngine) -> None:
    """Token id prompts with echo and one token: the arrays have an entry for each, and greedy tokens are the top."""
    tokenizer = real_engine.tokenizer
    prompts = [
        tokenizer.encode("The capital of France is" + end, specials=False)
        for end in (" Paris", " London", " banana split")
    ]
    with serving(real_engine) as api:
        raw = completion(api, "/v1", prompts, echo=True, logprobs=1, max_tokens=1, temperature=0, seed=1234)

    scores = []
    for prompt, choice in zip(prompts, raw["choices"], strict=True):
        records = choice["logprobs"]
        assert records["token_ids"][:-1] == prompt
        assert len(records["tokens"]) == len(records["top_logprobs"]) == len(prompt) + 1
        assert records["token_logprobs"][0] is None is records["top_logprobs"][0]
        assert all(
            a + len(t) == b for (a, b), t in zip(pairwise(records["text_offset"]), records["tokens"], strict=False)
        )
        assert max(records["top_logprobs"][-1].values()) == records["token_logprobs"][-1]  # greedy, to the last bit
        scores.append(records["token_logprobs"][5])
    assert scores[0] == max(scores)
