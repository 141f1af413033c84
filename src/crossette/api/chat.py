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
from crossette.api.extras import Extras
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
from crossette.generation.accumulator import Accumulator, ChoiceResult, collect
from crossette.generation.answer import Answer
from crossette.generation.choice import Delta
from crossette.generation.prompt import decode_tokens, token_id
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
        is_open = wishes.reasoning.is_open(decode_tokens(engine.tokenizer, prompt[-_END_OF_PROMPT:]))
        thoughts = ReasoningPlan(wishes.reasoning, wishes.thinking, is_open)
    return output_plan(
        partial(token_id, engine.tokenizer),
        output_format=making() if making is not None else None,
        tool_set=ToolSet.of(wishes.use.format, wishes.tools, wishes.choice) if wishes.tools else None,
        reasoning_plan=thoughts,
    )


class ChatReply:
    """Writes deltas as chunks of a chat, or all of them as one message."""

    def __init__(self, head: Head, body: ChatRequest, dialect: Dialect, extras: Extras | None) -> None:
        self._extras = extras
        self._calls = CallWriter(dialect, is_legacy=body.is_legacy)
        self._has_reasoning = body.include_reasoning is not False
        self._usage = StreamUsage(dialect, body.stream_options)
        self._refusal = None if dialect.refusals else UNSET
        self._annotations: list[Any] | UnsetType = [] if dialect.refusals else UNSET  # Any: there never is one
        content = "" if dialect.first_delta_has_content else UNSET
        self._first = DeltaBody("assistant", content, refusal=self._refusal)
        self._chunk = partial(ChatChunk, object="chat.completion.chunk", **asdict(head))
        self._whole = partial(ChatCompletion, object="chat.completion", **asdict(head))

    async def chunks(self, answer: Answer) -> AsyncGenerator[ChatChunk, None]:
        accumulator, is_first_chunk = Accumulator(len(answer.choices)), True
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                is_first = delta.index not in accumulator
                accumulator.add(delta)
                for choice in self._choices(delta, accumulator, answer, is_first=is_first):
                    is_last = choice.finish_reason is not None and not answer.num_open
                    usage = partial(self._usage_at, choice, accumulator, answer)
                    chunk = self._chunk(choices=[choice], usage=self._usage.on_chunk(usage, is_last_finish=is_last))
                    if self._extras is not None:
                        self._add_extras(self._extras, chunk, answer, is_first=is_first_chunk, is_last=is_last)
                    is_first_chunk = False
                    yield chunk
        if self._usage.at_end:
            yield self._chunk(choices=[], usage=usage_body(answer.usage))

    @staticmethod
    def _add_extras(
        extras: Extras, body: ChatChunk | ChatCompletion, answer: Answer, *, is_first: bool, is_last: bool
    ) -> None:
        if is_first:
            extras.add_prompt_ids(body, answer, 0)
        if is_last:
            extras.add_perf_metrics(body, answer)

    def _choices(
        self, delta: Delta, accumulator: Accumulator, answer: Answer, *, is_first: bool
    ) -> Iterator[ChunkChoice]:
        """A delta as chunks: the role, each piece, the finish reason."""
        if is_first:
            yield ChunkChoice(delta.index, self._first)
        bodies = [body for piece in delta.pieces if (body := self._piece(piece)) is not None]
        if delta.tokens and not bodies:
            bodies = [DeltaBody(content="")]
        tokens = delta.tokens
        for body in bodies:
            choice = ChunkChoice(delta.index, body)
            if self._extras is not None:
                self._extras.add_tokens(choice, tokens)
            yield choice
            tokens = ()
        if delta.finish_reason is not None:
            result = accumulator.result(delta.index)
            reason = self._calls.finish_reason(delta.finish_reason, len(result.calls))
            choice = ChunkChoice(delta.index, DeltaBody(), reason)
            if self._extras is not None:
                self._extras.add_raw_output(choice, answer, result)
            yield choice

    def _usage_at(self, choice: ChunkChoice, accumulator: Accumulator, answer: Answer) -> Usage:
        """Up to a chunk. The role's chunk comes before the first token, though a token brings both."""
        is_role = choice.delta is self._first
        return answer.usage_of(accumulator.begun - {choice.index} if is_role else accumulator.begun)

    def _piece(self, piece: Piece) -> DeltaBody | None:
        match piece:
            case Content(text):
                return DeltaBody(content=text)
            case ReasoningText(text):
                return DeltaBody(reasoning_content=text) if self._has_reasoning else None
            case ToolCallStart():
                return self._calls.head(piece)
            case ToolCallArguments():
                return self._calls.arguments(piece)

    async def whole(self, answer: Answer) -> ChatCompletion:
        choices = [self._choice(result, answer) for result in await collect(answer)]
        completion = self._whole(choices=choices, usage=usage_body(answer.usage))
        if self._extras is not None:
            self._add_extras(self._extras, completion, answer, is_first=True, is_last=True)
        return completion

    def _choice(self, result: ChoiceResult, answer: Answer) -> ChatChoice:
        calls = result.calls
        message = AssistantMessage(
            "assistant",
            content=result.content or (None if answer.choices[result.index].only_calls else ""),
            reasoning_content=result.reasoning or UNSET if self._has_reasoning else UNSET,
            tool_calls=self._calls.listed(calls),
            function_call=self._calls.single(calls),
            refusal=self._refusal,
            annotations=self._annotations,
        )
        choice = ChatChoice(result.index, message, self._calls.finish_reason(result.finish_reason, len(calls)))
        if self._extras is not None:
            self._extras.add_tokens(choice, result.tokens)
            self._extras.add_raw_output(choice, answer, result)
        return choice
