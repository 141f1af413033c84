"""Reasoning models: reasoning is separate from content, and within its budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.api_server import ApiServer, events, say, serving
from support.reasoning_engine import ReasoningEngine
from support.template_corpus import published

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
CALL = '<tool_call>\n{"name": "f", "arguments": {"n": 4}}\n</tool_call>'


def body(**sent: object) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 200, **sent}


def ask(output: str, prefix: str, **sent: object) -> Any:
    """The complete answer."""
    with serving(ReasoningEngine(output).engine) as api:
        raw = api.post(f"{prefix}/chat/completions", body(**sent)).json()
    assert "choices" in raw, raw
    return raw


def message(raw: Any) -> tuple[str | None, str | None]:
    """Reasoning and content."""
    message_body = raw["choices"][0]["message"]
    return message_body.get("reasoning_content"), message_body["content"]


# --- reasoning and content ---


def test_reasoning_is_not_content(prefix: str) -> None:
    raw = ask("<think>\nHm, so.\n</think>\n\nFour.", prefix)

    assert message(raw) == ("Hm, so.", "Four.")
    assert raw["choices"][0]["finish_reason"] == "stop"
    assert raw["usage"]["completion_tokens_details"]["reasoning_tokens"] == len("\nHm, so.\n") + 2
    assert raw["usage"]["completion_tokens"] == len("\nHm, so.\n") + 2 + len("\n\nFour.")


def test_a_stream_has_the_same_reasoning_and_content(prefix: str) -> None:
    with serving(ReasoningEngine("<think>Hm.</think>Four.").engine) as api:
        request = body(stream=True, stream_options={"include_usage": True})
        frames = events(api.post(f"{prefix}/chat/completions", request).content)

    deltas = [choice["delta"] for frame in frames for choice in frame["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm."
    assert "".join(delta.get("content") or "" for delta in deltas) == "Four."
    assert not any("reasoning_content" in delta and delta.get("content") for delta in deltas)
    assert frames[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5


def test_reasoning_that_the_prompt_opens_is_reasoning(prefix: str) -> None:
    reasoner = ReasoningEngine("Hm.</think>Four.", "[{{ messages[0]['content'] }}<think>\n")
    with serving(reasoner.engine) as api:
        raw = api.post(f"{prefix}/chat/completions", body()).json()

    assert message(raw) == ("Hm.", "Four.")
    assert raw["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4


def test_an_answer_without_reasoning_has_no_such_field(prefix: str) -> None:
    raw = ask("Four.", prefix)

    assert message(raw) == (None, "Four.")
    assert raw["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_reasoning_that_max_tokens_cuts_is_reasoning(prefix: str) -> None:
    raw = ask("<think>Hm, hm, hm", prefix, max_tokens=6)

    assert message(raw) == ("Hm, h", "")
    assert raw["choices"][0]["finish_reason"] == "length"


def test_reasoning_is_left_out_on_request(prefix: str) -> None:
    raw = ask("<think>Hm.</think>Four.", prefix, include_reasoning=False)

    assert message(raw) == (None, "Four.")
    assert raw["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5


def test_stop_strings_do_not_apply_to_reasoning(prefix: str) -> None:
    raw = ask("<think>One. Two.</think>One. Two.", prefix, stop=["Two"], include_stop_str_in_output=False)

    assert message(raw) == ("One. Two.", "One. ")
    assert raw["choices"][0]["finish_reason"] == "stop"


def test_a_call_within_reasoning_is_not_a_call(prefix: str) -> None:
    raw = ask(f"<think>Perhaps {CALL}?</think>No.", prefix, tools=TOOLS)

    assert message(raw) == (f"Perhaps {CALL}?", "No.")
    assert "tool_calls" not in raw["choices"][0]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "name": "f"}])
def test_calls_follow_reasoning(prefix: str, choice: object) -> None:
    raw = ask(f"<think>Hm.</think>{CALL}", prefix, tools=TOOLS, tool_choice=choice)

    assert message(raw) == ("Hm.", None)
    (call,) = raw["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"n": 4}


def test_a_response_format_applies_after_reasoning(prefix: str) -> None:
    raw = ask('<think>{"n": "no"}</think>{"n": 4}', prefix, guided_json=SCHEMA)

    assert message(raw) == ('{"n": "no"}', '{"n": 4}')


# --- reasoning effort ---


@pytest.mark.parametrize(
    "sent",
    [
        {"reasoning_effort": 5},
        {"reasoning_effort": 5.0},
        {"thinking": {"type": "enabled", "budget_tokens": 5}},
        {"thinking": {"type": "enabled", "budget_tokens": 5.0}},
        {"reasoning": {"effort": 5}},
        {"reasoning": {"max_tokens": 5}},
        {"reasoning": {"max_tokens": 5, "enabled": True}, "enable_thinking": True},
        {"chat_template_kwargs": {"reasoning_budget": 5}},
        {"chat_template_kwargs": {"reasoning_budget": 5.0}},
    ],
)
@pytest.mark.parametrize("more", [{}, {"guided_json": SCHEMA}, {"tools": TOOLS, "tool_choice": "required"}])
def test_a_budget_ends_reasoning(prefix: str, sent: dict[str, Any], more: dict[str, Any]) -> None:
    raw = ask("<think>Hm, hm, hm, hm, hm.</think>", prefix, **sent, **more)

    assert message(raw)[0] == "Hm, h"
    assert raw["usage"]["completion_tokens_details"]["reasoning_tokens"] <= 5 + 2


OFF: list[dict[str, Any]] = [
    {"reasoning_effort": "none"},
    {"reasoning_effort": False},
    {"reasoning_effort": 0},
    {"thinking": {"type": "disabled"}},
    {"thinking": False},
    {"reasoning": {"effort": "none"}},
    {"reasoning": {"max_tokens": 0}},
    {"reasoning": {"enabled": False}},
    {"enable_thinking": False},
    {"enable_thinking": False, "thinking": False, "reasoning_effort": "none"},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {"thinking": False}},
    {"chat_template_kwargs": {"thinking": False, "enable_thinking": False}, "enable_thinking": False},
    {"chat_template_kwargs": {"reasoning_effort": "none"}},
    {"chat_template_kwargs": {"reasoning_budget": 0.0}},
]


@pytest.mark.parametrize("sent", OFF)
def test_effort_none_disables_reasoning(prefix: str, sent: dict[str, Any]) -> None:
    reasoner = ReasoningEngine("<think>Hm.</think>")
    with serving(reasoner.engine) as api:
        raw = api.post(f"{prefix}/chat/completions", body(**sent, max_tokens=20)).json()

    assert reasoner.prompts[0].endswith("[assistant:<think></think>")
    assert message(raw)[0] is None
    assert "<think>" not in (message(raw)[1] or "")


ON: list[dict[str, Any]] = [
    {"reasoning_effort": "high"},
    {"reasoning_effort": True},
    {"thinking": {"type": "enabled"}},
    {"thinking": True},
    {"reasoning": {"effort": "high"}},
    {"reasoning": {"effort": "high", "enabled": True}},
    {"reasoning": {"enabled": True}},
    {"enable_thinking": True},
    {"enable_thinking": True, "reasoning_effort": "high"},
    {"chat_template_kwargs": {"enable_thinking": True}},
    {"chat_template_kwargs": {"thinking": True}, "reasoning": {"effort": "xhigh"}},
    {"chat_template_kwargs": {"reasoning_effort": "medium"}},
    {"chat_template_kwargs": {"low_effort": True}},
]


@pytest.mark.parametrize("sent", ON)
def test_other_efforts_do_not_disable_reasoning(prefix: str, sent: dict[str, Any]) -> None:
    reasoner = ReasoningEngine("<think>Hm.</think>Four.")
    with serving(reasoner.engine) as api:
        raw = api.post(f"{prefix}/chat/completions", body(**sent)).json()

    assert reasoner.prompts[0].endswith("[assistant:")
    assert message(raw) == ("Hm.", "Four.")


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"reasoning_effort": "low", "thinking": {"type": "enabled"}}, "thinking"),
        ({"reasoning_effort": "most"}, "reasoning_effort"),
        ({"reasoning_effort": -1}, "reasoning_effort"),
        ({"thinking": {"type": "disabled", "budget_tokens": 9}}, "thinking.budget_tokens"),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, "reasoning_effort"),
        ({"reasoning_effort": "none", "enable_thinking": True}, "reasoning_effort"),
        ({"reasoning_effort": "high", "thinking": False}, "reasoning_effort"),
        ({"reasoning_effort": "high", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "low", "max_tokens": 9}}, "reasoning.max_tokens"),
        ({"reasoning": {"effort": "most"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "high", "enabled": False}}, "reasoning.effort"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"reasoning": {"huh": 1}}, "reasoning.huh"),
        ({"reasoning": {"max_tokens": -1}}, "reasoning.max_tokens"),
        ({"reasoning": {"exclude": True}, "include_reasoning": True}, "include_reasoning"),
        ({"enable_thinking": True, "thinking": False}, "enable_thinking"),
        ({"enable_thinking": "yes"}, "enable_thinking"),
        ({"enable_thinking": True, "chat_template_kwargs": {"thinking": False}}, "enable_thinking"),
        ({"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}}, "reasoning_effort"),
        ({"chat_template_kwargs": {"reasoning_effort": "most"}}, "chat_template_kwargs.reasoning_effort"),
        ({"chat_template_kwargs": {"reasoning_budget": -5}}, "chat_template_kwargs.reasoning_budget"),
    ],
)
def test_contradicting_reasoning_fields_are_rejected(prefix: str, sent: dict[str, Any], param: str) -> None:
    with serving(ReasoningEngine("Four.").engine) as api:
        answer = api.post(f"{prefix}/chat/completions", body(**sent))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning_effort": True}, "reasoning_effort"),
        ({"reasoning_effort": 100}, "reasoning_effort"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "thinking.budget_tokens"),
        ({"thinking": True}, "thinking"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"reasoning": {"enabled": True}}, "reasoning.enabled"),
        ({"enable_thinking": True}, "enable_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs.thinking"),
        ({"chat_template_kwargs": {"reasoning_effort": "low"}}, "chat_template_kwargs.reasoning_effort"),
        ({"reasoning_history": "preserved"}, "reasoning_history"),
    ],
)
def test_a_model_without_reasoning_rejects_reasoning_fields(
    api: ApiServer, prefix: str, sent: dict[str, Any], param: str
) -> None:
    answer = api.post(f"{prefix}/chat/completions", body(**sent))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert "does not reason" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "sent", [*OFF, {"reasoning_history": "disabled"}, {"include_reasoning": True}, {"reasoning": {}}]
)
def test_a_model_without_reasoning_accepts_fields_that_disable_it(
    api: ApiServer, prefix: str, sent: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": say("Four.")}]
    raw = api.post(f"{prefix}/chat/completions", body(**sent, messages=messages)).json()

    assert message(raw) == (None, "Four.")


@pytest.mark.parametrize(
    "sent",
    [
        *(sent for sent in OFF if "chat_template_kwargs" not in sent),
        {"reasoning": {}},
        {"reasoning": {"effort": None}},
        {"reasoning_effort": "auto"},
    ],
)
def test_a_plain_prompt_accepts_fields_that_disable_reasoning(
    api: ApiServer, prefix: str, sent: dict[str, Any]
) -> None:
    answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": say("Four.")} | sent)

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("name", "value", "types"),
    [
        ("enable_thinking", "false", "boolean"),
        ("thinking", 0, "boolean"),
        ("reasoning_budget", 5.5, "integer"),
        ("reasoning_budget", "5", "integer"),
        ("reasoning_effort", ["low"], "boolean or string"),
    ],
)
def test_the_error_of_an_effort_of_another_type_has_its_type(
    api: ApiServer, prefix: str, name: str, value: object, types: str
) -> None:
    answer = api.post(f"{prefix}/chat/completions", body(chat_template_kwargs={name: value}))

    assert answer.json()["error"]["param"] == f"chat_template_kwargs.{name}"
    assert answer.json()["error"]["message"].endswith(f"it must be of type {types}.")


@pytest.mark.parametrize("effort", ["auto", "adaptive"])
@pytest.mark.parametrize(
    "notation", [lambda effort: {"reasoning_effort": effort}, lambda effort: {"reasoning": {"effort": effort}}]
)
def test_fireworks_auto_is_the_model_s_default(notation: Callable[[str], dict[str, Any]], effort: str) -> None:
    reasoner = ReasoningEngine("<think>Hm.</think>Four.")
    with serving(reasoner.engine) as api:
        statuses = [
            api.post(f"{prefix}/chat/completions", body(**sent)).status_code
            for prefix, sent in (
                ("/inference/v1", notation(effort)),
                ("/inference/v1", {}),
                ("/inference/v1", notation(effort) | {"enable_thinking": False}),
                ("/v1", notation(effort)),
            )
        ]

    assert statuses == [200, 200, 200, 400]
    default, left_out, off = reasoner.prompts
    assert default == left_out != off


def test_a_switch_sets_the_variable_of_a_template_with_reasoning_of_its_own(prefix: str) -> None:
    reasoner = ReasoningEngine("Four.", "{{ messages[0].content }}{% if thinking %}!{% else %}.{% endif %}")
    with serving(reasoner.engine) as api:
        for sent in ({"enable_thinking": True}, {"thinking": True}, {"chat_template_kwargs": {"thinking": True}}, {}):
            api.post(f"{prefix}/chat/completions", body(**sent)).raise_for_status()

    assert reasoner.prompts == ["Hi!", "Hi!", "Hi!", "Hi."]


def test_reasoning_is_excluded_as_by_include_reasoning(prefix: str) -> None:
    raw = ask("<think>Hm.</think>Four.", prefix, reasoning={"exclude": True, "effort": "high"})

    assert message(raw) == (None, "Four.")


# --- earlier reasoning ---

TURNS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b", "reasoning_content": "first"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d", "reasoning": "second"},
]


@pytest.mark.parametrize(
    ("history", "shown"),
    [
        (None, ["first", "second"]),
        ("preserved", ["first", "second"]),
        ("interleaved", ["second"]),
        ("disabled", []),
    ],
)
def test_reasoning_history_selects_the_earlier_reasoning(prefix: str, history: str | None, shown: list[str]) -> None:
    reasoner = ReasoningEngine("e")
    with serving(reasoner.engine) as api:
        api.post(f"{prefix}/chat/completions", body(messages=TURNS, reasoning_history=history)).raise_for_status()

    assert [text for text in ("first", "second") if f"<think>{text}</think>" in reasoner.prompts[0]] == shown


# --- gpt-oss: special tokens delimit reasoning and calls ---

SPECIAL_TOKENS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|call|>", "<|end|>", "<|return|>")
ANALYSIS = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [{}, {"tools": TOOLS}, {"guided_json": SCHEMA}, {"reasoning_effort": "high"}])
def test_gpt_oss_reasons_and_answers_in_channels(prefix: str, sent: dict[str, Any]) -> None:
    output = '{"n": 4}' if "guided_json" in sent else "Four."
    reasoner = ReasoningEngine(
        f"{ANALYSIS}<|channel|>final<|message|>{output}", published()["openai-gpt-oss-120b"].source, SPECIAL_TOKENS
    )
    with serving(reasoner.engine) as api:
        raw = api.post(f"{prefix}/chat/completions", body(**sent)).json()

    assert message(raw) == ("Hm.", output)
    assert f"Reasoning: {sent.get('reasoning_effort', 'medium')}" in reasoner.prompts[0]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_gpt_oss_calls_in_a_channel(prefix: str, choice: str) -> None:
    call = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"n": 4}<|call|>'
    reasoner = ReasoningEngine(f"{ANALYSIS}{call}", published()["openai-gpt-oss-120b"].source, SPECIAL_TOKENS)
    with serving(reasoner.engine) as api:
        raw = api.post(f"{prefix}/chat/completions", body(tools=TOOLS, tool_choice=choice)).json()

    assert message(raw) == ("Hm.", None)
    assert raw["choices"][0]["message"]["tool_calls"][0]["function"] == {"arguments": '{"n": 4}', "name": "f"}
    assert "type f = (" in reasoner.prompts[0]


@pytest.mark.parametrize(
    ("sent", "effort"),
    [
        ({"enable_thinking": True}, "medium"),
        ({"thinking": {"type": "enabled"}}, "medium"),
        ({"enable_thinking": True, "reasoning_effort": "high"}, "high"),
        ({"chat_template_kwargs": {"reasoning_effort": "low"}}, "low"),
        ({"chat_template_kwargs": {"low_effort": True}}, "low"),
        ({"reasoning": {"effort": "high"}}, "high"),
    ],
)
def test_gpt_oss_gets_its_effort_in_any_notation(prefix: str, sent: dict[str, Any], effort: str) -> None:
    reasoner = ReasoningEngine(
        f"{ANALYSIS}<|channel|>final<|message|>Four.", published()["openai-gpt-oss-120b"].source, SPECIAL_TOKENS
    )
    with serving(reasoner.engine) as api:
        api.post(f"{prefix}/chat/completions", body(**sent)).raise_for_status()

    assert f"Reasoning: {effort}" in reasoner.prompts[0]


@pytest.mark.parametrize("effort", ["none", False, 100])
def test_gpt_oss_accepts_only_its_own_efforts(prefix: str, effort: object) -> None:
    reasoner = ReasoningEngine("", published()["openai-gpt-oss-120b"].source, SPECIAL_TOKENS)
    with serving(reasoner.engine) as api:
        answer = api.post(f"{prefix}/chat/completions", body(reasoning_effort=effort))

    assert answer.status_code == 400
    assert "low, medium, high" in answer.json()["error"]["message"]
