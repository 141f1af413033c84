"""The prompt of a chat: the body's messages by the model's template, or the token ids that it brings."""

from __future__ import annotations

from functools import lru_cache, partial

from crossette.api.generate import encode_off_loop
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.messages import conversation
from crossette.engine import Engine
from crossette.errors import InvalidRequest, NoChatTemplate
from crossette.prompt import encode_chat, encode_latest
from crossette.text.chat_template import RESERVED, ChatTemplate, TemplateOptions
from crossette.text.spans import words_of


async def chat_prompt(body: ChatRequest, engine: Engine) -> tuple[int, ...]:
    """The tokens. Raises InvalidRequest, naming what is at fault, or NoChatTemplate."""
    if body.prompt_token_ids is not None:
        return _given_prompt(body, body.prompt_token_ids, engine)
    template = chat_template(engine)
    messages = conversation(body.messages)
    encode = partial(
        encode_chat,
        engine.tokenizer,
        template,
        options=_template_options(body),
        safe=body.safe_tokenization is not False,
    )
    size = sum(map(len, words_of(messages)))
    if body.truncate_len:
        return await encode_off_loop(size, encode_latest, encode, messages, body.truncate_len)
    return await encode_off_loop(size, encode, messages)


def _given_prompt(body: ChatRequest, prompt: list[int], engine: Engine) -> tuple[int, ...]:
    """The prompt that a request brings as token ids."""
    for name in ("chat_template_kwargs", "continue_final_message", "prompt_truncate_len", "truncate_prompt_tokens"):
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


def _template_options(body: ChatRequest) -> TemplateOptions:
    """How the request wants its messages rendered."""
    variables = body.chat_template_kwargs or {}
    for name in RESERVED:
        if name in variables:
            raise InvalidRequest(
                f"'{name}' cannot be set by chat_template_kwargs: the server gives it to the template.",
                param=f"chat_template_kwargs.{name}",
            )
    if not body.continue_final_message:
        return TemplateOptions(body.add_generation_prompt is not False, variables=variables)
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
    return TemplateOptions(continue_final_message=True, variables=variables)


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
