"""POST /chat/completions: prompts from bodies, chunks from deltas."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from crossette.api.chat_prompt import ChatOptions, chat_prompt
from crossette.api.dialect import Dialect
from crossette.api.endpoint import Call, Reply
from crossette.api.extras import Extras
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
from crossette.api.schema.response_format import OutputFormatBuilder, output_format_of
from crossette.api.tool_calls import CallWriter
from crossette.engine import Engine
from crossette.generation.accumulator import Accumulator, ChoiceResult, collect
from crossette.generation.answer import DeltaSource
from crossette.generation.choice import Delta
from crossette.generation.prompt import decode_tokens, token_id
from crossette.text.output_plan import OutputPlan, ReasoningPlan, output_plan
from crossette.text.pieces import Content, Piece, ReasoningText, ToolCallArguments, ToolCallStart
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.types import FinishReason, Usage

_END_OF_PROMPT = 16
"""Tokens at the end of a prompt that are searched for an opening reasoning tag."""


async def prepare(body: ChatRequest, engine: Engine, dialect: Dialect) -> Call:
    """Validate the request and build its prompt. Raises before anything is sent."""
    options = ChatOptions.of(body, engine, dialect)
    build_format = output_format_of(body)
    prompt = await chat_prompt(body, engine, options)
    is_plain = not options.tools and options.reasoning is None and build_format is None
    plan = None if is_plain else partial(_plan, engine, options, build_format, prompt)
    return Call([prompt], default_max_tokens=body.default_max_tokens(dialect), plan=plan)


def _plan(
    engine: Engine, options: ChatOptions, build_format: OutputFormatBuilder | None, prompt: tuple[int, ...]
) -> OutputPlan:
    """The output parser and the output constraint of an answer. Slow for large schemas."""
    reasoning = None
    if options.reasoning is not None:
        is_open = options.reasoning.is_open(decode_tokens(engine.tokenizer, prompt[-_END_OF_PROMPT:]))
        reasoning = ReasoningPlan(options.reasoning, options.thinking, is_open)
    return output_plan(
        partial(token_id, engine.tokenizer),
        output_format=build_format() if build_format is not None else None,
        tool_set=ToolSet.of(options.use.format, options.tools, options.choice) if options.tools else None,
        reasoning_plan=reasoning,
    )


class ChatReply(Reply):
    """Converts deltas to chunks of a chat completion, or all of them to one message."""

    def __init__(self, head: Head, body: ChatRequest, dialect: Dialect, extras: Extras | None) -> None:
        self.finish_reasons: list[str] = []
        self._extras = extras
        self._calls = CallWriter(dialect, is_legacy=body.is_legacy)
        self._has_reasoning = body.shows_reasoning
        self._usage = StreamUsage(dialect, body.stream_options)
        self._refusal = None if dialect.refusals else UNSET
        self._annotations: list[Any] | UnsetType = [] if dialect.refusals else UNSET  # Any: it is always empty
        content = "" if dialect.first_delta_has_content else UNSET
        self._first = DeltaBody("assistant", content, refusal=self._refusal)
        self._new_chunk = partial(ChatChunk, object="chat.completion.chunk", **asdict(head))
        self._new_completion = partial(ChatCompletion, object="chat.completion", **asdict(head))

    async def chunks(self, answer: DeltaSource) -> AsyncGenerator[ChatChunk, None]:
        accumulator, is_first_chunk = Accumulator(len(answer.choices)), True
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                is_first = accumulator.add(delta)
                for choice in self._choices(delta, accumulator, answer, is_first=is_first):
                    is_last = choice.finish_reason is not None and not answer.num_open
                    usage = partial(self._usage_at, choice, accumulator, answer)
                    chunk = self._new_chunk(choices=[choice], usage=self._usage.on_chunk(usage, is_last_finish=is_last))
                    if self._extras is not None:
                        self._add_extras(self._extras, chunk, answer, is_first=is_first_chunk, is_last=is_last)
                    is_first_chunk = False
                    yield chunk
        if self._usage.at_end:
            yield self._new_chunk(choices=[], usage=usage_body(answer.usage))

    @staticmethod
    def _add_extras(
        extras: Extras, body: ChatChunk | ChatCompletion, answer: DeltaSource, *, is_first: bool, is_last: bool
    ) -> None:
        if is_first:
            extras.add_prompt_ids(body, answer, 0)
        if is_last:
            extras.add_perf_metrics(body, answer)

    def _choices(
        self, delta: Delta, accumulator: Accumulator, answer: DeltaSource, *, is_first: bool
    ) -> Iterator[ChunkChoice]:
        """The chunk choices of a delta: the role, each piece, the finish reason."""
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
            choice = ChunkChoice(delta.index, DeltaBody(), self._reason(delta.finish_reason, result))
            if self._extras is not None:
                self._extras.add_raw_output(choice, answer, result)
            yield choice

    def _usage_at(self, choice: ChunkChoice, accumulator: Accumulator, answer: DeltaSource) -> Usage:
        """The usage up to a chunk. The role's chunk is before the first token, although that token triggers it."""
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

    async def completion(self, answer: DeltaSource) -> ChatCompletion:
        choices = [self._choice(result, answer) for result in await collect(answer)]
        completion = self._new_completion(choices=choices, usage=usage_body(answer.usage))
        if self._extras is not None:
            self._add_extras(self._extras, completion, answer, is_first=True, is_last=True)
        return completion

    def _choice(self, result: ChoiceResult, answer: DeltaSource) -> ChatChoice:
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
        choice = ChatChoice(result.index, message, self._reason(result.finish_reason, result))
        if self._extras is not None:
            self._extras.add_tokens(choice, result.tokens)
            self._extras.add_raw_output(choice, answer, result)
        return choice

    def _reason(self, reason: FinishReason | None, result: ChoiceResult) -> str | None:
        """The `finish_reason` of a choice, which is recorded."""
        name = self._calls.finish_reason(reason, len(result.calls))
        if name is not None:
            self.finish_reasons.append(name)
        return name
