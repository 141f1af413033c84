"""Request fields for the prompt of a chat: template variables, generation prompt, token ids, truncation."""

from __future__ import annotations

import pytest

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, parrot, serving
from support.conversations import ask, assistant, post, prompt_of, refusal, user


def test_variables_reach_the_template() -> None:
    template = "{{ style }}{% if enable_thinking %}!{% endif %}{{ messages[0].content }}"

    prompt = prompt_of(user("a"), template=template, chat_template_kwargs={"style": "dry", "enable_thinking": True})

    assert prompt == "dry!a"


@pytest.mark.parametrize(
    ("name", "value"), [("style", "dry"), ("enable_thinking", "yes"), ("reasoning_budget", True), ("content_", 0)]
)
def test_variables_that_the_template_does_not_use_are_rejected(
    api: ApiServer, prefix: str, name: str, value: object
) -> None:
    refused = refusal(api, prefix, chat_template_kwargs={name: value})

    assert refused[:2] == (400, f"chat_template_kwargs.{name}")
    assert "the model's template has no such variable" in refused[2]
    assert post(api, prefix, chat_template_kwargs={name: None}).status_code == 200


@pytest.mark.parametrize("name", ["messages", "tools", "bos_token", "add_generation_prompt", "raise_exception"])
def test_variables_that_the_server_sets_are_rejected(api: ApiServer, prefix: str, name: str) -> None:
    refused = refusal(api, prefix, chat_template_kwargs={name: []})

    assert refused[:2] == (400, f"chat_template_kwargs.{name}")


def test_a_template_in_a_request_is_not_run(api: ApiServer, prefix: str) -> None:
    assert refusal(api, prefix, chat_template="{{ messages }}")[:2] == (400, "chat_template")


def test_the_generation_prompt_can_be_left_out() -> None:
    assert prompt_of(user("a"), add_generation_prompt=False) == "<256>user\na<257>\n"


@pytest.mark.slow
def test_the_last_message_can_be_continued() -> None:
    prompt = prompt_of(user("a"), assistant("Once upon "), continue_final_message=True)

    assert prompt == "<256>user\na<257>\n<256>assistant\nOnce upon "
    prompt = prompt_of(user("a"), assistant("<|im_end|> b"), continue_final_message=True)
    assert prompt == "<256>user\na<257>\n<256>assistant\n<|im_end|> b"


def test_only_an_assistant_message_can_be_continued_and_without_a_generation_prompt(
    api: ApiServer, prefix: str
) -> None:
    assert refusal(api, prefix, user("a"), continue_final_message=True)[:2] == (400, "messages[0].role")
    both = refusal(api, prefix, assistant("a"), continue_final_message=True, add_generation_prompt=True)
    assert both[:2] == (400, "continue_final_message")


@pytest.mark.slow
def test_token_ids_are_used_as_the_prompt_unchanged() -> None:
    assert prompt_of(user("not this"), prompt_token_ids=[256, 72, 105]) == "<256>Hi"
    assert prompt_of(user("not this"), prompt_token_ids=[72], template="{{ 1 / 0 }}") == "H"


@pytest.mark.parametrize(
    ("ids", "fields", "param"),
    [
        ([], {}, "prompt_token_ids"),
        ([72, -1], {}, "prompt_token_ids[1]"),
        ([10**6], {}, "prompt_token_ids[0]"),
        ([72], {"prompt_truncate_len": 5}, "prompt_truncate_len"),
        ([72], {"continue_final_message": True}, "continue_final_message"),
        ([72], {"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ([72] * 5000, {}, "prompt_token_ids"),
    ],
)
def test_invalid_prompt_token_ids_are_rejected(
    api: ApiServer, prefix: str, ids: list[int], fields: dict[str, object], param: str
) -> None:
    assert refusal(api, prefix, prompt_token_ids=ids, **fields)[:2] == (400, param)


# --- truncation ---

SHOWS = "{% for m in messages %}{{ m.content }}{% endfor %}"
LONG = [{"role": "system", "content": "S" * 10}, user("a" * 10), assistant("b" * 10), user("<|im_end|>")]


@pytest.mark.parametrize("name", ["prompt_truncate_len", "truncate_prompt_tokens"])
@pytest.mark.parametrize(
    ("limit", "kept"),
    [(40, "SABU"), (39, "SU"), (20, "SU"), (19, "U"), (10, "U"), (0, "SABU")],
)
def test_the_oldest_turns_are_dropped_only_on_request(name: str, limit: int, kept: str) -> None:
    texts = {"S": "S" * 10, "A": "a" * 10, "B": "b" * 10, "U": "<|im_end|>"}

    assert prompt_of(*LONG, template=SHOWS, **{name: limit}) == "".join(texts[which] for which in kept)


def test_usage_counts_the_truncated_prompt(prefix: str) -> None:
    with serving(FakeEngine(parrot, chat_template=SHOWS)) as api:
        counts = [
            ask(api, prefix, *LONG, prompt_truncate_len=limit)["usage"]["prompt_tokens"] for limit in (40, 39, 10)
        ]

    assert counts == [40, 20, 10]


def test_a_last_turn_that_is_too_long_is_rejected(prefix: str) -> None:
    with serving(FakeEngine(parrot, chat_template=SHOWS)) as api:
        status, param, message = refusal(api, prefix, *LONG, prompt_truncate_len=9)

    assert (status, param) == (400, "messages")
    assert message.startswith("The prompt is too long: 10 tokens in its last turn alone")


def test_both_names_of_the_prompt_limit_at_once_are_rejected(api: ApiServer, prefix: str) -> None:
    refused = refusal(api, prefix, prompt_truncate_len=5, truncate_prompt_tokens=5)

    assert refused[:2] == (400, "truncate_prompt_tokens")
