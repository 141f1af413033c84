"""The prompt of a chat: messages rendered by the model's template, or the token ids in the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from crossette.api.dialect import Dialect
from crossette.api.endpoint import encode_off_loop
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.common import check_token_ids
from crossette.api.schema.messages import conversation
from crossette.api.schema.reasoning import EffortSent, effort_of, expected_types, is_effort
from crossette.engine import Engine
from crossette.errors import InvalidRequest, NoChatTemplate, Unsupported
from crossette.generation.prompt import encode_chat, encode_latest
from crossette.text.reasoning import Reasoning, Thinking, reasoning_of, switch_of, thinking, with_history
from crossette.text.template.chat_template import RESERVED, ChatTemplate, TemplateOptions
from crossette.text.template.jinja_environment import roles_of, variables_of
from crossette.text.template.messages import Message
from crossette.text.template.spans import user_strings
from crossette.text.tool_calls.families import ToolUse, tool_use
from crossette.text.tool_calls.prompt import with_tools
from crossette.text.tool_calls.tools import Tool, ToolChoice


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The tools and the reasoning of a chat request, resolved for its model."""

    tools: Sequence[Tool]
    choice: ToolChoice
    use: ToolUse
    reasoning: Reasoning | None
    thinking: Thinking
    template_variables: frozenset[str]
    """The variables that the model's template uses."""
    template_roles: frozenset[str]
    """The roles that it knows."""

    @classmethod
    def of(cls, body: ChatRequest, engine: Engine, dialect: Dialect) -> ChatOptions:
        """Raises InvalidRequest, or Unsupported for an option that the model does not support."""
        source = engine.info.chat_template or ""
        use, reasoning, variables, roles = _capabilities(source, engine.info.tool_format)
        effort = effort_of(body, dialect, variables)
        if reasoning is None and body.reasoning_history not in (None, "disabled"):
            raise Unsupported(
                "This model does not reason, so 'reasoning_history' can only be 'disabled': "
                f"{body.reasoning_history!r}",
                param="reasoning_history",
            )
        tools, choice = body.tools_and_choice()
        return cls(tools, choice, use, reasoning, _thinking(reasoning, effort, variables), variables, roles)


@lru_cache(maxsize=32)
def _capabilities(template: str, tool_format: str) -> tuple[ToolUse, Reasoning | None, frozenset[str], frozenset[str]]:
    """The tool format, the reasoning, the variables and the roles of a template."""
    return tool_use(template, tool_format), reasoning_of(template), variables_of(template), roles_of(template)


def _thinking(reasoning: Reasoning | None, sent: EffortSent | None, variables: frozenset[str]) -> Thinking:
    if sent is None:
        return Thinking()
    switch = switch_of(variables)
    if reasoning is None and switch is not None and sent.is_switch:  # the template marks reasoning in its own way
        return Thinking({switch: sent.effort}, param=sent.param)
    return thinking(reasoning, sent.effort, sent.param)


async def chat_prompt(body: ChatRequest, engine: Engine, options: ChatOptions) -> tuple[int, ...]:
    """The tokens of the prompt, with one for each image.

    Raises InvalidRequest, naming the invalid field, or NoChatTemplate.
    """
    if body.prompt_token_ids is not None:
        return _given_prompt(body, body.prompt_token_ids, engine)
    template = chat_template(engine)
    messages = _messages(body, options, sees=engine.info.sees)
    encode = partial(
        encode_chat,
        engine.tokenizer,
        template,
        options=_template_options(body, options),
        safe=body.safe_tokenization is not False,
    )
    size = sum(map(len, user_strings(messages)))
    if body.truncate_len:
        return await encode_off_loop(size, encode_latest, encode, messages, body.truncate_len)
    return await encode_off_loop(size, encode, messages)


def chat_text(body: ChatRequest, engine: Engine, options: ChatOptions) -> str:
    """The text of the prompt. Raises as `chat_prompt` does."""
    return chat_template(engine).render(
        _messages(body, options, sees=engine.info.sees), _template_options(body, options)
    )


