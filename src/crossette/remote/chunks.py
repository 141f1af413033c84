"""The chunks of an upstream's stream: the parts of OpenAI's wire types that are read, of either endpoint.

Keys that are not listed are ignored: servers differ in them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crossette.errors import UpstreamFailed


class FunctionSent(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallSent(msgspec.Struct):
    index: int | None = None
    function: FunctionSent | None = None


class DeltaSent(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The same as `reasoning_content` in newer servers."""
    refusal: str | None = None
    tool_calls: list[CallSent] | None = None
    function_call: FunctionSent | None = None

    @property
    def has_output(self) -> bool:
        return bool(
            self.content
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.tool_calls
            or self.function_call
        )


class ChoiceSent(msgspec.Struct):
    index: int = 0
    delta: DeltaSent | None = None
    """In a chat."""
    text: str | None = None
    """In a completion."""
    finish_reason: str | None = None

    @property
    def has_output(self) -> bool:
        return bool(self.text or self.finish_reason or (self.delta is not None and self.delta.has_output))


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class UsageSent(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Chunk(msgspec.Struct):
    choices: list[ChoiceSent] | None = None
    usage: UsageSent | None = None
    error: Any = None  # Any: servers differ in it

    @property
    def has_output(self) -> bool:
        """Whether a client gets something of it: a first chunk may have no more than a role."""
        return any(choice.has_output for choice in self.choices or ())


_decoder = msgspec.json.Decoder(Chunk)


def decode_chunk(data: bytes) -> Chunk:
    """Decode one event. Raises UpstreamFailed for one that is no chunk, and for an error."""
    try:
        chunk = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise UpstreamFailed("The upstream of this model sent an event that is no chunk of an answer.") from None
    if chunk.error is not None:
        raise UpstreamFailed("The upstream of this model failed during its answer.")
    return chunk
