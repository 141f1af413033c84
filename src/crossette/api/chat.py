"""POST /chat/completions: a conversation answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from crossette.api.chat_prompt import chat_prompt
from crossette.api.dialect import Dialect
from crossette.api.generate import Call
from crossette.api.schema.answer import Head, StreamUsage, usage_body
from crossette.api.schema.chat import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChunkChoice,
    DeltaBody,
)
from crossette.api.writer import Writer
from crossette.engine import Engine
from crossette.generation import Answer, Delta, Fold, Whole, collect


async def prepare(body: ChatRequest, engine: Engine, dialect: Dialect) -> Call:
    """Everything that may refuse the request, before anything is answered."""
    return Call([await chat_prompt(body, engine)], default_max_tokens=None)


class ChatReply:
    """Writes deltas as chunks of a chat, or all of them as one message."""

    def __init__(self, head: Head, body: ChatRequest, dialect: Dialect, writer: Writer) -> None:
        self._write = writer
        self._usage = StreamUsage(dialect, body.stream_options)
        self._refusal = None if dialect.refusals else UNSET
        self._annotations: list[Any] | UnsetType = [] if dialect.refusals else UNSET  # Any: there never is one
        self._first = DeltaBody("assistant", "" if dialect.first_delta_has_content else UNSET, self._refusal)
        self._chunk = partial(ChatChunk, object="chat.completion.chunk", **asdict(head))
        self._whole = partial(ChatCompletion, object="chat.completion", **asdict(head))

    async def chunks(self, answer: Answer) -> AsyncGenerator[ChatChunk, None]:
        fold = Fold(len(answer.choices))
        prompt_ids = self._write.prompt_ids(answer, 0)
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                is_first = delta.index not in fold
                fold.add(delta)
                for choice in self._choices(delta, fold, answer, is_first=is_first):
                    is_last = choice.finish_reason is not None and not answer.num_open
                    yield self._chunk(
                        choices=[choice],
                        usage=self._usage.on_chunk(answer.usage, is_last_finish=is_last),
                        prompt_token_ids=prompt_ids,
                        perf_metrics=self._write.perf_metrics(answer) if is_last else UNSET,
                    )
                    prompt_ids = UNSET
        if self._usage.at_end:
            yield self._chunk(choices=[], usage=usage_body(answer.usage))

    def _choices(self, delta: Delta, fold: Fold, answer: Answer, *, is_first: bool) -> Iterator[ChunkChoice]:
        """A delta as up to three chunks: the role, what is said, the end."""
        if is_first:
            yield ChunkChoice(delta.index, self._first)
        if delta.text or delta.tokens:
            yield ChunkChoice(
                delta.index,
                DeltaBody(content=delta.text),
                logprobs=self._write(delta.tokens),
                token_ids=self._write.token_ids(delta.tokens),
            )
        if delta.finish_reason is not None:
            raw = self._write.raw_output(answer, fold.whole(delta.index))
            yield ChunkChoice(delta.index, DeltaBody(), delta.finish_reason, raw_output=raw)

    async def whole(self, answer: Answer) -> ChatCompletion:
        return self._whole(
            choices=[self._choice(whole, answer) for whole in await collect(answer)],
            usage=usage_body(answer.usage),
            prompt_token_ids=self._write.prompt_ids(answer, 0),
            perf_metrics=self._write.perf_metrics(answer),
        )

    def _choice(self, whole: Whole, answer: Answer) -> ChatChoice:
        return ChatChoice(
            whole.index,
            AssistantMessage("assistant", whole.text, self._refusal, self._annotations),
            whole.finish_reason,
            self._write(whole.tokens),
            self._write.token_ids(whole.tokens),
            self._write.raw_output(answer, whole),
        )
