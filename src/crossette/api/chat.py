"""POST /chat/completions: a conversation answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache

from msgspec import UNSET

from crossette.api.dialect import Dialect
from crossette.api.generate import Call, Writer, encode_off_loop
from crossette.api.schema.chat import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChunkChoice,
    DeltaBody,
)
from crossette.api.schema.common import Head, StreamUsage, usage_body
from crossette.engine import Engine
from crossette.errors import InvalidRequest
from crossette.generation import Answer, Delta, collect
from crossette.prompt import encode_chat
from crossette.text.chat_template import ChatTemplate
from crossette.types import FinishReason


async def prepare(body: ChatRequest, engine: Engine, dialect: Dialect) -> Call:
    """Everything that may refuse the request, before anything is answered."""
    template = chat_template(engine)
    messages = body.conversation()
    size = sum(len(message["content"]) for message in messages)
    safe = body.safe_tokenization is not False
    prompt = await encode_off_loop(size, encode_chat, engine.tokenizer, template, messages, safe=safe)
    return Call([prompt], default_max_tokens=None)


def chat_template(engine: Engine) -> ChatTemplate:
    """The template of an engine's model. Raises InvalidRequest for a model that has none."""
    source = engine.info.chat_template
    if source is None:
        raise InvalidRequest(
            f"The model '{engine.info.name}' has no chat template: it continues text. Use /completions.",
            param="model",
        )
    return _compiled(source, engine.tokenizer.bos_token, engine.tokenizer.eos_token)


@lru_cache(maxsize=32)
def _compiled(source: str, bos_token: str, eos_token: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token=bos_token, eos_token=eos_token)


class ChatReply:
    """Writes deltas as chunks of a chat, or all of them as one message."""

    def __init__(self, head: Head, body: ChatRequest, dialect: Dialect, logprobs: Writer) -> None:
        self._head = head
        self._logprobs = logprobs
        self._usage = StreamUsage(dialect, body.stream_options)
        self._first = DeltaBody("assistant", "" if dialect.first_delta_has_content else UNSET)

    async def chunks(self, answer: Answer) -> AsyncGenerator[ChatChunk, None]:
        num_open = len(answer.choices)
        begun: set[int] = set()
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                if delta.index not in begun:
                    begun.add(delta.index)
                    yield self._chunk(answer, delta, self._first)
                if delta.text or delta.tokens:
                    yield self._chunk(answer, delta, DeltaBody(content=delta.text), has_tokens=True)
                if delta.finish_reason is not None:
                    num_open -= 1
                    yield self._chunk(answer, delta, DeltaBody(), delta.finish_reason, is_last_finish=num_open == 0)
        if self._usage.at_end:
            head = self._head
            usage = usage_body(answer.usage)
            yield ChatChunk(head.id, "chat.completion.chunk", head.created, head.model, [], usage)

    def _chunk(
        self,
        answer: Answer,
        delta: Delta,
        content: DeltaBody,
        finish_reason: FinishReason | None = None,
        *,
        is_last_finish: bool = False,
        has_tokens: bool = False,
    ) -> ChatChunk:
        return ChatChunk(
            self._head.id,
            "chat.completion.chunk",
            self._head.created,
            self._head.model,
            [ChunkChoice(delta.index, content, finish_reason, self._logprobs(delta.tokens) if has_tokens else None)],
            self._usage.on_chunk(answer.usage, is_last_finish=is_last_finish),
        )

    async def whole(self, answer: Answer) -> ChatCompletion:
        choices = [
            ChatChoice(
                whole.index,
                AssistantMessage("assistant", whole.text),
                whole.finish_reason,
                self._logprobs(whole.tokens),
            )
            for whole in await collect(answer)
        ]
        head = self._head
        usage = usage_body(answer.usage)
        return ChatCompletion(head.id, "chat.completion", head.created, head.model, choices, usage)
