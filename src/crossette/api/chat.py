"""POST /chat/completions: a conversation answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from crossette.api.chat_prompt import ChatOptions, chat_prompt
from crossette.api.dialect import Dialect
from crossette.api.extras import Writer
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
from crossette.api.schema.response_format import OutputFormatBuilder, output_format_asked
from crossette.api.tool_calls import CallWriter
from crossette.engine import Engine
from crossette.generation.answer import Accumulator, Answer, ChoiceResult, collect
from crossette.generation.choice import Delta
from crossette.generation.prompt import spelled, token_id
from crossette.text.output_plan import OutputPlan, ReasoningPlan, output_plan
from crossette.text.pieces import Content, Piece, ReasoningText, ToolCallArguments, ToolCallStart
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.types import Usage

_END_OF_PROMPT = 16
"""Tokens in which the mark of open thoughts would stand."""


async def prepare(body: ChatRequest, engine: Engine, dialect: Dialect) -> Call:
    """Everything that may refuse the request, before anything is answered."""
    wishes = ChatOptions.of(body, engine)
    making = output_format_asked(body)
    prompt = await chat_prompt(body, engine, wishes)
    is_plain = not wishes.tools and wishes.reasoning is None and making is None
    plan = None if is_plain else partial(_plan, engine, wishes, making, prompt)
    return Call([prompt], default_max_tokens=None, plan=plan)


def _plan(
    engine: Engine, wishes: ChatOptions, making: OutputFormatBuilder | None, prompt: tuple[int, ...]
) -> OutputPlan:
    """How the answer is read and what it is held to. Large schemas take their time."""
    thoughts = None
    if wishes.reasoning is not None:
        is_open = wishes.reasoning.is_open(spelled(engine.tokenizer, prompt[-_END_OF_PROMPT:]))
        thoughts = ReasoningPlan(wishes.reasoning, wishes.thinking, is_open)
    return output_plan(
        partial(token_id, engine.tokenizer),
        form=making() if making is not None else None,
        offer=ToolSet.of(wishes.use.format, wishes.tools, wishes.choice) if wishes.tools else None,
        thoughts=thoughts,
    )


class ChatReply:
    """Writes deltas as chunks of a chat, or all of them as one message."""

    def __init__(self, head: Head, body: ChatRequest, dialect: Dialect, writer: Writer) -> None:
        self._write = writer
        self._calls = CallWriter(dialect, is_legacy=body.is_legacy)
        self._has_thoughts = body.include_reasoning is not False
        self._usage = StreamUsage(dialect, body.stream_options)
        self._refusal = None if dialect.refusals else UNSET
        self._annotations: list[Any] | UnsetType = [] if dialect.refusals else UNSET  # Any: there never is one
        content = "" if dialect.first_delta_has_content else UNSET
        self._first = DeltaBody("assistant", content, refusal=self._refusal)
        self._chunk = partial(ChatChunk, object="chat.completion.chunk", **asdict(head))
        self._whole = partial(ChatCompletion, object="chat.completion", **asdict(head))

    async def chunks(self, answer: Answer) -> AsyncGenerator[ChatChunk, None]:
        fold = Accumulator(len(answer.choices))
        prompt_ids = self._write.prompt_ids(answer, 0)
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                is_first = delta.index not in fold
                fold.add(delta)
                for choice in self._choices(delta, fold, answer, is_first=is_first):
                    is_last = choice.finish_reason is not None and not answer.num_open
                    usage = partial(self._usage_at, choice, fold, answer)
                    yield self._chunk(
                        choices=[choice],
                        usage=self._usage.on_chunk(usage, is_last_finish=is_last),
                        prompt_token_ids=prompt_ids,
                        perf_metrics=self._write.perf_metrics(answer) if is_last else UNSET,
                    )
                    prompt_ids = UNSET
        if self._usage.at_end:
            yield self._chunk(choices=[], usage=usage_body(answer.usage))

    def _choices(self, delta: Delta, fold: Accumulator, answer: Answer, *, is_first: bool) -> Iterator[ChunkChoice]:
        """A delta as chunks: the role, what is said, piece by piece, the end."""
        if is_first:
            yield ChunkChoice(delta.index, self._first)
        bodies = [body for piece in delta.pieces if (body := self._piece(piece)) is not None]
        if delta.tokens and not bodies:
            bodies = [DeltaBody(content="")]
        tokens = delta.tokens
        for body in bodies:
            yield ChunkChoice(delta.index, body, logprobs=self._write(tokens), token_ids=self._write.token_ids(tokens))
            tokens = ()
        if delta.finish_reason is not None:
            whole = fold.whole(delta.index)
            reason = self._calls.finish_reason(delta.finish_reason, len(whole.calls))
            yield ChunkChoice(delta.index, DeltaBody(), reason, raw_output=self._write.raw_output(answer, whole))

    def _usage_at(self, choice: ChunkChoice, fold: Accumulator, answer: Answer) -> Usage:
        """Up to a chunk. The role is told before the first token, though it comes with it."""
        is_role = choice.delta is self._first
        return answer.usage_of(fold.begun - {choice.index} if is_role else fold.begun)

    def _piece(self, piece: Piece) -> DeltaBody | None:
        match piece:
            case Content(text):
                return DeltaBody(content=text)
            case ReasoningText(text):
                return DeltaBody(reasoning_content=text) if self._has_thoughts else None
            case ToolCallStart():
                return self._calls.head(piece)
            case ToolCallArguments():
                return self._calls.arguments(piece)

    async def whole(self, answer: Answer) -> ChatCompletion:
        return self._whole(
            choices=[self._choice(whole, answer) for whole in await collect(answer)],
            usage=usage_body(answer.usage),
            prompt_token_ids=self._write.prompt_ids(answer, 0),
            perf_metrics=self._write.perf_metrics(answer),
        )

    def _choice(self, whole: ChoiceResult, answer: Answer) -> ChatChoice:
        calls = whole.calls
        return ChatChoice(
            whole.index,
            AssistantMessage(
                "assistant",
                content=whole.content or (None if answer.choices[whole.index].only_calls else ""),
                reasoning_content=whole.thoughts or UNSET if self._has_thoughts else UNSET,
                tool_calls=self._calls.listed(calls),
                function_call=self._calls.single(calls),
                refusal=self._refusal,
                annotations=self._annotations,
            ),
            self._calls.finish_reason(whole.finish_reason, len(calls)),
            self._write(whole.tokens),
            self._write.token_ids(whole.tokens),
            self._write.raw_output(answer, whole),
        )
