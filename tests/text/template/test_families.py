"""Published templates of well-known families: the documented prompts, and user strings that never become markup."""

# ruff: noqa: RUF001 - DeepSeek's tags have a full-width bar

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.api.schema.messages import Message, conversation
from crossette.errors import InvalidRequest, Unsupported
from crossette.generation.prompt import encode_chat
from crossette.models.store import StoredModel
from crossette.text.template.chat_template import ChatTemplate, TemplateOptions
from support.template_corpus import published

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
LLAMA_3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>")
MISTRAL = ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
PHI_3 = ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
QWEN_3 = (*CHATML, "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")
DEEPSEEK_TOOLS = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<｜tool▁outputs▁end｜>",
)


class MarkupTokenizer:
    """Bytes, and a token for each control token of a family; as in its vocabulary, the longest match wins."""

    def __init__(self, specials: Sequence[str], bos: str, eos: str) -> None:
        self._specials = specials
        self._pattern = re.compile("|".join(map(re.escape, sorted(specials, key=len, reverse=True))))
        self.bos_token, self.eos_token = bos, eos
        self.bos_token_id = 256 + specials.index(bos) if bos else None

    def encode(self, text: str, *, specials: bool) -> list[int]:
        if not specials:
            return list(text.encode("utf-8", "surrogatepass"))
        tokens: list[int] = []
        for piece in re.split(f"({self._pattern.pattern})", text):
            tokens += [256 + self._specials.index(piece)] if piece in self._specials else piece.encode()
        return tokens

    def has_specials(self, text: str) -> bool:
        return self._pattern.search(text) is not None

    def token_bytes(self, token_id: int) -> bytes:
        return bytes((token_id,)) if token_id < 256 else b""

    def token_text(self, token_id: int) -> bytes:
        return bytes((token_id,)) if token_id < 256 else self._specials[token_id - 256].encode()


@dataclass(frozen=True)
class Family:
    """A template's name in the corpus, and its model's vocabulary: `bos` if every prompt begins with one."""

    template: str
    specials: Sequence[str]
    bos: str = ""
    eos: str = ""
    reasons: bool = False

    @cached_property
    def tokenizer(self) -> MarkupTokenizer:
        return MarkupTokenizer(self.specials, self.bos, self.eos)

    @cached_property
    def chat_template(self) -> ChatTemplate:
        return ChatTemplate(published()[self.template].source, bos_token=self.bos, eos_token=self.eos)

    def encode(self, messages: Sequence[dict[str, Any]], **options: Any) -> tuple[int, ...]:
        return encode_chat(self.tokenizer, self.chat_template, messages, TemplateOptions(**options))

    def prompt(self, messages: Sequence[dict[str, Any]], **options: Any) -> str:
        """The prompt as text, with control tokens and BOS."""
        return b"".join(map(self.tokenizer.token_text, self.encode(messages, **options))).decode()


def mistral(template: str) -> Family:
    return Family(template, (*MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), "<s>", "</s>")


