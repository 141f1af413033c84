"""The answer to POST /messages: deltas as events, or all of them as one message."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import UNSET, UnsetType

from crossette.api.anthropic.answer import (
    AnswerBlock,
    AnswerMessage,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    MessageUsage,
    StopDetail,
    message_usage,
)
from crossette.api.anthropic.block_writer import BlockWriter
from crossette.api.anthropic.request import MessagesRequest
from crossette.api.dialect import Dialect
from crossette.api.endpoint import Reply
from crossette.api.extras import Extras
from crossette.api.schema.answer import Head
from crossette.api.schema.raw_output import RawOutput, raw_output
from crossette.generation.accumulator import Accumulator, ChoiceResult, collect
from crossette.generation.answer import DeltaSource
from crossette.types import FinishReason, Usage

_TIER = "standard"
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class MessagesReply(Reply):
    """Converts deltas to the events of a message, or all of them to one message."""

    def __init__(self, head: Head, sent: MessagesRequest, dialect: Dialect, extras: Extras | None) -> None:
        self.finish_reasons: list[str] = []
        self._head = head
        self._max_tokens = sent.max_tokens
        self._omits_thinking = sent.omits_thinking
        self._extras = extras

    async def chunks(self, answer: DeltaSource) -> AsyncGenerator[Event, None]:
        accumulator, writer = Accumulator(1), self._writer(answer)
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                if accumulator.add(delta):
                    yield MessageStart(self._message([], message_usage(_prompt_usage(answer), _TIER)))
                for event in writer.events(delta.pieces):
                    yield event
        for event in writer.end():
            yield event
        result = accumulator.result(0)
        stop, usage = self._stop(result, answer), message_usage(answer.usage)
        yield MessageDelta(stop, usage, self._raw_output(result, answer))
        yield MessageStop()

    async def completion(self, answer: DeltaSource) -> AnswerMessage:
        (result,) = await collect(answer)
        blocks = self._writer(answer).all_blocks(result.pieces)
        message = self._message(blocks, message_usage(answer.usage, _TIER))
        stop = self._stop(result, answer)
        message.stop_reason, message.stop_sequence = stop.stop_reason, stop.stop_sequence
        message.raw_output = self._raw_output(result, answer)
        return message

    def _writer(self, answer: DeltaSource) -> BlockWriter:
        return BlockWriter(omits_thinking=self._omits_thinking, calls_in_turn=answer.calls_in_turn)

    def _message(self, blocks: list[AnswerBlock], usage: MessageUsage) -> AnswerMessage:
        return AnswerMessage(self._head.id, self._head.model, blocks, None, None, usage)

    def _stop(self, result: ChoiceResult, answer: DeltaSource) -> StopDetail:
        """Why the answer ended, which is recorded in chat's words."""
        reason: str = result.finish_reason or FinishReason.STOP
        if reason == FinishReason.STOP and result.calls:
            reason = "tool_calls"
        self.finish_reasons.append(str(reason))
        stop_string = answer.choices[0].stop_string
        if reason == FinishReason.STOP and stop_string is not None:
            return StopDetail("stop_sequence", stop_string)
        if reason == FinishReason.LENGTH and answer.usage.completion_tokens < (self._max_tokens or 0):
            return StopDetail("model_context_window_exceeded", None)
        return StopDetail(_STOP_REASONS[reason], None)

    def _raw_output(self, result: ChoiceResult, answer: DeltaSource) -> RawOutput | UnsetType:
        if self._extras is None or not self._extras.raw_output:
            return UNSET
        return raw_output(answer.prompt_of(0), result, self._extras.tokenizer, self._extras.logprobs)


def _prompt_usage(answer: DeltaSource) -> Usage:
    """The usage of the prompt; nothing where an upstream counts it at the end."""
    return answer.usage_of(()) if answer.prompt_of(0) else Usage(0, 0)
