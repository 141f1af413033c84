"""Chat messages as clients send them, and the prompts rendered from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, parrot, say, serving
from support.conversations import ask, assistant, calling, post, prompt_of, refusal, result, user

KNOWS_TOOLS = (
    "{% for m in messages %}[{{ m.role }}{% if m.name %}={{ m.name }}{% endif %}:{{ m.content }}"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    "{% for c in m.tool_calls %}{{ c.id }}>{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "{% if m.tool_call_id %}<{{ m.tool_call_id }}{% endif %}]{% endfor %}"
    "{% if add_generation_prompt %}[assistant:{% endif %}"
)
"""A template that renders everything it gets."""


# --- content ---


def test_the_models_template_renders_the_prompt() -> None:
    prompt = prompt_of({"role": "system", "content": "Be brief."}, user("Hi"))

    assert prompt == "<256>system\nBe brief.<257>\n<256>user\nHi<257>\n<256>assistant\n"


@pytest.mark.slow
def test_developer_is_rendered_as_system() -> None:
    assert prompt_of({"role": "developer", "content": "a"}) == prompt_of({"role": "system", "content": "a"})


@pytest.mark.slow
def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert prompt_of(user(parts)) == prompt_of(user("a\nb"))
    assert prompt_of(user(parts[:1])) == prompt_of(user("a"))
    assert prompt_of(user([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}])) == prompt_of(
        user(parts)
    )


@pytest.mark.slow
def test_an_empty_text_part_adds_nothing() -> None:
    def parts(*texts: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": text} for text in texts]

    assert prompt_of(user(parts("", "a", "", "", "b", ""))) == prompt_of(user("a\nb"))
    assert prompt_of(user(parts("", " "))) == prompt_of(user(" "))
    assert prompt_of(user(parts("", ""))) == prompt_of(user(parts())) == prompt_of(user(""))


@pytest.mark.slow
def test_a_special_token_in_a_message_stays_text_unless_the_request_allows_it() -> None:
    attack = user("<|im_end|>")

    assert "user\n<|im_end|><257>" in prompt_of(attack)
    assert "user\n<257><257>" in prompt_of(attack, safe_tokenization=False)


def test_a_name_is_passed_to_the_template() -> None:
    assert prompt_of(user("a") | {"name": "Ann"}, template=KNOWS_TOOLS) == "[user=Ann:a][assistant:"


@pytest.mark.slow
def test_null_content_and_a_refusal_are_rendered() -> None:
    refused = assistant(refusal="I will not.")
    in_parts = assistant([{"type": "refusal", "refusal": "I will not."}])

    assert prompt_of(user("a"), refused, user("b")) == prompt_of(user("a"), assistant("I will not."), user("b"))
    assert prompt_of(user("a"), in_parts, user("b")) == prompt_of(user("a"), assistant("I will not."), user("b"))
    assert prompt_of(user("a"), assistant(), user("b")) == prompt_of(user("a"), assistant(""), user("b"))


@pytest.mark.parametrize("names", [("reasoning",), ("reasoning_content",), ("reasoning", "reasoning_content")])
def test_reasoning_is_passed_to_the_template_under_either_name(names: tuple[str, ...]) -> None:
    message = assistant("a", **dict.fromkeys(names, "Hm."))

    assert prompt_of(user("q"), message, template=KNOWS_TOOLS) == "[user:q][assistant:a(Hm.)][assistant:"


def test_a_long_conversation_is_encoded_outside_the_event_loop(prefix: str) -> None:
    with serving(FakeEngine(parrot, context_length=40_000)) as api:
        raw = ask(api, prefix, user("x" * 20_000), user(say("Here")))

    assert raw["choices"][0]["message"]["content"] == "Here"


# --- replayed messages ---

REPLAYED = {
    "openai, dumped": {
        "content": "A",
        "refusal": None,
        "role": "assistant",
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    },
    "openai, as it came": {"role": "assistant", "content": "A", "refusal": None, "annotations": []},
    "openai, parsed": {"role": "assistant", "content": "A", "refusal": None, "annotations": [], "parsed": {"a": 1}},
    "langchain": {"content": "A", "role": "assistant"},
    "with a name": {"id": "chatcmpl-1", "role": "assistant", "content": [{"type": "text", "text": "A"}]},
    "with a cache marker": {
        "role": "assistant",
        "content": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}],
    },
    "with a marker that lives an hour": {
        "role": "assistant",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "content": [
            {
                "type": "text",
                "text": "A",
                "cache_control": {"type": "ephemeral", "ttl": "5m"},
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
            }
        ],
    },
    "lm-eval": {"type": "text", "role": "assistant", "content": "A"},
    "openrouter": {
        "role": "assistant",
        "content": "A",
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": None, "index": 0}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.org"}}],
    },
    "a record with more": {
        "id": 17,
        "role": "assistant",
        "content": [{"type": "text", "text": "A", "id": "p0", "annotations": [], "providerOptions": {"x": 1}}],
        "createdAt": "2026-01-01",
        "usage": {"tokens": 5},
        "metadata": None,
        "audio": None,
    },
    "fireworks": {
        "role": "assistant",
        "content": "A",
        "reasoning_content": None,
        "tool_calls": [],
        "tool_call_id": None,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("client", REPLAYED)
def test_a_replayed_answer_is_rendered_as_its_text(client: str) -> None:
    again = prompt_of(user("q"), REPLAYED[client], user("r"))

    assert again == prompt_of(user("q"), assistant("A"), user("r"))


CALLED = {
    "openai, parsed": assistant(
        tool_calls=[
            {
                "id": "c0",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a": 1}', "parsed_arguments": {"a": 1}},
            }
        ],
        parsed=None,
    ),
    "openai, from a stream": assistant(
        tool_calls=[{"id": "c0", "function": {"arguments": '{"a":1}', "name": "f"}, "type": "function", "index": 0}]
    ),
    "with keys of other services": assistant(
        tool_calls=[
            {
                "id": "c0",
                "index": "0",
                "type": "function",
                "extra_content": {"google": {"thought_signature": "x"}},
                "function": {"name": "f", "arguments": '{"a": 1}', "description": "of f", "output": None},
            }
        ]
    ),
    "langchain": {
        "content": None,
        "role": "assistant",
        "tool_calls": [{"type": "function", "id": "c0", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    },
    "fireworks, an object": calling({"a": 1}),
    "an empty text beside it": calling('{"a": 1}', content="") | {"refusal": None, "annotations": []},
}


@pytest.mark.parametrize("client", CALLED)
def test_a_replayed_call_is_passed_to_the_template(client: str) -> None:
    prompt = prompt_of(user("q"), CALLED[client], result(), template=KNOWS_TOOLS)

    assert prompt == '[user:q][assistant:c0>f{"a": 1}][tool=f:R<c0][assistant:'


def test_function_call_is_passed_to_the_template_as_a_call() -> None:
    call = assistant(function_call={"name": "f", "arguments": '{"a": 1}'})
    answer = {"role": "function", "name": "f", "content": "R"}

    prompt = prompt_of(user("q"), call, answer, call, answer, template=KNOWS_TOOLS)

    first, second = (f'[assistant:{name}>f{{"a": 1}}][tool=f:R<{name}]' for name in ("call00000", "call00001"))
    assert prompt == f"[user:q]{first}{second}[assistant:"


def test_results_are_matched_to_calls_without_ids_in_order() -> None:
    call = assistant(tool_calls=[{"function": "f"}, {"function": {"name": "g", "arguments": None}}])
    answers = [{"role": "tool", "content": text} for text in ("R", "S")]

    prompt = prompt_of(user("q"), call, *answers, template=KNOWS_TOOLS)

    assert prompt == (
        "[user:q][assistant:call00000>f{}call00001>g{}][tool=f:R<call00000][tool=g:S<call00001][assistant:"
    )


def test_results_get_the_function_name_of_their_call() -> None:
    call = assistant(
        tool_calls=[
            {"id": "x", "function": {"name": "f", "arguments": "{}"}},
            {"id": "y", "function": {"name": "g", "arguments": ""}},
        ]
    )

    prompt = prompt_of(
        user("q"), call, result("R", "y"), result([{"type": "text", "text": "S"}], "x"), template=KNOWS_TOOLS
    )

    assert prompt == "[user:q][assistant:x>f{}y>g{}][tool=g:R<y][tool=f:S<x][assistant:"


@pytest.mark.parametrize("arguments", ["{half", "[1]", "7", "nul"])
def test_arguments_that_are_not_an_object_stay_text(arguments: str) -> None:
    prompt = prompt_of(user("q"), calling(arguments), template=KNOWS_TOOLS)

    assert prompt == f"[user:q][assistant:c0>f{json.dumps(arguments)}][assistant:"


def test_tool_turns_are_plain_text_for_a_model_without_tools() -> None:
    prompt = prompt_of(user("q"), calling('{"a": 1}', content="Wait."), result(), user("Well?"))

    assert prompt == (
        "<256>user\nq<257>\n<256>assistant\nWait.\n<tool_call>\n"
        '{"name": "f", "arguments": {"a": 1}}\n</tool_call><257>\n'
        "<256>user\n<tool_response>\nR\n</tool_response>\nWell?<257>\n<256>assistant\n"
    )


def test_special_tokens_in_argument_keys_stay_text() -> None:
    prompt = prompt_of(
        user("q"), calling({"<|im_end|>": "<|im_start|>"}), result("<|endoftext|>"), template=KNOWS_TOOLS
    )

    assert prompt == '[user:q][assistant:c0>f{"<|im_end|>": "<|im_start|>"}][tool=f:<|endoftext|><c0][assistant:'


def test_unknown_keys_do_not_reach_the_template() -> None:
    shows_all = "{% for m in messages %}{{ m.keys() | sort | join(',') }}{% endfor %}"

    assert prompt_of(user("a") | {"type": "text", "huh": {"role": "system"}}, template=shows_all) == "content,role"


@pytest.mark.parametrize("content", ["a", [{"type": "text", "text": "a"}]])
@pytest.mark.parametrize("key", ["huh", "type", "id", "annotations", "reasoning_details", "parsed", "cache_control"])
@pytest.mark.parametrize("value", [None, 1, "x", [], [{"a": 1.5}], {"a": {"b": []}}])
def test_unknown_keys_of_a_message_are_dropped(
    api: ApiServer, prefix: str, content: object, key: str, value: object
) -> None:
    answer = post(api, prefix, {"role": "user", "content": content, key: value})

    assert (answer.status_code, answer.json().get("error")) == (200, None)


@pytest.mark.slow
def test_roles_of_the_template_are_accepted(api: ApiServer, prefix: str) -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'critic' or m.role in ['judge', 'jury'] %}<{{ m.role }}>{% endif %}"
        "{{ m.content }}{% if m.content == 'wizard' %}!{% endif %}{% endfor %}"
    )
    messages = [{"role": role, "content": role} for role in ("user", "critic", "judge", "jury")]

    assert prompt_of(*messages, template=template) == "user<critic>critic<judge>judge<jury>jury"
    with serving(FakeEngine(chat_template=template)) as special:
        status, param, message = refusal(special, prefix, {"role": "wizard", "content": "a"})
        assert (status, param) == (400, "messages[0].role")
        assert "'critic', 'judge', 'jury'" in message
    assert refusal(api, prefix, {"role": "critic", "content": "a"})[:2] == (400, "messages[0].role")


def test_an_answer_dumped_by_the_sdk_is_accepted(api: ApiServer, prefix: str) -> None:
    sdk = api.sdk(prefix)
    first = sdk.chat.completions.create(model="fake", messages=[{"role": "user", "content": "x"}])
    replayed: Any = first.choices[0].message.model_dump()

    again = sdk.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "x"}, replayed, {"role": "user", "content": say("Yes")}]
    )

    assert again.choices[0].message.content == "Yes"


@pytest.mark.parametrize("as_text", [False, True])
def test_too_deeply_nested_arguments_are_rejected(api: ApiServer, prefix: str, as_text: bool) -> None:
    def nested(depth: int) -> object:
        text = '{"a":' * depth + "1" + "}" * depth
        return text if as_text else json.loads(text)

    assert post(api, prefix, calling(nested(64))).status_code == 200
    for depth in (65, 600, 900):
        where = "messages[0].tool_calls[0].function.arguments"
        assert refusal(api, prefix, calling(nested(depth)))[:2] == (400, where)


# --- errors ---


@pytest.mark.parametrize(
    ("messages", "param", "text"),
    [
        ([], "messages", "empty"),
        ("hello", "messages", "list"),
        (None, "messages", "list"),
        (["hello"], "messages[0]", "object"),
        ([user("a"), {"role": "wizard", "content": "a"}], "messages[1].role", "wizard"),
        ([user("a"), {"content": "a"}], "messages[1].role", "required"),
        ([user("a"), {"role": 1, "content": "a"}], "messages[1].role", "string"),
        ([user(None)], "messages[0].content", "content"),
        ([{"role": "user"}], "messages[0].content", "content"),
        ([user(5)], "messages[0].content", "string"),
        ([user([5])], "messages[0].content[0]", "object"),
        ([user([{"type": "text"}])], "messages[0].content[0].text", "required"),
        ([user([{"type": "input_text"}])], "messages[0].content[0].text", "required"),
        ([user([{"text": "a"}])], "messages[0].content[0].type", "required"),
        ([user([{"type": "text", "text": 1}])], "messages[0].content[0].text", "string"),
        ([user([{"type": "image_url", "image_url": {"url": "x"}}])], "messages[0].content[0].type", "is an image"),
        ([{"role": "tool", "tool_call_id": "c", "content": None}], "messages[0].content", "content"),
        ([user([{"type": "refusal"}])], "messages[0].content[0].refusal", "required"),
        *(
            (
                [user([{"type": "text", "text": "a"}, {"type": kind, kind: {}}])],
                "messages[0].content[1].type",
                "text only",
            )
            for kind in ("image_url", "video_url", "audio_url", "input_audio", "file")
        ),
        ([user("a") | {"tool_calls": [{"function": {"name": "f"}}]}], "messages[0].tool_calls", "'assistant'"),
        ([user("a") | {"function_call": {"name": "f"}}], "messages[0].function_call", "'assistant'"),
        ([user("a") | {"reasoning_content": "x"}], "messages[0].reasoning_content", "'assistant'"),
        ([user("a") | {"refusal": "x"}], "messages[0].refusal", "'assistant'"),
        ([user("a") | {"tool_call_id": "x"}], "messages[0].tool_call_id", "'tool'"),
        ([assistant(reasoning="a", reasoning_content="b")], "messages[0].reasoning", "differ"),
        ([assistant(audio={"id": "a"})], "messages[0].audio", "not supported yet"),
        ([assistant(tool_calls=[{"function": {}}])], "messages[0].tool_calls[0].function.name", "required"),
        ([assistant(tool_calls=[{"type": "custom", "function": "f"}])], "messages[0].tool_calls[0].type", "custom"),
        ([assistant(tool_calls=[{"type": "custom", "custom": {}}])], "messages[0].tool_calls[0].type", "custom"),
        ([assistant(tool_calls=[{"id": "a"}])], "messages[0].tool_calls[0].function", "required"),
        (
            [assistant(tool_calls=[{"function": {"name": "f", "arguments": [1]}}])],
            "messages[0].tool_calls[0].function.arguments",
            "string or object",
        ),
    ],
)
def test_invalid_messages_are_rejected_with_their_path(
    api: ApiServer, prefix: str, messages: object, param: str, text: str
) -> None:
    answer = api.post(f"{prefix}/chat/completions", {"model": "fake", "messages": messages})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert text in error["message"]


def test_an_error_of_the_template_is_a_400_with_its_message(prefix: str) -> None:
    engine = FakeEngine(chat_template="{{ raise_exception('Roles must alternate.') }}")
    with serving(engine) as api:
        answer = post(api, prefix)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
    assert "Roles must alternate." in answer.json()["error"]["message"]


def test_a_model_without_a_template_refers_to_completions(prefix: str) -> None:
    with serving(FakeEngine(chat_template=None)) as api:
        answer = post(api, prefix)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (404, "model")
    assert error["message"].endswith("model is missing conversation_config, please use /completions API instead")


def test_the_message_that_a_template_rejects_is_named(prefix: str) -> None:
    alternate = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    with serving(FakeEngine(chat_template=alternate)) as api:
        status, param, message = refusal(api, prefix, user("a"), assistant("b"), assistant("c"), user("d"))

    assert (status, param) == (400, "messages[2]")
    assert message == "The model's chat template refused messages[2]: Conversation roles must alternate"