FAMILIES = {
    "Llama 2": Family("TheBloke/FusionNet_34Bx2_MoE-AWQ", ("<s>", "</s>"), "<s>", "</s>"),
    "Llama 3": Family("Llama-3", LLAMA_3, "<|begin_of_text|>", "<|eot_id|>"),
    "Llama 3.1": Family("meta-llama-Llama-3.1-8B-Instruct", LLAMA_3, "<|begin_of_text|>", "<|eot_id|>"),
    "Llama 3.2": Family("meta-llama-Llama-3.2-3B-Instruct", LLAMA_3, "<|begin_of_text|>", "<|eot_id|>"),
    "Mistral 0.2": mistral("mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt)"),
    "Mistral v1": mistral("mistralai/Mistral-7B-Instruct-v0.2 (mistralai 'v1' template with a system prompt)"),
    "Mistral v3": mistral(
        "Mistral-Large-Instruct-2407 (mistralai 'v3' template; modified to have system prompt at start)"
    ),
    "Mistral Nemo": mistral("mistralai-Mistral-Nemo-Instruct-2407"),
    "Mistral v7": mistral("mistralai/Mistral-Large-Instruct-2411 (mistralai 'v7' template)"),
    "Qwen 2.5": Family("Qwen-Qwen2.5-7B-Instruct", CHATML, eos="<|im_end|>"),
    "Qwen 3": Family("Qwen-Qwen3-0.6B", QWEN_3, eos="<|im_end|>", reasons=True),
    "QwQ": Family("Qwen-QwQ-32B", QWEN_3, eos="<|im_end|>", reasons=True),
    "Gemma": Family("google/gemma-7b-it", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>"),
    "Gemma 2": Family("google-gemma-2-2b-it", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>"),
    "Phi 3": Family("Phi-3-mini", PHI_3, "<s>", "<|endoftext|>"),
    "Phi 3.5": Family("microsoft-Phi-3.5-mini-instruct", PHI_3, eos="<|endoftext|>"),
    "Phi 4": Family("phi-4", (*CHATML, "<|im_sep|>"), eos="<|im_end|>"),
    "DeepSeek V2": Family("DeepSeek-V2", DEEPSEEK[:2], DEEPSEEK[0], DEEPSEEK[1]),
    "DeepSeek R1": Family(
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", DEEPSEEK + DEEPSEEK_TOOLS, DEEPSEEK[0], DEEPSEEK[1], reasons=True
    ),
    "Hermes": Family("teknium/OpenHermes-2.5-Mistral-7B", ("<s>", "</s>", *CHATML[:2]), "<s>", "<|im_end|>"),
}

every_family = pytest.mark.parametrize("name", FAMILIES)


def message_of(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


CONVERSATION = [
    message_of("system", "Be brief."),
    message_of("user", "Hi"),
    message_of("assistant", "Hello!"),
    message_of("user", "And now?"),
]

CHATML_PROMPT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n"
)
LLAMA_3_PROMPT = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd now?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA_PROMPT = (
    "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
    "<start_of_turn>user\nAnd now?<end_of_turn>\n<start_of_turn>model\n"
)
PROMPTS = {
    "Llama 2": ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] And now? [/INST]"),
    "Llama 3": LLAMA_3_PROMPT.format(system="Be brief."),
    "Llama 3.1": LLAMA_3_PROMPT.format(
        system="Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief."
    ),
    "Llama 3.2": LLAMA_3_PROMPT.format(
        system="Cutting Knowledge Date: December 2023\nToday Date: 05 Mar 2023\n\nBe brief."
    ),
    "Mistral 0.2": "<s>[INST] Be brief.\n\nHi [/INST]Hello!</s>[INST] And now? [/INST]",
    "Mistral v1": "<s> [INST] Be brief.\n\nHi [/INST] Hello!</s> [INST] And now? [/INST]",
    "Mistral v3": "<s>[INST] Hi[/INST] Hello!</s>[INST] Be brief.\n\nAnd now?[/INST]",
    "Mistral Nemo": "<s>[INST]Hi[/INST]Hello!</s>[INST]Be brief.\n\nAnd now?[/INST]",
    "Mistral v7": "<s>[SYSTEM_PROMPT] Be brief.[/SYSTEM_PROMPT][INST] Hi[/INST] Hello!</s>[INST] And now?[/INST]",
    "Qwen 2.5": CHATML_PROMPT,
    "Qwen 3": CHATML_PROMPT,
    "QwQ": CHATML_PROMPT + "<think>\n",
    "Gemma": GEMMA_PROMPT,
    "Gemma 2": GEMMA_PROMPT,
    "Phi 3": (
        "<s><|user|>\nBe brief.\n\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n<|user|>\nAnd now?<|end|>\n<|assistant|>\n"
    ),
    "Phi 3.5": (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
        "<|user|>\nAnd now?<|end|>\n<|assistant|>\n"
    ),
    "Phi 4": (
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_end|>"
        "<|im_start|>assistant<|im_sep|>Hello!<|im_end|><|im_start|>user<|im_sep|>And now?<|im_end|>"
        "<|im_start|>assistant<|im_sep|>"
    ),
    "DeepSeek V2": (
        "<｜begin▁of▁sentence｜>Be brief.\n\nUser: Hi\n\nAssistant: Hello!<｜end▁of▁sentence｜>"
        "User: And now?\n\nAssistant:"
    ),
    "DeepSeek R1": (
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜>"
        "<｜User｜>And now?<｜Assistant｜><think>\n"
    ),
    "Hermes": "<s>" + CHATML_PROMPT,
}
"""The prompts that model cards and documentation show for such a conversation."""


@every_family
def test_a_conversation_becomes_the_documented_prompt(name: str) -> None:
    """It begins with exactly one BOS, whether or not the template writes it."""
    assert FAMILIES[name].prompt(CONVERSATION, now=datetime(2023, 3, 5)) == PROMPTS[name]


def test_the_default_models_template_renders_chatml(real_model: StoredModel) -> None:
    assert real_model.chat_template is not None
    template = ChatTemplate(real_model.chat_template)

    assert template.render(CONVERSATION) == CHATML_PROMPT
    assert template.render(CONVERSATION[1:2]).startswith(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM"
    )


OTHERS_CONVERSATION = [
    message_of("system", "You are a helpful assistant"),
    message_of("user", "Hello"),
    message_of("assistant", "Hi there"),
    message_of("user", "Who are you"),
    message_of("assistant", "   I am an assistant   "),
    message_of("user", "Another question"),
]
NOT_ALIKE = {
    "ChatGLM3": "a line begins with a space that the other engine leaves out",
    "ai-sage/GigaChat-20B-A3B-instruct": "it uses a variable that only its tokenizer has",
    "inclusionAI/Ling-lite": "the other engine's test does not render the template with Jinja",
}


@pytest.mark.slow
def test_other_engines_render_the_same() -> None:
    cases = {name: case for name, case in published().items() if case.prompt and name not in NOT_ALIKE}

    rendered = {
        name: ChatTemplate(case.source, bos_token=case.bos_token, eos_token=case.eos_token).render(OTHERS_CONVERSATION)
        for name, case in cases.items()
    }

    assert len(cases) > 25
    # If a template does not support system messages, the other engine adds one line break after them.
    alike = {name: prompt.replace("assistant\n\nHello", "assistant\nHello") for name, prompt in rendered.items()}
    assert alike == {
        name: (case.prompt or "").replace("assistant\n\nHello", "assistant\nHello") for name, case in cases.items()
    }


# --- tools ---

CALL = '<tool_call>\n{"name": "sky", "arguments": {"city": "Oslo"}}\n</tool_call>'
RESULT = "<tool_response>\nsunny\n</tool_response>"
CHATML_TOOLS = (
    "<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n" + CALL + "<|im_end|>\n"
    "<|im_start|>user\n" + RESULT + "<|im_end|>\n<|im_start|>assistant\n"
)
TOOL_PROMPTS = {
    "Llama 3.1": (
        "<|start_header_id|>user<|end_header_id|>\n\nWeather?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        '{"name": "sky", "parameters": {"city": "Oslo"}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n'
        '"sunny"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
    ),
    "Mistral Nemo": (
        '<s>[INST]Weather?[/INST][TOOL_CALLS][{"name": "sky", "arguments": {"city": "Oslo"}, "id": "abcd12345"}]</s>'
        '[TOOL_RESULTS]{"content": sunny, "call_id": "abcd12345"}[/TOOL_RESULTS]'
    ),
    "Qwen 2.5": CHATML_TOOLS,
    "Qwen 3": CHATML_TOOLS,
    "DeepSeek R1": (
        "<｜begin▁of▁sentence｜><｜User｜>Weather?<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function"
        '<｜tool▁sep｜>sky\n```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜>'
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>sunny<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
    ),
    "Gemma 2": (
        "<bos><start_of_turn>user\nWeather?<end_of_turn>\n<start_of_turn>model\n" + CALL + "<end_of_turn>\n"
        "<start_of_turn>user\n" + RESULT + "<end_of_turn>\n<start_of_turn>model\n"
    ),
    "Hermes": "<s>" + CHATML_TOOLS,
    "Mistral v1": "<s> [INST] Weather? [/INST] " + CALL + "</s> [INST] " + RESULT + " [/INST]",
}
"""The format that a model was trained on; text for models without tools."""


@pytest.mark.parametrize("name", TOOL_PROMPTS)
@pytest.mark.parametrize("arguments", ['{"city": "Oslo"}', {"city": "Oslo"}])
def test_tool_messages_are_in_the_format_of_each_family_or_text(name: str, arguments: object) -> None:
    call = {"id": "abcd12345", "type": "function", "function": {"name": "sky", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcd12345", "content": "sunny"},
    ]

    prompt = FAMILIES[name].prompt(conversation(msgspec.convert(messages, list[Message])))

    assert prompt.endswith(TOOL_PROMPTS[name])


# --- reasoning, and other options of requests ---

REASONING = message_of("assistant", "<think>\nHm.\n</think>\n\nHello!")


@pytest.mark.parametrize("name", ["Qwen 3", "QwQ", "DeepSeek R1"])
def test_reasoning_of_earlier_turns_is_left_out_as_such_models_expect(name: str) -> None:
    """Also if clients replay it in the content, with a control token there."""
    family = FAMILIES[name]
    replayed = [*CONVERSATION[:2], REASONING, CONVERSATION[3]]
    with_eos = [*CONVERSATION[:2], message_of("assistant", REASONING["content"] + family.eos), CONVERSATION[3]]

    prompt = family.prompt(replayed)

    assert prompt.replace("\n\nHello!", "Hello!") == PROMPTS[name]
    assert markup(family.encode(with_eos)) == markup(family.encode(replayed))


def test_reasoning_in_its_own_field_is_rendered_during_the_turn() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}
    turn = {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [call]}
    messages = [message_of("user", "Hi"), turn, {"role": "tool", "tool_call_id": "a", "content": "1"}]

    assert "<|im_start|>assistant\n<think>\nHm.\n</think>\n\n<tool_call>" in FAMILIES["Qwen 3"].prompt(messages)


def test_a_requests_variables_reach_the_template() -> None:
    prompt = FAMILIES["Qwen 3"].prompt(CONVERSATION, variables={"enable_thinking": False})

    assert prompt == CHATML_PROMPT + "<think>\n\n</think>\n\n"


@every_family
def test_the_last_message_can_be_continued(name: str) -> None:
    """The prompt ends with its text: no turn is closed, and none is begun."""
    prompt = FAMILIES[name].prompt(CONVERSATION[:3], continue_final_message=True)

    assert prompt.endswith("Hello!")
    assert FAMILIES[name].prompt(CONVERSATION, now=datetime.now()).startswith(prompt.partition("Be brief.")[0])


@pytest.mark.parametrize(
    ("name", "messages", "index"),
    [
        (
            "Gemma 2",
            [
                message_of("user", "a"),
                message_of("assistant", "b"),
                message_of("assistant", "c"),
                message_of("user", "d"),
            ],
            2,
        ),
        ("Mistral v1", [message_of("user", "a"), message_of("user", "b"), message_of("assistant", "c")], 1),
        ("Mistral Nemo", [message_of("system", "a"), message_of("assistant", "b"), message_of("user", "c")], 1),
    ],
)
def test_the_error_names_the_message_that_a_family_rejects(
    name: str, messages: list[dict[str, Any]], index: int
) -> None:
    with pytest.raises(InvalidRequest, match=rf"refused messages\[{index}\]: .*(alternate|supported)") as raised:
        FAMILIES[name].encode(messages)

    assert raised.value.param == f"messages[{index}]"


# --- user strings stay text ---


@st.composite
def conversations(draw: st.DrawFn, family: Family) -> list[dict[str, Any]]:
    """A conversation whose text may contain the family's control tokens, complete, in part, or after trimming."""
    pieces = [*family.specials, *(tag[:3] for tag in family.specials), "|>", "]", "<", " ", "\n", "é", "a"]
    texts = st.lists(st.sampled_from(pieces), min_size=1, max_size=6).map("".join)
    roles = [*draw(st.sampled_from([[], ["system"]])), "user", *draw(st.sampled_from([[], ["assistant", "user"]]))]
    return [message_of(role, draw(texts)) for role in roles]


@pytest.mark.slow
@every_family
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_text_never_becomes_markup_in_any_family(name: str, data: st.DataObject) -> None:
    family = FAMILIES[name]
    messages = data.draw(conversations(family))
    neutral = [message_of(message["role"], "x") for message in messages]
    options = TemplateOptions(now=datetime(2023, 3, 5))

    try:
        tokens = encode_chat(family.tokenizer, family.chat_template, messages, options)
    except Unsupported:
        assert family.reasons  # it searches the text for its own tags, and no other template may be rejected
        return

    assert markup(tokens) == markup(encode_chat(family.tokenizer, family.chat_template, neutral, options))
    rendered = family.chat_template.render(messages, options)
    assert b"".join(map(family.tokenizer.token_text, tokens)).decode() in (rendered, family.bos + rendered)


def markup(tokens: Sequence[int]) -> list[int]:
    return [token for token in tokens if token > 255]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llama 3.1", "Mistral Nemo", "Qwen 2.5", "DeepSeek R1", "Gemma 2", "Hermes"])
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_text_of_tools_never_becomes_markup(name: str, data: st.DataObject) -> None:
    """Names, arguments with their keys, and results: they are as untrusted as user messages."""
    family = FAMILIES[name]
    tag = st.sampled_from([*family.specials, "a", '"', "\\", "\n", "é"])
    texts = st.lists(tag, min_size=1, max_size=4).map("".join)
    samples = [data.draw(texts) for _ in range(4)]

    def tokens(name: str, key: str, value: str, result: str) -> list[int]:
        call = {"id": "abcd12345", "type": "function", "function": {"name": name, "arguments": {key: [value]}}}
        messages = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "abcd12345", "content": result},
        ]
        return markup(family.encode(conversation(msgspec.convert(messages, list[Message])), now=datetime(2023, 3, 5)))

    assert tokens(*samples) == tokens("f", "k", "v", "r")
