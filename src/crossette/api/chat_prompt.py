"""The prompt of a chat: the body's messages by the model's template, or the token ids that it brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from crossette.api.generate import encode_off_loop
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.messages import conversation
from crossette.engine import Engine
from crossette.errors import InvalidRequest, NoChatTemplate, Unsupported
from crossette.generation.prompt import encode_chat, encode_latest
from crossette.text.reasoning import Reasoning, Thinking, reasoning_of, thinking, with_history
from crossette.text.template.chat_template import RESERVED, ChatTemplate, TemplateOptions
from crossette.text.template.messages import Message
from crossette.text.template.spans import user_strings
from crossette.text.tool_calls.families import ToolUse, tool_use
from crossette.text.tool_calls.prompt import with_tools
from crossette.text.tool_calls.tools import Tool, ToolChoice


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What a chat asks beside words: tools and thoughts, as its model knows them."""

    tools: Sequence[Tool]
    choice: ToolChoice
    use: ToolUse
    reasoning: Reasoning | None
    thinking: Thinking

    @classmethod
    def of(cls, body: ChatRequest, engine: Engine) -> ChatOptions:
        """Raises InvalidRequest, or Unsupported for what the model cannot do."""
        source = engine.info.chat_template or ""
        use, reasoning = _abilities(source, engine.info.tool_format)
        effort, param = body.effort()
        if reasoning is None and body.reasoning_history not in (None, "disabled"):
            raise Unsupported(
                "This model does not reason, so 'reasoning_history' can only be 'disabled': "
                f"{body.reasoning_history!r}",
                param="reasoning_history",
            )
        return cls(*body.tools_offered(), use, reasoning, thinking(reasoning, effort, param))


@lru_cache(maxsize=32)
def _abilities(template: str, tool_format: str) -> tuple[ToolUse, Reasoning | None]:
    return tool_use(template, tool_format), reasoning_of(template)


async def chat_prompt(body: ChatRequest, engine: Engine, wishes: ChatOptions) -> tuple[int, ...]:
    """The tokens. Raises InvalidRequest, naming what is at fault, or NoChatTemplate."""
    if body.prompt_token_ids is not None:
        return _given_prompt(body, body.prompt_token_ids, engine)
    template = chat_template(engine)
    messages = _messages(body, wishes)
    encode = partial(
        encode_chat,
        engine.tokenizer,
        template,
        options=_template_options(body, wishes),
        safe=body.safe_tokenization is not False,
    )
    size = sum(map(len, user_strings(messages)))
    if body.truncate_len:
        return await encode_off_loop(size, encode_latest, encode, messages, body.truncate_len)
    return await encode_off_loop(size, encode, messages)


def _messages(body: ChatRequest, wishes: ChatOptions) -> Sequence[Message]:
    """The conversation, with what the model is shown of tools and of its earlier thoughts."""
    messages: Sequence[Message] = conversation(body.messages)
    if wishes.reasoning is not None:
        messages = with_history(messages, body.reasoning_history or "preserved", wishes.reasoning)
    if wishes.tools and not wishes.use.is_listed:
        messages = with_tools(messages, wishes.tools, wishes.use.format)
    return messages


def _given_prompt(body: ChatRequest, prompt: list[int], engine: Engine) -> tuple[int, ...]:
    """The prompt that a request brings as token ids."""
    for name in (
        "chat_template_kwargs",
        "continue_final_message",
        "prompt_truncate_len",
        "truncate_prompt_tokens",
        "reasoning_history",
    ):
        if getattr(body, name):
            raise InvalidRequest(
                f"prompt_token_ids is the whole prompt, so '{name}' has nothing to act on: leave one of them out.",
                param=name,
            )
    size = engine.info.vocab_size
    wrong = next((place for place, token in enumerate(prompt) if not 0 <= token < size), None)
    if wrong is not None:
        raise InvalidRequest(
            f"prompt_token_ids[{wrong}] is {prompt[wrong]}, but the vocabulary ends at {size - 1}.",
            param=f"prompt_token_ids[{wrong}]",
        )
    if not prompt:
        raise InvalidRequest("prompt_token_ids is empty: there is nothing to answer.", param="prompt_token_ids")
    return tuple(prompt)


def _template_options(body: ChatRequest, wishes: ChatOptions) -> TemplateOptions:
    """How the request wants its messages rendered."""
    variables = _variables(body.chat_template_kwargs or {}, wishes.thinking)
    tools = [tool.described() for tool in wishes.tools] if wishes.use.is_listed else []
    if not body.continue_final_message:
        return TemplateOptions(body.add_generation_prompt is not False, variables=variables, tools=tools)
    if body.add_generation_prompt:
        raise InvalidRequest(
            "continue_final_message goes on within the last message, and add_generation_prompt begins another: "
            "send one of them.",
            param="continue_final_message",
        )
    if body.messages and body.messages[-1].role != "assistant":
        raise InvalidRequest(
            f"continue_final_message needs a last message of the assistant, not of role '{body.messages[-1].role}'.",
            param=f"messages[{len(body.messages) - 1}].role",
        )
    return TemplateOptions(continue_final_message=True, variables=variables, tools=tools)


def _variables(given: Mapping[str, Any], thinking: Thinking) -> dict[str, Any]:
    """What the template is told: by chat_template_kwargs, and by how long to think."""
    for name, value in given.items():
        if name in RESERVED:
            raise InvalidRequest(
                f"'{name}' cannot be set by chat_template_kwargs: the server gives it to the template.",
                param=f"chat_template_kwargs.{name}",
            )
        if name in thinking.variables and thinking.variables[name] != value:
            raise InvalidRequest(
                f"chat_template_kwargs.{name} and {thinking.param} say two things: send one of them.",
                param=thinking.param,
            )
    return {**thinking.variables, **given}


def chat_template(engine: Engine) -> ChatTemplate:
    """The template of an engine's model. Raises NoChatTemplate for a model that has none."""
    source = engine.info.chat_template
    if source is None:
        # Clients match on the end of it, as Fireworks words it.
        raise NoChatTemplate(
            f"'{engine.info.name}' continues text and has no chat template: model is missing conversation_config, "
            "please use /completions API instead",
            param="model",
        )
    return _compiled(source, engine.tokenizer.bos_token, engine.tokenizer.eos_token)


@lru_cache(maxsize=32)
def _compiled(source: str, bos_token: str, eos_token: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token=bos_token, eos_token=eos_token)
