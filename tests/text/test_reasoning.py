"""Reasoning options: they become template variables, a token budget, or an error."""

from __future__ import annotations

import re
from typing import Any

import pytest

from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import InvalidRequest, Unsupported
from crossette.testing.fake_tokenizer import FakeTokenizer
from crossette.text.reasoning import HARMONY, THINK, Reasoning, Thinking, reasoning_of, thinking, with_history
from crossette.types import Constraint
from support.template_corpus import published

END_OF_REASONING = 256
TOKENS = {"<think>": 258, "</think>": END_OF_REASONING}


def of(template: str) -> Reasoning:
    reasoning = reasoning_of(published()[template].source)
    assert reasoning is not None
    return reasoning


@pytest.mark.parametrize(
    ("template", "begin", "switch"),
    [
        ("Qwen-Qwen3-0.6B", "<think>", "enable_thinking"),
        ("Qwen-QwQ-32B", "<think>", None),
        ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "<think>", None),
        ("ibm-granite-granite-3.3-2B-Instruct", "<think>", "thinking"),
        ("openai-gpt-oss-120b", HARMONY.begin, None),
    ],
)
def test_a_published_template_identifies_the_reasoning_of_its_model(
    template: str, begin: str, switch: str | None
) -> None:
    assert (of(template).begin, of(template).switch) == (begin, switch)


def test_a_template_without_reasoning_tags_has_no_reasoning() -> None:
    assert reasoning_of(published()["Qwen-Qwen2.5-7B-Instruct"].source) is None


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [("<|Assistant|><think>\n", True), ("assistant\n<think>\n\n</think>\n\n", False), ("assistant\n", False)],
)
def test_a_prompt_shows_whether_reasoning_has_begun(prompt: str, is_open: bool) -> None:
    assert THINK.is_open(prompt) is is_open


@pytest.mark.parametrize(
    ("template", "effort", "variables", "budget"),
    [
        ("Qwen-Qwen3-0.6B", None, {}, None),
        ("Qwen-Qwen3-0.6B", "none", {"enable_thinking": False}, 0),
        ("Qwen-Qwen3-0.6B", False, {"enable_thinking": False}, 0),
        ("Qwen-Qwen3-0.6B", True, {"enable_thinking": True}, None),
        ("Qwen-Qwen3-0.6B", "low", {"enable_thinking": True}, 3000),
        ("Qwen-Qwen3-0.6B", 77, {"enable_thinking": True}, 77),
        ("Qwen-QwQ-32B", "none", {}, 0),
        ("openai-gpt-oss-120b", "high", {"reasoning_effort": "high"}, None),
        ("openai-gpt-oss-120b", True, {}, None),
    ],
)
def test_an_effort_becomes_variables_and_a_budget(
    template: str, effort: bool | int | str | None, variables: dict[str, Any], budget: int | None
) -> None:
    assert thinking(of(template), effort) == Thinking(variables, budget)


@pytest.mark.parametrize("effort", ["none", False, 0, 100])
def test_an_effort_that_the_model_does_not_support_is_rejected(effort: bool | int | str) -> None:
    with pytest.raises(Unsupported, match="low, medium, high"):
        thinking(HARMONY, effort)


def test_a_model_that_does_not_reason_accepts_only_no_effort() -> None:
    assert thinking(None, "none") == thinking(None, None) == Thinking()
    with pytest.raises(Unsupported, match="does not reason"):
        thinking(None, "low")


@pytest.mark.parametrize("effort", ["much", -1])
def test_an_invalid_effort_is_rejected(effort: int | str) -> None:
    with pytest.raises(InvalidRequest, match="one of none, minimal"):
        thinking(THINK, effort, "reasoning_effort")


# --- the preamble ---


def is_allowed(preamble: str, text: str, main: str = 'start: "answer"') -> bool:
    """Whether the grammar allows all of the text."""
    matcher = GrammarCompiler(FakeTokenizer(), 259, {257}).matcher(Constraint("lark", main, preamble=preamble))
    tokens: list[int] = []
    for piece in re.split("(</?think>)", text):
        tokens += [TOKENS[piece]] if piece in TOKENS else piece.encode()
    for token in tokens:
        if matcher.is_over or not matcher.allowed()[token]:
            return False
        matcher.accept_token(token)
    return True


@pytest.mark.parametrize(
    ("text", "budget", "is_open", "expected"),
    [
        ("abcde</think>\n\nanswer", 5, True, True),
        ("ab</think>answer", 5, True, True),
        ("abcdef", 5, True, False),
        ("</think>\n\nanswer", 0, True, True),
        ("a", 0, True, False),
        ("a" * 500 + "</think>answer", None, True, True),
        ("answer", None, True, True),  # as reasoning
        ("<think>abc</think>answer", 5, False, True),
        ("<think>abcdef", 5, False, False),
        ("answer", 5, False, True),
        ("<think>", 0, False, False),
        ("answer", 0, False, True),
    ],
)
def test_reasoning_stays_within_its_budget_and_the_answer_follows(
    text: str, budget: int | None, is_open: bool, expected: bool
) -> None:
    preamble = THINK.preamble(TOKENS.get, Thinking(budget=budget), is_open=is_open)

    assert is_allowed(preamble, text) is expected


def test_reasoning_has_a_budget_only_if_its_closing_tag_is_one_token() -> None:
    preamble = THINK.preamble(lambda text: None, Thinking(), is_open=True)
    assert "max_tokens" not in preamble

    with pytest.raises(Unsupported, match="not a single token of its vocabulary"):
        THINK.preamble(lambda text: None, Thinking(budget=9), is_open=True)


def test_the_answer_of_gpt_oss_opens_its_own_channel() -> None:
    preamble = HARMONY.preamble(lambda text: None, Thinking(), is_open=False)

    reasoning = "<|channel|>analysis<|message|>So.<|end|><|start|>assistant"
    assert is_allowed(preamble, f"{reasoning}<|channel|>final<|message|>answer")
    assert not is_allowed(preamble, f"{reasoning}answer")


# --- reasoning history ---


@pytest.mark.parametrize(
    ("history", "shown"), [("disabled", [False, False]), ("interleaved", [False, True]), ("preserved", [True, True])]
)
def test_the_history_option_selects_earlier_reasoning(history: Any, shown: list[bool]) -> None:
    def assistant(reasoning: str) -> dict[str, Any]:
        return {"role": "assistant", "content": "", "reasoning_content": reasoning, "reasoning": reasoning}

    user = {"role": "user", "content": "Hi"}
    messages = [user, assistant("one"), user, assistant("two"), {"role": "tool", "content": "3"}]

    rewritten = with_history(messages, history, THINK)

    assert ["reasoning_content" in message for message in rewritten if message["role"] == "assistant"] == shown
    assert [message["role"] for message in rewritten] == [message["role"] for message in messages]


def test_reasoning_is_in_the_field_that_the_template_reads() -> None:
    message = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}

    assert with_history([message], "preserved", HARMONY) == [{"role": "assistant", "content": "4", "thinking": "2+2"}]