def _messages(body: ChatRequest, options: ChatOptions, *, sees: bool) -> Sequence[Message]:
    """The conversation, with tool descriptions and earlier reasoning as the model's template needs them."""
    messages: Sequence[Message] = conversation(body.messages, options.template_roles, sees=sees)
    if options.reasoning is not None:
        messages = with_history(messages, body.reasoning_history or "preserved", options.reasoning)
    if options.tools and not options.use.is_listed:
        messages = with_tools(messages, options.tools, options.use.format)
    return messages


def _given_prompt(body: ChatRequest, prompt: list[int], engine: Engine) -> tuple[int, ...]:
    """Validate the prompt that a request has as token ids."""
    for name in (
        "chat_template_kwargs",
        "continue_final_message",
        "prompt_truncate_len",
        "truncate_prompt_tokens",
        "reasoning_history",
    ):
        if getattr(body, name):
            raise InvalidRequest(
                f"prompt_token_ids is the whole prompt, so '{name}' has no effect: leave one of them out.",
                param=name,
            )
    check_token_ids("prompt_token_ids", prompt, engine.info)
    if not prompt:
        raise InvalidRequest("prompt_token_ids is empty: there is nothing to answer.", param="prompt_token_ids")
    return tuple(prompt)


def _template_options(body: ChatRequest, options: ChatOptions) -> TemplateOptions:
    """The options for rendering the messages of a request."""
    variables = _variables(body.chat_template_kwargs or {}, options)
    tools = [tool.described() for tool in options.tools] if options.use.is_listed else []
    if not body.continue_final_message:
        return TemplateOptions(body.add_generation_prompt is not False, variables=variables, tools=tools)
    if body.add_generation_prompt:
        raise InvalidRequest(
            "continue_final_message continues the last message, and add_generation_prompt starts another: "
            "send one of them.",
            param="continue_final_message",
        )
    if body.messages and body.messages[-1].role != "assistant":
        raise InvalidRequest(
            f"continue_final_message needs a last message of role 'assistant', not '{body.messages[-1].role}'.",
            param=f"messages[{len(body.messages) - 1}].role",
        )
    return TemplateOptions(continue_final_message=True, variables=variables, tools=tools)


def _no_variable(name: str, param: str) -> Unsupported:
    """The error of a variable that the template does not use, and that is no effort in its type."""
    types = expected_types(name)
    hint = f" As a reasoning option, it must be of type {types}." if types else ""
    return Unsupported(f"'{param}' has no effect: the model's template has no such variable.{hint}", param=param)


def _variables(given: Mapping[str, Any], options: ChatOptions) -> dict[str, Any]:
    """The template variables of `chat_template_kwargs` and of the reasoning effort."""
    used = options.template_variables
    for name, value in given.items():
        param = f"chat_template_kwargs.{name}"
        if name in RESERVED:
            raise InvalidRequest(f"'{name}' cannot be set by chat_template_kwargs: the server sets it.", param=param)
        if name not in used and value is not None and not is_effort(name, value):
            raise _no_variable(name, param)
    variables = {name: value for name, value in given.items() if name in used}
    for name, value in options.thinking.variables.items():
        # Efforts have been compared, but not the values that only the template knows.
        if not isinstance(variables.get(name, value), bool) and variables.get(name, value) != value:
            param = options.thinking.param
            raise InvalidRequest(
                f"chat_template_kwargs.{name} and {param} contradict each other: send one of them.", param=param
            )
    return {**variables, **options.thinking.variables}


def chat_template(engine: Engine) -> ChatTemplate:
    """The template of an engine's model. Raises NoChatTemplate for a model that has none."""
    source = engine.info.chat_template
    if source is None:
        # Clients match the end of this message, which is Fireworks' own.
        raise NoChatTemplate(
            f"'{engine.info.name}' continues text and has no chat template: model is missing conversation_config, "
            "please use /completions API instead",
            param="model",
        )
    return _compiled(source, engine.tokenizer.bos_token, engine.tokenizer.eos_token)


@lru_cache(maxsize=32)
def _compiled(source: str, bos_token: str, eos_token: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token=bos_token, eos_token=eos_token)
