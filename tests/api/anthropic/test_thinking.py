"""Reasoning in POST /messages: blocks with signatures, budgets, efforts, and reasoning that is sent back."""

from __future__ import annotations

from typing import Any

import pytest

from support.anthropic_messages import folded, message_body, named_events, without_ids
from support.api_server import serving
from support.reasoning_engine import ReasoningEngine
from support.template_corpus import published

HARMONY_TOKENS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")
HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four."


def ask(engine: ReasoningEngine, *, streamed: bool = False, **sent: object) -> dict[str, Any]:
    with serving(engine.engine) as api:
        answer = api.post("/v1/messages", message_body(**{"max_tokens": 2000, **sent}) | {"stream": streamed})
    assert answer.status_code == 200, answer.text
    return without_ids(folded(named_events(answer.content)) if streamed else answer.json())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"output_config": {"effort": "high"}},
    ],
)
def test_reasoning_is_a_block_with_a_signature(sent: dict[str, Any], streamed: bool) -> None:
    message = ask(ReasoningEngine("<think>\nHm.\n</think>Four."), streamed=streamed, **sent)

    thinking, text = message["content"]
    assert (thinking["type"], thinking["thinking"]) == ("thinking", "Hm.")
    assert thinking["signature"].startswith("sha256:")
    assert text == {"type": "text", "text": "Four.", "citations": None}
    assert message["usage"]["output_tokens"] > len("Four.")


@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_is_omitted_on_request(streamed: bool) -> None:
    """Its block stays, as clients send it back."""
    shown, omitted = (
        ask(
            ReasoningEngine("<think>Hm.</think>Four."),
            streamed=streamed,
            thinking={"type": "enabled", "budget_tokens": 1024, "display": display},
        )["content"]
        for display in ("summarized", "omitted")
    )
    assert omitted == [shown[0] | {"thinking": ""}, shown[1]]


def test_thinking_is_disabled() -> None:
    engine = ReasoningEngine("Four.")
    message = ask(engine, thinking={"type": "disabled"})

    assert [block["type"] for block in message["content"]] == ["text"]
    assert engine.prompts[0].endswith("<think></think>")


def test_a_budget_ends_reasoning() -> None:
    message = ask(
        ReasoningEngine("<think>" + "a" * 1500 + "</think>Four."), thinking={"type": "enabled", "budget_tokens": 1024}
    )

    assert len(message["content"][0]["thinking"]) <= 1024
    assert ask(ReasoningEngine("<think>" + "a" * 1500 + "</think>Four."))["content"][0]["thinking"] == "a" * 1500


@pytest.mark.parametrize(
    ("sent", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4999}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9999}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10000}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "medium"}}, "medium"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "max"}}, "high"),
        ({"output_config": {"effort": "xhigh"}}, "high"),
    ],
)
def test_a_budget_is_an_effort_where_a_model_has_efforts(sent: dict[str, Any], effort: str) -> None:
    template, specials = published()["openai-gpt-oss-120b"].source, HARMONY_TOKENS
    engine = ReasoningEngine(HARMONY, template, specials)
    message = ask(engine, max_tokens=20_000, **sent)

    assert f"Reasoning: {effort}" in engine.prompts[0]
    assert [block["type"] for block in message["content"]] == ["thinking", "text"]


CONVERSATION = [
    {"role": "user", "content": "a"},
    {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "one", "signature": "s"}, {"type": "text", "text": "b"}],
    },
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "two"}, {"type": "text", "text": "d"}]},
    {"role": "user", "content": "e"},
]


@pytest.mark.parametrize(
    ("edits", "kept"),
    [
        (None, ("one", "two")),
        ([], ("one", "two")),
        ([{"type": "clear_thinking_20251015", "keep": "all"}], ("one", "two")),
        ([{"type": "clear_thinking_20251015", "keep": {"type": "all"}}], ("one", "two")),
        ([{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 2}}], ("one", "two")),
        ([{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}}], ("two",)),
        ([{"type": "clear_thinking_20251015"}], ("two",)),
    ],
)
def test_earlier_reasoning_reaches_the_template(edits: list[Any] | None, kept: tuple[str, ...]) -> None:
    engine = ReasoningEngine("Four.")
    ask(engine, messages=CONVERSATION, context_management=None if edits is None else {"edits": edits})

    assert [word for word in ("one", "two") if f"<think>{word}</think>" in engine.prompts[0]] == list(kept)
