"""/tokenize, /detokenize and /apply-template, as clients of vLLM and of llama-server call them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.accounts.access import Caller, Limits
from crossette.accounts.key_accounts import LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.api.guards.admission import AdmissionController
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import END_OF_TEXT, IM_END, FakeTokenizer
from support.api_server import ApiServer, serving
from support.model_loads import Loads

HELLO = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def tokens(api: ApiServer, path: str, **body: Any) -> list[int]:
    answer = api.post(path, body).json()
    assert answer["count"] == len(answer["tokens"])
    found: list[int] = answer["tokens"]
    return found


def test_the_shapes_of_vllm(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/tokenize", {"model": "fake", "prompt": "Hé", "return_token_strs": True}).json()
    strings = ["H", "\ufffd", "\ufffd"]
    assert answer == {"count": 3, "max_model_len": 4096, "tokens": list("Hé".encode()), "token_strs": strings}
    assert api.post(f"{prefix}/detokenize", {"model": "fake", "tokens": [72, 105]}).json()["prompt"] == "Hi"


def test_the_shapes_of_llama_server(api: ApiServer) -> None:
    pieces = api.post("/tokenize", {"content": "aé<|im_end|>", "with_pieces": True}).json()["tokens"]
    assert pieces == [
        {"id": 97, "piece": "a"},
        {"id": 195, "piece": [195]},
        {"id": 169, "piece": [169]},
        {"id": IM_END, "piece": "<|im_end|>"},
    ]
    assert api.post("/detokenize", {"tokens": [97, IM_END]}).json()["content"] == "a<|im_end|>"
    assert api.post("/apply-template", {"messages": HELLO}).json() == {
        "prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    }


@pytest.mark.parametrize("more", [{}, {"tools": [TOOL]}, {"add_generation_prompt": False}])
def test_a_conversation_has_the_tokens_that_chat_completions_counts(
    api: ApiServer, prefix: str, more: dict[str, Any]
) -> None:
    body = {"model": "fake", "messages": HELLO, **more}
    counted = tokens(api, f"{prefix}/tokenize", **body)
    rendered = api.post(f"{prefix}/apply-template", body).json()["prompt"]
    answered = api.post(f"{prefix}/chat/completions", body).json()

    assert answered["usage"]["prompt_tokens"] == len(counted)
    assert tokens(api, "/tokenize", prompt=rendered) == counted


def test_the_text_of_a_message_is_never_a_control_token(api: ApiServer) -> None:
    counted = tokens(api, "/tokenize", messages=[{"role": "user", "content": "<|im_end|>"}])
    assert counted.count(IM_END) == 1  # the template's


@pytest.mark.parametrize(
    ("body", "has_bos"),
    [
        ({"prompt": "a"}, True),
        ({"prompt": "a", "add_special_tokens": False}, False),
        ({"prompt": "a", "add_special": False}, False),
        ({"content": "a"}, False),
        ({"content": "a", "add_special": True}, True),
        ({"content": "a", "add_special_tokens": True}, True),
        ({"messages": HELLO}, True),
    ],
)
def test_bos(body: dict[str, Any], has_bos: bool) -> None:
    with serving(FakeEngine(tokenizer=FakeTokenizer(add_bos=True))) as server:
        assert (END_OF_TEXT in tokens(server, "/tokenize", **body)) is has_bos


def test_control_tokens_can_be_read_as_text(api: ApiServer) -> None:
    text = "<|im_end|>"
    assert tokens(api, "/tokenize", prompt=text) == [IM_END]
    assert tokens(api, "/tokenize", prompt=text, parse_special=False) == list(text.encode())


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_tokens_are_converted_back_to_their_text(shared_api: ApiServer, text: str) -> None:
    found = tokens(shared_api, "/tokenize", content=text)
    assert shared_api.post("/detokenize", {"tokens": found}).json()["content"] == text


@pytest.mark.parametrize(
    ("path", "body", "param", "part"),
    [
        ("/tokenize", {}, "prompt", "not none of them"),
        ("/tokenize", {"prompt": "a", "content": "b"}, "content", "not prompt and content"),
        ("/tokenize", {"prompt": "a", "tools": [TOOL]}, "tools", "no effect with 'prompt'"),
        ("/tokenize", {"messages": HELLO, "add_special_tokens": True}, "add_special_tokens", "no effect"),
        ("/tokenize", {"prompt": "a", "add_special": True, "add_special_tokens": True}, "add_special", "two names"),
        ("/tokenize", {"prompt": "a", "chat_template": "x"}, "chat_template", "not supported yet"),
        ("/tokenize", {"prompt": "a", "temperature": 1}, "temperature", "temperature"),
        ("/tokenize", {"messages": [{"role": "user"}]}, "messages[0].content", "user message needs content"),
        ("/detokenize", {"tokens": [1, 9999]}, "tokens[1]", "the vocabulary ends at 258"),
        ("/detokenize", {}, "tokens", "tokens"),
        ("/apply-template", {}, "messages", "messages"),
        ("/apply-template", {"messages": HELLO, "mm_processor_kwargs": {"a": 1}}, "mm_processor_kwargs", "text only"),
    ],
)
def test_invalid_requests_are_named(
    api: ApiServer, prefix: str, path: str, body: dict[str, Any], param: str, part: str
) -> None:
    answer = api.post(prefix + path, {"model": "fake", **body})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert part in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/apply-template"])
def test_an_unknown_model_is_not_found(api: ApiServer, prefix: str, path: str) -> None:
    body = {"prompt": "a"} if path == "/tokenize" else {"tokens": [1]} if path == "/detokenize" else {"messages": HELLO}
    assert api.post(prefix + path, {"model": "other", **body}).status_code == 404


def test_a_base_model_has_tokens_and_no_template() -> None:
    with serving(FakeEngine(chat_template=None)) as server:
        assert tokens(server, "/tokenize", prompt="a") == [97]
        answer = server.post("/apply-template", {"messages": HELLO})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, None)


def test_a_model_that_sleeps_is_loaded() -> None:
    loads = Loads()
    with serving(pool=ModelPool(map(loads.source, "ab"))) as server:
        assert tokens(server, "/tokenize", content="x") == [120]
        assert tokens(server, "/tokenize", model="b", content="x") == [120]
    assert loads.began == ["a", "b"]


def test_requests_count_for_the_limits_of_their_key() -> None:
    caller = Caller("id-1", "a key", models=frozenset({"fake"}), limits=Limits(requests_per_minute=2))
    admissions = AdmissionController(LocalAccounts(Limiter(), now=lambda: 0.0), now=lambda: 0.0)
    with serving(callers={"key": caller}, admissions=admissions) as server:
        headers = {"authorization": "Bearer key"}
        answers = [server.post("/tokenize", {"prompt": "a"}, headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
